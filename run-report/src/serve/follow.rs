//! The rows of a run that grow: only what was appended is read, as long as nothing is taken back.

use crate::curve::Curve;
use crate::curves::{Gathering, Options};
use crate::goodput::gather::{Validations, rows};
use crate::goodput::timeline::Row;
use crate::page::media::Picture;
use crate::page::row_places::RowPlaces;
use crate::run::Run;
use run_common::fsio::append::ends_whole;
use run_common::fsio::open_regular;
use run_metrics::of_run;
use run_metrics::row::MetricRow;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

/// Bytes to read at a time.
const BLOCK: u64 = 4 << 20;

/// The rows of a run so far: a single file of JSON lines.
pub(super) struct Follow<'a> {
    path: PathBuf,
    inode: u64,
    /// The end of the last whole line.
    offset: u64,
    last_step: f64,
    gathering: Gathering<'a>,
    places: RowPlaces,
    validations: Validations,
    /// The rows of each attempt.
    rows: Vec<Vec<Row>>,
}

/// Rows that were read as a whole.
pub(super) struct Whole {
    pub(super) curves: Vec<Curve>,
    pub(super) rows: Vec<Vec<Row>>,
    pub(super) pictures: Vec<Picture>,
}

impl<'a> Follow<'a> {
    /// Begins to follow a run of a single attempt; `None` if its rows have to be read as a whole.
    pub(super) fn begin(run: &Run, options: &'a Options<'a>, buckets: usize) -> Option<Self> {
        let (path, inode, _) = place(run, options).filter(|_| run.attempts.iter().count() <= 1)?;
        Some(Self {
            path,
            inode,
            offset: 0,
            last_step: f64::NEG_INFINITY,
            gathering: Gathering::new(options, buckets, run),
            places: RowPlaces::default(),
            validations: Validations::default(),
            rows: vec![Vec::new()],
        })
    }

    /// Reads all rows of a run, and begins to follow them unless more came meanwhile, or those that come may take some
    /// of them back.
    pub(super) fn whole(run: &Run, options: &'a Options<'a>, buckets: usize) -> (Whole, Option<Self>) {
        let before = place(run, options);
        let mut gathering = Gathering::new(options, buckets, run);
        let mut places = RowPlaces::default();
        let mut last_step = f64::NEG_INFINITY;
        let (rows, _) = rows(run, &mut |row, counts| {
            let place = places.next(row);
            if counts {
                gathering.add_beside(row, place);
                last_step = row.step().map_or(last_step, |(_, step)| step);
            }
        }); // faults are no news of a live page
        let whole = Whole {
            curves: gathering.clone().curves(run),
            rows: rows.clone(),
            pictures: places.pictures.clone(),
        };
        let attempts = run.attempts.iter().count().max(1);
        let has_begun = rows.len() == attempts && rows.last().is_some_and(|rows| !rows.is_empty());
        let follow = before.filter(|before| has_begun && place(run, options).as_ref() == Some(before));
        let follow = follow.map(|(path, inode, offset)| Self {
            path,
            inode,
            offset,
            last_step,
            gathering,
            places,
            validations: Validations::default(),
            rows,
        });
        (whole, follow)
    }

    /// Reads what was appended; false if the rows have to be read as a whole.
    pub(super) fn go_on(&mut self, run: &Run) -> bool {
        run.attempts.iter().count().max(1) == self.rows.len() && self.append().is_ok_and(|is_plain| is_plain)
    }

    fn append(&mut self) -> io::Result<bool> {
        let Some(mut file) = open_regular(&self.path)? else { return Ok(false) };
        let found = file.metadata()?;
        if found.ino() != self.inode || found.len() < self.offset {
            return Ok(false);
        }
        let mut bytes = Vec::new();
        loop {
            bytes.clear();
            file.seek(SeekFrom::Start(self.offset))?;
            (&mut file).take(BLOCK).read_to_end(&mut bytes)?;
            let Some(end) = bytes.iter().rposition(|&byte| byte == b'\n') else {
                return Ok((bytes.len() as u64) < BLOCK); // a line that is longer than a block is no row
            };
            for line in bytes[..end].split(|&byte| byte == b'\n') {
                let Some(row) = MetricRow::parse(line) else { continue };
                let step = row.step().map(|(_, step)| step);
                if step.is_some_and(|step| step < self.last_step) || row.has_part_of_epoch() {
                    return Ok(false);
                }
                self.last_step = step.unwrap_or(self.last_step);
                self.gathering.add_beside(&row, self.places.next(&row));
                let is_validation = self.validations.have(&row);
                self.rows
                    .last_mut()
                    .into_iter()
                    .for_each(|rows| rows.push(Row { counts: true, is_validation }));
            }
            self.offset += end as u64 + 1;
        }
    }

    /// Returns the curves so far.
    pub(super) fn curves(&self, run: &Run) -> Vec<Curve> {
        self.gathering.clone().curves(run)
    }

    /// Returns the pictures that the rows name so far.
    pub(super) fn pictures(&self) -> &[Picture] {
        &self.places.pictures
    }

    /// Returns the rows so far.
    pub(super) fn rows(&self) -> Vec<Vec<Row>> {
        self.rows.clone()
    }
}

/// Returns the only file of the rows of a run, if it has whole JSON lines: its path, inode and length.
fn place(run: &Run, options: &Options) -> Option<(PathBuf, u64, u64)> {
    let source = of_run::source(run.seen.run.layout()).filter(|_| options.x.is_none())?;
    let path = source.plain_lines()?.to_owned();
    let mut file = open_regular(&path).ok()??;
    let found = file.metadata().ok()?;
    if !ends_whole(&mut file).ok()? {
        return None;
    }
    Some((path, found.ino(), found.len()))
}
