//! Writes the record of a run. Only the holder of the run's lock may do so: an [`ActiveRun`], or the [`Record`]
//! of an attempt, which contains one.

use super::attempts::{AttemptEnd, AttemptStart, Attempts};
use super::launch::Owner;
use super::layout::{Layout, RECORD_DIR};
use super::open::RunDir;
use super::raw::Raw;
use super::recorded::{AttemptState, Ended, Queued, Recorded, Running, State};
use super::sample::Sample;
use super::status::Outcome;
use crate::error::Error;
use crate::fsio::append::{append_line, truncate};
use crate::fsio::atomic::{Durability, exchange, replace, replace_reserved, reserve};
use crate::fsio::lock::Lock;
use crate::process::identity::ProcessId;
use crate::process::stat::Stat;
use crate::time::Timestamp;
use nix::libc;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fs::{self, Metadata};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

/// Bytes reserved for result.json during an attempt, because disks fill up.
static RESULT: [u8; 16 << 10] = [0; 16 << 10];

/// How often the start of an attempt is written again if another host disturbs this, and the limit of the random
/// pause before, in milliseconds.
const TURNS: usize = 8;
const PAUSE: u64 = 200;

/// A run whose lock this process holds.
#[derive(Debug)]
pub struct ActiveRun {
    run: RunDir,
    lock: Lock,
    /// The claim on the run by this process, if it is in a job.
    owner: Option<Owner>,
}

/// Why a process no longer owns the record of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loss {
    /// The reason, in words.
    pub why: String,
    /// Whether another process makes an attempt of the run, or is about to.
    pub has_successor: bool,
}

impl ActiveRun {
    pub(super) fn new(run: RunDir, lock: Lock) -> Result<Self, Error> {
        let mut active = Self { run, lock, owner: None };
        active.sign()?;
        Ok(active)
    }

    /// Signs the lock in the name of the calling process. A forked child must call this again.
    pub fn sign(&mut self) -> Result<(), Error> {
        let signed = self.lock.sign(&ProcessId::myself());
        signed.map_err(|error| Error::io("write", &self.layout().lock(), error))
    }

    /// Makes this process give the run up as soon as another process claims it.
    pub fn owned_by(&mut self, owner: Owner) {
        self.owner = Some(owner);
    }

    /// Returns the run.
    pub fn run(&self) -> &RunDir {
        &self.run
    }

    /// Returns the paths of its files.
    pub fn layout(&self) -> &Layout {
        self.run.layout()
    }

    /// Writes the record of a run without a running attempt, durably.
    pub fn write(&self, recorded: &Recorded) -> Result<(), Error> {
        self.write_as(recorded, Durability::Power)
    }

    fn write_as(&self, recorded: &Recorded, durability: Durability) -> Result<(), Error> {
        let status = self.layout().status();
        let written = document(recorded).and_then(|bytes| replace(&status, &bytes, durability));
        written.map_err(|error| Error::io("write", &status, error))?;
        remove_pid(self.layout());
        Ok(())
    }

    /// Writes the record of a run whose next attempt a launcher will make. `died` is the reason if the last
    /// attempt died, and is recorded as its end then. For many runs, the caller syncs the file system once.
    pub fn queue(
        &self,
        previous: &Recorded,
        died: Option<String>,
        reason: Option<String>,
        durability: Durability,
    ) -> Result<(), Error> {
        self.complete_attempts(previous, died)?;
        let attempt = previous.attempt().cloned();
        let state = State::Queued(Queued { attempt, reason });
        self.write_as(&Recorded { state, ..previous.clone() }, durability)
    }

    /// Appends the end of the last attempt to attempts.jsonl if it is missing. `died` is the reason if the
    /// attempt died.
    pub fn complete_attempts(&self, previous: &Recorded, died: Option<String>) -> Result<(), Error> {
        let unseen = died.and_then(|why| unseen_end(self.layout(), previous, why));
        Attempts::read(self.layout())
            .and_then(|before| before.complete(self.layout(), unseen.as_ref()))
            .map_err(|error| Error::io("write", &self.layout().attempts(), error))
    }

    /// Writes the record of a run that was stopped while it had no attempt; `words` are the reason.
    pub fn write_stopped(&self, recorded: &Recorded, words: String) -> Result<(), Error> {
        let attempt = recorded.attempt().cloned().map(|attempt| AttemptState { resources: None, ..attempt });
        let ended = Ended {
            attempt,
            outcome: Outcome::Stopped,
            reason: Some(words),
            time: Some(Timestamp::now()),
            exit_code: None,
            signal: None,
        };
        self.write(&Recorded { state: State::Ended(ended), ..recorded.clone() })
    }

