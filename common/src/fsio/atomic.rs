//! Replaces a small file as a whole: a reader sees the old version or the new one, never a mixture. The new
//! version keeps the mode of the old one.

use super::write::{self, create, create_with_mode, open_existing};
use crate::error::Unfit;
use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// What a replacement survives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// The death of any process; for heartbeats and data that can be derived again.
    Process,
    /// A power cut too: the file and its directory are synced.
    Power,
}

/// Replaces `target` by `bytes`. Only the holder of the run may call it: the temporary name (`.NAME.tmp`
/// beside the target) is fixed, so that a crash leaves at most one behind.
///
/// After a failure, such as a full disk, the old version stays.
pub fn replace(target: &Path, bytes: &[u8], durability: Durability) -> io::Result<()> {
    let scratch = scratch_name(target)?;
    replace_by_scratch(target, &scratch, create(&scratch), bytes, durability)
}

/// Replaces `target` like [`replace`], with contents that will soon be replaced again. The old version stays
/// under the temporary name, until [`reserve`] removes it: ext4 writes a file to the disk at once when it is
/// renamed over another, and some disks are slow to remove files.
pub(crate) fn exchange(target: &Path, bytes: &[u8]) -> io::Result<()> {
    let scratch = scratch_name(target)?;
    let write = |mut file: File| keep_mode(&file, target).and_then(|()| file.write_all(bytes));
    let written = create(&scratch).and_then(write).and_then(|()| {
        let exchanged = renameat2(AT_FDCWD, &scratch, AT_FDCWD, target, RenameFlags::RENAME_EXCHANGE);
        exchanged.or_else(|_| fs::rename(&scratch, target)) // if the file system cannot exchange names, or there is no old version
    });
    if written.is_err() {
        let _ = fs::remove_file(&scratch); // best effort: the next replacement recreates the file
    }
    written
}

/// Replaces `target` with the output of `fill`, which may be larger than memory. The result survives the
/// death of any process; after a failure the old version stays.
pub fn replace_by<E: From<io::Error>>(
    target: &Path,
    fill: impl FnOnce(&mut File) -> Result<(), E>,
) -> Result<(), E> {
    let scratch = scratch_name(target)?;
    let written = create(&scratch)
        .and_then(|file| keep_mode(&file, target).map(|()| file))
        .map_err(E::from)
        .and_then(|mut file| fill(&mut file))
        .and_then(|()| Ok(fs::rename(&scratch, target)?));
    if written.is_err() {
        let _ = fs::remove_file(&scratch); // best effort: the next replacement overwrites the file
    }
    written
}

/// Creates the temporary file for a later [`replace_reserved`], and reserves space for these bytes, so that
/// the replacement succeeds on a full disk.
pub fn reserve(target: &Path, bytes: &[u8]) -> io::Result<()> {
    create(&scratch_name(target)?)?.write_all(bytes)
}

/// Replaces `target` like [`replace`], in the reserved space if it still exists.
pub(crate) fn replace_reserved(target: &Path, bytes: &[u8], durability: Durability) -> io::Result<()> {
    let scratch = scratch_name(target)?;
    match open_existing(&scratch) {
        Err(error) if error.kind() == io::ErrorKind::NotFound || Unfit::is(&error) => {
            replace(target, bytes, durability)
        }
        opened => replace_by_scratch(target, &scratch, opened, bytes, durability),
    }
}

/// Refuses a path at which these functions cannot put a file; a missing file is accepted.
pub(crate) fn check_replace(target: &Path) -> io::Result<()> {
    write::check_replace(target)?;
    match fs::symlink_metadata(scratch_name(target)?) {
        Ok(scratch) if scratch.is_dir() => Err(Unfit::new("its temporary file is a directory").into()),
        _ => Ok(()),
    }
}

fn replace_by_scratch(
    target: &Path,
    scratch: &Path,
    file: io::Result<File>,
    bytes: &[u8],
    durability: Durability,
) -> io::Result<()> {
    let written = file.and_then(|mut file| {
        keep_mode(&file, target)?;
        file.write_all(bytes)?;
        if file.metadata()?.len() > bytes.len() as u64 {
            file.set_len(bytes.len() as u64)?; // more space was reserved
        }
        if durability == Durability::Power {
            file.sync_all()?;
        }
        fs::rename(scratch, target)
    });
    if let Err(error) = written {
        let _ = fs::remove_file(scratch); // best effort: the next replacement recreates the file
        return Err(error);
    }
    match durability {
        Durability::Process => Ok(()),
        Durability::Power => sync_parent(target),
    }
}

