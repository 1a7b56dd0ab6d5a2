//! The backup of one run: finds what is new, reads and sends it, and records the backup.

use super::assemble::{Assembly, Kept, is_same, shown};
use super::batch::{self, Batches};
use super::budget::Budget;
use super::commit::{commit, from_before, mend_sums, publish_sums, recheck, verify};
use super::journal::{Begin, Earlier, Journal};
use super::listed::Listed;
use super::mend::Losses;
use super::objects::Objects;
use super::plan::{Knowledge, Old, Step};
use super::report::Report;
use super::room::Rooms;
use super::send::{Object, Outcome, Sending, Task};
use super::writer::{Known, Writer, newest_here, writer};
use crate::bar::{Bar, Gauge};
use crate::format::entry::{Entry, File, Kind, Place};
use crate::format::manifest::{Head, Manifest, Verified};
use crate::local::hash::{Hashed, hash_start};
use crate::local::home::Home;
use crate::local::scan::{Found, Scan};
use crate::local::subject::Subject;
use crate::set::{Commit, History, Set};
use crate::store::Store;
use run_common::error::{Error, Exit, plain};
use run_common::rundir::layout::RECORD_DIR;
use run_common::rundir::receipts::{Backup, Receipt};
use run_common::time::Timestamp;
use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::{Condvar, Mutex, PoisonError};

/// How often a file is read that keeps changing.
const ROUNDS: usize = 3;
/// Files that are examined again and given to the workers at a time; more of them would take memory.
const TASKS: usize = 16 << 10;

/// The options of a backup.
#[derive(Debug)]
pub(crate) struct Options {
    /// The store, as receipts and messages call it.
    pub(crate) url: String,
    /// Requests at a time.
    pub(crate) transfers: usize,
    /// Report what would be done, and stop.
    pub(crate) dry_run: bool,
    /// Read back what was sent, and what the store has of the backup to continue.
    pub(crate) read_back: bool,
    /// Runs are backed up until they have ended: only the last backup reads all back.
    pub(crate) follow: bool,
    /// Include the results of evaluations.
    pub(crate) evaluations: bool,
    /// Where the store reports bytes as they are sent.
    pub(crate) gauge: Gauge,
}

/// Backs up one run, or the files of a batch.
pub(crate) fn back_up(
    subject: &Subject,
    store: &dyn Store,
    options: &Options,
    batches: &mut Batches,
    rooms: &mut Rooms,
) -> Result<Report, Error> {
    let set = Set { store, url: &options.url, name: subject.name.clone() };
    let created = Timestamp::now();
    let home = Home::open(subject, "back up")?;
    let scan = Scan::of(&subject.roots);
    let here = Begin::new(&options.url, &subject.name, subject.path())?;
    let writable = home.is_writable() && !options.dry_run;
    let opened = Journal::open(&subject.record, here.clone(), writable);
    let (mut journal, earlier) =
        opened.map_err(|error| Error::io("read", &Journal::path(&subject.record), error))?;
    let history = set.history()?;
    if history.commits.is_empty() {
        rooms.check(&set, subject.kind)?;
    }
    let known = Known {
        history,
        receipts: home.receipts(),
        here: &here,
        earlier: &earlier,
        run_id: &subject.run_id,
        may_claim: !options.dry_run,
    };
    let writer = writer(&set, &known, &mut journal)?;
    let was_interrupted = earlier.commit.is_some();
    let mut backup =
        OneBackup { subject, options, set, home, scan, here, journal, writer, created, was_interrupted };
    backup.run(earlier, batches)
}

/// A backup in progress.
struct OneBackup<'a> {
    subject: &'a Subject,
    options: &'a Options,
    set: Set<'a>,
    home: Home,
    scan: Scan,
    here: Begin,
    journal: Journal,
    writer: Writer,
    created: Timestamp,
    /// An earlier backup may have ended between its manifest and the steps after it.
    was_interrupted: bool,
}

