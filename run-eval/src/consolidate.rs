//! Writes `consolidated_metrics.csv`: the rows of all evaluations in the order of their steps, under the
//! union of their columns. Only headers are kept in memory.

use crate::metrics::{MetricsSource, find};
use run_common::error::Error;
use run_common::fsio::atomic::replace_by;
use run_common::message::{complain, warn};
use run_common::rundir::evaluations::Evaluations;
use run_common::rundir::layout::Layout;
use run_common::rundir::observe::Observer;
use run_common::rundir::status::Status;
use run_metrics::csv::{Damage, Records, quote};
use run_metrics::evaluated::{columns, fits};
use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};
use std::ops::Range;

/// Bytes to read for a header at first.
const HEADER: usize = 4 << 10;

/// Bytes per write.
const BLOCK: usize = 256 << 10;

/// An evaluation with metrics.
struct Part {
    layout: Layout,
    step: Option<u64>,
    /// For each of its columns, the number of the column in the table.
    places: Vec<usize>,
}

/// Rewrites the file from all completed evaluations. Leaves out unreadable ones, with a warning.
pub(crate) fn consolidate(evaluations: &Evaluations, observer: &Observer) -> Result<(), Error> {
    let mut names: Vec<Vec<u8>> = Vec::new();
    let mut known: HashMap<Vec<u8>, usize> = HashMap::new();
    let mut parts = Vec::new();
    let mut block = vec![0; HEADER];
    for (dir, evaluation) in evaluations.all()? {
        match observer.observe(&dir) {
            Ok(observed) if observed.status() == Status::Completed => {}
            Err(error) if dir.layout().status().exists() => {
                complain(&error);
                leave_out(dir.layout(), "its record is damaged");
                continue;
            }
            Ok(_) | Err(_) => continue,
        }
        let header = header(dir.layout(), &mut block);
        match header {
            Ok(Some(header)) => {
                let place = |name: Vec<u8>| {
                    *known.entry(name).or_insert_with_key(|name| {
                        names.push(name.clone());
                        names.len() - 1
                    })
                };
                let places = header.into_iter().map(place).collect();
                parts.push(Part { layout: dir.layout().clone(), step: evaluation.step, places });
            }
            Ok(None) => leave_out(dir.layout(), "its metrics are gone"),
            Err(damage) => leave_out(dir.layout(), &format!("its metrics: {damage}")),
        }
    }
    let target = evaluations.consolidated();
    if parts.is_empty() && !target.exists() {
        return Ok(());
    }
    replace_by(&target, |file| write(file, &names, &parts))
        .map_err(|error| Error::io("write", &target, error))
}

fn leave_out(layout: &Layout, why: &str) {
    warn(&format!("'{}' is not in consolidated_metrics.csv: {why}", layout.root().display()));
}

/// Reads the names of the columns of an evaluation.
fn header(layout: &Layout, block: &mut Vec<u8>) -> Result<Option<Vec<Vec<u8>>>, Damage> {
    let Some(source) = source(layout)? else { return Ok(None) };
    let mut rows = Records::new(source, std::mem::take(block))?;
    let found = rows.next_record()?.map(columns);
    *block = rows.into_block();
    Ok(found)
}

fn source(layout: &Layout) -> Result<Option<MetricsSource>, Damage> {
    find(layout).map_err(Damage::Form)
}

fn write(file: &mut File, names: &[Vec<u8>], parts: &[Part]) -> io::Result<()> {
    let mut out = Vec::with_capacity(2 * BLOCK);
    out.extend_from_slice(b"step");
    for name in names {
        out.push(b',');
        if !name.is_empty() {
            quote(name, &mut out);
        }
    }
    out.push(b'\n');
    file.write_all(&out)?;
    let mut block = Vec::new();
    for part in parts {
        let start = file.stream_position()?;
        match append(file, &mut out, part, names.len(), &mut block) {
            Ok(()) => {}
            Err(Failed::Reading(damage)) => {
                leave_out(&part.layout, &format!("its metrics: {damage}"));
                file.set_len(start)?;
                file.seek(SeekFrom::Start(start))?;
            }
            Err(Failed::Writing(error)) => return Err(error),
        }
    }
    Ok(())
}

enum Failed {
    Reading(Damage),
    Writing(io::Error),
}

impl From<Damage> for Failed {
    fn from(damage: Damage) -> Self {
        Self::Reading(damage)
    }
}

/// Appends the rows of one evaluation to the file; `width` columns follow the step.
fn append(
    file: &mut File,
    out: &mut Vec<u8>,
    part: &Part,
    width: usize,
    block: &mut Vec<u8>,
) -> Result<(), Failed> {
    out.clear();
    let Some(source) = source(&part.layout)? else { return Ok(()) };
    let mut rows = Records::new(source, std::mem::take(block))?;
    rows.next_record()?;
    let count = part.places.len();
    let is_in_place = part.places.iter().enumerate().all(|(number, &place)| number == place);
    let mut from = vec![None; width];
    for (number, &place) in part.places.iter().enumerate() {
        from[place] = Some(number);
    }
    let before = part.step.map_or(",".to_owned(), |step| format!("{step},"));
    let mut fields: Vec<Range<usize>> = Vec::new();
    let mut number = 0;
    while let Some(row) = rows.next_record()? {
        number += 1;
        out.extend_from_slice(before.as_bytes());
        let there = if is_in_place { row.count() } else { 0 };
        if is_in_place && there <= count {
            out.extend_from_slice(row.bytes());
            out.extend(std::iter::repeat_n(b',', width - there));
        } else {
            row.split(&mut fields);
            fits(&fields, count, number)?;
            for (place, from) in from.iter().enumerate() {
                if place > 0 {
                    out.push(b',');
                }
                if let Some(field) = from.and_then(|from: usize| fields.get(from)) {
                    out.extend_from_slice(&row.bytes()[field.clone()]);
                }
            }
        }
        out.push(b'\n');
        if out.len() >= BLOCK {
            file.write_all(out).map_err(Failed::Writing)?;
            out.clear();
        }
    }
    *block = rows.into_block();
    file.write_all(out).map_err(Failed::Writing)
}
