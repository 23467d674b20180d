//! How much memory the engine takes: every pool, queue, buffer and cache in one place, each with its unit and what holds it. The test below adds up
//! what is alive at once; `docs/ARCHITECTURE.md` has the picture. Bounds of what an object may be at all are in `format/`, limits of lists in
//! reports beside the reports.

/// Threads of a pool: each holds a chunk and what it becomes, so more of them would take more than there is (`ops/restore/`, `set/archive/write.rs`,
/// and the shared pool of the program).
pub const WORKERS: usize = 4;

// The database.

/// Changed extents that are encoded at once; one batch is filled while another is stored (`ops/backup/store_image.rs`).
pub(crate) const BATCH_EXTENTS: usize = 32;

/// Batches of extents that exist (`ops/backup/store_image.rs`).
pub(crate) const EXTENT_BATCHES: usize = 2;

/// Extents of a batch in which little has changed: most of them are known, and only their ids are held (`ops/backup/store_image.rs`).
pub(crate) const BATCH_ITEMS: usize = 8 << 10;

/// Extents that are in memory at once where few have changed: 4 MiB (`ops/backup/changed_extents.rs`).
pub(crate) const FEW_EXTENTS: usize = 64;

/// Ids of extents in memory, for 2 GiB of database: 1 MiB; then a temporary file (`ops/backup/extent_ids.rs`). After a `VACUUM` the parent's too.
pub(crate) const EXTENT_IDS: usize = 32 << 10;

/// Bytes of changed extents that stay in memory while the database is locked (`ops/backup/image_buffer.rs`).
pub(crate) const CHANGED_BYTES: usize = 8 << 20;

/// Anchors of the parent after a `VACUUM`: 4 MiB; while their map is made, 8 MiB (`ops/backup/page_moves.rs`).
pub(crate) const ANCHORS: usize = 1 << 20;

/// Extents whose bytes are decoded at once while anchors are looked for: 4 MiB (`ops/backup/page_moves.rs`).
pub(crate) const ANCHORED_EXTENTS: usize = 64;

/// Bytes of a database that are passed on at once, at most: whole pages of every page size (`source/database/`).
pub(crate) const PIECE_BYTES: usize = 256 << 10;

/// Bytes that are read in one transaction: a writer that meets it waits for about a millisecond (`source/database/unlocked.rs`).
pub(crate) const TURN_BYTES: usize = 2 << 20;

/// SQLite takes no more memory in this process, in bytes: a hostile schema has no other bound (`source/database/connect.rs`).
pub(crate) const SQLITE_HEAP_BYTES: i64 = 30 << 20;

// The uploads.

/// Bytes of names that one walk holds; larger directories are read in several passes (`source/files/walk/`).
pub(crate) const WALK_NAMES_BYTES: usize = 16 << 20;

/// Entries after which the walk hands them over (`source/files/read_ahead.rs`).
pub(crate) const DELIVERY_ENTRIES: usize = 256;

/// Bytes of names after which the walk hands entries over (`source/files/read_ahead.rs`).
pub(crate) const DELIVERY_NAMES_BYTES: usize = 512 << 10;

/// Deliveries that wait; one more is filled, and one is worked on (`source/files/read_ahead.rs`).
pub(crate) const DELIVERIES: usize = 2;

/// Entries that are worked on at once (`ops/backup/files.rs`, `ops/copy/lists.rs`).
pub(crate) const BATCH_ENTRIES: usize = 512;

/// Bytes of their names and attributes (`ops/backup/files.rs`, `ops/copy/lists.rs`).
pub(crate) const BATCH_NAMES_BYTES: usize = 1 << 20;

/// Bytes of a long file whose chunks several threads store at a time (`ops/backup/store_file.rs`).
pub(crate) const SHARED_BYTES: usize = 4 << 20;

/// Bytes of a file that are read at once where the length of a chunk is not known yet (`source/files/read/`).
pub(crate) const READ_BYTES: usize = 256 << 10;

/// KiB of memory for the names of hard links; then a temporary database (`source/files/hard_links.rs`).
pub(crate) const LINKS_CACHE_KIB: u32 = 2048;

// The store.

/// Bytes of decoded chunks that are kept, unless more are expected (`store/chunk_cache.rs`).
pub(crate) const DECODED_BYTES: usize = 4 << 20;

/// As many more where nothing but an image is read (`store/index/load.rs`).
pub(crate) const MORE_DECODED_BYTES: usize = 4 << 20;

/// Blocks of 4 KiB that are kept of each index file at least (`store/index/mod.rs`).
pub(crate) const FILE_BLOCKS: usize = 12;

