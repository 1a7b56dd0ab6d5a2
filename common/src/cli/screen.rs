//! A terminal that is redrawn in place, and restored at the end. Used by `run-status --watch`.

use super::keyboard::{Key, Keyboard};
use crate::process::signals::Signals;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::termios::{FlushArg, LocalFlags, SetArg, Termios, tcflush, tcgetattr, tcsetattr};
use nix::unistd::{getpgrp, read, tcgetpgrp};
use rustix::termios::tcgetwinsize;
use signal_hook::consts::{SIGCONT, SIGHUP, SIGINT, SIGTERM, SIGTSTP, SIGWINCH};
use signal_hook::low_level::emulate_default_handler;
use std::collections::VecDeque;
use std::io::{self, IsTerminal, Write};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

/// Switches to the alternate screen, without cursor; long lines are cut, not wrapped, and pasted texts are marked.
const ENTER: &str = "\x1b[?1049h\x1b[?25l\x1b[?7l\x1b[?2004h\x1b[H\x1b[2J";

/// Switches back.
const LEAVE: &str = "\x1b[?2004l\x1b[?7h\x1b[?25h\x1b[?1049l";

/// How long to wait for the rest of a key: a sequence that begins with an escape may come in parts.
const REST: Duration = Duration::from_millis(50);

/// A terminal in use for a redrawn picture.
pub struct Screen {
    signals: Signals,
    /// The original settings of the keyboard, if they were changed.
    settings: Option<Termios>,
    keyboard: Keyboard,
    /// Keys that were pressed together, and not reported yet.
    pressed: VecDeque<Key>,
    shown: Vec<String>,
}

/// What ended a pause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Woken {
    /// The time has passed.
    Time,
    /// The terminal was resized, or has come back to the foreground.
    Redraw,
    /// The user pressed another key.
    Key(Key),
    /// The user quit.
    Quit,
}

impl Screen {
    /// Takes over the terminal.
    pub fn enter() -> io::Result<Self> {
        let signals = Signals::catch(&[SIGHUP, SIGINT, SIGTERM, SIGTSTP, SIGCONT, SIGWINCH])?;
        let mut screen = Self {
            signals,
            settings: None,
            keyboard: Keyboard::default(),
            pressed: VecDeque::new(),
            shown: Vec::new(),
        };
        screen.take()?;
        Ok(screen)
    }

    fn take(&mut self) -> io::Result<()> {
        self.shown.clear();
        let is_ours =
            io::stdin().is_terminal() && tcgetpgrp(io::stdin()).is_ok_and(|group| group == getpgrp());
        if is_ours {
            let settings = tcgetattr(io::stdin())?;
            let mut quiet = settings.clone();
            quiet.local_flags.remove(LocalFlags::ECHO | LocalFlags::ICANON);
            tcsetattr(io::stdin(), SetArg::TCSANOW, &quiet)?;
            self.settings = Some(settings);
        }
        write(ENTER.as_bytes())
    }

    fn give_back(&mut self) {
        let _ = write(LEAVE.as_bytes()); // the terminal may be gone
        if let Some(settings) = self.settings.take() {
            let _ = tcsetattr(io::stdin(), SetArg::TCSANOW, &settings);
        }
    }

    /// Returns whether keys can be read.
    pub fn has_keys(&self) -> bool {
        self.settings.is_some()
    }

    /// Returns whether the next key was already pressed: only the last picture is worth drawing.
    pub fn has_pressed(&self) -> bool {
        !self.pressed.is_empty()
    }

    /// Forgets the keys that were pressed so far, before a question is drawn: they are no answer.
    pub fn forget_keys(&mut self) {
        (self.keyboard, self.pressed) = (Keyboard::default(), VecDeque::new());
        let _ = tcflush(io::stdin(), FlushArg::TCIFLUSH); // the terminal may be gone
    }

    /// Returns the columns and rows of the terminal.
    pub fn size(&self) -> (usize, usize) {
        match tcgetwinsize(io::stdout()) {
            Ok(size) if size.ws_col > 0 && size.ws_row > 0 => (size.ws_col.into(), size.ws_row.into()),
            _ => (80, 24),
        }
    }

