//! The record of a run as far as backups write to it: the lock, the receipts, and the modification time, which
//! must tell of the run and not of its backups.

use super::subject::Subject;
use run_common::error::{Error, Exit, Unfit, plain};
use run_common::fsio::lock::Lock;
use run_common::fsio::write::check_dir;
use run_common::message::warn;
use run_common::rundir::receipts::{self, Receipt};
use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, UTIME_OMIT, utimensat};
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

/// A run's record during its backup or cleanup.
#[derive(Debug)]
pub(crate) struct Home {
    record: PathBuf,
    /// Keeps other backups out; none if the directory cannot be written to.
    lock: Option<Lock>,
    /// Modification time of the directory to restore, if nothing else writes there.
    mtime: Option<Timespec>,
    receipts: Vec<Receipt>,
}

impl Home {
    /// Locks and reads the receipts of a run. Fails if another process has the lock; `verb` is for the
    /// messages.
    pub(crate) fn open(subject: &Subject, verb: &str) -> Result<Self, Error> {
        let record = subject.record.clone();
        if subject.is_foreign {
            return Ok(Self { record, lock: None, mtime: None, receipts: Vec::new() });
        }
        check_dir(&record).map_err(|error| Error::io("read", &record, error))?;
        let mtime = fs::metadata(&record).ok().filter(|_| !subject.is_live);
        let mtime = mtime.map(|found| Timespec { tv_sec: found.mtime(), tv_nsec: found.mtime_nsec() as _ });
        let path = receipts::path(&record);
        let lock = match Lock::try_take(&path) {
            Ok(Some(lock)) => Some(lock),
            Ok(None) => {
                let what = format!("cannot {verb} '{}'", subject.path().display());
                return Err(Error::new(Exit::Busy, what).because("another run-sync is active in it"));
            }
            Err(error) if is_refused(&error) => {
                let shown = path.display();
                warn(&format!("cannot write '{shown}': {}; there will be no receipt", plain(&error)));
                None
            }
            Err(error) => return Err(Error::io("lock", &path, error)),
        };
        let receipts = match receipts::read(&record) {
            Ok(receipts) => receipts,
            Err(_) if lock.is_none() => Vec::new(), // already reported
            Err(error) => return Err(Error::io("read", &path, error)),
        };
        let home = Self { record, lock, mtime, receipts };
        home.keep_mtime();
        Ok(home)
    }

    /// Returns the receipts, the oldest first.
    pub(crate) fn receipts(&self) -> &[Receipt] {
        &self.receipts
    }

    /// Returns whether the run can be written to.
    pub(crate) fn is_writable(&self) -> bool {
        self.lock.is_some()
    }

    /// Adds a receipt.
    pub(crate) fn add(&self, receipt: &Receipt) -> Result<(), Error> {
        if !self.is_writable() {
            return Ok(());
        }
        let added = receipts::append(&self.record, receipt);
        added.map_err(|error| Error::io("write", &receipts::path(&self.record), error))
    }

    fn keep_mtime(&self) {
        if let Some(mtime) = self.mtime {
            let unchanged = Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT };
            let times = Timestamps { last_access: unchanged, last_modification: mtime };
            let _ = utimensat(CWD, &self.record, &times, AtFlags::SYMLINK_NOFOLLOW); // best effort
        }
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        self.keep_mtime();
    }
}

/// Returns whether a run cannot be written to; it is backed up all the same.
fn is_refused(error: &io::Error) -> bool {
    Unfit::is(error)
        || matches!(error.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem)
}