/// Blocks that are kept of all index files together: deltas over deltas look many chunks up (`store/index/load.rs`).
pub(crate) const INDEX_BLOCKS: usize = 512;

/// Blocks that are kept where every chunk is looked up, in no order: restore, check, prune (`store/index/load.rs`, `ops/{prune,check}/`).
pub(crate) const MORE_INDEX_BLOCKS: usize = 2048;

/// Chunks up to which summaries of the index files are worth their memory, with 10 bits for each chunk and 8 bytes for each block: 5.4 MB (`store/index/summary.rs`).
pub(crate) const SUMMARIZED_CHUNKS: u64 = 4_000_000;

/// New chunks after which packs and index are written, so that memory does not grow with the first backup of a million files: as many as a table of 2^14 slots holds, with four bases each about 4 MiB (`store/write/session.rs`).
pub(crate) const MAX_PENDING: usize = 14 << 10;

/// Packs whose lengths are remembered (`store/write/session.rs`).
pub(crate) const KNOWN_PACKS: usize = 16 << 10;

/// Bytes of a new pack that wait to be written to its temporary file (`store/write/session.rs`).
pub(crate) const PACK_BUFFER_BYTES: usize = 256 << 10;

/// Bytes of a new index that wait to be written to its temporary file (`store/index/mod.rs`).
pub(crate) const INDEX_BUFFER_BYTES: usize = 64 << 10;

/// Closed packs that wait for an uploader, in temporary files (`store/pack_upload.rs`).
pub(crate) const PACK_QUEUE: usize = 1;

/// Packs that are uploaded to a bucket at once; the backend bounds what of them is in memory (`store/pack_upload.rs`).
pub(crate) const UPLOADERS: usize = 4;

/// Packs whose keys are remembered, of an encrypted store (`store/read.rs`).
pub(crate) const PACK_KEYS: usize = 8 << 10;

/// Chunks of a local file whose places are remembered: 8 GiB of database (`store/local_bases.rs`).
pub(crate) const LOCAL_BASES: usize = 128 << 10;

/// Encoded bytes that are asked for before they are used, about twice what is fetched at once; they wait on the disk (`store/prefetch.rs`).
pub(crate) const AHEAD_BYTES: u64 = 24 << 20;

/// Items of a list that are looked at before they are used (`store/prefetch.rs`).
pub(crate) const AHEAD_ITEMS: usize = 2048;

/// Documents that are fetched before the first of them is asked for, at most (`store/snapshots.rs`).
pub(crate) const AHEAD_SNAPSHOTS: usize = 256;

/// Pieces that a copy works on at once (`ops/copy/lists.rs`).
pub(crate) const COPY_PIECES: usize = 64;

/// Bytes of those pieces (`ops/copy/lists.rs`).
pub(crate) const COPY_BYTES: u64 = 6 << 20;

/// Encoded bytes of chunks that a prune reads at once, before they are written again (`ops/prune/repack.rs`).
pub(crate) const MOVED_BYTES: usize = 4 << 20;

/// Those chunks, where they are small (`ops/prune/repack.rs`).
pub(crate) const MOVED_CHUNKS: usize = 4 << 10;

/// Names of chunks that a copy remembers, in each of two generations: as many as a table of 2^15 slots holds, 2 MiB. What is forgotten is read once more
/// (`ops/copy/chunks.rs`).
pub(crate) const COPIED_IDS: usize = 28 << 10;

// The backends.

/// Bytes of objects and their parts that are in memory on their way, whichever objects they are of (`backend/bucket/`).
#[cfg_attr(not(feature = "bucket"), allow(dead_code))]
pub(crate) const UPLOAD_BYTES: u32 = 24 << 20;

/// Requests at once that remove objects: not every server removes several with one request (`backend/bucket/`).
#[cfg_attr(not(feature = "bucket"), allow(dead_code))]
pub(crate) const REMOVALS_IN_FLIGHT: usize = 16;

/// Packs of a bucket are read in blocks of this size: what was stored together is read together (`backend/cache/prefetch.rs`).
pub(crate) const FETCHED_BYTES: u64 = 2 << 20;

/// Blocks that are fetched ahead at once; each is in memory meanwhile (`backend/cache/prefetch.rs`).
pub(crate) const FETCHERS: usize = 6;

/// Blocks that wait to be fetched, at most; the reader of one that is dropped fetches it itself (`backend/cache/prefetch.rs`).
pub(crate) const WANTED_BLOCKS: usize = 64;

/// An index is fetched in pieces of this size (`backend/cache/mod.rs`).
pub(crate) const INDEX_PIECE_BYTES: u64 = 4 << 20;

