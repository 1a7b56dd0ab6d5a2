//! Renames files and directories without ever replacing an existing one. Some file systems, such as NFS, sshfs
//! and other FUSE file systems, cannot check this in a rename; there, other calls that create the new name
//! check it.

use rustix::fs::{
    AtFlags, CWD, FileType, Mode, OFlags, RenameFlags, linkat, openat, renameat, renameat_with, statat,
    unlinkat,
};
use rustix::io::Errno;
use std::io;
use std::os::fd::AsFd;
use std::path::Path;

/// Renames a file, a link or a directory. If the new name exists, returns [`io::ErrorKind::AlreadyExists`], and
/// changes nothing.
///
/// On file systems without this check, a file has both names for a moment, and a directory may replace an empty
/// directory that is created in that moment.
pub fn rename_new(from: &Path, to: &Path) -> io::Result<()> {
    rename_new_at(CWD, from, to)
}

/// Like [`rename_new`], for paths relative to a directory.
pub fn rename_new_at(directory: impl AsFd, from: &Path, to: &Path) -> io::Result<()> {
    match renameat_with(&directory, from, &directory, to, RenameFlags::NOREPLACE) {
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
            Ok(rename_unchecked(&directory, from, to, &[link, claim])?)
        }
        renamed => Ok(renamed?),
    }
}

/// A way to rename anything but a directory to a new name.
type Way = fn(&dyn AsFd, &Path, &Path) -> Result<(), Errno>;

/// Renames on a file system that does not check the new name, in the first way that this file system supports.
fn rename_unchecked(directory: &dyn AsFd, from: &Path, to: &Path, ways: &[Way]) -> Result<(), Errno> {
    let found = statat(directory, from, AtFlags::SYMLINK_NOFOLLOW)?;
    if FileType::from_raw_mode(found.st_mode) == FileType::Directory {
        if is_there(directory, to) {
            return Err(Errno::EXIST);
        }
        // A rename of a directory can only replace an empty directory.
        return renameat(directory, from, directory, to).map_err(|error| {
            if error != Errno::NOENT && is_there(directory, to) { Errno::EXIST } else { error }
        });
    }
    let mut last = Errno::NOSYS;
    for way in ways {
        match way(directory, from, to) {
            Err(error @ (Errno::PERM | Errno::NOSYS | Errno::OPNOTSUPP | Errno::MLINK)) => last = error,
            done => return done,
        }
    }
    Err(last)
}

/// Creates the new name as a hard link, then removes the old name.
fn link(directory: &dyn AsFd, from: &Path, to: &Path) -> Result<(), Errno> {
    match linkat(directory, from, directory, to, AtFlags::empty()) {
        // On a network file system, the reply may have been lost and the call repeated.
        Err(Errno::EXIST) if are_same(directory, from, to) => {}
        Err(_) if is_there(directory, to) => return Err(Errno::EXIST), // sshfs calls this EPERM
        linked => linked?,
    }
    unlinkat(directory, from, AtFlags::empty())
}

fn is_there(directory: &dyn AsFd, path: &Path) -> bool {
    statat(directory, path, AtFlags::SYMLINK_NOFOLLOW).is_ok()
}

fn are_same(directory: &dyn AsFd, one: &Path, other: &Path) -> bool {
    let look = |path| statat(directory, path, AtFlags::SYMLINK_NOFOLLOW).ok();
    look(one).zip(look(other)).is_some_and(|(one, other)| {
        (one.st_dev, one.st_ino) == (other.st_dev, other.st_ino) && one.st_nlink > 1
    })
}

