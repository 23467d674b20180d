"""BLAKE3, XChaCha20-Poly1305, libsodium's sealed box and Argon2id, in nothing but Python's standard library.

For `read_store.py`, which has to work where no package can be installed. Not in constant time: it runs where the key is anyway.
What can be done for many blocks at once is: words of 32 bits stand 64 bits apart in one large integer, a **lane** for each block.
"""
import hashlib
import hmac
import itertools
import struct

LANES = 512
# Columns, then diagonals: of BLAKE3 as of ChaCha.
MIX = ((0, 4, 8, 12), (1, 5, 9, 13), (2, 6, 10, 14), (3, 7, 11, 15), (0, 5, 10, 15), (1, 6, 11, 12), (2, 7, 8, 13), (3, 4, 9, 14))
WORD, LONG = 0xFFFFFFFF, 0xFFFFFFFFFFFFFFFF


def gather(words):
    return int.from_bytes(struct.pack(f"<{len(words)}Q", *words), "little")


def scatter(lanes, count):
    return struct.unpack(f"<{count}Q", lanes.to_bytes(8 * count, "little"))


def mix(v, rounds, turns, words, order, mask):
    """Does rounds of ARX on 16 words: BLAKE3 adds message words, ChaCha adds nothing, and they turn by other amounts."""
    first, second, third, fourth = turns
    for _ in range(rounds):
        for n, (a, b, c, d) in enumerate(MIX):
            for word, turn, back in ((words[2 * n], first, second), (words[2 * n + 1], third, fourth)):
                v[a] = (v[a] + v[b] + word) & mask
                x = v[d] ^ v[a]
                v[d] = (x << turn | x >> 32 - turn) & mask
                v[c] = (v[c] + v[d]) & mask
                x = v[b] ^ v[c]
                v[b] = (x << back | x >> 32 - back) & mask
        words = [words[i] for i in order]
    return v


# BLAKE3 (https://github.com/BLAKE3-team/BLAKE3-specs).
IV = (0x6A09E667, 0xBB67AE85, 0x3C6EF372, 0xA54FF53A, 0x510E527F, 0x9B05688C, 0x1F83D9AB, 0x5BE0CD19)
ORDER = (2, 6, 3, 10, 7, 0, 4, 13, 1, 11, 12, 5, 9, 14, 15, 8)
START, END, PARENT, ROOT, KEYED, CONTEXT, MATERIAL = 1, 2, 4, 8, 16, 32, 64


def compress(chaining, words, counter, length, flags, count):
    ones = gather([1] * count)
    fixed = [word * ones for word in (*IV[:4], length, flags)]
    v = mix([*chaining, *fixed[:4], counter, 0, *fixed[4:]], 7, (16, 20, 24, 25), words, ORDER, WORD * ones)
    return [v[i] ^ v[i + 8] for i in range(8)]


