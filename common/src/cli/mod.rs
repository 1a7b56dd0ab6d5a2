//! What every tool's command line has in common: entry, runs directory, operands, output.

pub mod operands;
pub mod out;
pub mod progress;
pub mod runs_dir;
pub mod screen;
pub mod slots;

use crate::error::{Error, Exit};
use crate::message::{complain, set_tool, warn};
use clap::error::ErrorKind;
use clap::{CommandFactory, Parser, ValueEnum};
use clap_complete::Shell;
use out::Out;
use std::env;
use std::io;
use std::process::ExitCode;

/// Option that makes every tool print a completion script for a shell: for packagers.
const COMPLETIONS: &str = "--generate-completions";

/// Parses the command line, runs the tool and turns its result into an exit status.
pub fn entry<A: Parser>(tool: &'static str, run: fn(&A, &mut Out) -> Result<Exit, Error>) -> ExitCode {
    let args = match parse::<A>(tool, Exit::Usage as u8) {
        Ok(args) => args,
        Err(status) => return status,
    };
    let mut out = Out::stdout();
    match run(&args, &mut out).and_then(|exit| out.finish().map(|()| exit)) {
        Ok(exit) => exit.into(),
        Err(error) if error.is_broken_pipe() => Exit::Ok.into(), // `run-status | head` is no failure
        Err(error) => {
            complain(&error);
            error.exit().into()
        }
    }
}

/// Like [`entry`] for a tool whose status is that of a command, and `failed` when it fails itself.
pub fn entry_of_command<A: Parser>(
    tool: &'static str,
    failed: u8,
    run: fn(&A) -> Result<u8, Error>,
) -> ExitCode {
    let args = match parse::<A>(tool, failed) {
        Ok(args) => args,
        Err(status) => return status,
    };
    let status = run(&args).unwrap_or_else(|error| {
        complain(&error);
        failed
    });
    ExitCode::from(status)
}

fn parse<A: Parser>(tool: &'static str, usage: u8) -> Result<A, ExitCode> {
    set_tool(tool);
    let mut words = env::args_os().skip(1);
    if words.next().is_some_and(|word| word == COMPLETIONS) {
        return Err(completions::<A>(
            tool,
            words.next().and_then(|shell| shell.into_string().ok()).as_deref(),
        ));
    }
    A::try_parse().map_err(|error| match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            let _ = error.print(); // a reader that has gone away has read enough
            ExitCode::SUCCESS
        }
        _ => {
            warn(&first_paragraph(&error.to_string()));
            warn(&format!("see '{tool} --help'"));
            ExitCode::from(usage)
        }
    })
}

/// Makes one line of what clap says in several, and drops its usage and tips.
fn first_paragraph(message: &str) -> String {
    let lines: Vec<&str> = message.lines().take_while(|line| !line.is_empty()).map(str::trim).collect();
    lines.join(" ").trim_start_matches("error: ").to_owned()
}

fn completions<A: CommandFactory>(tool: &'static str, shell: Option<&str>) -> ExitCode {
    match shell.and_then(|shell| Shell::from_str(shell, true).ok()) {
        Some(shell) => {
            clap_complete::generate(shell, &mut A::command(), tool, &mut io::stdout());
            ExitCode::SUCCESS
        }
        None => {
            warn(&format!("{COMPLETIONS} takes bash, zsh or fish"));
            Exit::Usage.into()
        }
    }
}