/// Creates an empty file of the new name, then replaces it; for file systems without hard links.
fn claim(directory: &dyn AsFd, from: &Path, to: &Path) -> Result<(), Errno> {
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
    match openat(directory, to, flags, Mode::from_raw_mode(0o600)) {
        Err(_) if is_there(directory, to) => return Err(Errno::EXIST),
        created => drop(created?),
    }
    renameat(directory, from, directory, to).inspect_err(|_| {
        if statat(directory, to, AtFlags::SYMLINK_NOFOLLOW).is_ok_and(|found| found.st_size == 0) {
            let _ = unlinkat(directory, to, AtFlags::empty()); // remove the empty file
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::{MetadataExt, symlink};

    /// Each way alone, and the way that the file system supports.
    const WAYS: [fn(&Path, &Path) -> io::Result<()>; 3] = [
        rename_new,
        |from, to| Ok(rename_unchecked(&CWD, from, to, &[link])?),
        |from, to| Ok(rename_unchecked(&CWD, from, to, &[|_, _, _| Err(Errno::PERM), claim])?),
    ];

    type Kind = (&'static str, fn(&Path));

    /// Kinds of existing files, each with contents that must not be lost.
    const KINDS: [Kind; 4] = [
        ("file", |path| fs::write(path, "kept").unwrap()),
        ("link", |path| symlink("kept", path).unwrap()),
        ("directory", |path| {
            fs::create_dir(path).unwrap();
            fs::write(path.join("kept"), "kept").unwrap();
        }),
        ("empty", |path| fs::create_dir(path).unwrap()),
    ];

    fn what(path: &Path) -> String {
        let Ok(found) = fs::symlink_metadata(path) else { return "nothing".to_owned() };
        let inside = if found.is_symlink() {
            fs::read_link(path).unwrap().display().to_string()
        } else if found.is_dir() {
            fs::read_dir(path).unwrap().count().to_string()
        } else {
            fs::read_to_string(path).unwrap()
        };
        format!("{:?} {inside} {} {}", found.file_type(), found.ino(), found.nlink())
    }

    #[test]
    fn what_has_the_name_stays_and_so_does_what_was_to_have_it() {
        for (number, way) in WAYS.into_iter().enumerate() {
            for (one, make_one) in KINDS {
                for (other, make_other) in KINDS {
                    let dir = tempfile::tempdir().unwrap();
                    let (from, to) = (dir.path().join("from"), dir.path().join("to"));
                    make_one(&from);
                    make_other(&to);
                    let before = (what(&from), what(&to));
                    let error = way(&from, &to).unwrap_err();
                    assert_eq!(error.kind(), io::ErrorKind::AlreadyExists, "{number}: {one} to {other}");
                    assert_eq!((what(&from), what(&to)), before, "{number}: {one} to {other}");
                }
            }
        }
    }

    #[test]
    fn what_gets_a_free_name_is_what_it_was() {
        for (number, way) in WAYS.into_iter().enumerate() {
            for (kind, make) in KINDS {
                let dir = tempfile::tempdir().unwrap();
                let (from, to) = (dir.path().join("from"), dir.path().join("to"));
                make(&from);
                let before = what(&from);
                way(&from, &to).unwrap();
                assert_eq!((what(&from), what(&to)), ("nothing".to_owned(), before), "{number}: {kind}");
                assert_eq!(way(&from, &to).unwrap_err().kind(), io::ErrorKind::NotFound);
                assert!(way(&to, &dir.path().join("none/to")).is_err(), "{number}: {kind}");
                assert_ne!(what(&to), "nothing", "{number}: {kind}");
            }
        }
    }

    #[test]
    fn what_gets_its_name_in_the_last_moment_stays() {
        for way in [link as Way, claim] {
            let dir = tempfile::tempdir().unwrap();
            let (from, to) = (dir.path().join("from"), dir.path().join("to"));
            fs::write(&from, "from").unwrap();
            fs::write(&to, "mine").unwrap();
            assert_eq!(way(&CWD, &from, &to), Err(Errno::EXIST));
            assert_eq!(
                (fs::read_to_string(&from).unwrap(), fs::read_to_string(&to).unwrap()),
                ("from".to_owned(), "mine".to_owned())
            );
        }
    }

    #[test]
    fn a_link_whose_answer_was_lost_is_no_failure() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        fs::write(&from, "x").unwrap();
        fs::hard_link(&from, &to).unwrap();
        link(&CWD, &from, &to).unwrap();
        assert_eq!((what(&from), fs::metadata(&to).unwrap().nlink()), ("nothing".to_owned(), 1));
    }
}
