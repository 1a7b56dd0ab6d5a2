//! A real terminal (tmux), with a shell in it.

use crate::{Lab, wait_for};
use std::path::PathBuf;
use std::process::Command;

/// A terminal of its own, with a shell in it.
pub struct Terminal<'a> {
    lab: &'a Lab,
    socket: PathBuf,
}

impl<'a> Terminal<'a> {
    /// Opens a terminal of this size.
    pub fn open(lab: &'a Lab, columns: u32, rows: u32) -> Self {
        let terminal = Self { lab, socket: lab.path("tmux") };
        let size = [columns.to_string(), rows.to_string()];
        lab.write("shell", "PS1='$ '\n");
        let shell = format!("bash --rcfile {}", lab.path("shell").display());
        terminal.tmux(&["-f", "/dev/null", "new-session", "-d", "-x", &size[0], "-y", &size[1], &shell]);
        terminal.await_text("$");
        terminal
    }

    /// Executes a command of tmux; returns its output.
    pub fn tmux(&self, args: &[&str]) -> String {
        let socket = self.socket.to_str().unwrap();
        self.lab.cmd("tmux").args(["-S", socket]).args(args).env("TERM", "xterm-256color").run().code(0).out()
    }

    /// Presses keys.
    pub fn keys(&self, keys: &[&str]) {
        self.tmux(&[&["send-keys"], keys].concat());
    }

    /// Returns what is shown.
    pub fn text(&self) -> String {
        self.tmux(&["capture-pane", "-p"])
    }

    /// Waits until a text is shown; returns all that is shown.
    pub fn await_text(&self, text: &str) -> String {
        let mut last = String::new();
        wait_for(&format!("'{text}' on the terminal"), || {
            last = self.text();
            last.contains(text)
        });
        last
    }

    /// Expects the shell's prompt, the cursor, the keyboard and the first screen back.
    pub fn is_as_it_was(&self) {
        self.keys(&["stty -a | grep -c ' icanon .* echo ' ; echo back", "Enter"]);
        wait_for("the shell to answer", || self.text().contains("\nback\n"));
        let state = self.tmux(&["display-message", "-p", "#{alternate_on} #{cursor_flag} #{wrap_flag}"]);
        assert_eq!(state, "0 1 1\n", "{}", self.text());
    }
}

impl Drop for Terminal<'_> {
    fn drop(&mut self) {
        let _ = Command::new("tmux").arg("-S").arg(&self.socket).arg("kill-server").output();
    }
}
