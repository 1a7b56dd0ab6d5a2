//! Reads files, chooses their keys, and stores them, several at a time. A worker reads, hashes and sends a file
//! of one part from the same buffer. One thread reads a larger file and hashes it whole, while the workers hash
//! and send its parts.

use super::budget::{Budget, Permit};
use super::journal::{Journal, Uploads};
use super::large::Large;
use super::objects::Objects;
use super::plan::{Old, entry};
use crate::bar::Bar;
use crate::format::digest::Digest;
use crate::format::entry::{Entry, File as Content, Identity, Kind, Place};
use crate::format::key;
use crate::format::stamp::Stamp;
use crate::local::hash::{Hashed, PART, hash_start, read_at};
use crate::local::root::{Root, Stat};
use crate::local::scan::Found;
use crate::set::Set;
use run_common::error::{Error, Unfit};
use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, SystemTime};

/// Two changes of a file within this time may have the same timestamp: some file systems count in seconds.
const YOUNG: Duration = Duration::from_secs(2);

/// A file to read.
#[derive(Debug)]
pub(crate) struct Task<'a> {
    /// The file as it was found.
    pub(crate) found: &'a Found,
    /// The stored content of the file.
    pub(crate) old: Option<Box<Old>>,
}

/// The outcome of a file.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// The file is stored.
    Stored(Box<Entry>),
    /// The file changed while it was read.
    Torn,
    /// The file no longer exists.
    Gone,
    /// The file cannot be read.
    Unreadable(io::Error),
    /// The file was skipped after another failure.
    Dropped,
}

/// An object that was stored.
#[derive(Clone, Debug)]
pub(crate) struct Object {
    /// Key of the object below the set.
    pub(crate) key: String,
    /// Size of the content.
    pub(crate) size: u64,
    pub(crate) sha256: Digest,
    /// Whether an interrupted backup has stored it. A longer content that begins with it may have taken its place since.
    pub(crate) is_earlier: bool,
}

impl Object {
    /// Returns whether an object of this size can be the one that was stored.
    pub(crate) fn may_have(&self, size: u64) -> bool {
        size == self.size || self.is_earlier && size > self.size
    }
}

/// Stores the files of one run.
pub(crate) struct Sending<'a> {
    pub(crate) set: &'a Set<'a>,
    pub(crate) roots: &'a [Root],
    pub(crate) journal: &'a Journal,
    pub(crate) objects: Mutex<Objects>,
    /// Uploads that an interrupted backup has begun, by key.
    pub(crate) uploads: Mutex<Uploads>,
    /// Objects that were stored.
    pub(crate) sent: Mutex<Vec<Object>>,
    pub(crate) budget: Budget,
    /// Shows the progress.
    pub(crate) bar: &'a Bar,
    /// Sizes of large files that are being sent.
    pub(super) pending: Mutex<HashMap<u64, usize>>,
    pub(super) settled: Condvar,
}

/// A job of a worker.
pub(super) enum Job<'a> {
    /// A file of one part, with the permit for its buffer.
    Small(usize, &'a Task<'a>, Permit<'a>),
    /// A part of a larger file: its number, and the buffer with its bytes.
    Part(Arc<Large<'a>>, u32, (Vec<u8>, usize), Permit<'a>),
}

/// The channel of results: the number of the task, and its outcome.
pub(super) type Results<'a> = Sender<(usize, Outcome)>;

