//! A terminal for the command (`--pty`), which passes its bytes on unchanged.

use nix::fcntl::OFlag;
use nix::pty::{grantpt, posix_openpt, ptsname_r, unlockpt};
use nix::sys::termios::{LocalFlags, OutputFlags, SetArg, tcgetattr, tcsetattr};
use rustix::termios::{Winsize, tcgetwinsize, tcsetwinsize};
use std::fs::OpenOptions;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;

/// Both sides of a terminal.
#[derive(Debug)]
pub(super) struct Terminal {
    /// The master side.
    pub(super) ours: OwnedFd,
    /// The command's side.
    pub(super) theirs: OwnedFd,
}

impl Terminal {
    /// Opens a terminal of the caller's size, or else of 80 × 24. It does not echo, and keeps newlines as they
    /// are: the log gets exactly the output of the program.
    pub(super) fn open() -> io::Result<Self> {
        let master = posix_openpt(OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC)?;
        grantpt(&master)?;
        unlockpt(&master)?;
        let path = ptsname_r(&master)?;
        let theirs =
            OpenOptions::new().read(true).write(true).custom_flags(nix::libc::O_NOCTTY).open(path)?;
        let mut settings = tcgetattr(&theirs)?;
        settings.output_flags.remove(OutputFlags::OPOST);
        settings.local_flags.remove(LocalFlags::ECHO);
        tcsetattr(&theirs, SetArg::TCSANOW, &settings)?;
        let ours = master.as_fd().try_clone_to_owned()?;
        if !copy_size(&ours) {
            tcsetwinsize(&ours, Winsize { ws_row: 24, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 })?;
        }
        Ok(Self { ours, theirs: theirs.into() })
    }
}

/// Sets the size of a terminal to that of the caller's; `false` if the caller has none.
pub(super) fn copy_size(ours: &OwnedFd) -> bool {
    let size = tcgetwinsize(io::stderr()).or_else(|_| tcgetwinsize(io::stdout()));
    size.is_ok_and(|size| tcsetwinsize(ours, size).is_ok())
}