def leaves(data, count, first, key, flags):
    """Hashes leaves of equal length side by side."""
    size = len(data) // count
    words = struct.unpack(f"<{-(-size // 64) * 16 * count}I", data if count > 1 else data.ljust(-(-size // 64) * 64, b"\0"))
    words = words or (0,) * 16
    root, flags = flags & ROOT, flags & ~ROOT
    chaining, counter = [word * gather([1] * count) for word in key], gather(range(first, first + count))
    blocks = max(1, -(-size // 64))
    for n in range(blocks):
        message = [gather(words[16 * n + i::16 * blocks]) for i in range(16)]
        last = n + 1 == blocks
        ends = flags | (START if n == 0 else 0) | ((END | root) if last else 0)
        chaining = compress(chaining, message, counter, min(64, size - 64 * n), ends, count)
    return list(zip(*(scatter(word, count) for word in chaining)))


def blake3(data, key=IV, flags=0):
    data, level = bytes(data), []
    alone = ROOT if len(data) <= 1024 else 0
    for at in range(0, len(data) or 1, LANES * 1024):
        part = data[at:at + LANES * 1024]
        whole = 0 if alone else len(part) // 1024
        if whole:
            level += leaves(part[:whole * 1024], whole, at // 1024, key, flags)
        if len(part) > whole * 1024 or not data:
            level += leaves(part[whole * 1024:], 1, at // 1024 + whole, key, flags | alone)
    while len(level) > 1:
        # Pairs from the left, and what is left over goes up as it is: that is the tree of the specification.
        pairs, kind = len(level) // 2, PARENT | flags | (ROOT if len(level) == 2 else 0)
        words = [gather([level[2 * n + side][i] for n in range(pairs)]) for side in (0, 1) for i in range(8)]
        parents = compress([word * gather([1] * pairs) for word in key], words, 0, 64, kind, pairs)
        level = list(zip(*(scatter(word, pairs) for word in parents))) + level[2 * pairs:]
    return struct.pack("<8I", *level[0])


def keyed(key, data):
    return blake3(data, struct.unpack("<8I", key), KEYED)


def derive(context, material):
    return blake3(material, struct.unpack("<8I", blake3(context.encode(), IV, CONTEXT)), MATERIAL)


# XChaCha20-Poly1305 (RFC 8439, draft-irtf-cfrg-xchacha-03).
SIGMA = struct.unpack("<4I", b"expand 32-byte k")


def chacha(key, counter, nonce, count):
    """Returns 16 words in lanes, before and after the rounds."""
    ones = gather([1] * count)
    start = [word * ones for word in SIGMA + struct.unpack("<8I", key)]
    start += [counter] + [word * ones for word in struct.unpack("<3I", nonce)]
    return start, mix(list(start), 10, (16, 12, 8, 7), (0,) * 16, (0,) * 16, WORD * ones)


def stream(key, nonce, length):
    out = bytearray()
    while len(out) < length:
        first = len(out) // 64
        count = min(LANES, -(-(length - len(out)) // 64))
        start, end = chacha(key, gather(range(first, first + count)), nonce, count)
        words = [[word & WORD for word in scatter(a + b, count)] for a, b in zip(start, end)]
        out += struct.pack(f"<{16 * count}I", *itertools.chain.from_iterable(zip(*words)))
    return bytes(out[:length])


def xor(a, b):
    return (int.from_bytes(a, "little") ^ int.from_bytes(b, "little")).to_bytes(len(a), "little")


def poly1305(key, data):
    r, sum_ = int.from_bytes(key[:16], "little") & 0x0FFFFFFC0FFFFFFC0FFFFFFC0FFFFFFF, 0
    for at in range(0, len(data), 16):
        sum_ = (sum_ + int.from_bytes(data[at:at + 16] + b"\1", "little")) * r % ((1 << 130) - 5)
    return (sum_ + int.from_bytes(key[16:], "little") & (1 << 128) - 1).to_bytes(16, "little")


def unseal(key, nonce, context, sealed):
    """Returns the text, or None if the key, the nonce, the context or the text is another one."""
    if len(sealed) < 16:
        return None
    text, tag = sealed[:-16], sealed[-16:]
    counter, rest = struct.unpack("<I", nonce[:4])[0], nonce[4:16]
    end = chacha(key, counter, rest, 1)[1]
    inner = struct.pack("<8I", *end[:4], *end[12:])
    pad = stream(inner, bytes(4) + nonce[16:], 64 + len(text))
    fill = lambda data: data + bytes(-len(data) % 16)
    told = fill(context) + fill(text) + struct.pack("<QQ", len(context), len(text))
    return xor(text, pad[64:]) if hmac.compare_digest(tag, poly1305(pad[:32], told)) else None


# The sealed box of libsodium: X25519 (RFC 7748) and XSalsa20-Poly1305.
def x25519(private, public):
    p = (1 << 255) - 19
    k = int.from_bytes(private, "little") & ~7 & (1 << 254) - 1 | 1 << 254
    u = int.from_bytes(public, "little") & (1 << 255) - 1
    x2, z2, x3, z3, swapped = 1, 0, u, 1, 0
    for n in range(254, -1, -1):
        bit = k >> n & 1
        if bit != swapped:
            x2, z2, x3, z3, swapped = x3, z3, x2, z2, bit
        a, b, c, d = x2 + z2, x2 - z2, x3 + z3, x3 - z3
        x2, z2 = a * a * b * b % p, (a * a - b * b) * (b * b + 121666 * (a * a - b * b)) % p
        x3, z3 = (d * a + c * b) ** 2 % p, u * (d * a - c * b) ** 2 % p
    if swapped:
        x2, z2 = x3, z3
    return (x2 * pow(z2, p - 2, p) % p).to_bytes(32, "little")


SALSA = ((0, 4, 8, 12), (5, 9, 13, 1), (10, 14, 2, 6), (15, 3, 7, 11)) + ((0, 1, 2, 3), (5, 6, 7, 4), (10, 11, 8, 9), (15, 12, 13, 14))


def salsa(key, rest):
    k, n = struct.unpack("<8I", key), struct.unpack("<4I", rest)
    start = [SIGMA[0], *k[:4], SIGMA[1], *n, SIGMA[2], *k[4:], SIGMA[3]]
    v = list(start)
    for _ in range(10):
        for a, b, c, d in SALSA:
            for to, one, two, turn in ((b, a, d, 7), (c, b, a, 9), (d, c, b, 13), (a, d, c, 18)):
                x = v[one] + v[two] & WORD
                v[to] ^= (x << turn | x >> 32 - turn) & WORD
    return start, v


def hsalsa(key, nonce):
    v = salsa(key, nonce)[1]
    return struct.pack("<8I", *(v[i] for i in (0, 5, 10, 15, 6, 7, 8, 9)))


def open_box(private, sealed):
    """Opens `crypto_box_seal` of 32 bytes; None if it is for another key or damaged."""
    fresh, tag, text = sealed[:32], sealed[32:48], sealed[48:]
    nonce = hashlib.blake2b(fresh + x25519(private, b"\x09" + bytes(31)), digest_size=24).digest()
    shared = hsalsa(x25519(private, fresh), bytes(16))
    start, end = salsa(hsalsa(shared, nonce[:16]), nonce[16:] + bytes(8))
    pad = struct.pack("<16I", *(a + b & WORD for a, b in zip(start, end)))
    return xor(text, pad[32:]) if hmac.compare_digest(tag, poly1305(pad[:32], text)) else None


# Argon2id (RFC 9106), with one thread.
def long_hash(data, length):
    data = struct.pack("<I", length) + data
    if length <= 64:
        return hashlib.blake2b(data, digest_size=length).digest()
    out = b""
    data = hashlib.blake2b(data).digest()
    while length - len(out) > 64:
        out += data[:32]
        left = length - len(out)
        data = hashlib.blake2b(data, digest_size=min(64, left)).digest()
    return out + data


ROWS = [[16 * n + i for i in range(16)] for n in range(8)]
COLUMNS = [[2 * n + 16 * i + j for i in range(8) for j in (0, 1)] for n in range(8)]
STEPS = [tuple(part[i] for i in mixed) for part in ROWS + COLUMNS for mixed in MIX]


def mix_blocks(one, two):
    r = [a ^ b for a, b in zip(one, two)]
    v = list(r)
    for i, j, k, l in STEPS:
        a, b, c, d = v[i], v[j], v[k], v[l]
        a = a + b + 2 * (a & WORD) * (b & WORD) & LONG
        d ^= a
        d = d >> 32 | (d & WORD) << 32
        c = c + d + 2 * (c & WORD) * (d & WORD) & LONG
        b ^= c
        b = b >> 24 | (b & 0xFFFFFF) << 40
        a = a + b + 2 * (a & WORD) * (b & WORD) & LONG
        d ^= a
        d = d >> 16 | (d & 0xFFFF) << 48
        c = c + d + 2 * (c & WORD) * (d & WORD) & LONG
        b ^= c
        v[i], v[j], v[k], v[l] = a, b >> 63 | b << 1 & LONG, c, d
    return [a ^ b for a, b in zip(r, v)]


def argon2id(password, salt, memory, passes, lanes, length=32, secret=b"", data=b""):
    numbers = struct.pack("<6I", lanes, length, memory, passes, 0x13, 2)
    start = hashlib.blake2b(numbers + b"".join(struct.pack("<I", len(x)) + x for x in (password, salt, secret, data))).digest()
    segment = memory // (4 * lanes)
    width = 4 * segment
    first = lambda lane, n: list(struct.unpack("<128Q", long_hash(start + struct.pack("<II", n, lane), 1024)))
    blocks = [[first(lane, 0), first(lane, 1)] + [None] * (width - 2) for lane in range(lanes)]
    zeros = [0] * 128
    for turn, part, lane in itertools.product(range(passes), range(4), range(lanes)):
        blind, row = turn == 0 and part < 2, blocks[lane]
        for n in range(2 if turn == part == 0 else 0, segment):
            if blind and (n % 128 == 0 or n == 2):
                told = [turn, lane, part, width * lanes, passes, 2, n // 128 + 1] + [0] * 121
                places = mix_blocks(zeros, mix_blocks(zeros, told))
            at = part * segment + n
            place = places[n % 128] if blind else row[at - 1][0]
            other = lane if turn == part == 0 else (place >> 32) % lanes
            done = part * segment if turn == 0 else width - segment
            count = done + n - 1 if other == lane else done - (n == 0)
            back = count * ((place & WORD) ** 2 >> 32) >> 32
            begin = 0 if turn == 0 else (part + 1) * segment
            new = mix_blocks(row[at - 1], blocks[other][(begin + count - 1 - back) % width])
            row[at] = [a ^ b for a, b in zip(new, row[at])] if turn else new
    last = blocks[0][-1]
    for row in blocks[1:]:
        last = [a ^ b for a, b in zip(last, row[-1])]
    return long_hash(struct.pack("<128Q", *last), length)


def check():
    """Fails unless the published test vectors come out: this is code to be read, and it has to be right."""
    text = bytes(n % 251 for n in range(31744))
    assert blake3(b"").hex().startswith("af1349b9f5f9a1a6")
    assert blake3(text[:1025]).hex().startswith("d00278ae47eb27b3")
    assert blake3(text).hex().startswith("62b6960e1a44bcc1")
    assert keyed(b"whats the Elvish word for friend", text).hex().startswith("efa53b389ab67c59")
    assert derive("BLAKE3 2019-12-27 16:29:52 test vectors context", text).hex().startswith("39772aef80e0ebe6")
    # draft-irtf-cfrg-xchacha-03, A.3.1.
    key, nonce = bytes(range(0x80, 0xA0)), bytes(range(0x40, 0x58))
    context, told = bytes.fromhex("50515253c0c1c2c3c4c5c6c7"), b"Ladies and Gentlemen of the class of '99"
    sealed = bytes.fromhex(
        "bd6d179d3e83d43b9576579493c0e939572a1700252bfaccbed2902c21396cbb731c7f1b0b4aa6440bf3a82f4eda7e39"
        "ae64c6708c54c216cb96b72e1213b4522f8c9ba40db5d945b11b69b982c1bb9e3f3fac2bc369488f76b2383565d3fff9"
        "21f9664c97637da9768812f615c68b13b52ec0875924c1c7987947deafd8780acf49")
    assert unseal(key, nonce, context, sealed).startswith(told) and unseal(key, nonce, context[1:], sealed) is None
    # RFC 7748, 5.2.
    private = bytes.fromhex("a546e36bf0527c9d3b16154b82465edd62144c0ac1fc5a18506a2244ba449ac4")
    public = bytes.fromhex("e6db6867583030db3594c1a424b15f7c726624ec26b3353b10a903a6d0ab1c4c")
    assert x25519(private, public).hex() == "c3da55379de9c6908e94ea4df28d084f32eccf03491c71f754b4075577a28552"
    # RFC 9106, 5.3.
    tag = argon2id(b"\1" * 32, b"\2" * 16, 32, 3, 4, 32, b"\3" * 8, b"\4" * 12)
    assert tag.hex() == "0d640df58d78766c08c037a34a8b53c9d01ef0452d75b65eb52520e96b01e659"