impl<'a> Sending<'a> {
    /// Stores files, several at a time, and returns the outcome of each.
    pub(crate) fn send(&'a self, tasks: &'a [Task<'a>], transfers: usize) -> Result<Vec<Outcome>, Error> {
        let (results, outcomes) = channel();
        let workers = if tasks.iter().any(is_large) { transfers } else { transfers.min(tasks.len()) };
        thread::scope(|scope| {
            let (jobs, queue) = channel();
            let queue = Arc::new(Mutex::new(queue));
            for _ in 0..workers {
                let (queue, results) = (Arc::clone(&queue), results.clone());
                scope.spawn(move || self.work(&queue, &results));
            }
            let small = jobs.clone();
            scope.spawn(move || self.dispatch_small(tasks, &small));
            for (at, task) in tasks.iter().enumerate().filter(|(_, task)| is_large(task)) {
                self.send_large(at, task, &jobs, &results);
            }
        });
        drop(results);
        if let Some(failure) = self.budget.failure() {
            return Err(failure);
        }
        let mut all: Vec<Outcome> = tasks.iter().map(|_| Outcome::Dropped).collect();
        for (at, outcome) in outcomes {
            all[at] = outcome;
        }
        Ok(all)
    }

    fn dispatch_small(&'a self, tasks: &'a [Task<'a>], jobs: &Sender<Job<'a>>) {
        for (at, task) in tasks.iter().enumerate().filter(|(_, task)| !is_large(task)) {
            let Some(permit) = self.budget.take(task.found.stat.size) else { return };
            let _ = jobs.send(Job::Small(at, task, permit)); // the workers outlive it
        }
    }

    fn work(&'a self, queue: &Mutex<Receiver<Job<'a>>>, results: &Results<'a>) {
        loop {
            let job = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
            match job {
                Ok(Job::Small(at, task, permit)) => {
                    if !self.budget.has_failed() {
                        let outcome = self.send_small(task, permit);
                        self.bar.add(task.found.stat.size);
                        let _ = results.send((at, self.told(outcome))); // the receiver waits for it
                    }
                }
                Ok(Job::Part(large, number, (memory, length), permit)) => {
                    self.send_part(&large, number, &memory[..length]);
                    self.bar.add(length as u64);
                    self.budget.give_back(memory);
                    drop(permit);
                    self.end_part(&large, results);
                }
                Err(_) => return,
            }
        }
    }

    /// Turns a result into an outcome; an error of the store ends all work.
    pub(super) fn told(&self, result: Result<Outcome, Error>) -> Outcome {
        result.unwrap_or_else(|error| {
            self.budget.fail(error);
            Outcome::Dropped
        })
    }

    fn send_small(&'a self, task: &Task<'_>, mut permit: Permit<'a>) -> Result<Outcome, Error> {
        let open = match self.open(task.found) {
            Ok(open) if open.stat.size > PART => return Ok(Outcome::Torn), // the file has grown
            Ok(open) => open,
            Err(error) => return Ok(failed(error)),
        };
        if open.stat.size > task.found.stat.size {
            drop(permit); // frees the room for others
            permit = match self.budget.take(open.stat.size) {
                Some(permit) => permit,
                None => return Ok(Outcome::Dropped),
            };
        }
        let mut memory = self.budget.memory(open.stat.size);
        let length = usize::try_from(open.stat.size).unwrap_or(0);
        let outcome = self.send_read(task, &open, &mut memory[..length]);
        self.budget.give_back(memory);
        drop(permit);
        outcome
    }

    /// Reads a file of one part into a buffer of its size, and stores the file.
    fn send_read(&self, task: &Task<'_>, open: &Open<'_>, bytes: &mut [u8]) -> Result<Outcome, Error> {
        let (sha256, is_prefix) = match open.read_whole(bytes) {
            Ok(Some(read)) => read,
            Ok(None) => return Ok(Outcome::Torn),
            Err(error) => return Ok(failed(error)),
        };
        let bytes = &*bytes;
        let hashed = Hashed { size: bytes.len() as u64, sha256, parts: None };
        let is_grown = |old: &Old| {
            let start = usize::try_from(old.hashed.size).ok().and_then(|size| bytes.get(..size));
            start.is_some_and(|start| Digest::of(start) == old.hashed.sha256)
        };
        let is_grown = task.old.as_deref().is_some_and(is_grown);
        let (key, is_there) = {
            let mut objects = self.objects();
            match objects.find(task.old.as_deref(), &hashed, &|key| self.is_there(key, hashed.size)) {
                Some(key) => (key, true),
                None => {
                    let (place, old) = (&task.found.place, task.old.as_deref());
                    let key = objects.key_for(place, old, is_grown, hashed.size, Some(&hashed));
                    objects.learn(key.clone(), hashed.clone());
                    (key, false)
                }
            }
        };
        let entry = open.entry(&hashed, &key, is_prefix);
        if !is_there {
            self.journal.sending(&key, hashed.size, hashed.sha256);
            let stored = self.set.store.put(&self.set.key(&key), bytes, &hashed.sha256);
            let stored = stored.map_err(|fault| self.set.failed("store", &key, fault))?;
            self.note(&entry, key, &hashed, stored.tag);
        }
        Ok(Outcome::Stored(entry.into()))
    }

    /// Returns whether an object of another set of the batch is long enough; objects of the set itself are
    /// known.
    pub(super) fn is_there(&self, key: &str, size: u64) -> bool {
        let is_listed = !key.starts_with("../");
        let found = || self.set.store.head(&self.set.key(key)).ok().flatten();
        is_listed || found().is_some_and(|found| found.size >= size)
    }

    /// Records a stored object.
    pub(super) fn note(&self, entry: &Entry, key: String, hashed: &Hashed, tag: Option<String>) {
        self.journal.sent(entry, tag);
        let object = Object { key, size: hashed.size, sha256: hashed.sha256, is_earlier: false };
        self.sent.lock().unwrap_or_else(PoisonError::into_inner).push(object);
    }

    pub(super) fn objects(&self) -> MutexGuard<'_, Objects> {
        self.objects.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens a file for reading.
    pub(super) fn open<'f>(&self, found: &'f Found) -> io::Result<Open<'f>> {
        let root = self.roots.iter().find(|root| root.evaluation == found.place.evaluation);
        let began = SystemTime::now();
        let file = root.ok_or(io::ErrorKind::NotFound)?.open_file(&found.place.path)?;
        let stat = Stat::of(&file)?;
        Ok(Open { found, file, stat, began })
    }
}

