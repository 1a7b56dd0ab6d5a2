//! Campaigns: how often they are repeated, and numbers that are the same each time.

/// Numbers that look random and are the same in every run (xorshift).
#[derive(Debug)]
pub struct Random(u64);

impl Random {
    /// Starts from a seed.
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// Returns a number below `limit`.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

/// Returns how often a campaign is repeated: its full number in `make soak`, a small one else.
pub fn times(few: usize, many: usize) -> usize {
    if std::env::var_os("RUN_SOAK").is_some() { many } else { few }
}
