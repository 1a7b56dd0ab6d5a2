//! Where and when the attempts of a run began, by which rows are told apart.

use run_common::rundir;
use run_common::rundir::attempts::AttemptStart;
use run_common::rundir::layout::Layout;
use std::collections::BTreeMap;
use std::io;

/// The attempts of a run after the first, the oldest first; none, for a run that has no record.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Resumptions(Vec<Begun>);

#[derive(Clone, Debug, PartialEq)]
struct Begun {
    /// Milliseconds since 1970.
    time: i64,
    /// Lengths of files.
    offsets: BTreeMap<String, u64>,
}

impl Resumptions {
    /// Takes the attempts after the first from what attempts.jsonl tells.
    pub fn of(attempts: &rundir::attempts::Attempts) -> Self {
        let later = attempts.iter().map(|one| &one.start).filter(|start| start.attempt > 1);
        let begun =
            |start: &AttemptStart| Begun { time: start.start_time.millis(), offsets: start.offsets.clone() };
        Self(later.map(begun).collect())
    }

    /// Reads the attempts.jsonl of a run.
    pub fn read(layout: &Layout) -> io::Result<Self> {
        Ok(Self::of(&rundir::attempts::Attempts::read(layout)?))
    }

    /// Makes one further attempt that began at this time, when a file had this length.
    #[cfg(test)]
    pub(crate) fn resumed(time: run_common::time::Timestamp, file: &str, offset: u64) -> Self {
        Self(vec![Begun { time: time.millis(), offsets: [(file.to_owned(), offset)].into() }])
    }

    /// Says whether there was one attempt at most, as far as is known.
    pub(super) fn is_single(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns where the attempts after the first began in a file of the record's `offsets`. One
    /// that says nothing of the file began before it.
    pub fn offsets(&self, name: &str) -> Vec<u64> {
        self.0.iter().map(|begun| begun.offsets.get(name).copied().unwrap_or_default()).collect()
    }

    /// Adds the present attempt, which may be among them already.
    #[must_use]
    pub fn with(mut self, present: &AttemptStart) -> Self {
        let time = present.start_time.millis();
        if present.attempt > 1 && self.0.last().is_none_or(|last| last.time != time) {
            self.0.push(Begun { time, offsets: present.offsets.clone() });
        }
        self
    }

    /// Returns how many attempts there were after the first.
    pub(super) fn count(&self) -> usize {
        self.0.len()
    }

    /// Says whether an attempt recorded the length of a file.
    pub(super) fn knows(&self, name: &str) -> bool {
        self.0.iter().any(|begun| begun.offsets.contains_key(name))
    }

    /// Returns the number of the attempt, from 0, at a time in seconds since 1970.
    pub(super) fn at(&self, seconds: f64) -> usize {
        #[expect(clippy::cast_precision_loss, reason = "times are far below 2^53 milliseconds")]
        self.0.iter().filter(|begun| begun.time as f64 <= seconds * 1000.0).count()
    }
}
