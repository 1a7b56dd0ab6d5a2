//! `run-sync verify`: reads the stored files of runs, and compares them with the hashes of their manifests.

use crate::at::{Chosen, choose_of_several};
use crate::cli;
use crate::examine::{Examined, WHOLE, examine};
use crate::format::key;
use crate::format::sums::sums;
use crate::set::{Commit, Set};
use crate::source::Source;
use run_common::cli::out::Out;
use run_common::error::{Error, Exit};
use run_common::figures::{counted, human_bytes};
use run_common::message::warn;
use serde::Serialize;

/// The result for a backup.
#[derive(Debug, Serialize)]
struct Report {
    name: String,
    number: u64,
    manifest: String,
    /// Files in the backup.
    files: usize,
    /// Bytes of the files' objects.
    bytes: u64,
    /// Bytes that were read.
    read: u64,
    damaged: Vec<Damaged>,
}

/// A damaged or missing file.
#[derive(Debug, Serialize)]
struct Damaged {
    path: String,
    key: String,
    why: String,
}

/// Verifies backups.
pub(crate) fn run(args: &cli::Verify, out: &mut Out) -> Result<Exit, Error> {
    out.outlive_reader();
    let share = args.sample.as_deref().map_or(Ok(WHOLE), share)?;
    let source = Source::open(args.from.from.as_ref(), &args.reach)?;
    let (names, mut status) = source.sets(&args.names)?;
    let mut is_damaged = false;
    for name in names {
        let set = source.set(name);
        let Some(chosen) = choose_of_several(&set, args.at.as_deref(), &mut status)? else { continue };
        let report = verify(&set, &chosen, share, source.transfers)?;
        if !report.damaged.is_empty() {
            status = status.max(Exit::No);
        }
        is_damaged |= !report.damaged.is_empty();
        report.print(out, args.reach.json)?;
    }
    if is_damaged {
        warn("'run-sync backup --read-back RUN' sends what is damaged again, if the run still has it");
    }
    Ok(status)
}

/// Parses a share: `5%`, `0.1%`, `5`.
fn share(text: &str) -> Result<u64, Error> {
    let wrong = || Error::usage(format!("'{text}' is no share; write --sample 5%"));
    let percent: f64 = text.trim_end_matches('%').parse().map_err(|_| wrong())?;
    if !(percent > 0.0 && percent <= 100.0) {
        return Err(wrong());
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is at most a million")]
    let share = (percent * 10_000.0).ceil() as u64;
    Ok(share)
}

fn verify(set: &Set<'_>, chosen: &Chosen, share: u64, threads: usize) -> Result<Report, Error> {
    let entries = &chosen.manifest.entries;
    let Examined { damaged, bytes, read } = examine(set, entries, share, threads)?;
    let files = entries.iter().filter_map(|entry| Some((entry.object()?, entry)));
    let of_damaged = files.clone().filter_map(|(key, entry)| {
        let why = damaged.get(&key)?.to_string();
        Some(Damaged { path: entry.place.shown().display().to_string(), key: set.key(&key), why })
    });
    Ok(Report {
        name: set.name.to_string(),
        number: chosen.commit.number,
        manifest: chosen.commit.digest.to_string(),
        files: files.count(),
        bytes,
        read,
        damaged: of_damaged.chain(lists(set, chosen)?).collect(),
    })
}

/// Compares the lists of hashes with the manifest. A missing list proves nothing, and is no damage.
fn lists(set: &Set<'_>, chosen: &Chosen) -> Result<Vec<Damaged>, Error> {
    let expected = sums(&chosen.manifest.entries);
    let of = |commit: &Commit| key::sums(commit.number, &commit.digest);
    let own = of(&chosen.commit);
    let mut damaged = Vec::new();
    if set.sums(&own)?.is_some_and(|found| found != expected.as_bytes()) {
        damaged.push(own);
    }
    // `SHA256SUMS` may be the list of an earlier backup, if the newest backup was killed at its very end.
    if let Some(found) = set.sums(key::SUMS)?.filter(|found| found != expected.as_bytes()) {
        let mut is_of_one = false;
        for commit in set.history()?.commits.iter().rev() {
            is_of_one = is_of_one || set.sums(&of(commit))?.as_ref() == Some(&found);
        }
        if !is_of_one {
            damaged.push(key::SUMS.to_owned());
        }
    }
    let why = "it is the list of no backup";
    Ok(damaged
        .into_iter()
        .map(|key| Damaged { path: key.clone(), key: set.key(&key), why: why.to_owned() })
        .collect())
}

impl Report {
    fn print(&self, out: &mut Out, json: bool) -> Result<(), Error> {
        for damaged in &self.damaged {
            warn(&format!("'{}' of '{}' is damaged: {}", damaged.path, self.name, damaged.why));
        }
        if json {
            return out.json(self);
        }
        let Self { name, number, .. } = self;
        let files = counted(self.files, "file");
        let read = if self.read == self.bytes {
            human_bytes(self.bytes)
        } else {
            format!("{} of {} read", human_bytes(self.read), human_bytes(self.bytes))
        };
        out.text(&match self.damaged.len() {
            0 => format!("{name}: backup {number}, {files} intact ({read})"),
            damaged => format!("{name}: backup {number}, {damaged} of {files} damaged ({read})"),
        })
    }
}
