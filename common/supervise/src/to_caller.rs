//! Traffic between the caller and the command through the monitor: output in one direction, stdin for the
//! terminal in the other.

use super::combined::Stream;
use super::streams::set_nonblocking;
use super::tee::{PIPE, Source};
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::{dup2_stderr, pipe2};
use run_common::error::plain;
use run_common::message::warn;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::thread;

/// Output on its way from the supervisor to the caller. Without it, as with `--quiet`, the supervisor prints
/// its few messages directly on the caller's stderr.
#[derive(Debug)]
pub(super) struct ToCaller {
    stdout: Pipe,
    stderr: Pipe,
}

#[derive(Debug)]
struct Pipe {
    read: File,
    /// Non-blocking.
    write: File,
}

impl Pipe {
    /// Creates a pipe as large as the kernel allows this user.
    fn new() -> io::Result<Self> {
        let (read, write) = pipe2(OFlag::O_CLOEXEC)?;
        let _ = fcntl(&read, FcntlArg::F_SETPIPE_SZ(PIPE)); // the default 64 KiB are enough
        set_nonblocking(&write)?;
        Ok(Self { read: read.into(), write: write.into() })
    }
}

impl ToCaller {
    /// Creates a pipe for each stream.
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self { stdout: Pipe::new()?, stderr: Pipe::new()? })
    }

    /// Sets up the supervisor: passes on the streams of a command, and this process's own messages on stderr.
    pub(super) fn feed(self, sources: &mut [Source]) -> io::Result<()> {
        dup2_stderr(&self.stderr.write)?;
        for source in sources {
            let pipe = match source.stream {
                Stream::Stdout => &self.stdout,
                Stream::Stderr => &self.stderr,
            };
            source.onward = Some(pipe.write.try_clone()?);
        }
        Ok(())
    }

    /// Sets up the monitor: copies the supervisor's output to the caller. Returns a descriptor that becomes
    /// readable when the caller has all of it.
    pub(super) fn copy(self) -> io::Result<UnixStream> {
        let (copied, copying) = UnixStream::pair()?;
        let done = copying.try_clone()?;
        copy(self.stdout, io::stdout(), done);
        copy(self.stderr, io::stderr(), copying);
        Ok(copied)
    }
}

/// Copies a stream to the caller until its end, then closes `done`. If the caller's side is gone, closes the
/// pipe, which tells the supervisor that the reader is gone.
fn copy(pipe: Pipe, mut to: impl Write + Send + 'static, done: UnixStream) {
    let Pipe { mut read, write } = pipe;
    drop(write);
    let work = move || {
        let _done = done;
        let mut block = vec![0; 64 << 10];
        loop {
            match read.read(&mut block) {
                Ok(0) => return,
                Ok(count) => {
                    if let Err(error) = to.write_all(&block[..count]).and_then(|()| to.flush()) {
                        // A reader that has gone, such as head(1), wants no more.
                        if error.kind() != io::ErrorKind::BrokenPipe {
                            warn(&format!(
                                "cannot pass output on: {}; it goes only to the logs",
                                plain(&error)
                            ));
                        }
                        return;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return,
            }
        }
    };
    if let Err(error) = thread::Builder::new().name("copy".to_owned()).spawn(work) {
        warn(&format!("cannot start a thread: {}; output goes only to the logs", plain(&error)));
    }
}

/// Passes the caller's stdin to the command's terminal, and its end as Ctrl-D.
pub(super) fn feed_terminal(terminal: &OwnedFd) -> io::Result<()> {
    let mut terminal = File::from(terminal.try_clone()?);
    let work = move || {
        let mut block = [0; 4096];
        loop {
            let count = io::stdin().read(&mut block).unwrap_or(0);
            let mut bytes = if count == 0 { &b"\x04"[..] } else { &block[..count] };
            while !bytes.is_empty() {
                match terminal.write(bytes) {
                    Ok(written) => bytes = &bytes[written..],
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                        let mut fds = [PollFd::new(terminal.as_fd(), PollFlags::POLLOUT)];
                        let _ = poll(&mut fds, PollTimeout::NONE); // the write reports the same error
                    }
                    Err(_) => return,
                }
            }
            if count == 0 {
                return;
            }
        }
    };
    thread::Builder::new().name("feed".to_owned()).spawn(work)?;
    Ok(())
}
