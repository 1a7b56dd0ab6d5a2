//! A directory as a store: a key is the path of a file. An object appears by a rename, and survives a power cut
//! once [`Store::sync`] has returned.

use super::fault::Fault;
use super::{Checks, Object, Part, Sink, Store, Stored, Upload};
use crate::format::digest::Digest;
use nix::fcntl::{PosixFadviseAdvice, posix_fadvise};
use run_common::error::{Error, Exit};
use run_common::fsio::atomic::sync_file_system;
use run_common::fsio::read::open_file;
use run_common::fsio::rename::rename_new;
use run_common::fsio::write::{create, make_dir, open_existing};
use run_common::process::identity::{Life, ProcessId};
use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, Write};
use std::ops::Range;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, SystemTime};
use uuid::Uuid;

/// Directory of incomplete objects.
const UPLOADS: &str = ".run-store/uploads";
/// Age from which nobody writes to an incomplete object any more.
const FORGOTTEN: Duration = Duration::from_secs(7 * 24 * 3600);
/// Bytes per read.
const BLOCK: usize = 256 << 10;

/// A directory as a store.
#[derive(Debug)]
pub(crate) struct Directory {
    root: PathBuf,
    /// Directories that are known to exist.
    made: Mutex<HashSet<PathBuf>>,
    /// Ids of the uploads that this process has begun. Their files are created with the first part: a process
    /// that is killed before it has recorded an upload leaves nothing.
    begun: Mutex<HashSet<String>>,
}

impl Directory {
    /// Opens a directory, which need not exist yet: the first write creates it.
    pub(crate) fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into(), made: Mutex::default(), begun: Mutex::default() }
    }

    fn path(&self, key: &str) -> PathBuf {
        self.root.join(key)
    }

    fn upload(&self, id: &str) -> PathBuf {
        self.root.join(UPLOADS).join(id)
    }

    /// Creates the directories above a file, below the root. Fails if one of them is a link.
    fn make_above(&self, path: &Path) -> io::Result<()> {
        let Some(parent) = path.parent().filter(|parent| parent.starts_with(&self.root)) else {
            return Ok(());
        };
        if self.made.lock().unwrap_or_else(PoisonError::into_inner).contains(parent) {
            return Ok(());
        }
        if parent == self.root {
            fs::create_dir_all(parent)?; // the root may be a link
        } else {
            self.make_above(parent)?;
            make_dir(parent)?;
        }
        self.made.lock().unwrap_or_else(PoisonError::into_inner).insert(parent.to_owned());
        Ok(())
    }

    fn begun(&self) -> MutexGuard<'_, HashSet<String>> {
        self.begun.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens the file of an upload.
    fn open_upload(&self, upload: &Upload) -> io::Result<File> {
        let path = self.upload(&upload.id);
        let mut begun = self.begun(); // until the file exists
        if begun.contains(&upload.id) {
            self.make_above(&path)?;
            let file = create(&path)?;
            begun.remove(&upload.id);
            return Ok(file);
        }
        drop(begun);
        open_existing(&path)
    }

    /// Writes an incomplete object, and returns its path for the rename.
    fn incomplete(&self, bytes: &[u8]) -> io::Result<PathBuf> {
        let path = self.upload(&name_of_incomplete());
        self.make_above(&path)?;
        create(&path)?.write_all(bytes).inspect_err(|_| drop(fs::remove_file(&path)))?;
        Ok(path)
    }

    /// Renames an incomplete object to its key.
    fn name(&self, incomplete: &Path, key: &str) -> io::Result<Stored> {
        let path = self.path(key);
        let named = self.make_above(&path).and_then(|()| {
            if fs::symlink_metadata(&path).is_ok() {
                open_existing(incomplete)?.sync_data()?; // older manifests need the bytes after a power cut
            }
            fs::rename(incomplete, &path)
        });
        named.inspect_err(|_| drop(fs::remove_file(incomplete)))?;
        Ok(Stored::default())
    }
}

/// Returns a new name for an incomplete object, with the identity of this process.
fn name_of_incomplete() -> String {
    let ProcessId { boot_id, pid_ns, pid, start, .. } = myself();
    format!("{boot_id}.{pid_ns}.{pid}.{start}.{}", Uuid::new_v4())
}

fn myself() -> &'static ProcessId {
    static MYSELF: OnceLock<ProcessId> = OnceLock::new();
    MYSELF.get_or_init(ProcessId::myself)
}

/// Returns whether a name is of an incomplete object whose writer has ended, as far as visible from here.
fn is_abandoned(name: &str) -> bool {
    let mut parts = name.split('.');
    let mut next = || parts.next().unwrap_or_default();
    let (boot_id, pid_ns) = (next().to_owned(), next().to_owned());
    let (Ok(pid), Ok(start)) = (next().parse(), next().parse()) else { return false };
    let writer = ProcessId { host: String::new(), boot_id, pid_ns, pid, start };
    writer.is_visible() && writer.life() == Life::Gone
}

