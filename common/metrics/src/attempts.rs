//! Where and when the attempts of a run began, by which rows are told apart.

use run_common::fsio::append::read_lines;
use run_common::time::Timestamp;
use std::collections::BTreeMap;
use std::io;
use std::path::Path;

/// The attempts of a run after the first, the oldest first; none, for a run that has no record.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Attempts(Vec<Begun>);

#[derive(Clone, Debug, PartialEq)]
struct Begun {
    /// Milliseconds since 1970.
    time: i64,
    /// Lengths of files.
    offsets: BTreeMap<String, u64>,
}

impl Attempts {
    /// Reads an attempts.jsonl; a missing one tells of no attempts.
    pub fn read(path: &Path) -> io::Result<Self> {
        let lines = read_lines(path)?;
        let starts = lines.records.iter().filter(|line| line["event"] == "start");
        let later = starts.filter(|line| line["attempt"].as_u64().is_some_and(|attempt| attempt > 1));
        let begun = later.map(|line| {
            let time = line["start_time"].as_str().and_then(|time| time.parse::<Timestamp>().ok());
            let offsets = line["offsets"].as_object().into_iter().flatten();
            Begun {
                time: time.map_or(i64::MAX, Timestamp::millis),
                offsets: offsets.filter_map(|(name, at)| Some((name.clone(), at.as_u64()?))).collect(),
            }
        });
        Ok(Self(begun.collect()))
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

    /// Returns the number of the attempt, from 0, at a time in seconds since 1970.
    pub(super) fn at(&self, seconds: f64) -> usize {
        #[expect(clippy::cast_precision_loss, reason = "times are far below 2^53 milliseconds")]
        self.0.iter().filter(|begun| begun.time as f64 <= seconds * 1000.0).count()
    }
}