    /// Writes the record of a run whose next attempt the calling process delays.
    pub fn write_waiting(&self, recorded: &mut Recorded) -> io::Result<()> {
        if let Some(attempt) = recorded.attempt_mut() {
            let myself = Some(ProcessId::myself());
            if attempt.supervisor != myself {
                write_pid(self.layout())?;
                attempt.supervisor = myself;
            }
            attempt.last_heartbeat = Some(Timestamp::now());
        }
        replace(&self.layout().status(), &document(recorded)?, Durability::Process)
    }

    /// Returns why this process no longer owns the record; `None` while it does.
    pub fn loss(&self, own: &Recorded) -> Option<Loss> {
        let root = self.layout().root().display();
        let lost = |why| Some(Loss { why, has_successor: false });
        if let Some(why) = self.owner.as_ref().and_then(|owner| owner.successor(self.layout())) {
            return Some(Loss { why, has_successor: true });
        }
        // The file may be our own if another run has just replaced this directory: compare the inode first.
        let inode = own.attempt().and_then(|attempt| attempt.inode);
        let record = fs::symlink_metadata(self.layout().record());
        let is_other =
            |record: Metadata| !record.is_dir() || inode.is_some_and(|inode| record.ino() != inode);
        if record.is_ok_and(is_other) {
            return lost(format!("another run is now '{root}'"));
        }
        match Recorded::read(self.layout()) {
            Ok(written) if written.run_id != own.run_id => lost(format!("another run is now '{root}'")),
            Ok(written) if written.attempts() > own.attempts() => {
                Some(Loss { why: "another run-exec has taken the run over".to_owned(), has_successor: true })
            }
            Ok(written) => {
                let host = rival(own, &written)?;
                let why = format!("a run-exec on {host}, which does not see its lock, has started it, too");
                Some(Loss { why, has_successor: true })
            }
            Err(_) if self.lock.is_removed() => lost(format!("'{root}' was removed")),
            Err(_) => None,
        }
    }
}

/// Returns the host of another supervisor of the same attempt: on some file systems, each host sees only its
/// own locks. If two have started at once, the last writer continues; the other notices this before it writes
/// again.
fn rival<'a>(own: &Recorded, written: &'a Recorded) -> Option<&'a str> {
    let (State::Running(own), State::Running(written)) = (&own.state, &written.state) else { return None };
    let (mine, other) = (own.attempt.supervisor.as_ref()?, written.attempt.supervisor.as_ref()?);
    let is_same = own.attempt.number == written.attempt.number;
    // Two that start at once may leave an empty file, from which no boot is known.
    let is_me =
        (&mine.host, mine.pid) == (&other.host, other.pid) && other.boot_id.is_empty() || mine == other;
    (is_same && !is_me && mine.is_visible() && !other.is_visible()).then_some(other.host.as_str())
}

/// The record of the current attempt, kept in memory, and written at heartbeats and at the end.
#[derive(Debug)]
pub struct Record {
    /// `None` once the run was released.
    active: Option<ActiveRun>,
    layout: Layout,
    recorded: Recorded,
    start: AttemptStart,
    /// The end of the previous attempt, if that died.
    unseen: Option<AttemptEnd>,
    /// Whether the start is written, so that an end may be.
    has_begun: bool,
    /// Whether the temporary file of status.json exists and belongs to this attempt.
    is_reserved: bool,
    /// Whether the attempt no longer owns the record, and nothing more is written.
    is_lost: bool,
}

impl Record {
    /// Creates the record of an attempt that is about to start. `previous` is the record so far; `died` is the
    /// reason if the last attempt died. Writes nothing yet.
    pub fn new(active: ActiveRun, previous: Recorded, died: Option<String>, start: AttemptStart) -> Self {
        let unseen = died.and_then(|why| unseen_end(active.layout(), &previous, why));
        let before = previous.attempt().cloned();
        let attempt = AttemptState {
            number: start.attempt,
            start_time: Some(start.start_time),
            last_output: None,
            child: None,
            resources: None,
            lost_bytes: 0,
            ..before.unwrap_or_else(|| AttemptState::new(start.attempt))
        };
        let mut recorded = Recorded {
            command: Raw::of(&start.command),
            total_steps: start.total_steps,
            state: State::Running(Running { attempt, notice: None }),
            ..previous
        };
        recorded.redact();
        let layout = active.layout().clone();
        Self {
            active: Some(active),
            layout,
            recorded,
            start,
            unseen,
            has_begun: false,
            is_reserved: false,
            is_lost: false,
        }
    }

    /// Returns the contents of the record.
    pub fn recorded(&self) -> &Recorded {
        &self.recorded
    }

    /// Returns the record of the attempt's start.
    pub fn start(&self) -> &AttemptStart {
        &self.start
    }

    /// Changes the state of the attempt; the next [`Self::beat`] writes it.
    pub fn change(&mut self, change: impl FnOnce(&mut Running)) {
        if let State::Running(running) = &mut self.recorded.state {
            change(running);
        }
    }

