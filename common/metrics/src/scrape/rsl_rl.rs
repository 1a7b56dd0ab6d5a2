//! `rsl_rl`, a trainer for robots: each iteration is a block of lines, with names before colons in one column;
//! a line of dashes ends the block.

use super::scan::{Numbers, number};
use crate::row::MetricRow;
use memchr::memmem;

/// Maximum number of lines of a block.
const LINES: usize = 200;

const HEAD: &str = "Learning iteration ";

/// The current block.
#[derive(Debug, Default)]
pub(super) struct RslBlock {
    numbers: Option<Numbers>,
    lines: usize,
}

impl RslBlock {
    /// Returns whether a line that begins with a blank may belong to a block.
    pub(super) fn may_be(&self, line: &[u8]) -> bool {
        self.numbers.is_some() || memmem::find(&line[..line.len().min(120)], HEAD.as_bytes()).is_some()
    }

    /// Reads a line that begins with a blank: ` Learning iteration 5/1500 ` begins a block,
    /// `     Mean reward: 12.34` is a value in the block.
    pub(super) fn line(&mut self, text: &str) {
        let text = text.trim();
        if let Some((iteration, _)) = text.strip_prefix(HEAD).and_then(|rest| rest.split_once('/')) {
            *self = Self::default();
            if let Ok(iteration) = iteration.parse::<u32>() {
                let mut numbers = Numbers::default();
                numbers.add("iteration", iteration.into());
                self.numbers = Some(numbers);
            }
            return;
        }
        self.lines += 1;
        if self.lines > LINES {
            *self = Self::default();
        }
        if let Some(numbers) = &mut self.numbers
            && let Some((name, value)) = text.rsplit_once(": ")
            && let Some(value) = number(value.trim())
        {
            numbers.add(name, value);
        }
    }

    /// Reads a line of dashes, which ends a block; returns the row.
    pub(super) fn end(&mut self, text: &str) -> Option<MetricRow> {
        let is_end = text.len() > 40 && text.bytes().all(|byte| byte == b'-');
        let numbers = self.numbers.take_if(|_| is_end)?;
        *self = Self::default();
        numbers.row()
    }
}
