//! A tool's decisions about the end of an attempt: the supervisor asks, and carries out or records the answer.

use run_common::process::identity::Signal;
use run_common::rundir::attempts::{AttemptEnd, AttemptStart};
use run_common::rundir::environment::Variable;
use std::fmt;
use std::time::Duration;

/// A tool's part in the end of an attempt. The supervisor calls its methods in this order, except
/// `signal_elsewhere`.
pub trait Ending: fmt::Debug {
    /// Returns who or what ends the program if no request is known, such as a scheduler.
    fn asked(&self, noticed: Noticed) -> Option<Asked> {
        let _ = noticed;
        None
    }

    /// Signals the processes that a program, with this process id, has started elsewhere, such as on other
    /// nodes, if a signal to the program would not reach them; returns whether it did so.
    fn signal_elsewhere(&self, pid: i32, signal: Signal) -> bool {
        let _ = (pid, signal);
        false
    }

    /// Returns what is wrong with the results of a command that exited with 0; the attempt has failed then.
    fn fault(&self) -> Option<String> {
        None
    }

    /// Returns additions to the record of the end; the attempt took `duration_s` seconds.
    fn additions(&self, start: &AttemptStart, duration_s: f64) -> Additions {
        let _ = (start, duration_s);
        Additions::default()
    }

    /// Returns the shell command to execute after the end was recorded.
    fn script(&self, end: &AttemptEnd) -> Option<Script> {
        let _ = end;
        None
    }
}

/// The event that makes a supervisor ask who ends the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Noticed {
    /// The supervisor got SIGTERM.
    Request,
    /// A signal ended the program, and no process of the suite sent it.
    Signal,
    /// The program ended by itself.
    End,
}

/// Who or what ends the program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// Words for the reason of the end.
    pub words: String,
    /// Time until the program and the supervisor are killed, if known.
    pub left: Option<Duration>,
}

/// Additions to the record of an end, which the supervisor cannot know.
#[derive(Debug, Default)]
pub struct Additions {
    /// The checkpoint to continue from, below the run.
    pub final_checkpoint: Option<String>,
    /// Cost of the attempt in US dollars.
    pub cost_usd: Option<f64>,
}

/// A shell command, executed in the directory and environment of the attempt.
#[derive(Debug)]
pub struct Script {
    /// Its name in messages.
    pub name: &'static str,
    /// The command.
    pub command: String,
    /// Variables in addition to those of the attempt.
    pub env: Vec<Variable>,
}
