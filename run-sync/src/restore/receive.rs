//! Receives files, several pieces at a time, and verifies each piece as it arrives. Pieces that an interrupted
//! restore has left are kept if they have the right hash.

use super::ground::Ground;
use super::place::set_attributes;
use super::plan::{Plan, Receipt};
use crate::bar::Bar;
use crate::fetch::{Damage, Piece, Trouble};
use crate::format::digest::Digest;
use crate::format::entry::{Entry, File as Content};
use crate::set::Set;
use crate::workers;
use run_common::error::Error;
use sha2::{Digest as _, Sha256};
use std::cmp::Reverse;
use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// Zeros of at least this many bytes are left as a hole.
const HOLE: usize = 4 << 10;

/// A file to receive.
struct Job<'a> {
    receipt: &'a Receipt<'a>,
    key: String,
    /// Number of pieces still to come.
    left: AtomicUsize,
    open: Mutex<Option<Open>>,
    damage: OnceLock<Damage>,
}

/// A file that is open for receiving.
#[derive(Clone)]
struct Open {
    file: Arc<File>,
    /// The file is left from an interrupted restore.
    is_old: bool,
}

/// A piece to receive; none for an empty file.
struct Work<'a> {
    job: &'a Job<'a>,
    piece: Option<Piece>,
    /// The piece is all zeros, and becomes a hole.
    is_hole: bool,
}

/// The outcome of receiving.
#[derive(Debug, Default)]
pub(super) struct Received {
    /// Bytes read from the store.
    pub(super) bytes: u64,
    /// Files that are damaged in the store, by number.
    pub(super) damaged: HashMap<usize, Damage>,
}

/// Hashes of zeros by their length, which is a power of two like the sizes of parts.
#[derive(Debug, Default)]
pub(super) struct Zeros(HashMap<u64, Digest>);

/// The longest piece of zeros that is hashed.
const MOST: u64 = 1 << 30;

impl Zeros {
    /// Returns whether a whole piece of a file becomes a hole.
    fn are(&mut self, file: &Content, piece: &Piece) -> bool {
        let length = piece.len();
        let is_possible = file.sparse && length.is_power_of_two() && length <= MOST;
        is_possible && *self.0.entry(length).or_insert_with(|| of_zeros(length)) == piece.sha256
    }

    /// Returns the bytes of a file to receive, without holes.
    pub(super) fn bytes(&mut self, file: &Content) -> u64 {
        if file.sparse {
            file.pieces().iter().filter(|piece| !self.are(file, piece)).map(Piece::len).sum()
        } else {
            file.size
        }
    }
}

fn of_zeros(count: u64) -> Digest {
    let block = vec![0; 1 << 20];
    let mut hash = Sha256::new();
    let mut left = count;
    while left > 0 {
        let most = usize::try_from(left).unwrap_or(block.len()).min(block.len());
        hash.update(&block[..most]);
        left -= most as u64;
    }
    Digest::finish(hash)
}

/// Receives the files of a plan. Ends at the first failure of the store or the disk, but not at a damaged file.
pub(super) fn receive(
    set: &Set<'_>,
    plan: &Plan<'_>,
    grounds: &[Ground],
    threads: usize,
    bar: &Bar,
) -> Result<Received, Error> {
    let jobs: Vec<_> = plan.files.iter().map(Job::new).collect();
    let mut zeros = Zeros::default();
    let mut work = Vec::new();
    for job in &jobs {
        let file = job.receipt.file;
        if file.size == 0 {
            work.push(Work { job, piece: None, is_hole: false });
        }
        work.extend(file.pieces().into_iter().map(|piece| {
            let is_hole = zeros.are(file, &piece);
            Work { job, piece: Some(piece), is_hole }
        }));
    }
    work.sort_by_key(|work| Reverse(work.job.receipt.file.size)); // the largest files begin first
    let bytes = AtomicU64::new(0);
    workers::each(&work, threads, |work| {
        let ground = &grounds[plan.units[work.job.receipt.step.unit].ground];
        let read = work.run(set, ground, bar)?;
        bytes.fetch_add(read, Ordering::Relaxed);
        Ok(())
    })?;
    let damaged = jobs.iter().enumerate();
    let damaged = damaged.filter_map(|(number, job)| Some((number, *job.damage.get()?))).collect();
    Ok(Received { bytes: bytes.into_inner(), damaged })
}