fn is_large(task: &Task<'_>) -> bool {
    task.found.stat.size > PART
}

/// Returns the outcome of a file that could not be read.
pub(super) fn failed(error: io::Error) -> Outcome {
    let is_gone = matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory);
    if is_gone || Unfit::is(&error) || error.raw_os_error() == Some(nix::libc::ELOOP) {
        Outcome::Gone // the name has become something else, which the next backup sees
    } else {
        Outcome::Unreadable(error)
    }
}

/// An open file.
#[derive(Debug)]
pub(super) struct Open<'a> {
    pub(super) found: &'a Found,
    pub(super) file: File,
    /// State of the file when it was opened.
    pub(super) stat: Stat,
    began: SystemTime,
}

impl Open<'_> {
    /// Reads the file up to its length when it was opened. Returns the hash, and whether the file has grown
    /// since; none if the file changed.
    fn read_whole(&self, bytes: &mut [u8]) -> io::Result<Option<(Digest, bool)>> {
        if read_at(&self.file, 0, bytes)? < bytes.len() {
            return Ok(None);
        }
        let after = Stat::of(&self.file)?;
        let sha256 = Digest::of(bytes);
        if after.is_same_version(&self.stat) {
            return Ok(Some((sha256, false)));
        }
        let is_start =
            after.size >= self.stat.size && hash_start(&self.file, self.stat.size)? == Some(sha256);
        Ok(is_start.then_some((sha256, true)))
    }

    /// Returns the entry of the file.
    pub(super) fn entry(&self, hashed: &Hashed, key: &str, is_prefix: bool) -> Entry {
        let Stat { inode, ctime, mode, mtime, .. } = self.stat;
        let place = &self.found.place;
        let file = Content {
            size: hashed.size,
            sha256: hashed.sha256,
            parts: hashed.parts.clone(),
            key: shown_key(place, key),
            sparse: self.stat.taken < self.stat.size && self.stat.size >= PART / 256,
            prefix: is_prefix,
            same_file: None,
            identity: (!is_prefix && !is_young(ctime, self.began)).then_some(Identity { inode, ctime }),
        };
        Entry { mode, mtime, ..entry(self.found, Kind::File(file)) }
    }
}

/// Returns the key for an entry; none if the key follows from the place.
pub(crate) fn shown_key(place: &Place, key: &str) -> Option<String> {
    (key::plain(place).as_deref() != Some(key)).then(|| key.to_owned())
}

/// Returns whether a file may change without a new ctime, seen from the time when reading began.
fn is_young(ctime: Stamp, began: SystemTime) -> bool {
    age(ctime, began).is_none_or(|age| age < YOUNG)
}

/// Returns the age of a file; none for a time in the future.
fn age(ctime: Stamp, now: SystemTime) -> Option<Duration> {
    let since = Duration::new(u64::try_from(ctime.seconds).ok()?, ctime.nanoseconds);
    now.duration_since(SystemTime::UNIX_EPOCH).ok()?.checked_sub(since)
}

/// Waits until a recently changed file can be distinguished from a later version.
pub(super) fn let_rest(stat: &Stat) {
    if let Some(age) = age(stat.ctime, SystemTime::now()) {
        thread::sleep(YOUNG.saturating_sub(age));
    }
}
