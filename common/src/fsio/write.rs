//! Opens the files of a record for writing. Other users may have put a link, a pipe or a device at the path
//! of a file: such a path is refused, and its target is not touched.

use super::read::open_file;
use crate::error::Unfit;
use nix::libc::{ELOOP, ENXIO, O_NOCTTY, O_NOFOLLOW, O_NONBLOCK};
use std::fs::{self, File, Metadata, OpenOptions};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

/// Opens a file for appending and for reading its end; creates a missing file.
pub fn open_append(path: &Path) -> io::Result<File> {
    open(path, OpenOptions::new().read(true).append(true).create(true))
}

/// Opens a file for reading and writing, such as a lock; creates a missing file.
pub(crate) fn open_update(path: &Path) -> io::Result<File> {
    open(path, OpenOptions::new().read(true).write(true).create(true).truncate(false))
}

/// Opens an existing file for overwriting.
pub fn open_existing(path: &Path) -> io::Result<File> {
    open(path, OpenOptions::new().write(true))
}

/// Creates a new file. Removes an existing file of this name first, because other processes may still read
/// it; the target of a link stays.
pub fn create(path: &Path) -> io::Result<File> {
    create_with_mode(path, 0o666)
}

/// Creates a new file like [`create`], with a mode, restricted by the umask.
pub fn create_with_mode(path: &Path, mode: u32) -> io::Result<File> {
    let create = || OpenOptions::new().write(true).create_new(true).mode(mode).open(path);
    match create() {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            fs::remove_file(path)?;
            create()
        }
        created => created,
    }
}

/// Copies a regular file with its mode, and shares its blocks if the file system can; refuses other kinds of
/// files.
pub fn copy(from: &Path, to: &Path) -> io::Result<()> {
    let mut source = open_file(from)?;
    let mut target = create(to)?;
    io::copy(&mut source, &mut target)?; // by copy_file_range(2)
    target.set_permissions(source.metadata()?.permissions())
}

/// Opens a sink that is not a file of a record, such as `/dev/null`.
pub fn open_null() -> io::Result<File> {
    OpenOptions::new().read(true).write(true).open("/dev/null")
}

/// Creates a directory of a record if it is missing. Refuses a link of that name.
pub fn make_dir(path: &Path) -> io::Result<()> {
    match fs::create_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => check_dir(path),
        made => made,
    }
}

/// Refuses anything but a directory, such as a link to one.
pub fn check_dir(path: &Path) -> io::Result<()> {
    let found = fs::symlink_metadata(path)?;
    if found.is_dir() { Ok(()) } else { Err(Unfit::new(kind(&found)).into()) }
}

/// Refuses a path that these functions cannot write in place; a missing file is accepted.
pub(crate) fn check_update(path: &Path) -> io::Result<()> {
    check(path, Use::InPlace)
}

/// Refuses a path that cannot be replaced by a file; a missing file is accepted.
pub(super) fn check_replace(path: &Path) -> io::Result<()> {
    check(path, Use::Replaced)
}

/// The kind of change to a file.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Use {
    /// Change its bytes, under all of its names.
    InPlace,
    /// Give its name to another file.
    Replaced,
}

fn check(path: &Path, used: Use) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Ok(found) => fit(&found, used),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

fn open(path: &Path, options: &mut OpenOptions) -> io::Result<File> {
    let opened = options.custom_flags(O_NOFOLLOW | O_NONBLOCK | O_NOCTTY).open(path);
    let file = opened.map_err(|error| match error.raw_os_error() {
        // The file at this path may have changed since: then the kernel's error stands.
        Some(ELOOP | ENXIO) => check(path, Use::InPlace).err().unwrap_or(error),
        _ if error.kind() == io::ErrorKind::IsADirectory => Unfit::new("it is a directory").into(),
        _ => error,
    })?;
    fit(&file.metadata()?, Use::InPlace)?;
    Ok(file)
}

fn fit(found: &Metadata, used: Use) -> io::Result<()> {
    if !found.is_file() {
        Err(Unfit::new(kind(found)).into())
    } else if used == Use::InPlace && found.nlink() > 1 {
        Err(Unfit::new("it is a hard link, and its other names would change too").into())
    } else {
        Ok(())
    }
}

/// Describes a path that is not a regular file.
pub(super) fn kind(found: &Metadata) -> &'static str {
    match found.file_type() {
        kind if kind.is_symlink() => "it is a symbolic link",
        kind if kind.is_dir() => "it is a directory",
        kind if kind.is_fifo() => "it is a pipe",
        kind if kind.is_socket() => "it is a socket",
        kind if kind.is_file() => "it is a file",
        _ => "it is a device",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::stat::Mode;
    use nix::unistd::mkfifo;
    use std::os::unix::fs::symlink;
    use tempfile::TempDir;

    type Put = fn(&Path, &Path);

    #[test]
    fn only_a_file_of_one_name_is_opened_for_writing() {
        let dir = TempDir::new().unwrap();
        let [victim, name] = ["victim", "name"].map(|file| dir.path().join(file));
        fs::write(&victim, "theirs").unwrap();
        let puts: [(Put, &str); 5] = [
            (|victim, name| symlink(victim, name).unwrap(), "it is a symbolic link"),
            (|victim, name| symlink(victim.with_extension("none"), name).unwrap(), "it is a symbolic link"),
            (|victim, name| fs::hard_link(victim, name).unwrap(), "it is a hard link"),
            (|_, name| mkfifo(name, Mode::S_IRWXU).unwrap(), "it is a pipe"),
            (|_, name| fs::create_dir(name).unwrap(), "it is a directory"),
        ];
        for (put, why) in puts {
            put(&victim, &name);
            for way in [open_append, open_update, open_existing] {
                let error = way(&name).unwrap_err();
                assert!(error.to_string().starts_with(why), "{error}, not {why}");
                assert!(Unfit::is(&error));
            }
            let refused = check_update(&name).unwrap_err();
            assert!(refused.to_string().starts_with(why), "{refused}, not {why}");
            let left = if name.is_dir() { fs::remove_dir(&name) } else { create(&name).map(drop) };
            left.unwrap();
            assert_eq!(fs::read_to_string(&victim).unwrap(), "theirs", "{why}");
            let _ = fs::remove_file(&name);
        }
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        check_update(&name).unwrap();
        fs::hard_link(&victim, &name).unwrap();
        check_replace(&name).unwrap();
    }

    #[test]
    fn a_directory_of_a_record_is_one_itself() {
        let dir = TempDir::new().unwrap();
        let [real, link] = ["real", "link"].map(|name| dir.path().join(name));
        make_dir(&real).unwrap();
        make_dir(&real).unwrap();
        symlink(&real, &link).unwrap();
        assert!(Unfit::is(&make_dir(&link).unwrap_err()));
    }
}
