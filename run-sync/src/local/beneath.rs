//! Opens items below an open directory, and follows no link in any part of the path.

use rustix::fs::{Mode, OFlags, ResolveFlags, openat, openat2};
use rustix::io::{Errno, retry_on_intr};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Component, Path};

const DIRECTORY: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC).union(OFlags::NOFOLLOW);

/// Opens an item below a directory; the path is not empty.
pub(crate) fn open_beneath(directory: impl AsFd, path: &Path, flags: OFlags) -> io::Result<OwnedFd> {
    let flags = flags | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let beneath = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    match retry_on_intr(|| openat2(&directory, path, flags, Mode::empty(), beneath)) {
        Err(Errno::NOSYS | Errno::PERM | Errno::AGAIN) => stepwise(directory, path, flags), // old kernels, sandboxes
        opened => Ok(opened?),
    }
}

fn stepwise(directory: impl AsFd, path: &Path, flags: OFlags) -> io::Result<OwnedFd> {
    let mut above: Option<OwnedFd> = None;
    let mut names = path.components().peekable();
    while let Some(name) = names.next() {
        let Component::Normal(name) = name else { return Err(io::ErrorKind::InvalidInput.into()) };
        let from = above.as_ref().map_or(directory.as_fd(), AsFd::as_fd);
        let is_last = names.peek().is_none();
        let wanted = if is_last { flags } else { DIRECTORY };
        let opened = retry_on_intr(|| openat(from, name, wanted, Mode::empty()))?;
        if is_last {
            return Ok(opened);
        }
        above = Some(opened);
    }
    Err(io::ErrorKind::InvalidInput.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    type Way = fn(&OwnedFd, &Path) -> io::Result<OwnedFd>;

    #[test]
    fn links_and_what_leads_out_are_not_opened() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        fs::create_dir_all(root.join("a/b")).unwrap();
        fs::write(root.join("a/b/file"), "x").unwrap();
        symlink("b", root.join("a/link")).unwrap();
        symlink("file", root.join("a/b/other")).unwrap();
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let open = openat(rustix::fs::CWD, root, flags, Mode::empty()).unwrap();
        let ways: [Way; 2] = [
            |open, path| open_beneath(open, path, OFlags::RDONLY),
            |open, path| stepwise(open, path, OFlags::RDONLY | OFlags::NOFOLLOW),
        ];
        for way in ways {
            assert!(way(&open, Path::new("a/b/file")).is_ok() && way(&open, Path::new("a")).is_ok());
            for path in ["a/link/file", "a/b/other", "a/../../x", "../x", "/etc/hostname", "", "a/none"] {
                assert!(way(&open, Path::new(path)).is_err(), "{path}");
            }
        }
    }
}