    /// Records the number of steps to train for that the program reports. It counts if no other number is
    /// known, or if the program is beyond the known number.
    pub fn note_total(&mut self, total: Option<f64>) {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is in range")]
        let total = total.filter(|total| (1.0..=9e15).contains(total)).map(|total| total as u64);
        #[expect(clippy::cast_precision_loss, reason = "steps are far below 2^53")]
        let is_passed = |given: &u64| self.recorded.step().is_some_and(|step| step > *given as f64);
        let given = self.start.total_steps.filter(|given| total.is_none() || !is_passed(given));
        self.recorded.total_steps = given.or(total).or(self.recorded.total_steps);
    }

    /// Returns the state of the attempt.
    pub fn attempt(&self) -> Option<&AttemptState> {
        self.recorded.attempt()
    }

    /// Records the calling process as the supervisor of a running attempt. Called by the supervisor before it
    /// starts the command, and by the process that takes its place. If this fails before the start, such as on
    /// a full disk, there is no attempt.
    pub fn begin(&mut self) -> io::Result<()> {
        let inode = fs::metadata(self.layout.record())?.ino();
        self.change(|running| {
            running.attempt.supervisor = Some(ProcessId::myself());
            running.attempt.inode = Some(inode);
            running.attempt.last_heartbeat = Some(Timestamp::now());
        });
        self.start.pid = std::process::id().cast_signed();
        let before = Attempts::read(&self.layout)?;
        // For a process that takes over, the start is usually written.
        let attempts = self.layout.attempts();
        self.has_begun = before.get(self.start.attempt).is_some();
        let mut length = None;
        if !self.has_begun {
            length = Some(fs::metadata(&attempts).map_or(0, |file| file.len()));
            before.complete(&self.layout, self.unseen.as_ref())?;
            append_line(&attempts, &self.start)?;
        }
        // Durability is not needed, because a heartbeat follows soon.
        let write = || {
            write_pid(&self.layout).and_then(|()| exchange(&self.layout.status(), &document(&self.recorded)?))
        };
        let mut written = write();
        for _ in 0..TURNS {
            if !written.as_ref().is_err_and(is_disturbed) {
                break;
            }
            sleep(Duration::from_millis(RandomState::new().build_hasher().finish() % PAUSE));
            written = write();
        }
        match (&written, length) {
            (Err(_), Some(length)) => {
                remove_pid(&self.layout);
                truncate(&attempts, length)?;
            }
            _ => self.has_begun = true,
        }
        written
    }

    /// Creates the files for the next state and the end, and removes the previous state. The start of the
    /// command need not wait for this.
    pub fn make_room(&mut self) -> io::Result<()> {
        if self.is_lost {
            return Ok(());
        }
        reserve(&self.layout.result(), &RESULT)?;
        reserve(&self.layout.status(), b"")?;
        self.is_reserved = true;
        Ok(())
    }

    /// Records the process of the command.
    pub fn note_child(&mut self, pid: i32) {
        let start = Stat::of(pid).map_or(0, |stat| stat.start);
        self.change(|running| running.attempt.child = Some((pid, start)));
    }

    /// Returns the reason if the attempt has lost the record. After a loss, nothing more is written.
    pub fn look_for_loss(&mut self) -> Option<Loss> {
        let loss = self.active.as_ref().and_then(|active| active.loss(&self.recorded));
        self.is_lost |= loss.is_some();
        loss
    }

    /// Writes status.json.
    pub fn beat(&mut self) -> io::Result<()> {
        if self.is_lost { Ok(()) } else { self.write() }
    }

    fn write(&mut self) -> io::Result<()> {
        if let Some(attempt) = self.recorded.attempt_mut() {
            attempt.last_heartbeat = Some(Timestamp::now());
        }
        let replace = if std::mem::take(&mut self.is_reserved) { replace_reserved } else { replace };
        replace(&self.layout.status(), &document(&self.recorded)?, Durability::Process)
    }

    /// Writes the end of the attempt: first durably, then for listings. If the start of the attempt could not
    /// be written, there was no attempt, and the record stays as it was.
    pub fn end(&mut self, end: &AttemptEnd) -> io::Result<()> {
        if self.is_lost || !self.has_begun {
            return Ok(());
        }
        match end.retry_in_s {
            Some(delay) => self.recorded.await_retry(end, delay),
            None => self.recorded.end(end),
        }
        let appended = append_line(&self.layout.attempts(), end);
        let result = replace_reserved(&self.layout.result(), &document(end)?, Durability::Power);
        let status = self.write();
        if end.retry_in_s.is_none() && status.is_ok() {
            remove_pid(&self.layout);
        }
        appended.and(result).and(status)
    }

