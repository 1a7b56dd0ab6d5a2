//! Writes the record of an attempt. Only the holder of the run's lock does.

use super::layout::Layout;
use super::status::{AttemptEnd, AttemptStart, Raw, Recorded, Status};
use crate::fsio::append::{append_line, read_lines};
use crate::fsio::atomic::{Durability, exchange, replace, replace_reserved, reserve};
use crate::fsio::lock::Lock;
use crate::process::identity::{Place, Stat};
use crate::time::Timestamp;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Bytes that are kept free for result.json while an attempt lasts: disks fill.
static RESULT: [u8; 16 << 10] = [0; 16 << 10];

/// The record of the present attempt, kept in memory and written at every change.
#[derive(Clone, Debug)]
pub struct Record {
    layout: Layout,
    recorded: Recorded,
    start: AttemptStart,
    /// The temporary file of status.json is there, and is of nobody else.
    is_reserved: bool,
    /// It is another's, or nobody's: nothing more is written.
    is_lost: bool,
}

impl Record {
    /// Makes the record of an attempt that is about to start.
    pub fn new(layout: Layout, previous: Recorded, start: AttemptStart) -> Self {
        let recorded = Recorded {
            status: Status::Running,
            reason: None,
            attempt: start.attempt,
            command: Raw::of(&start.command),
            start_time: Some(start.start_time),
            end_time: None,
            last_output: None,
            child_pid: None,
            child_start: None,
            exit_code: None,
            signal: None,
            resources: None,
            lost_bytes: 0,
            total_steps: start.total_steps,
            ..previous
        };
        Self { layout, recorded, start, is_reserved: false, is_lost: false }
    }

    /// Returns what is recorded.
    pub fn recorded(&self) -> &Recorded {
        &self.recorded
    }

    /// Returns how the attempt started.
    pub fn start(&self) -> &AttemptStart {
        &self.start
    }

    /// Changes what the next [`Self::beat`] writes.
    pub fn recorded_mut(&mut self) -> &mut Recorded {
        &mut self.recorded
    }

    /// Names the calling process as the supervisor, and writes that the attempt runs. Called by
    /// the supervisor before it starts the command, and by a front that takes its place.
    pub fn begin(&mut self) -> io::Result<()> {
        name_myself(&mut self.recorded);
        self.recorded.inode = Some(fs::metadata(self.layout.record())?.ino());
        self.start.pid = std::process::id().cast_signed();
        if !self.start_is_written() {
            append_line(&self.layout.attempts(), &self.start)?;
        }
        self.recorded.last_heartbeat = Some(Timestamp::now());
        exchange(&self.layout.status(), &document(&self.recorded)?) // the first heartbeat is near
    }

    /// Does what the start of the command need not wait for: makes the files in which the next state and
    /// the end will be written, and removes the state before.
    pub fn make_room(&mut self) -> io::Result<()> {
        if self.is_lost {
            return Ok(());
        }
        reserve(&self.layout.result(), &RESULT)?;
        reserve(&self.layout.status(), b"")?;
        self.is_reserved = true;
        Ok(())
    }

    /// Writes the file `pid`, for people, once the run has lasted for a moment.
    pub fn write_pid(&self) -> io::Result<()> {
        fs::write(self.layout.pid(), format!("{}\n", std::process::id()))
    }

    /// Notes the command's process.
    pub fn note_child(&mut self, pid: i32) {
        self.recorded.child_pid = Some(pid);
        self.recorded.child_start = Stat::of(pid).map(|stat| stat.start);
    }

    /// Says why the record is not this attempt's any more, if so; nothing more is written then.
    pub fn look_for_loss(&mut self, lock: &Lock) -> Option<String> {
        let why = loss(&self.layout, &self.recorded, lock);
        self.is_lost |= why.is_some();
        why
    }

    /// Writes status.json.
    pub fn beat(&mut self) -> io::Result<()> {
        if self.is_lost { Ok(()) } else { self.write() }
    }

