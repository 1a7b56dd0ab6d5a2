//! A terminal that is redrawn in place, and restored at the end. Used by `run-status --watch`.

use crate::process::signals::Signals;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::termios::{LocalFlags, SetArg, Termios, tcgetattr, tcsetattr};
use nix::unistd::{getpgrp, tcgetpgrp};
use rustix::termios::tcgetwinsize;
use signal_hook::consts::{SIGCONT, SIGHUP, SIGINT, SIGTERM, SIGTSTP, SIGWINCH};
use signal_hook::low_level::emulate_default_handler;
use std::collections::VecDeque;
use std::io::{self, IsTerminal, Read, Write};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

/// Switches to the alternate screen, without cursor; long lines are cut, not wrapped.
const ENTER: &str = "\x1b[?1049h\x1b[?25l\x1b[?7l\x1b[H\x1b[2J";

/// Switches back.
const LEAVE: &str = "\x1b[?7h\x1b[?25h\x1b[?1049l";

/// A terminal in use for a redrawn picture.
pub struct Screen {
    signals: Signals,
    /// The original settings of the keyboard, if they were changed.
    keyboard: Option<Termios>,
    /// Keys that were pressed together, and not reported yet.
    pressed: VecDeque<Woken>,
    shown: Vec<String>,
}

/// A key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    /// A lower-case letter.
    Letter(char),
    /// An arrow.
    Up,
    /// An arrow.
    Down,
    /// A page up.
    PageUp,
    /// A page down.
    PageDown,
    /// To the first.
    Home,
    /// To the last.
    End,
    /// Enter.
    Enter,
    /// Escape, backspace or the left arrow.
    Back,
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
        let mut screen = Self { signals, keyboard: None, pressed: VecDeque::new(), shown: Vec::new() };
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
            self.keyboard = Some(settings);
        }
        write(ENTER.as_bytes())
    }

    fn give_back(&mut self) {
        let _ = write(LEAVE.as_bytes()); // the terminal may be gone
        if let Some(settings) = self.keyboard.take() {
            let _ = tcsetattr(io::stdin(), SetArg::TCSANOW, &settings);
        }
    }

    /// Returns whether keys can be read.
    pub fn has_keys(&self) -> bool {
        self.keyboard.is_some()
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
            if let Some(woken) = self.pressed.pop_front() {
                return Ok(woken);
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(Woken::Time);
            }
            let stdin = io::stdin();
            let mut fds = vec![PollFd::new(self.signals.as_fd(), PollFlags::POLLIN)];
            if self.keyboard.is_some() {
                fds.push(PollFd::new(stdin.as_fd(), PollFlags::POLLIN));
            }
            let timeout = PollTimeout::try_from(left + Duration::from_millis(1)).unwrap_or(PollTimeout::MAX);
            match poll(&mut fds, timeout) {
                Ok(_) | Err(nix::Error::EINTR) => {}
                Err(error) => return Err(error.into()),
            }
            let has_key = fds.get(1).is_some_and(|fd| fd.any().unwrap_or(false));
            for signal in self.signals.pending() {
                match signal {
                    SIGINT => return Ok(Woken::Quit),
                    SIGWINCH => {
                        self.shown.clear();
                        write(b"\x1b[2J")?;
                        return Ok(Woken::Redraw);
                    }
                    SIGCONT => {
                        if self.shown.is_empty() && self.keyboard.is_none() {
                            self.take()?;
                        }
                        return Ok(Woken::Redraw);
                    }
                    SIGTSTP => {
                        self.give_back();
                        self.shown.clear();
                        emulate_default_handler(signal)?;
                        self.take()?;
                        return Ok(Woken::Redraw);
                    }
                    _ => {
                        self.give_back();
                        emulate_default_handler(signal)?;
                    }
                }
            }
            if has_key {
                let mut bytes = [0; 64];
                match io::stdin().read(&mut bytes) {
                    Ok(0) | Err(_) => return Ok(Woken::Quit), // the terminal is gone
                    Ok(count) => self.pressed.extend(keys(&bytes[..count])),
                }
            }
        }
    }
}

/// Returns the keys behind bytes of a keyboard, with the sequences of xterm and of the Linux console.
fn keys(bytes: &[u8]) -> Vec<Woken> {
    let (mut rest, mut found) = (bytes, Vec::new());
    while let Some((&first, after)) = rest.split_first() {
        rest = after;
        let key = match first {
            b'q' | b'Q' | 3 | 4 => {
                found.push(Woken::Quit);
                continue;
            }
            b'\r' | b'\n' => Key::Enter,
            8 | 0x7f => Key::Back,
            0x1b => match after {
                [b'[' | b'O', sequence @ ..] => {
                    let end = sequence.iter().position(|byte| (0x40..0x7f).contains(byte));
                    let (sequence, after) = sequence.split_at(end.map_or(sequence.len(), |end| end + 1));
                    rest = after;
                    match sequence {
                        b"A" => Key::Up,
                        b"B" => Key::Down,
                        b"D" => Key::Back,
                        b"H" | b"1~" | b"7~" => Key::Home,
                        b"F" | b"4~" | b"8~" => Key::End,
                        b"5~" => Key::PageUp,
                        b"6~" => Key::PageDown,
                        _ => continue,
                    }
                }
                _ => Key::Back,
            },
            b'a'..=b'z' => Key::Letter(first.into()),
            _ => continue,
        };
        found.push(Woken::Key(key));
    }
    found
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_told_apart_also_those_that_come_together() {
        let keys_of = |bytes: &[u8]| -> Vec<Key> {
            let key = |woken| match woken {
                Woken::Key(key) => key,
                _ => panic!("{woken:?} of {bytes:?}"),
            };
            keys(bytes).into_iter().map(key).collect()
        };
        assert_eq!(
            keys_of(b"n\x1b[B\x1bOA\x1b[6~\r"),
            [Key::Letter('n'), Key::Down, Key::Up, Key::PageDown, Key::Enter]
        );
        assert_eq!(keys_of(b"\x1b[1~\x1b[F\x7f"), [Key::Home, Key::End, Key::Back]);
        assert_eq!(keys_of(b"\x1b"), [Key::Back]);
        // What is not known is left out whole, letters of its sequence, too.
        assert_eq!(keys_of(b"\x1b[1;5q\x1b[200~A1\xc3\xa4j\x1b["), [Key::Letter('j')]);
        for quit in [&b"q"[..], b"Q", b"\x03", b"\x04"] {
            assert_eq!(keys(quit), [Woken::Quit]);
        }
    }
}