/// Gives a file the mode of the file it replaces, if there is one.
pub(crate) fn keep_mode(file: &File, target: &Path) -> io::Result<()> {
    match fs::symlink_metadata(target) {
        Ok(before) if before.is_file() && before.mode() != file.metadata()?.mode() => {
            file.set_permissions(before.permissions())
        }
        _ => Ok(()),
    }
}

/// Writes a new file, and syncs it if it must survive a power cut.
pub fn write_whole(path: &Path, bytes: &[u8], durability: Durability) -> io::Result<()> {
    write_with_mode(path, bytes, 0o666, durability)
}

/// Writes a new file like [`write_whole`], with a mode, restricted by the umask.
pub fn write_with_mode(path: &Path, bytes: &[u8], mode: u32, durability: Durability) -> io::Result<()> {
    let mut file = create_with_mode(path, mode)?;
    file.write_all(bytes)?;
    match durability {
        Durability::Process => Ok(()),
        Durability::Power => file.sync_all(),
    }
}

/// Syncs the directory that holds `path`, so that a new name in it survives a power cut.
pub fn sync_parent(path: &Path) -> io::Result<()> {
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    File::open(parent)?.sync_all()
}

/// Syncs the file system that holds a directory: everything written to it survives a power cut. For many
/// files this is a single wait instead of one for each.
pub fn sync_file_system(directory: &Path) -> io::Result<()> {
    Ok(rustix::fs::syncfs(File::open(directory)?)?)
}

fn scratch_name(target: &Path) -> io::Result<PathBuf> {
    let name = target.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    let mut scratch = OsString::from(".");
    scratch.push(name);
    scratch.push(".tmp");
    Ok(target.with_file_name(scratch))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt;
    use tempfile::TempDir;

    /// A way to replace a file by a text, and whether it leaves the old version behind.
    type Way = (fn(&Path, &[u8]) -> io::Result<()>, bool);

    const WAYS: [Way; 4] = [
        (|target, text| replace(target, text, Durability::Process), false),
        (|target, text| replace(target, text, Durability::Power), false),
        (exchange, true),
        (reserved, false),
    ];

    fn reserved(target: &Path, text: &[u8]) -> io::Result<()> {
        reserve(target, &[0; 100])?;
        replace_reserved(target, text, Durability::Power)
    }

    #[test]
    fn each_way_replaces_the_whole_and_leaves_nothing_else() {
        for (number, (way, leaves_old)) in WAYS.into_iter().enumerate() {
            let dir = TempDir::new().unwrap();
            let target = dir.path().join("file");
            for text in ["first", "the second", "3"] {
                way(&target, text.as_bytes()).unwrap();
                assert_eq!(fs::read_to_string(&target).unwrap(), text, "{number}");
            }
            assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1 + usize::from(leaves_old), "{number}");
        }
    }

    #[test]
    fn each_way_keeps_the_mode() {
        let dir = TempDir::new().unwrap();
        let target = dir.path().join("file");
        for mode in [0o600, 0o640, 0o666, 0o400] {
            for (way, _) in WAYS {
                way(&target, b"one").unwrap();
                fs::set_permissions(&target, Permissions::from_mode(mode)).unwrap();
                way(&target, b"other").unwrap();
                assert_eq!(fs::metadata(&target).unwrap().mode() & 0o7777, mode);
            }
            replace_by(&target, |file| file.write_all(b"third")).unwrap();
            assert_eq!(fs::metadata(&target).unwrap().mode() & 0o7777, mode);
            fs::remove_file(&target).unwrap();
        }
    }

    #[test]
    fn who_reads_an_old_version_reads_it_to_the_end() {
        let dir = TempDir::new().unwrap();
        let target = dir.path().join("file");
        for (first, _) in WAYS {
            for (then, _) in WAYS {
                first(&target, b"whole").unwrap();
                let old = File::open(&target).unwrap();
                for text in ["another", "more"] {
                    first(&target, text.as_bytes()).unwrap();
                    then(&target, text.as_bytes()).unwrap();
                }
                assert_eq!(io::read_to_string(old).unwrap(), "whole");
            }
        }
    }
}
