//! `run-sync list`: the runs in a store, and their backups.

use crate::cli;
use crate::files;
use crate::format::digest::Digest;
use crate::format::entry::{Entry, Kind};
use crate::format::manifest::{Manifest, SetKind, Verified};
use crate::set::{Commit, Set, SetName};
use crate::source::Source;
use crate::workers;
use run_common::cli::fitting::Column;
use run_common::cli::out::Out;
use run_common::cli::table::{Table, Tint};
use run_common::error::{Error, Exit};
use run_common::figures::human_bytes;
use run_common::message::{complain, warn};
use run_common::time::{Timestamp, human_seconds};
use serde::Serialize;
use std::collections::{BTreeSet, HashMap};

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
    /// Bytes of these files.
    bytes: u64,
    /// A backup by another writer continues the same earlier backup.
    fork: bool,
    /// The directory of the backup is no batch, but a store of its own.
    #[serde(skip)]
    store_below: Option<String>,
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
            store_below: name
                .batch
                .clone()
                .filter(|_| head.kind == SetKind::Batch || head.batch != name.batch),
        }
    }
}

/// Returns the size of a file, unless the file is absent.
fn size_of(entry: &Entry) -> Option<u64> {
    match &entry.kind {
        Kind::File(file) if entry.absent.is_none() => Some(file.size),
        _ => None,
    }
}

/// Lists runs or backups.
pub(crate) fn run(args: &cli::List, out: &mut Out) -> Result<Exit, Error> {
    if args.files {
        return files::run(args, out);
    }
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
    let below: BTreeSet<&String> = rows.iter().filter_map(|row| row.store_below.as_ref()).collect();
    for name in below {
        let url = source.url.trim_end_matches('/');
        warn(&format!("'{name}' is no batch, but a store: run-sync list --from {url}/{name} lists its runs"));
    }
    if args.reach.json {
        rows.iter().try_for_each(|row| out.json(row))?;
    } else if !rows.is_empty() {
        out.table(&table(&rows, args.history))?;
    }
    Ok(status)
}

/// Reads the newest backups of a set, or all. A damaged backup does not hide the others.
fn rows(set: &Set<'_>, history: bool) -> Result<Vec<Result<Row, Error>>, Error> {
    let all = set.history()?;
    let newest = all.newest().map(|commit| commit.number);
    let is_wanted = |commit: &&Commit| history || Some(commit.number) == newest;
    let wanted: Vec<Commit> = all.commits.iter().filter(is_wanted).copied().collect();
    let read = |commit| {
        let manifest = set.manifest(commit)?;
        let mut row = Row::new(&set.name, commit, &manifest);
        row.fork = set.is_fork(&all, commit, &manifest.head);
        Ok(row)
    };
    let mut rows: Vec<Result<Row, Error>> = wanted.into_iter().map(read).collect();
    let mut writers: HashMap<Option<Digest>, BTreeSet<String>> = HashMap::new();
    for row in rows.iter().flatten() {
        writers.entry(row.parent).or_default().insert(row.writer.clone());
    }
    for row in rows.iter_mut().flatten() {
        row.fork |= writers.get(&row.parent).is_some_and(|writers| writers.len() > 1);
    }
    Ok(rows)
}

fn table(rows: &[Row], history: bool) -> Table {
    let mut heads = vec!["RUN", "BACKUP", "AGE", "FILES", "SIZE", "VERIFIED", "STATUS"];
    if history {
        heads.extend(["HASH", "TIME", "HOST"]);
    }
    heads.push(""); // forks
    let mut table = Table::new(heads.into_iter().map(column));
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

/// Returns the column with this head; what tells least about a backup has the highest rank.
fn column(head: &str) -> Column {
    let rank = match head {
        "RUN" => return Column::names(head),
        "" | "VERIFIED" => 0,
        "STATUS" => 1,
        "AGE" => 2,
        "BACKUP" => 3,
        "HASH" => 4,
        "SIZE" => 5,
        "TIME" => 6,
        "FILES" => 7,
        _ => 8,
    };
    Column::from(head).ranked(rank)
}