/// Lists the objects below a directory.
fn collect(directory: &Path, key: &str, objects: &mut Vec<Object>) -> io::Result<()> {
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name();
        let Some(name) = name.to_str() else { continue }; // not a key of ours
        let key = format!("{key}{name}");
        let kind = entry.file_type()?;
        if kind.is_dir() && key != UPLOADS {
            collect(&entry.path(), &format!("{key}/"), objects)?;
        } else if kind.is_file() {
            match entry.metadata() {
                Ok(found) => objects.push(Object { key, size: found.len(), tag: Some(tag(&found)) }),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(())
}

/// Returns a text that changes whenever a file is stored again.
fn tag(found: &fs::Metadata) -> String {
    format!("{}-{}.{:09}", found.ino(), found.mtime(), found.mtime_nsec())
}

/// Reads a range and passes it on.
fn read(file: &mut File, range: Option<Range<u64>>, sink: &mut Sink<'_>) -> Result<(), Fault> {
    let Range { start, end } = range.unwrap_or(0..u64::MAX);
    let mut block = vec![0; BLOCK];
    let mut at = start;
    while at < end {
        let most = usize::try_from(end - at).unwrap_or(BLOCK).min(BLOCK);
        match file.read_at(&mut block[..most], at) {
            Ok(0) => break,
            Ok(length) => {
                sink(&block[..length]).map_err(Fault::Sink)?;
                at += length as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Removes files of uploads that nobody continues: `is_ours` tells which names are of uploads, and `is_abandoned`
/// which of these are useless at any age.
pub(super) fn remove_forgotten(
    directory: &Path,
    is_ours: impl Fn(&str) -> bool,
    is_abandoned: impl Fn(&str) -> bool,
) {
    for left in fs::read_dir(directory).into_iter().flatten().flatten() {
        let is_old = || {
            let age = SystemTime::now().duration_since(left.metadata().ok()?.modified().ok()?).ok()?;
            Some(age > FORGOTTEN)
        };
        let name = left.file_name();
        let Some(name) = name.to_str().filter(|name| is_ours(name)) else { continue };
        if is_abandoned(name) || is_old() == Some(true) {
            let _ = fs::remove_file(left.path()); // a file that stays does no harm
        }
    }
}

/// Returns where a part begins in the file of an upload.
pub(super) fn start(upload: &Upload, number: u32) -> u64 {
    u64::from(number.saturating_sub(1)).saturating_mul(upload.part_size)
}

/// Returns whether the file of an upload has these bytes in a part; true if the file does not exist, because
/// the upload may have ended.
pub(super) fn keeps_part(path: &Path, upload: &Upload, number: u32, bytes: &[u8]) -> bool {
    let Ok(mut file) = open_file(path) else { return true };
    let start = start(upload, number);
    let mut left = bytes;
    let compared = read(&mut file, Some(start..start.saturating_add(bytes.len() as u64)), &mut |piece| {
        left = left.strip_prefix(piece).ok_or(io::ErrorKind::InvalidData)?;
        Ok(())
    });
    compared.is_ok() && left.is_empty()
}

/// Removes bytes behind the last part: the uploaded file may have been longer when the upload began.
pub(super) fn truncate(file: &File, size: u64) -> io::Result<()> {
    if file.metadata()?.len() > size { file.set_len(size) } else { Ok(()) }
}

/// Has the kernel begin to write a range to the disk while others are read and hashed, so that [`Store::sync`] waits for
/// less: `POSIX_FADV_DONTNEED` starts that.
fn write_back(file: &File, start: u64, length: usize) {
    if let (Ok(start), Ok(length)) = (start.try_into(), length.try_into()) {
        let _ = posix_fadvise(file, start, length, PosixFadviseAdvice::POSIX_FADV_DONTNEED); // without it, all takes longer
    }
}

impl Store for Directory {
    fn prepare(&self) -> Result<(), Error> {
        let failed = |error| Error::io("use the store", &self.root, error);
        match fs::metadata(&self.root) {
            Ok(found) if !found.is_dir() => {
                return Err(Error::new(Exit::System, format!("'{}' is no directory", self.root.display())));
            }
            Ok(_) => {}
            Err(_) => fs::create_dir_all(&self.root).map_err(failed)?,
        }
        remove_forgotten(&self.root.join(UPLOADS), |_| true, is_abandoned);
        Ok(())
    }

    fn put(&self, key: &str, bytes: &[u8], _: &Digest) -> Result<Stored, Fault> {
        Ok(self.name(&self.incomplete(bytes)?, key)?)
    }

    fn create(&self, key: &str, bytes: &[u8], _: &Digest) -> Result<Stored, Fault> {
        let incomplete = self.incomplete(bytes)?;
        let path = self.path(key);
        let named = self.make_above(&path).and_then(|()| rename_new(&incomplete, &path));
        named.inspect_err(|_| drop(fs::remove_file(&incomplete)))?;
        Ok(Stored::default())
    }

    fn get(&self, key: &str, range: Option<Range<u64>>, sink: &mut Sink<'_>) -> Result<(), Fault> {
        read(&mut open_file(&self.path(key))?, range, sink)
    }

    fn head(&self, key: &str) -> Result<Option<Object>, Fault> {
        match fs::symlink_metadata(self.path(key)) {
            Ok(found) if found.is_file() => {
                Ok(Some(Object { key: key.to_owned(), size: found.len(), tag: Some(tag(&found)) }))
            }
            Ok(_) => Ok(None),
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                Ok(None)
            }
            Err(error) => Err(error.into()),
        }
    }

    fn list(&self, prefix: &str, each: &mut dyn FnMut(Object)) -> Result<(), Fault> {
        let mut objects = Vec::new();
        collect(&self.path(prefix), prefix, &mut objects)?;
        objects.sort_unstable_by(|one, other| one.key.cmp(&other.key));
        objects.into_iter().for_each(each);
        Ok(())
    }

    fn list_directories(&self, prefix: &str) -> Result<Vec<String>, Fault> {
        let entries = match fs::read_dir(self.path(prefix)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let mut names = Vec::new();
        for entry in entries {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                names.extend(entry.file_name().into_string());
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    fn delete(&self, key: &str) -> Result<(), Fault> {
        match fs::remove_file(self.path(key)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            removed => Ok(removed?),
        }
    }

    fn begin(&self, key: &str, part_size: u64) -> Result<Upload, Fault> {
        let id = Uuid::new_v4().to_string();
        self.begun().insert(id.clone());
        Ok(Upload { key: key.to_owned(), id, part_size })
    }

    fn put_part(&self, upload: &Upload, number: u32, bytes: &[u8], sha256: &Digest) -> Result<Part, Fault> {
        let (file, start) = (self.open_upload(upload)?, start(upload, number));
        file.write_all_at(bytes, start)?;
        write_back(&file, start, bytes.len());
        Ok(Part { number, tag: String::new(), sha256: *sha256 })
    }

    fn is_durable(&self) -> bool {
        false
    }

    fn keeps_part(&self, upload: &Upload, number: u32, bytes: &[u8]) -> bool {
        keeps_part(&self.upload(&upload.id), upload, number, bytes)
    }

    fn complete(&self, upload: &Upload, _: &[Part], size: u64) -> Result<Stored, Fault> {
        let path = self.upload(&upload.id);
        truncate(&self.open_upload(upload)?, size)?;
        Ok(self.name(&path, &upload.key)?)
    }

    fn abort(&self, upload: &Upload) -> Result<(), Fault> {
        self.begun().remove(&upload.id);
        match fs::remove_file(self.upload(&upload.id)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            removed => Ok(removed?),
        }
    }

    fn sync(&self) -> Result<(), Fault> {
        Ok(sync_file_system(&self.root)?)
    }

    fn checks(&self) -> Checks {
        Checks::Nothing
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn what_a_killed_process_was_writing_is_removed_and_what_a_living_one_writes_stays() {
        let dir = tempfile::tempdir().unwrap();
        let store = Directory::new(dir.path());
        let own = store.incomplete(b"x").unwrap();
        let mut ended = Command::new("true").spawn().unwrap();
        let pid = ended.id();
        ended.wait().unwrap();
        let name = name_of_incomplete().replace(&format!(".{}.", std::process::id()), &format!(".{pid}."));
        let abandoned = store.upload(&name);
        let elsewhere = store.upload("d9b2d63d-a233-4123-847a-7090d7fd5d0c.4026531836.1.1.x");
        let upload = store.upload("67e55044-10b1-426f-9247-bb680e5fe0c8");
        for path in [&abandoned, &elsewhere, &upload] {
            fs::write(path, "x").unwrap();
        }
        store.prepare().unwrap();
        assert!(!abandoned.exists());
        assert!([own, elsewhere, upload].iter().all(|path| path.exists()));
    }

    #[test]
    fn an_upload_that_has_begun_leaves_nothing_before_its_first_part() {
        let dir = tempfile::tempdir().unwrap();
        let store = Directory::new(dir.path());
        let upload = store.begin("key", 10).unwrap();
        assert!(!dir.path().join(UPLOADS).exists());
        let part = store.put_part(&upload, 1, b"x", &Digest::of(b"x")).unwrap();
        assert!(store.upload(&upload.id).exists());
        store.complete(&upload, &[part], 1).unwrap();
        assert_eq!(fs::read(dir.path().join("key")).unwrap(), b"x");
    }
}