    /// Shows these lines; writes only lines that have changed.
    pub fn draw(&mut self, mut lines: Vec<String>) -> io::Result<()> {
        lines.truncate(self.size().1);
        let mut bytes: Vec<u8> = Vec::new();
        for (number, line) in lines.iter().enumerate() {
            if self.shown.get(number) != Some(line) {
                // Erasing after a line of full width would erase its last character.
                write!(bytes, "\x1b[{};1H\x1b[K{line}", number + 1)?;
            }
        }
        if lines.len() < self.shown.len() {
            write!(bytes, "\x1b[{};1H\x1b[J", lines.len() + 1)?;
        }
        self.shown = lines;
        if bytes.is_empty() { Ok(()) } else { write(&bytes) }
    }

    /// Waits until a deadline, a key, or a change of the terminal. A signal that asks for the end restores
    /// the terminal and then has its usual effect, except SIGINT.
    pub fn pause(&mut self, until: Instant) -> io::Result<Woken> {
        loop {
            if let Some(woken) = self.heed_signals()? {
                return Ok(woken);
            }
            match self.pressed.pop_front() {
                Some(Key::Quit) => return Ok(Woken::Quit),
                Some(key) => return Ok(Woken::Key(key)),
                None => {}
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(Woken::Time);
            }
            let wait = if self.keyboard.is_unsure() { REST } else { left + Duration::from_millis(1) };
            let stdin = io::stdin();
            let mut fds = vec![PollFd::new(self.signals.as_fd(), PollFlags::POLLIN)];
            if self.settings.is_some() {
                fds.push(PollFd::new(stdin.as_fd(), PollFlags::POLLIN));
            }
            match poll(&mut fds, PollTimeout::try_from(wait).unwrap_or(PollTimeout::MAX)) {
                Ok(0) if self.keyboard.is_unsure() => self.pressed.push_back(self.keyboard.settle()),
                Ok(_) | Err(nix::Error::EINTR) => {}
                Err(error) => return Err(error.into()),
            }
            if fds.get(1).is_some_and(|fd| fd.any().unwrap_or(false)) {
                let mut bytes = [0; 1024];
                match read(stdin.as_fd(), &mut bytes) {
                    Ok(0) => return Ok(Woken::Quit), // the terminal is gone
                    Ok(count) => self.pressed.extend(self.keyboard.take(&bytes[..count])),
                    Err(nix::Error::EINTR | nix::Error::EAGAIN) => {}
                    Err(_) => return Ok(Woken::Quit),
                }
            }
        }
    }

    /// Does what the signals that came ask for.
    fn heed_signals(&mut self) -> io::Result<Option<Woken>> {
        for signal in self.signals.pending() {
            match signal {
                SIGINT => return Ok(Some(Woken::Quit)),
                SIGWINCH => {
                    self.shown.clear();
                    write(b"\x1b[2J")?;
                    return Ok(Some(Woken::Redraw));
                }
                SIGCONT => {
                    if self.shown.is_empty() && self.settings.is_none() {
                        self.take()?;
                    }
                    return Ok(Some(Woken::Redraw));
                }
                SIGTSTP => {
                    self.give_back();
                    self.shown.clear();
                    emulate_default_handler(signal)?;
                    self.take()?;
                    return Ok(Some(Woken::Redraw));
                }
                _ => {
                    self.give_back();
                    emulate_default_handler(signal)?;
                }
            }
        }
        Ok(None)
    }
}

/// Returns the width of the terminal on stdout, if stdout is a terminal.
pub fn columns() -> Option<usize> {
    tcgetwinsize(io::stdout()).ok().map(|size| usize::from(size.ws_col)).filter(|&columns| columns > 0)
}

/// Returns the height of the terminal on stdout, if stdout is a terminal.
pub fn rows() -> Option<usize> {
    tcgetwinsize(io::stdout()).ok().map(|size| usize::from(size.ws_row)).filter(|&rows| rows > 0)
}

impl Drop for Screen {
    fn drop(&mut self) {
        self.give_back();
    }
}

fn write(bytes: &[u8]) -> io::Result<()> {
    let mut out = io::stdout();
    out.write_all(bytes)?;
    out.flush()
}