impl<'a> Job<'a> {
    fn new(receipt: &'a Receipt<'a>) -> Self {
        let key = receipt.step.entry.and_then(Entry::object).unwrap_or_default();
        let left = AtomicUsize::new(receipt.file.pieces().len().max(1));
        Self { receipt, key, left, open: Mutex::default(), damage: OnceLock::new() }
    }

    /// Returns the open file; the first piece opens it.
    fn open(&self, ground: &Ground) -> io::Result<Open> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(open) = &*open {
            return Ok(open.clone());
        }
        let (file, is_old) = ground.tree()?.create(&self.receipt.step.path)?;
        let content = self.receipt.file;
        if is_old || content.parts.is_some() || content.sparse {
            file.set_len(content.size)?;
        }
        let opened = Open { file: Arc::new(file), is_old };
        *open = Some(opened.clone());
        Ok(opened)
    }

    /// Ends a piece. After the last piece, sets the attributes of the file, or removes it if it is damaged.
    fn end(&self, ground: &Ground) -> io::Result<()> {
        if self.left.fetch_sub(1, Ordering::AcqRel) > 1 {
            return Ok(());
        }
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner).take();
        let path = &self.receipt.step.path;
        match (open, self.receipt.step.entry) {
            (_, _) if self.damage.get().is_some() => ground.tree()?.remove(path),
            (Some(open), Some(entry)) => set_attributes(&open.file, entry),
            _ => Ok(()),
        }
    }
}

impl Work<'_> {
    /// Receives the piece; returns the bytes read from the store.
    fn run(&self, set: &Set<'_>, ground: &Ground, bar: &Bar) -> Result<u64, Error> {
        let job = self.job;
        let failed = |error| {
            let error = Error::io("write", &ground.shown(&job.receipt.step.path), error);
            error.hint("nothing was given its name yet; the same command continues where it stopped")
        };
        let open = job.open(ground).map_err(failed)?;
        let mut read = 0;
        if let Some(piece) = self.piece.as_ref().filter(|_| job.damage.get().is_none()) {
            let is_here = if open.is_old { piece.is_in(&open.file).map_err(failed)? } else { self.is_hole };
            if !is_here {
                match self.receive(piece, set, &open, bar) {
                    Ok(()) => read = piece.len(),
                    Err(Trouble::Damaged(damage)) => drop(job.damage.set(damage)),
                    Err(Trouble::Sink(error)) => return Err(failed(error)),
                    Err(Trouble::Store(error)) => return Err(error),
                }
            }
        }
        job.end(ground).map_err(failed)?;
        Ok(read)
    }

    fn receive(&self, piece: &Piece, set: &Set<'_>, open: &Open, bar: &Bar) -> Result<(), Trouble> {
        let content = self.job.receipt.file;
        let mut written = piece.range.start; // the file may hold bytes of a failed try up to here
        if open.is_old {
            written = piece.range.end;
        }
        piece.read(set, &self.job.key, &mut |at, bytes| {
            let end = at + bytes.len() as u64;
            if content.sparse && at >= written {
                write_data(&open.file, bytes, at)?;
            } else {
                open.file.write_all_at(bytes, at)?;
            }
            written = written.max(end);
            bar.add(bytes.len() as u64);
            Ok(())
        })
    }
}

/// Writes bytes into a hole, except runs of zeros.
fn write_data(file: &File, bytes: &[u8], at: u64) -> io::Result<()> {
    let mut begun = None;
    let mut place = 0;
    for block in bytes.chunks(HOLE) {
        let is_hole = block.len() == HOLE && block.iter().all(|byte| *byte == 0);
        match (is_hole, begun) {
            (true, Some(start)) => {
                file.write_all_at(&bytes[start..place], at + start as u64)?;
                begun = None;
            }
            (false, None) => begun = Some(place),
            _ => {}
        }
        place += block.len();
    }
    match begun {
        Some(start) => file.write_all_at(&bytes[start..], at + start as u64),
        None => Ok(()),
    }
}