/// Small objects that are fetched at the same time (`backend/cache/mod.rs`).
pub(crate) const DOCUMENT_REQUESTS: usize = 8;

/// Objects whose keys and lengths are remembered: every look-up in an index of an encrypted store needs them (`backend/encrypted/mod.rs`).
pub(crate) const OPEN_OBJECTS: usize = 64;

// The sets.

/// Bytes of the extents that are read at once; only a single extent may be longer (`set/image_reader.rs`).
pub(crate) const IMAGE_BATCH_BYTES: usize = 2 << 20;

/// Batches of an image that are kept to be filled again: more than a sink holds (`set/image_reader.rs`).
pub(crate) const IMAGE_BATCHES: usize = 6;

/// Plain bytes of segments that are being made or wait for their turn (`set/archive/write.rs`).
pub(crate) const SEGMENTS_BYTES: u64 = 16 << 20;

/// Segments that wait, however small they are (`set/archive/write.rs`).
pub(crate) const WAITING_SEGMENTS: usize = 64;

/// Bytes of an archive that wait to be written (`set/archive/content.rs`).
pub(crate) const ARCHIVE_BUFFER_BYTES: usize = 256 << 10;

/// Plain bytes of an archive that are decompressed in one go (`set/archive/read.rs`).
pub(crate) const RUN_BYTES: usize = 256 << 10;

/// Such runs in flight; one more is read (`set/archive/read.rs`).
pub(crate) const RUNS: usize = 4;

/// Pieces that wait for the thread that computes their SHA-256 (`set/sha256.rs`).
pub(crate) const DIGESTED_PIECES: usize = 4;

/// Bytes that are written at once. Of more the kernel makes folios so large that it takes three times as long (Linux 6.18, ext4, 1 MiB) (`fs/flush.rs`).
pub(crate) const WRITE_BYTES: usize = 256 << 10;

// Temporary databases, in KiB of their caches: SQLite sorts in as much memory.

/// Targets of hard links in an archive (`set/archive/link_targets.rs`).
pub(crate) const TARGETS_CACHE_KIB: u32 = 2048;

/// The list of a set that is restored (`ops/restore/set_list.rs`).
pub(crate) const SET_LIST_CACHE_KIB: u32 = 4096;

/// The files of a drill (`ops/drill/files.rs`).
pub(crate) const DRILLED_CACHE_KIB: u32 = 8192;

/// Rows that name files (`ops/drill/checks/row_list.rs`).
pub(crate) const ROWS_CACHE_KIB: u32 = 2048;

/// What `find` gathers (`ops/find.rs`).
pub(crate) const FIND_CACHE_KIB: u32 = 4096;

/// Chunks that are lost (`store/repair/lost_chunks.rs`).
pub(crate) const LOST_CACHE_KIB: u32 = 4096;

