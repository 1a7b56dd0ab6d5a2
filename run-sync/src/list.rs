//! `run-sync list`: the runs in a store, and their backups.

use crate::cli;
use crate::format::digest::Digest;
use crate::format::entry::{Entry, Kind};
use crate::format::manifest::{Manifest, SetKind, Verified};
use crate::set::{Commit, Set, SetName};
use crate::source::Source;
use crate::workers;
use run_common::cli::out::Out;
use run_common::cli::table::{Table, Tint};
use run_common::error::{Error, Exit};
use run_common::figures::human_bytes;
use run_common::message::complain;
use run_common::time::{Timestamp, human_seconds};
use serde::Serialize;
use std::collections::HashMap;

/// A backup of a run.
#[derive(Debug, Serialize)]
struct Row {
    name: String,
    kind: SetKind,
    run_id: String,
    number: u64,
    manifest: Digest,
    parent: Option<Digest>,
    created: Timestamp,
    host: String,
    writer: String,
    /// None for a batch.
    status: Option<String>,
    verified: Verified,
    /// Files in the run when it was backed up.
    files: usize,
    /// Bytes of these.
    bytes: u64,
    /// Another backup continues the same one.
    fork: bool,
}

impl Row {
    fn new(name: &SetName, commit: Commit, manifest: &Manifest) -> Self {
        let sizes: Vec<u64> = manifest.entries.iter().filter_map(size_of).collect();
        let head = &manifest.head;
        Self {
            name: name.to_string(),
            kind: head.kind,
            run_id: head.run_id.clone(),
            number: commit.number,
            manifest: commit.digest,
            parent: head.parent,
            created: head.created,
            host: head.host.clone(),
            writer: head.writer.clone(),
            status: Some(head.status.clone()).filter(|status| !status.is_empty()),
            verified: head.verified,
            files: sizes.len(),
            bytes: sizes.into_iter().fold(0, u64::saturating_add),
            fork: false,
        }
    }
}

/// Returns the size of a file that was in the run.
fn size_of(entry: &Entry) -> Option<u64> {
    match &entry.kind {
        Kind::File(file) if entry.absent.is_none() => Some(file.size),
        _ => None,
    }
}

/// Lists runs or backups.
pub(crate) fn run(args: &cli::List, out: &mut Out) -> Result<Exit, Error> {
    let source = Source::open(args.from.from.as_ref(), &args.reach)?;
    let (names, mut status) = source.sets(&args.names)?;
    let all = workers::map(&names, source.transfers, |name| rows(&source.set(name.clone()), args.history));
    let mut rows = Vec::new();
    for found in all {
        for row in found? {
            match row {
                Ok(row) => rows.push(row),
                Err(error) => {
                    complain(&error);
                    status = status.max(error.exit());
                }
            }
        }
    }
    if args.reach.json {
        rows.iter().try_for_each(|row| out.json(row))?;
    } else if !rows.is_empty() {
        out.table(&table(&rows, args.history))?;
    }
    Ok(status)
}

/// Reads the newest backups of a set, or all. One that is damaged does not hide the others.
fn rows(set: &Set<'_>, history: bool) -> Result<Vec<Result<Row, Error>>, Error> {
    let commits = set.history()?.commits;
    let newest = commits.last().map(|commit| commit.number);
    let wanted: Vec<Commit> =
        commits.iter().filter(|commit| history || Some(commit.number) == newest).copied().collect();
    let read = |commit| Ok(Row::new(&set.name, commit, &set.manifest(commit)?));
    let mut rows: Vec<Result<Row, Error>> = wanted.into_iter().map(read).collect();
    let mut children: HashMap<Option<Digest>, usize> = HashMap::new();
    for row in rows.iter().flatten() {
        *children.entry(row.parent).or_default() += 1;
    }
    for row in rows.iter_mut().flatten() {
        let has_sibling = children.get(&row.parent).is_some_and(|count| *count > 1);
        row.fork = has_sibling || (!history && leaves_out(&commits, row));
    }
    Ok(rows)
}

/// Returns whether a backup does not continue the one before it in the store: a later number than its parent's is then
/// of another copy of the run, and is not in this backup.
fn leaves_out(commits: &[Commit], row: &Row) -> bool {
    let least = match row.parent {
        None => 0,
        Some(parent) => match commits.iter().find(|commit| commit.digest == parent) {
            Some(parent) => parent.number,
            None => return false, // it was removed from the store by hand
        },
    };
    commits
        .iter()
        .any(|commit| commit.digest != row.manifest && (least + 1..=row.number).contains(&commit.number))
}

fn table(rows: &[Row], history: bool) -> Table {
    let mut heads = vec!["RUN", "BACKUP", "AGE", "FILES", "SIZE", "VERIFIED", "STATUS"];
    if history {
        heads.extend(["HASH", "TIME", "HOST"]);
    }
    heads.push(""); // forks
    let mut table = Table::new(heads);
    for row in rows {
        let mut cells = vec![
            row.name.clone(),
            row.number.to_string(),
            human_seconds(Timestamp::now().seconds_since(row.created).round()),
            row.files.to_string(),
            human_bytes(row.bytes),
            row.verified.word().to_owned(),
            row.status.clone().unwrap_or_default(),
        ];
        if history {
            cells.extend([row.manifest.to_string()[..12].to_owned(), row.created.local(), row.host.clone()]);
        }
        cells.push(if row.fork { "fork".to_owned() } else { String::new() });
        table.row(cells.into_iter().map(|cell| (cell, Tint::None)).collect());
    }
    table
}
