//! The limit of bytes a second, which all threads share.

use std::sync::{Mutex, PoisonError};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Bytes of a block: small, so that the link is used evenly.
pub(super) const BLOCK: usize = 64 << 10;
/// Bytes of the smallest block.
const LEAST: u64 = 256;

/// Limits the bytes a second.
#[derive(Debug)]
pub(super) struct Limit {
    rate: u64,
    /// Bytes of a block.
    pub(super) block: usize,
    /// When the link will be free again.
    over: Mutex<Instant>,
}

impl Limit {
    /// Creates a limit for a number of requests at once: each of them sends a block about once a second, so
    /// that no store takes it for dead.
    pub(super) fn new(rate: u64, transfers: usize) -> Self {
        let block = (rate / transfers.max(1) as u64).max(LEAST);
        let block = usize::try_from(block).unwrap_or(BLOCK).min(BLOCK);
        Self { rate: rate.max(1), block, over: Mutex::new(Instant::now()) }
    }

    /// Waits until these bytes may be sent or received.
    pub(super) fn pass(&self, bytes: usize) {
        let now = Instant::now();
        let begin = {
            let mut over = self.over.lock().unwrap_or_else(PoisonError::into_inner);
            let begin = (*over).max(now);
            *over = begin + self.lasts(bytes);
            begin
        };
        sleep(begin.saturating_duration_since(now));
    }

    #[expect(clippy::cast_precision_loss, reason = "a pause need not be exact")]
    fn lasts(&self, bytes: usize) -> Duration {
        Duration::from_secs_f64(bytes as f64 / self.rate as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_share_one_rate() {
        let limit = Limit::new(1 << 20, 4);
        let start = Instant::now();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..4).for_each(|_| limit.pass(16 << 10)));
            }
        });
        // 16 blocks of 1/64 s; the last block needs no waiting.
        assert!(start.elapsed() >= Duration::from_millis(234));
    }

    #[test]
    fn a_slow_link_is_shared_in_small_pieces() {
        for (rate, transfers, block) in
            [(1 << 30, 16, BLOCK), (160 << 10, 16, 10 << 10), (20 << 10, 1, 20 << 10), (1, 256, 256)]
        {
            assert_eq!(Limit::new(rate, transfers).block, block, "{rate} {transfers}");
        }
    }
}