    /// Abandons the attempt; returns the run as it was taken.
    pub fn give_up(self) -> Option<ActiveRun> {
        self.active
    }

    /// Releases the run for other processes.
    pub fn release(&mut self) {
        if let Some(active) = self.active.take() {
            active.lock.release();
        }
    }
}

/// Returns whether another host may have moved the temporary file, because it starts the same attempt and does
/// not see the lock. sshfs reports any failure of a rename as EPERM.
fn is_disturbed(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOENT | libc::EPERM))
}

/// Creates the end of an attempt whose end nobody saw, from the last heartbeat or sample, the recorded
/// progress, and the reason why the attempt no longer runs.
fn unseen_end(layout: &Layout, before: &Recorded, why: String) -> Option<AttemptEnd> {
    let State::Running(Running { attempt, .. }) = &before.state else { return None };
    let start = attempt.start_time?;
    let sampled = Sample::last(layout).map(|sample| sample.time);
    let end_time = attempt.last_heartbeat.max(sampled).max(Some(start))?;
    Some(AttemptEnd {
        reason: Some(why),
        final_step: attempt.step,
        resources: attempt.resources.unwrap_or_default(),
        lost_bytes: attempt.lost_bytes,
        ..AttemptEnd::of(&before.run_id, attempt.number, Outcome::Failed, start, end_time)
    })
}

/// Writes the file `pid`, for people. It exists while status.json records the run as running.
fn write_pid(layout: &Layout) -> io::Result<()> {
    replace(&layout.pid(), format!("{}\n", std::process::id()).as_bytes(), Durability::Process)
}

fn remove_pid(layout: &Layout) {
    let _ = fs::remove_file(layout.pid()); // it may be missing, and the record is written
}

/// Returns the length of each file that attempts append to. Before a further attempt, this includes tables of
/// its trainer and the files that metrics were read from.
pub fn offsets(layout: &Layout, attempt: u32, metrics_from: &[String]) -> BTreeMap<String, u64> {
    let name = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let length = |path: &Path| fs::metadata(path).ok().map(|file| file.len());
    let ours = [layout.stdout(), layout.stderr(), layout.combined(), layout.metrics(), layout.scraped()];
    let mut offsets: BTreeMap<_, _> =
        ours.iter().map(|path| (name(path), length(path).unwrap_or_default())).collect();
    if attempt > 1 {
        let tables = ["metrics.csv", "progress.csv"].map(|table| layout.root().join(table));
        offsets.extend(tables.iter().filter_map(|path| Some((name(path), length(path)?))));
        let below = |name: &String| Some((name.clone(), length(&layout.root().join(name))?));
        offsets.extend(metrics_from.iter().filter(|name| !name.starts_with(RECORD_DIR)).filter_map(below));
    }
    offsets
}

/// Serializes a document as in its file: one line of JSON, so that `cat` of several documents yields JSON
/// Lines.
pub fn document<T: Serialize>(record: &T) -> io::Result<Vec<u8>> {
    document_in(Vec::new(), record)
}

/// Like [`document`], reusing memory: its contents are overwritten.
pub fn document_in<T: Serialize>(mut bytes: Vec<u8>, record: &T) -> io::Result<Vec<u8>> {
    bytes.clear();
    serde_json::to_writer(&mut bytes, record)?;
    bytes.push(b'\n');
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the record of a run whose first attempt this process supervises.
    fn supervised_by(supervisor: ProcessId) -> Recorded {
        let attempt = AttemptState { supervisor: Some(supervisor), ..AttemptState::new(1) };
        Recorded {
            schema: 1,
            run_id: "id".to_owned(),
            run_name: "r".to_owned(),
            created: Timestamp::now(),
            command: Raw::of(&["true"]),
            total_steps: None,
            overrides: Raw::of(&[""; 0]),
            tags: Raw::of(&[""; 0]),
            state: State::Running(Running { attempt, notice: None }),
        }
    }

    #[test]
    fn a_record_that_names_this_process_without_a_boot_is_its_own() {
        let me = ProcessId::myself();
        let own = supervised_by(me.clone());
        let rival_of = |written: ProcessId| rival(&own, &supervised_by(written)).map(str::to_owned);
        assert_eq!(rival_of(me.clone()), None);
        assert_eq!(rival_of(ProcessId::of_unknown_boot(me.host.clone(), me.pid)), None);
        // Others are none: another process of this name, or the same pid on another boot or host.
        assert_eq!(rival_of(ProcessId::of_unknown_boot(me.host.clone(), me.pid + 1)), Some(me.host.clone()));
        assert_eq!(rival_of(ProcessId { boot_id: "b".to_owned(), ..me.clone() }), Some(me.host.clone()));
        assert_eq!(
            rival_of(ProcessId { host: "b".to_owned(), boot_id: "b".to_owned(), ..me }),
            Some("b".to_owned())
        );
    }
}
