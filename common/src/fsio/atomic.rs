//! Replaces a small file whole: a reader sees the old version or the new one, never a mixture.

use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};
use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// What a replacement survives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// The death of any process; for what is written again within a second. The old version is
    /// exchanged and removed, since ext4 writes to the disk what is renamed over another file.
    Moment,
    /// The death of any process; for heartbeats and what can be derived again.
    Process,
    /// A power cut too: the file and its directory are synced.
    Power,
}

/// Replaces `target` by `bytes`. Only the holder of the run may call it: the temporary name
/// (`.NAME.tmp` beside the target) is fixed, so that a crash leaves at most one behind.
///
/// After a failure, a full disk for example, the old version stands.
pub fn replace(target: &Path, bytes: &[u8], durability: Durability) -> io::Result<()> {
    let scratch = scratch_name(target)?;
    let written = write_whole(&scratch, bytes, durability).and_then(|()| {
        if durability == Durability::Moment && exchange(&scratch, target).is_ok() {
            fs::remove_file(&scratch)
        } else {
            fs::rename(&scratch, target)
        }
    });
    if let Err(error) = written {
        let _ = fs::remove_file(&scratch); // best effort: the next replacement overwrites it
        return Err(error);
    }
    match durability {
        Durability::Moment | Durability::Process => Ok(()),
        Durability::Power => sync_parent(target),
    }
}

/// Replaces `target` by what `fill` writes, which may be more than fits into memory. It survives the
/// death of any process; after a failure the old version stands.
pub fn replace_by<E: From<io::Error>>(
    target: &Path,
    fill: impl FnOnce(&mut File) -> Result<(), E>,
) -> Result<(), E> {
    let scratch = scratch_name(target)?;
    let written = File::create(&scratch)
        .map_err(E::from)
        .and_then(|mut file| fill(&mut file))
        .and_then(|()| Ok(fs::rename(&scratch, target)?));
    if written.is_err() {
        let _ = fs::remove_file(&scratch); // best effort: the next replacement overwrites it
    }
    written
}

/// Keeps the space that these bytes take for a later [`replace_reserved`], so that a disk which fills
/// meanwhile cannot refuse it.
pub fn reserve(target: &Path, bytes: &[u8]) -> io::Result<()> {
    fs::write(scratch_name(target)?, bytes)
}

/// Replaces `target` durably, in the space that was reserved for it where that is still there.
pub fn replace_reserved(target: &Path, bytes: &[u8]) -> io::Result<()> {
    let scratch = scratch_name(target)?;
    let mut file = match OpenOptions::new().write(true).open(&scratch) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return replace(target, bytes, Durability::Power);
        }
        opened => opened?,
    };
    file.write_all(bytes)?;
    file.set_len(bytes.len() as u64)?;
    file.sync_all()?;
    fs::rename(&scratch, target)?;
    sync_parent(target)
}

/// Writes a new file, synced when it must survive a power cut.
pub fn write_whole(path: &Path, bytes: &[u8], durability: Durability) -> io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(bytes)?;
    match durability {
        Durability::Moment | Durability::Process => Ok(()),
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

/// Gives each of two files the other's name, where the file system can.
fn exchange(one: &Path, other: &Path) -> nix::Result<()> {
    renameat2(AT_FDCWD, one, AT_FDCWD, other, RenameFlags::RENAME_EXCHANGE)
}

/// Syncs the file system that holds a directory: all that was written to it survives a power cut.
/// For many files this is one wait in place of one for each.
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

    #[test]
    fn each_way_replaces_the_whole_and_leaves_nothing_else() {
        let dir = std::env::temp_dir().join(format!("atomic-{}", std::process::id()));
        for durability in [Durability::Moment, Durability::Process, Durability::Power] {
            fs::create_dir(&dir).unwrap();
            let target = dir.join("file");
            for text in ["first", "the second", "3"] {
                replace(&target, text.as_bytes(), durability).unwrap();
                assert_eq!(fs::read_to_string(&target).unwrap(), text, "{durability:?}");
            }
            assert_eq!(fs::read_dir(&dir).unwrap().count(), 1, "{durability:?}");
            fs::remove_dir_all(&dir).unwrap();
        }
    }
}
