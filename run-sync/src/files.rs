//! `run-sync list --files`: the files of a backup.

use crate::at::choose_of_several;
use crate::cli;
use crate::format::digest::Digest;
use crate::format::entry::{Absent, Entry, Kind};
use crate::format::stamp::Stamp;
use crate::set::Set;
use crate::source::Source;
use run_common::cli::fitting::Column;
use run_common::cli::out::Out;
use run_common::cli::table::{Table, Tint};
use run_common::error::{Error, Exit};
use run_common::figures::human_bytes;
use serde::Serialize;

/// A file or link of a backup.
#[derive(Debug, Serialize)]
struct Row {
    /// Name of the run in the store.
    name: String,
    /// Number of the backup.
    number: u64,
    /// Path below the run, as `cat` takes it.
    file: String,
    /// Bytes; none for a link.
    size: Option<u64>,
    mtime: Stamp,
    sha256: Option<Digest>,
    /// Key of the object in the store.
    key: Option<String>,
    /// Where a link points.
    target: Option<String>,
    /// Why the file is no longer in the run.
    absent: Option<Absent>,
}

impl Row {
    /// Returns the row of an entry; none for a directory.
    fn new(set: &Set<'_>, number: u64, entry: &Entry) -> Option<Self> {
        let (size, sha256, target) = match &entry.kind {
            Kind::Dir => return None,
            Kind::Link(target) => (None, None, Some(target.to_string_lossy().into_owned())),
            Kind::File(file) => (Some(file.size), Some(file.sha256), None),
        };
        Some(Self {
            name: set.name.to_string(),
            number,
            file: entry.place.shown().display().to_string(),
            size,
            mtime: entry.mtime,
            sha256,
            key: entry.object().map(|key| set.key(&key)),
            target,
            absent: entry.absent,
        })
    }

    /// Returns the cells of the row, without the name of the run.
    fn cells(self) -> Vec<String> {
        let file = match &self.target {
            Some(target) => format!("{} -> {target}", self.file),
            None => self.file,
        };
        let absent = match self.absent {
            None => "",
            Some(Absent::Cleaned) => "cleaned",
            Some(Absent::Gone) => "gone",
        };
        vec![
            self.size.map(human_bytes).unwrap_or_default(),
            self.mtime.local().unwrap_or_default(),
            file,
            absent.to_owned(),
        ]
    }
}

/// Lists the files of a backup of each run.
pub(crate) fn run(args: &cli::List, out: &mut Out) -> Result<Exit, Error> {
    let source = Source::open(args.from.from.as_ref(), &args.reach)?;
    let (names, mut status) = source.sets(&args.names)?;
    let of_several = names.len() > 1;
    let heads = ["SIZE", "MODIFIED", "FILE", ""];
    let heads = ["RUN"].into_iter().filter(|_| of_several).chain(heads);
    let mut table = Table::new(heads.map(|head| match head {
        "RUN" => Column::names(head),
        "FILE" => Column::from(head).of_text().ranked(0),
        "" => Column::from(head).ranked(0),
        "SIZE" => Column::from(head).ranked(1),
        _ => Column::from(head).ranked(2),
    }));
    for name in names {
        let set = source.set(name);
        let Some(chosen) = choose_of_several(&set, args.at.as_deref(), &mut status)? else { continue };
        let rows = chosen.manifest.entries.iter();
        for row in rows.filter_map(|entry| Row::new(&set, chosen.commit.number, entry)) {
            if args.reach.json {
                out.json(&row)?;
            } else {
                let run = of_several.then(|| row.name.clone());
                let cells = run.into_iter().chain(row.cells());
                table.row(cells.map(|cell| (cell, Tint::None)).collect());
            }
        }
    }
    if !table.is_empty() {
        out.table(&table)?;
    }
    Ok(status)
}
