//! Sends files of several parts.

use super::plan::Old;
use super::send::{Job, Open, Outcome, Results, Sending, Task, failed, let_rest};
use crate::format::digest::Digest;
use crate::format::entry::Parts;
use crate::local::hash::{Compared, Hashed, LARGEST, PART, compare, hash_start, part_size, read_at};
use crate::local::root::Stat;
use crate::store::fault::Fault;
use crate::store::{Part, Upload};
use run_common::error::Error;
use sha2::{Digest as _, Sha256};
use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, PoisonError};

/// A file of several parts that is being sent.
pub(super) struct Large<'a> {
    /// The number of its task.
    at: usize,
    open: Open<'a>,
    key: String,
    upload: Upload,
    /// Parts that an interrupted backup has sent.
    earlier: HashMap<u32, Part>,
    parts: Mutex<HashMap<u32, Part>>,
    /// Parts still to send, plus one while the file is read.
    left: AtomicUsize,
    end: Mutex<End>,
    /// The store does not know the upload to continue.
    is_forgotten: AtomicBool,
}

/// How the reading of a large file ended.
#[derive(Debug)]
enum End {
    /// The hash of the content as of the opening of the file; the file may have grown since.
    Read { sha256: Digest, is_prefix: bool },
    /// The file changed while it was read.
    Torn,
    /// The file cannot be read.
    Failed(io::Error),
}

/// The decision about a large file.
enum Decision {
    /// The content is stored already.
    Known(Arc<super::objects::Known>),
    /// The content must be sent, to this key.
    Send(String),
}

impl<'a> Sending<'a> {
    /// Reads a large file, and gives its parts to the workers.
    pub(super) fn send_large(
        &'a self,
        at: usize,
        task: &'a Task<'a>,
        jobs: &Sender<Job<'a>>,
        results: &Results<'a>,
    ) {
        if self.budget.has_failed() {
            return;
        }
        let tell = |outcome| {
            let _ = results.send((at, outcome)); // the receiver waits for it
        };
        let_rest(&task.found.stat);
        let open = match self.open(task.found) {
            Ok(open) if open.stat.size > LARGEST => {
                let why = "it has more than 8 TiB, which no store takes";
                return tell(Outcome::Unreadable(io::Error::other(why)));
            }
            Ok(open) if open.stat.size > PART => open,
            Ok(_) => return tell(Outcome::Torn), // the file has become small
            Err(error) => return tell(failed(error)),
        };
        self.wait_for_others(open.stat.size);
        match self.decide(&open, task.old.as_deref()) {
            Err(error) => tell(failed(error)),
            Ok(Decision::Known(known)) => {
                self.bar.add(open.stat.size);
                let is_prefix = Stat::of(&open.file).is_ok_and(|now| !now.is_same_version(&open.stat));
                tell(Outcome::Stored(open.entry(&known.hashed, &known.key, is_prefix).into()));
            }
            Ok(Decision::Send(key)) => match self.begin(at, open, key) {
                Err(error) => tell(self.told(Err(error))),
                Ok(large) => {
                    let large = Arc::new(large);
                    let end = self.read(&large, jobs).unwrap_or_else(End::Failed);
                    *large.end.lock().unwrap_or_else(PoisonError::into_inner) = end;
                    self.end_part(&large, results);
                }
            },
        }
    }