    fn write(&mut self) -> io::Result<()> {
        self.recorded.last_heartbeat = Some(Timestamp::now());
        let replace = if std::mem::take(&mut self.is_reserved) { replace_reserved } else { replace };
        replace(&self.layout.status(), &document(&self.recorded)?, Durability::Process)
    }

    /// Writes how the attempt ended: first where it cannot be lost, then where listings look.
    pub fn end(&mut self, end: &AttemptEnd) -> io::Result<()> {
        if self.is_lost {
            return Ok(());
        }
        self.recorded.end(end);
        if let Some(delay) = end.retry_in_s {
            self.recorded.await_retry(delay);
        }
        let appended = append_line(&self.layout.attempts(), end);
        let result = replace_reserved(&self.layout.result(), &document(end)?, Durability::Power);
        let status = self.write();
        let _ = fs::remove_file(self.layout.pid()); // it is for people; the record is written
        appended.and(result).and(status)
    }

    /// Names the calling process, which holds the lock, as the one that waits with another attempt.
    pub fn write_waiting(layout: &Layout, recorded: &mut Recorded) -> io::Result<()> {
        name_myself(recorded);
        recorded.last_heartbeat = Some(Timestamp::now());
        replace(&layout.status(), &document(recorded)?, Durability::Process)
    }

    /// Writes the status of a run that ended before it was ever started.
    pub fn write_unstarted(layout: &Layout, recorded: &Recorded) -> io::Result<()> {
        replace(&layout.status(), &document(recorded)?, Durability::Power)
    }

    /// Says whether the start line is there: a front that takes over finds it in most cases.
    fn start_is_written(&self) -> bool {
        let lines = read_lines(&self.layout.attempts()).unwrap_or_default();
        lines.records.iter().any(|line| line["event"] == "start" && line["attempt"] == self.start.attempt)
    }
}

/// Says why what a process has recorded of a run is not the run's record any more, if so.
pub fn loss(layout: &Layout, own: &Recorded, lock: &Lock) -> Option<String> {
    let root = layout.root().display();
    match Recorded::read(layout) {
        Ok(written) if written.run_id != own.run_id => Some(format!("another run is now '{root}'")),
        Ok(written) if written.attempt > own.attempt => {
            Some("another run-exec has taken the run over".to_owned())
        }
        Err(_) if lock.is_removed() => Some(format!("'{root}' was removed")),
        _ => None,
    }
}

/// Names the calling process as the supervisor.
fn name_myself(recorded: &mut Recorded) {
    let place = Place::here();
    let pid = std::process::id().cast_signed();
    recorded.pid = Some(pid);
    recorded.pid_start = Stat::of(pid).map(|stat| stat.start);
    recorded.host = Some(place.host.clone());
    recorded.boot_id = Some(place.boot_id.clone());
    recorded.pid_ns = Some(place.pid_ns.clone());
}

/// Returns the length of every file that attempts append to, and before a further attempt also
/// those of the tables that its trainer may have begun.
pub fn offsets(layout: &Layout, attempt: u32) -> BTreeMap<String, u64> {
    let name = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let length = |path: &Path| fs::metadata(path).ok().map(|file| file.len());
    let ours = [layout.stdout(), layout.stderr(), layout.combined(), layout.metrics(), layout.scraped()];
    let mut offsets: BTreeMap<_, _> =
        ours.iter().map(|path| (name(path), length(path).unwrap_or_default())).collect();
    if attempt > 1 {
        let tables = ["metrics.csv", "progress.csv"].map(|table| layout.root().join(table));
        offsets.extend(tables.iter().filter_map(|path| Some((name(path), length(path)?))));
    }
    offsets
}

/// Returns a document as its file holds it: one line of JSON, so that `cat` of many is JSON Lines.
pub fn document<T: Serialize>(record: &T) -> io::Result<Vec<u8>> {
    document_in(Vec::new(), record)
}

/// Like [`document`], in memory that is there: what was in it is overwritten.
pub fn document_in<T: Serialize>(mut bytes: Vec<u8>, record: &T) -> io::Result<Vec<u8>> {
    bytes.clear();
    serde_json::to_writer(&mut bytes, record)?;
    bytes.push(b'\n');
    Ok(bytes)
}