impl OneBackup<'_> {
    fn run(&mut self, mut earlier: Earlier, batches: &mut Batches) -> Result<Report, Error> {
        let parent = self.writer.parent.as_ref().map(|(_, manifest)| manifest);
        let entries = parent.map_or(&[][..], |parent| &parent.entries);
        let before: HashMap<&Place, &Entry> = entries.iter().map(|entry| (&entry.place, entry)).collect();
        if !self.set.store.is_durable() && !self.options.dry_run {
            recheck(&self.set, &mut earlier, self.options.transfers);
        }
        let sent: HashMap<&Place, &Entry> =
            earlier.sent.iter().map(|sent| (&sent.entry.place, &sent.entry)).collect();
        let incomplete: Vec<PathBuf> = self.subject.incomplete().flat_map(|one| one.parts.clone()).collect();
        let is_checked = self.reads_all_back();
        let losses = if is_checked {
            Losses::find(&self.set, entries, self.options.transfers)?
        } else {
            Losses::default()
        };
        let knowledge = Knowledge {
            before: &before,
            is_own: self.writer.is_own,
            sent: &sent,
            incomplete: &incomplete,
            losses: &losses,
        };
        let mut listed = Listed::default();
        if !sent.is_empty() {
            listed.ask(&self.set, self.subject)?;
        }
        let mut steps = self.steps(&knowledge, &listed);
        if steps.iter().any(|step| matches!(step, Step::Read(_))) && listed.0.is_none() {
            listed.ask(&self.set, self.subject)?;
            steps = self.steps(&knowledge, &listed);
        }
        let mut report = self.report();
        if self.options.dry_run {
            return Ok(self.planned(report, &steps));
        }
        for key in &earlier.beginning {
            let _ = self.set.store.abort_all(&self.set.key(key)); // a failure would only repeat
        }
        let mut objects = Objects::new(&self.writer.keys, &self.writer.id, self.writer.number);
        listed.tell(&mut objects);
        objects.lose(losses.sizes());
        objects.resume(&earlier.sending, &earlier.uploads);
        let known = entries.iter().chain(earlier.sent.iter().map(|sent| &sent.entry));
        known.filter(|entry| listed.has(entry)).for_each(|entry| objects.know(entry));
        let is_large =
            |(found, step): (&Found, &Step)| matches!(step, Step::Read(_)) && found.stat.size >= batch::LEAST;
        if self.scan.found.iter().zip(&steps).any(is_large) {
            batches
                .others(&self.set, self.options.transfers)
                .for_each(|known| objects.learn(known.key.clone(), known.hashed.clone()));
        }
        let bar = Bar::with(&report.name, self.to_read(&steps), &self.options.gauge);
        let sending = Sending {
            set: &self.set,
            bar: &bar,
            roots: &self.subject.roots,
            journal: &self.journal,
            objects: Mutex::new(objects),
            uploads: Mutex::new(earlier.uploads),
            sent: Mutex::default(),
            budget: Budget::default(),
            pending: Mutex::default(),
            settled: Condvar::new(),
        };
        let kept = self.read(&sending, &steps, &mut listed)?;
        let Sending { uploads, sent: sent_now, objects, .. } = sending;
        let objects = objects.into_inner().unwrap_or_else(PoisonError::into_inner);
        let lost: HashSet<String> = losses.keys().filter(|key| objects.is_lost(key)).cloned().collect();
        let count = listed.len();
        drop((objects, listed, before, bar)); // frees memory for the manifest
        let groups: Vec<Vec<PathBuf>> =
            self.subject.checkpoints.iter().map(|one| one.parts.clone()).collect();
        let assembly = Assembly {
            before: entries,
            parent: self.writer.parent.as_ref().map(|(commit, _)| commit.digest),
            scan: &self.scan,
            steps,
            kept,
            receipts: self.home.receipts(),
            groups: &groups,
            evaluations: self.options.evaluations,
        };
        let (before, entries) = (entries, assembly.entries(&mut report));
        losses.tell(before, &entries, &lost, &mut report);
        report.read_back = is_checked;
        self.scan = Scan::default(); // frees memory
        batches.add(&self.set.name, &entries);
        for (upload, _) in uploads.into_inner().unwrap_or_else(PoisonError::into_inner).values() {
            let key = self.set.key(&upload.key);
            let _ = self.set.store.abort(&crate::store::Upload { key, ..upload.clone() }); // its parts are useless
        }
        let mut sent_now = sent_now.into_inner().unwrap_or_else(PoisonError::into_inner);
        report.sent_files = sent_now.len() as u64;
        report.sent_bytes = sent_now.iter().map(|object| object.size).sum();
        sent_now.extend(from_before(&entries, &earlier.sent, &sent_now));
        self.finish(entries, sent_now, count, report)
    }

    fn steps(&self, knowledge: &Knowledge<'_>, listed: &Listed) -> Vec<Step> {
        self.scan.found.iter().map(|found| knowledge.step(found, &|entry| listed.has(entry))).collect()
    }

    /// Returns whether the backup reads back all that the store has of the manifest to continue.
    fn reads_all_back(&self) -> bool {
        let Options { read_back, follow, dry_run, .. } = *self.options;
        read_back && !dry_run && (!follow || self.subject.has_ended)
    }

    /// Returns the number of bytes to read.
    fn to_read(&self, steps: &[Step]) -> u64 {
        let both = self.scan.found.iter().zip(steps);
        both.filter(|(_, step)| matches!(step, Step::Read(_))).map(|(found, _)| found.stat.size).sum()
    }

    fn report(&self) -> Report {
        Report {
            name: self.subject.name.to_string(),
            path: self.here.path.clone(),
            url: self.options.url.clone(),
            ..Report::default()
        }
    }

    fn planned(&self, mut report: Report, steps: &[Step]) -> Report {
        report.result = "planned";
        for (found, step) in self.scan.found.iter().zip(steps) {
            match step {
                Step::Read(old) if old.as_ref().is_some_and(|old| self.has_content(found, &old.hashed)) => {}
                Step::Read(_) => {
                    report.would_send.push((shown(&found.place), found.stat.size));
                    report.sent_files += 1;
                    report.sent_bytes += found.stat.size;
                }
                Step::Left(_) => report.left.push(shown(&found.place)),
                Step::Known(_) | Step::Same(_) => {}
            }
        }
        report
    }

    /// Returns whether a file that may have changed has the stored content. Reads the file only if the size is
    /// the same.
    fn has_content(&self, found: &Found, hashed: &Hashed) -> bool {
        let root = self.subject.roots.iter().find(|root| root.evaluation == found.place.evaluation);
        let file = root
            .filter(|_| found.stat.size == hashed.size)
            .and_then(|root| root.open_file(&found.place.path).ok());
        file.is_some_and(|file| {
            hash_start(&file, hashed.size).is_ok_and(|start| start == Some(hashed.sha256))
        })
    }

    /// Reads and stores files, repeatedly as long as they change meanwhile.
    fn read(
        &self,
        sending: &Sending<'_>,
        steps: &[Step],
        listed: &mut Listed,
    ) -> Result<HashMap<usize, Kept>, Error> {
        let mut kept: HashMap<usize, Kept> = HashMap::new();
        let mut next: Vec<(usize, Option<Box<Old>>)> = Vec::new();
        for (at, step) in steps.iter().enumerate() {
            if let Step::Read(old) = step {
                next.push((at, old.clone()));
            }
        }
        // The youngest come last, so that they may have stopped changing by then.
        next.sort_by_key(|(at, _)| self.scan.found[*at].stat.ctime);
        for round in 1..=ROUNDS {
            if !next.is_empty() && listed.0.is_none() {
                listed.ask(&self.set, self.subject)?; // keys are given out only once the taken ones are known
                listed.tell(&mut sending.objects());
            }
            let mut torn = Vec::new();
            for some in next.chunks(TASKS) {
                let found: Vec<Found> = some.iter().map(|(at, _)| self.again(*at)).collect();
                let olds = some.iter().map(|(_, old)| old.clone());
                let tasks: Vec<Task<'_>> =
                    found.iter().zip(olds).map(|(found, old)| Task { found, old }).collect();
                let outcomes = sending.send(&tasks, self.options.transfers)?;
                for ((at, old), outcome) in some.iter().zip(outcomes) {
                    match outcome {
                        Outcome::Stored(entry) => _ = kept.insert(*at, Kept::Stored(entry)),
                        Outcome::Torn | Outcome::Dropped => {
                            kept.entry(*at).or_insert(Kept::Torn);
                            torn.push((*at, old.clone()));
                        }
                        Outcome::Gone => {
                            kept.insert(*at, Kept::Gone);
                            torn.extend(self.other_name(*at, steps).map(|other| (other, old.clone())));
                        }
                        Outcome::Unreadable(error) => _ = kept.insert(*at, Kept::Unreadable(plain(&error))),
                    }
                }
            }
            next = torn;
            if self.subject.is_live {
                let changed = self.changed(sending, steps, &mut kept);
                if round == ROUNDS {
                    self.give_up(&changed, &mut kept);
                } else {
                    next.extend(changed);
                }
            }
            if next.is_empty() {
                break;
            }
        }
        Ok(kept)
    }

    /// Returns the next name of a file after one of its names is gone.
    fn other_name(&self, gone: usize, steps: &[Step]) -> Option<usize> {
        let gone_now = &self.scan.found[gone].place;
        let first = match &steps[gone] {
            Step::Same(first) => first,
            _ => &gone_now.path,
        };
        let is_other = |at: &usize| {
            let is_same = matches!(&steps[*at], Step::Same(other) if other == first);
            is_same && self.scan.found[*at].place.evaluation == gone_now.evaluation
        };
        (gone + 1..steps.len()).find(is_other)
    }

    /// Returns a found item with its current state, or unchanged if it is gone.
    fn again(&self, at: usize) -> Found {
        let found = &self.scan.found[at];
        let root = self.subject.roots.iter().find(|root| root.evaluation == found.place.evaluation);
        let stat = root.and_then(|root| root.stat(&found.place.path).ok()).unwrap_or(found.stat);
        Found { stat, ..found.clone() }
    }

    /// Returns the files that have changed since they were read, other than by growing: their stored content
    /// may not fit the content of other files.
    fn changed(
        &self,
        sending: &Sending<'_>,
        steps: &[Step],
        kept: &mut HashMap<usize, Kept>,
    ) -> Vec<(usize, Option<Box<Old>>)> {
        let mut changed = Vec::new();
        for (at, step) in steps.iter().enumerate() {
            let entry = match (kept.get(&at), step) {
                (Some(Kept::Stored(entry)), _) | (None, Step::Known(entry)) => entry.as_ref(),
                _ => continue,
            };
            let (Kind::File(file), Some(key)) = (&entry.kind, entry.object()) else { continue };
            let is_record = entry.place.evaluation.is_none() && entry.place.path.starts_with(RECORD_DIR);
            let now = self.again(at);
            let is_same = (now.stat.size, now.stat.mtime) == (file.size, entry.mtime)
                && file.identity.is_none_or(|identity| identity.ctime == now.stat.ctime);
            if is_record || is_same {
                continue; // each file of the record is replaced whole and stands alone
            }
            let start = sending.open(&now).and_then(|open| hash_start(&open.file, file.size));
            if start.is_ok_and(|start| start == Some(file.sha256)) {
                let file = File { prefix: now.stat.size > file.size, ..file.clone() };
                let entry = Entry { kind: Kind::File(file), ..entry.clone() };
                kept.insert(at, Kept::Stored(entry.into()));
            } else {
                changed.push((at, Some(Old { key, hashed: Hashed::from(file) }.into())));
            }
        }
        changed
    }

    /// Gives up on files that changed after each read: a file of a checkpoint is left, because it must fit the
    /// other parts; any other file stays stored as it was last read.
    fn give_up(&self, changed: &[(usize, Option<Box<Old>>)], kept: &mut HashMap<usize, Kept>) {
        for (at, _) in changed {
            let place = &self.scan.found[*at].place;
            let parts = self.subject.checkpoints.iter().flat_map(|one| &one.parts);
            if place.evaluation.is_none() && parts.into_iter().any(|part| place.path.starts_with(part)) {
                kept.insert(*at, Kept::Torn);
            }
        }
    }

    /// Verifies the sent objects, and records the backup, first in the store, then in the run.
    fn finish(
        &self,
        entries: Vec<Entry>,
        sent: Vec<Object>,
        listed: usize,
        mut report: Report,
    ) -> Result<Report, Error> {
        for entry in entries.iter().filter(|entry| entry.absent.is_none()) {
            if let Kind::File(file) = &entry.kind {
                report.files += 1;
                report.bytes += file.size;
            }
        }
        let own_parent = self.writer.parent.as_ref().filter(|_| self.writer.is_own);
        let unchanged = own_parent.filter(|(_, parent)| is_same(&parent.entries, &entries));
        let (done, verified) = if let Some((done, parent)) = unchanged {
            report.result = "unchanged";
            let Options { transfers, read_back, .. } = *self.options;
            if !sent.is_empty() {
                verify(&self.set, self.subject.kind, &sent, listed, transfers, read_back)?;
                self.set.store.sync().map_err(|fault| self.set.failed("write", "", fault))?;
            }
            if report.read_back {
                let is_newest = self.writer.number == done.number + 1;
                mend_sums(&self.set, *done, &parent.entries, is_newest)?;
            } else if self.was_interrupted {
                publish_sums(&self.set, &parent.entries)?;
            }
            (*done, if report.read_back { Verified::Read } else { parent.head.verified })
        } else {
            report.result = "stored";
            let Options { transfers, read_back, .. } = *self.options;
            let verified = verify(&self.set, self.subject.kind, &sent, listed, transfers, read_back)?;
            drop(sent);
            let manifest = Manifest { head: self.head(verified), entries };
            let done = commit(&self.set, &manifest, &self.journal)?;
            let is_fork = |history: History| self.set.is_fork(&history, done, &manifest.head);
            report.fork = self.set.history().is_ok_and(is_fork); // of two at once, the later one sees both
            (done, verified)
        };
        report.number = Some(done.number);
        report.manifest = Some(done.digest.to_string());
        report.verified = Some(verified);
        report.say();
        if !report.is_whole() {
            report.result = "incomplete";
            let settled = self.journal.settle(&self.writer.keys, done.number, done.digest);
            settled.map_err(|error| Error::io("write", &Journal::path(&self.subject.record), error))?;
            return Ok(report);
        }
        if Begin::new(&self.options.url, &self.subject.name, self.subject.path()).ok().as_ref()
            != Some(&self.here)
        {
            let what =
                format!("'{}' was removed or replaced during its backup", self.subject.path().display());
            return Err(Error::new(Exit::No, what).because("there is no receipt"));
        }
        let is_known = unchanged.is_some() && newest_here(self.home.receipts(), &self.here) == Some(done);
        if report.read_back || !is_known {
            let added = self.home.add(&Receipt::Backup(self.receipt(done, verified, &report)));
            added.map_err(|error| error.hint("the backup is stored; only its receipt is missing"))?;
        }
        let finished = self.journal.finish();
        finished.map_err(|error| Error::io("write", &Journal::path(&self.subject.record), error))?;
        Ok(report)
    }

    fn head(&self, verified: Verified) -> Head {
        let Subject { run_id, run_name, kind, status, name, .. } = self.subject;
        Head {
            schema: Head::SCHEMA,
            number: self.writer.number,
            parent: self.writer.parent.as_ref().map(|(commit, _)| commit.digest),
            kind: *kind,
            run_id: run_id.clone(),
            run_name: run_name.clone(),
            batch: name.batch.clone(),
            created: self.created,
            host: self.here.host.clone(),
            writer: self.writer.id.clone(),
            tool_version: env!("CARGO_PKG_VERSION").to_owned(),
            keys: self.writer.keys.clone(),
            status: status.clone(),
            verified,
        }
    }

    fn receipt(&self, done: Commit, verified: Verified, report: &Report) -> Backup {
        let (checkpoints, last_step) = self.subject.counted();
        Backup {
            time: Timestamp::now(),
            url: self.here.url.clone(),
            name: self.here.name.clone(),
            number: done.number,
            manifest: done.digest.to_string(),
            verified: verified.word().to_owned(),
            files: report.files,
            bytes: report.bytes,
            checkpoints,
            last_step,
            host: self.here.host.clone(),
            inode: self.here.inode,
            path: self.here.path.clone(),
            writer: self.writer.id.clone(),
            keys: self.writer.keys.clone(),
        }
    }
}