    /// Waits until no file of the same size is being sent, because the content may be the same.
    fn wait_for_others(&self, size: u64) {
        let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
        while pending.contains_key(&size) {
            pending = self.settled.wait(pending).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn decide(&self, open: &Open<'_>, old: Option<&Old>) -> io::Result<Decision> {
        let mut known = self.objects().of_size(open.stat.size).to_vec();
        known.retain(|known| self.is_there(&known.key, known.hashed.size));
        let lost = old.filter(|old| self.objects().is_lost(&old.key));
        let lost = lost.map(|old| super::objects::Known { key: old.key.clone(), hashed: old.hashed.clone() });
        let is_lost = lost.is_some();
        known.splice(..0, lost.map(Arc::new));
        let equals: Vec<&Hashed> = known.iter().map(|known| &known.hashed).collect();
        let compared = compare(&open.file, open.stat.size, &equals, old.map(|old| &old.hashed))?;
        Ok(match compared {
            Compared::Equal(0) if is_lost => {
                Decision::Send(self.objects().key_for(&open.found.place, old, true, open.stat.size, None))
            }
            Compared::Equal(at) => Decision::Known(Arc::clone(&known[at])),
            Compared::Grown | Compared::Other => {
                let (place, is_grown) = (&open.found.place, compared == Compared::Grown);
                Decision::Send(self.objects().key_for(place, old, is_grown, open.stat.size, None))
            }
        })
    }

    /// Begins an upload, or continues one that was interrupted.
    fn begin(&self, at: usize, open: Open<'a>, key: String) -> Result<Large<'a>, Error> {
        let part_size = part_size(open.stat.size);
        let earlier = self.uploads.lock().unwrap_or_else(PoisonError::into_inner).remove(&key);
        let (upload, earlier) = match earlier {
            Some((upload, parts)) if upload.part_size == part_size && !parts.is_empty() => {
                (Upload { key: self.set.key(&key), ..upload }, parts)
            }
            other => {
                if let Some((upload, _)) = other {
                    self.give_up(&upload);
                }
                self.journal.beginning(&key);
                let upload = self.set.store.begin(&self.set.key(&key), part_size);
                let upload = upload.map_err(|fault| self.set.failed("store", &key, fault))?;
                self.journal.upload(&Upload { key: key.clone(), ..upload.clone() });
                (upload, HashMap::new())
            }
        };
        let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
        *pending.entry(open.stat.size).or_default() += 1;
        drop(pending);
        let (parts, left, end) = (Mutex::default(), AtomicUsize::new(1), Mutex::new(End::Torn));
        let is_forgotten = AtomicBool::new(false);
        Ok(Large { at, open, key, upload, earlier, parts, left, end, is_forgotten })
    }

    /// Reads a file part by part, up to its length when it was opened.
    fn read(&'a self, large: &Arc<Large<'a>>, jobs: &Sender<Job<'a>>) -> io::Result<End> {
        let Open { file, stat, .. } = &large.open;
        let mut whole = Sha256::new();
        let mut at = 0;
        for number in 1.. {
            let length = (stat.size - at).min(large.upload.part_size);
            if length == 0 {
                break;
            }
            let Some(permit) = self.budget.take(length) else { return Ok(End::Torn) };
            let mut memory = self.budget.memory(length);
            let bytes = &mut memory[..usize::try_from(length).unwrap_or(0)];
            let count = bytes.len();
            if read_at(file, at, bytes)? < count {
                return Ok(End::Torn);
            }
            whole.update(&*bytes);
            large.left.fetch_add(1, Ordering::Relaxed);
            let _ = jobs.send(Job::Part(Arc::clone(large), number, (memory, count), permit)); // the workers outlive it
            at += length;
        }
        let sha256 = Digest::finish(whole);
        let after = Stat::of(file)?;
        if after.is_same_version(stat) {
            return Ok(End::Read { sha256, is_prefix: false });
        }
        let is_start = after.size >= stat.size && hash_start(file, stat.size)? == Some(sha256);
        Ok(if is_start { End::Read { sha256, is_prefix: true } } else { End::Torn })
    }

    /// Sends a part, unless an interrupted backup has sent the same part.
    pub(super) fn send_part(&self, large: &Large<'_>, number: u32, bytes: &[u8]) {
        if self.budget.has_failed() {
            return;
        }
        let sha256 = Digest::of(bytes);
        let earlier = large.earlier.get(&number).filter(|part| part.sha256 == sha256).cloned();
        let earlier = earlier.filter(|_| self.set.store.keeps_part(&large.upload, number, bytes));
        let part = match earlier.map_or_else(
            || {
                self.set.store.put_part(&large.upload, number, bytes, &sha256).inspect(|part| {
                    self.journal.part(&large.upload, part);
                })
            },
            Ok,
        ) {
            Ok(part) => part,
            Err(Fault::NotFound) if !large.earlier.is_empty() => {
                return large.is_forgotten.store(true, Ordering::Relaxed);
            }
            Err(fault) => return self.budget.fail(self.set.failed("store", &large.key, fault)),
        };
        large.parts.lock().unwrap_or_else(PoisonError::into_inner).insert(number, part);
    }

    /// Records the end of a part, or of reading; with the last one, the file is done.
    pub(super) fn end_part(&self, large: &Arc<Large<'a>>, results: &Results<'a>) {
        if large.left.fetch_sub(1, Ordering::AcqRel) > 1 {
            return;
        }
        if !self.budget.has_failed() {
            let outcome = self.complete(large);
            let _ = results.send((large.at, self.told(outcome))); // the receiver waits for it
        }
        let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
        pending.remove(&large.open.stat.size);
        self.settled.notify_all();
    }

    fn complete(&self, large: &Large<'_>) -> Result<Outcome, Error> {
        let end =
            std::mem::replace(&mut *large.end.lock().unwrap_or_else(PoisonError::into_inner), End::Torn);
        let (sha256, is_prefix) = match end {
            End::Read { sha256, is_prefix } if !large.is_forgotten.load(Ordering::Relaxed) => {
                (sha256, is_prefix)
            }
            End::Read { .. } | End::Torn => return Ok(self.torn(large)),
            End::Failed(error) => {
                self.torn(large);
                return Ok(failed(error));
            }
        };
        let mut parts = std::mem::take(&mut *large.parts.lock().unwrap_or_else(PoisonError::into_inner));
        let count = u32::try_from(parts.len()).unwrap_or(u32::MAX);
        let parts: Vec<Part> = (1..=count).filter_map(|number| parts.remove(&number)).collect();
        let tag = match self.set.store.complete(&large.upload, &parts, large.open.stat.size) {
            Ok(stored) => stored.tag,
            Err(Fault::NotFound) if !large.earlier.is_empty() => match self.completed_before(large)? {
                Some(object) => object.tag,
                None => return Ok(self.torn(large)),
            },
            Err(Fault::Refused(_) | Fault::Corrupt(_)) if !large.earlier.is_empty() => {
                return Ok(self.torn(large));
            }
            Err(fault) => {
                if matches!(fault, Fault::Refused(_) | Fault::Corrupt(_)) {
                    self.torn(large); // the parts are useless: the store lacks one of them, for example
                }
                return Err(self.set.failed("store", &large.key, fault));
            }
        };
        let digests = parts.iter().map(|part| part.sha256).collect();
        let parts = Some(Parts { size: large.upload.part_size, digests });
        let hashed = Hashed { size: large.open.stat.size, sha256, parts };
        let entry = large.open.entry(&hashed, &large.key, is_prefix);
        self.objects().learn(large.key.clone(), hashed.clone());
        self.note(&entry, large.key.clone(), &hashed, tag);
        Ok(Outcome::Stored(entry.into()))
    }

    /// Returns the object of an upload, if an interrupted backup has sent all its parts and completed it.
    fn completed_before(&self, large: &Large<'_>) -> Result<Option<crate::store::Object>, Error> {
        let found = self.set.store.head(&self.set.key(&large.key));
        let found = found.map_err(|fault| self.set.failed("look at", &large.key, fault))?;
        Ok(found.filter(|found| found.size == large.open.stat.size))
    }

    fn torn(&self, large: &Large<'_>) -> Outcome {
        self.give_up(&large.upload);
        self.objects().forget_upload(&large.key);
        self.objects().release(&large.key);
        Outcome::Torn
    }

    /// Gives an upload up. A store that cannot do this does not fail the backup.
    fn give_up(&self, upload: &Upload) {
        let _ = self.set.store.abort(upload);
    }
}
