//! The common parts of all command lines: entry, runs directory, operands, output.

pub mod braille;
pub mod fitting;
pub mod keyboard;
pub mod listed;
pub mod mistakes;
pub mod names;
pub mod number;
pub mod operands;
pub mod out;
pub mod progress;
pub mod runs_dir;
pub mod screen;
pub mod slots;
pub mod statuses;
pub mod table;
mod usage;

use crate::error::{Error, Exit};
use crate::message::{complain, set_tool, warn};
use crate::process::signals::{end_by, survive_limit, unblock};
use crate::process::spawn::check_open;
use clap::Parser;
use clap::error::ErrorKind;
use out::Out;
use signal_hook::consts::SIGINT;
use statuses::Ended;
use std::env;
use std::io::{self, Write};
use std::process::ExitCode;

/// Parses the command line, runs the tool and turns its result into an exit status.
pub fn entry<A: Parser>(tool: &'static str, run: fn(&A, &mut Out) -> Result<Exit, Error>) -> ExitCode {
    let args = match parse::<A>(tool, Exit::Usage as u8, Exit::System as u8) {
        Ok(args) => args,
        Err(status) => return status,
    };
    printed(|out| run(&args, out))
}

/// Answers a question about the tool itself, which makes the rest of the command line irrelevant.
pub fn answered(tool: &'static str, answer: impl FnOnce(&mut Out) -> Result<Exit, Error>) -> ExitCode {
    set_tool(tool);
    unblock();
    survive_limit();
    printed(answer)
}

/// Prints to stdout, and returns the exit status.
fn printed(print: impl FnOnce(&mut Out) -> Result<Exit, Error>) -> ExitCode {
    let mut out = Out::stdout();
    match print(&mut out).and_then(|exit| out.finish().map(|()| exit)) {
        Ok(exit) => exit.into(),
        Err(error) => failed(&error, error.exit() as u8),
    }
}

/// Reports an error, unless the reader of stdout has gone away: `run-status | head` is no failure.
fn failed(error: &Error, status: u8) -> ExitCode {
    if error.is_broken_pipe() {
        return ExitCode::SUCCESS;
    }
    complain(error);
    ExitCode::from(status)
}

/// Like [`entry`], for a tool that exits with the status of a command, or with `failed` if the tool itself
/// fails.
pub fn entry_of_command<A: Parser>(
    tool: &'static str,
    failed: u8,
    run: fn(&A) -> Result<Ended, Error>,
) -> ExitCode {
    let args = match parse::<A>(tool, failed, failed) {
        Ok(args) => args,
        Err(status) => return status,
    };
    let ended = run(&args).unwrap_or_else(|error| {
        complain(&error);
        Ended::With(failed)
    });
    if let Ended::Interrupted(_) = ended {
        end_by(SIGINT);
    }
    ExitCode::from(ended.status())
}

/// Parses the command line. Questions about the tool itself are answered here. The statuses are those for a
/// wrong command line, and for an answer that cannot be written.
fn parse<A: Parser>(tool: &'static str, usage: u8, unwritten: u8) -> Result<A, ExitCode> {
    set_tool(tool);
    unblock();
    survive_limit();
    let answered = |answer: Result<(), Error>| match answer {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(&error, unwritten),
    };
    A::try_parse().map_err(|error| match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            let printed = check_open(1).and_then(|()| error.print()).and_then(|()| io::stdout().flush());
            answered(printed.map_err(out::failed))
        }
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand if !A::command().has_subcommands() => {
            let _ = io::stderr().write_all(usage::brief(A::command()).as_bytes()); // a failure cannot be reported
            ExitCode::from(usage)
        }
        _ => {
            let words: Vec<_> = env::args_os().skip(1).collect();
            let (what, help) = usage::explain(&error, &A::command(), &words);
            warn(&what);
            warn(&help);
            ExitCode::from(usage)
        }
    })
}
