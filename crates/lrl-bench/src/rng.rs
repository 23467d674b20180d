//! Repeatable noise and text: the same seed gives the same bytes.

/// A splitmix64 generator.
#[derive(Clone)]
pub struct Rng(u64);

impl Rng {
    /// Starts a stream of numbers of its own for each seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Returns 64 random bits.
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Returns a number below `bound`, or 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(bound)) >> 64) as u64
    }

    /// Returns a number above 0, at most 1.
    pub fn unit(&mut self) -> f64 {
        ((self.next() >> 11) + 1) as f64 / (1u64 << 53) as f64
    }

    /// Returns a number whose logarithm is normal with mean `mu` and deviation `sigma`.
    pub fn lognormal(&mut self, mu: f64, sigma: f64) -> f64 {
        let (radius, angle) = ((-2.0 * self.unit().ln()).sqrt(), std::f64::consts::TAU * self.unit());
        (mu + sigma * radius * angle.cos()).exp()
    }

    /// Appends `len` incompressible bytes.
    pub fn noise(&mut self, len: usize, out: &mut Vec<u8>) {
        let end = out.len() + len;
        while out.len() < end {
            out.extend_from_slice(&self.next().to_le_bytes());
        }
        out.truncate(end);
    }

    /// Returns 32 hexadecimal digits, as the application's ids are.
    pub fn id(&mut self) -> String {
        format!("{:016x}{:016x}", self.next(), self.next())
    }

    /// Moves `count` random items to the front and cuts off the rest.
    pub fn sample<T>(&mut self, items: &mut Vec<T>, count: usize) {
        let count = count.min(items.len());
        for i in 0..count {
            let other = i + self.below((items.len() - i) as u64) as usize;
            items.swap(i, other);
        }
        items.truncate(count);
    }
}

/// A made-up language: few words are frequent, many are rare, as in any text.
pub struct Words(Vec<String>);

const SYLLABLES: [&str; 32] = [
    "an", "ber", "co", "da", "el", "fi", "ga", "hun", "ist", "jo", "ka", "lor", "me", "nu", "om", "pra", "qui", "ra",
    "sen", "ta", "ul", "ve", "wen", "xi", "ya", "zor", "ing", "est", "tion", "ly", "der", "sch",
];

impl Words {
    /// Makes 20,000 words, always the same.
    pub fn new() -> Self {
        let mut rng = Rng::new(2026);
        let word = |rng: &mut Rng| (0..=rng.below(4)).map(|_| SYLLABLES[rng.below(32) as usize]).collect();
        Self((0..20_000).map(|_| word(&mut rng)).collect())
    }

    /// Returns a word, a frequent one more often.
    pub fn pick(&self, rng: &mut Rng) -> &str {
        let rank = rng.unit().powf(-1.1) as usize;
        &self.0[rank.min(self.0.len()) - 1]
    }

    /// Appends `len` bytes of sentences.
    pub fn text(&self, rng: &mut Rng, len: usize, out: &mut Vec<u8>) {
        let end = out.len() + len;
        while out.len() < end {
            out.extend_from_slice(self.pick(rng).as_bytes());
            out.extend_from_slice(match rng.below(64) {
                0 => b".\n",
                1..5 => b", ",
                _ => b" ",
            });
        }
        out.truncate(end);
    }

    /// Returns `len` bytes of sentences.
    pub fn string(&self, rng: &mut Rng, len: usize) -> String {
        let mut out = Vec::with_capacity(len + 16);
        self.text(rng, len, &mut out);
        out.into_iter().map(char::from).collect()
    }
}