/// The directories of packs that no index lists (`store/repair/pack_scan.rs`).
pub(crate) const SCAN_CACHE_KIB: u32 = 4096;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chunk::UPLOADS;
    use crate::compression::MAX_BASES;
    use crate::format::config::Chunking;
    use crate::format::index::{BLOCK_LEN, Located};
    use crate::id::ChunkId;
    use crate::set::archive::segments::SEGMENT_MAX;
    use crate::store::index::Location;

    const MIB: usize = 1 << 20;
    /// What the process must stay below; the tests of the program measure it.
    const LIMIT: usize = 64 * MIB;
    /// What all bounds allow together. That takes a directory with 16 MiB of names, its files being chunks of the greatest length that do not
    /// compress, in all threads at the same moment, while parts of packs are on their way to a bucket.
    const WORST_LIMIT: usize = 96 * MIB;

    /// What is not bounded by a constant alone: how long the chunks and segments are that the threads have in hand, and what a `VACUUM` leaves.
    struct Load {
        chunk: usize,
        segment: usize,
        has_summary: bool,
    }

    /// Chunks and segments as long as they are on average. Summaries come and go with what needs them.
    const USUAL: Load = Load { chunk: UPLOADS.avg, segment: MIB, has_summary: false };
    /// In each thread the longest chunk that there can be, and it does not compress.
    const WORST: Load = Load { chunk: UPLOADS.max, segment: SEGMENT_MAX as usize, has_summary: true };

    fn extent() -> usize {
        Chunking::default().extent_bytes as usize
    }

    fn blocks(count: usize) -> usize {
        // A decoded block knows where its records begin.
        count * (BLOCK_LEN + 512)
    }

    /// A block has 79 records, fewer if they are of deltas.
    const SUMMARIES: usize = SUMMARIZED_CHUNKS as usize * 10 / 8 + SUMMARIZED_CHUNKS as usize / 40 * 8;

    fn summary(load: &Load) -> usize {
        if load.has_summary { SUMMARIES } else { 0 }
    }

    /// What an open store holds as long as a run writes to it, in a bucket.
    fn session(load: &Load) -> usize {
        // A hash table of a power of two.
        let pending = MAX_PENDING.next_power_of_two() * (size_of::<ChunkId>() + size_of::<Located>() + 1);
        let known_packs = KNOWN_PACKS.next_power_of_two() * (size_of::<ChunkId>() + 8 + 1);
        blocks(INDEX_BLOCKS) + summary(load) + DECODED_BYTES + pending + known_packs + PACK_BUFFER_BYTES
    }

    const UPLOAD: usize = UPLOAD_BYTES as usize;
    const FETCH: usize = FETCHERS * FETCHED_BYTES as usize;

    /// The databases come first. After a `VACUUM`, or while the database is locked, or with its `.sqlite` made meanwhile: these exclude each other.
    fn database(load: &Load) -> usize {
        let vacuum = 2 * ANCHORS * size_of::<u32>() + ANCHORED_EXTENTS * extent() + EXTENT_IDS * size_of::<ChunkId>();
        let locked = CHANGED_BYTES;
        let set = (DIGESTED_PIECES + 2) * PIECE_BYTES;
        // Its bases one by one and end to end, and what the delta decodes to.
        let workers = WORKERS * (2 * MAX_BASES + 1) * extent();
        let queue = EXTENT_BATCHES * BATCH_EXTENTS * extent() + EXTENT_IDS * size_of::<ChunkId>();
        session(load) + UPLOAD + queue + workers + vacuum.max(locked).max(set)
    }

    /// Then the uploads: the walk in front, a batch of entries, and in each thread a chunk and its encoded form.
    fn uploads(load: &Load) -> usize {
        let walk = WALK_NAMES_BYTES + (DELIVERIES + 2) * DELIVERY_NAMES_BYTES;
        let batch = BATCH_NAMES_BYTES + LINKS_CACHE_KIB as usize * 1024;
        let workers = WORKERS * (2 * load.chunk + READ_BYTES);
        session(load) + UPLOAD + walk + batch + workers
    }

    /// Then the set, both files at once, from the store: packs and index are written by then.
    fn set(load: &Load) -> usize {
        let image = IMAGE_BATCHES * IMAGE_BATCH_BYTES;
        // The plain bytes of what is made count as in flight; beside them a thread has what it makes and the chunk that it reads.
        let workers = WORKERS * (load.segment + load.chunk);
        let archive = SEGMENTS_BYTES as usize + DIGESTED_PIECES * load.segment + ARCHIVE_BUFFER_BYTES;
        blocks(INDEX_BLOCKS) + summary(load) + DECODED_BYTES + FETCH + image + archive + workers
    }

    /// A restore stages the databases and the uploads at once, in one pool.
    fn restore(load: &Load) -> usize {
        let store = blocks(MORE_INDEX_BLOCKS) + SUMMARIES + DECODED_BYTES + MORE_DECODED_BYTES;
        let workers = WORKERS * (2 * load.chunk + WRITE_BYTES);
        store + FETCH + IMAGE_BATCHES * IMAGE_BATCH_BYTES + workers
    }

    /// A prune that moves chunks, after it has looked at everything.
    fn repack(load: &Load) -> usize {
        let moving = MOVED_BYTES + MOVED_CHUNKS * size_of::<Location>() + WORKERS * 2 * load.chunk;
        session(load) - blocks(INDEX_BLOCKS) + blocks(MORE_INDEX_BLOCKS / 2) + UPLOAD + moving
    }

    /// A copy from one bucket to another.
    fn copy(load: &Load) -> usize {
        let ids = 2 * COPIED_IDS.next_power_of_two() * (2 * size_of::<ChunkId>() + 1);
        session(load) + blocks(INDEX_BLOCKS) + DECODED_BYTES + UPLOAD + FETCH + COPY_BYTES as usize + ids
    }

    type Sum = fn(&Load) -> usize;

    const PHASES: [(&str, Sum); 6] = [
        ("database", database),
        ("uploads", uploads),
        ("set", set),
        ("restore", restore),
        ("repack", repack),
        ("copy", copy),
    ];

    #[test]
    fn what_is_alive_at_once_fits() {
        for (phase, sum) in PHASES {
            let (usual, worst) = (sum(&USUAL), sum(&WORST));
            assert!(usual <= LIMIT, "{phase}: {} KiB", usual >> 10);
            assert!(worst <= WORST_LIMIT, "{phase}: {} KiB at worst", worst >> 10);
        }
    }
}
