//! What a tool decides about the end of an attempt: the supervisor asks, and does or records the answer.

use run_common::process::identity::Signal;
use run_common::rundir::attempts::{AttemptEnd, AttemptStart};
use run_common::rundir::environment::Variable;
use std::fmt;
use std::time::Duration;

/// A tool's part in the end of an attempt. The supervisor calls its methods in this order, but for `signal_elsewhere`.
pub trait Ending: fmt::Debug {
    /// Returns who or what has the program end, where nobody has said so: a scheduler, perhaps.
    fn asked(&self, noticed: Noticed) -> Option<Asked> {
        let _ = noticed;
        None
    }

    /// Signals the processes that a program, with this process id, has started elsewhere, where a signal to the program
    /// itself would not do so; returns whether that was done.
    fn signal_elsewhere(&self, pid: i32, signal: Signal) -> bool {
        let _ = (pid, signal);
        false
    }

    /// Says what is wrong with what a command has left that ended well: then it has failed.
    fn fault(&self) -> Option<String> {
        None
    }

    /// Returns additions to the record of the end; the attempt took `seconds`.
    fn additions(&self, start: &AttemptStart, duration_s: f64) -> Additions {
        let _ = (start, duration_s);
        Additions::default()
    }

    /// Returns what is executed when the end is recorded.
    fn script(&self, end: &AttemptEnd) -> Option<Script> {
        let _ = end;
        None
    }
}

/// What a supervisor has noticed when it asks who has a program end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Noticed {
    /// SIGTERM.
    Request,
    /// A signal that nobody here has sent has ended the program.
    Signal,
    /// The program has ended by itself.
    End,
}

/// What has a program end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// Who or what, as the reason of the end says it.
    pub words: String,
    /// Time after which the program is killed, and the supervisor with it, where that is known.
    pub left: Option<Duration>,
}

/// What the record of an end says beside what the supervisor saw.
#[derive(Debug, Default)]
pub struct Additions {
    /// The checkpoint to go on from, below the run.
    pub final_checkpoint: Option<String>,
    /// What the attempt cost in US dollars.
    pub cost_usd: Option<f64>,
}

/// A shell command, executed in the directory and environment of the attempt's.
#[derive(Debug)]
pub struct Script {
    /// What messages call it.
    pub name: &'static str,
    /// The command.
    pub command: String,
    /// Variables beside those of the attempt.
    pub env: Vec<Variable>,
}
