//! Completions of command lines in bash, zsh and fish. The script for a shell asks the tool itself, so that
//! the tool offers what the runs directory holds at that moment. Used by every tool.

mod answer;
mod bash;
mod decode;
mod facts;
mod place;
mod runs;
mod shell;
mod values;

use answer::{Answer, Ask};
use clap::CommandFactory;
use run_common::cli::{answered, out::Out};
use run_common::error::{Error, Exit};
use run_common::message::warn;
use shell::Shell;
use std::env;
use std::ffi::OsString;
use std::process::ExitCode;

/// Option that makes every tool print a completion script for a shell: for packagers.
const SCRIPT: &str = "--generate-completions";

/// Option with which the script asks for completions. Its arguments are those that [`Ask::read`] takes.
const COMPLETE: &str = "--complete";

/// Answers a command line that asks for completions, or for the script of a shell. `None` for any other.
pub fn answer<A: CommandFactory>(tool: &'static str) -> Option<ExitCode> {
    let mut words = env::args_os().skip(1);
    let option = words.next()?;
    if option != SCRIPT && option != COMPLETE {
        return None;
    }
    let shell = words.next().and_then(|name| Shell::named(name.to_str()?));
    let words: Vec<OsString> = words.collect();
    Some(answered(tool, |out| match shell {
        None => {
            warn(&format!("{} takes bash, zsh or fish", option.display()));
            Ok(Exit::Usage)
        }
        Some(shell) if option == SCRIPT => out.bytes(shell.script(tool).as_bytes()).map(|()| Exit::Ok),
        Some(shell) => complete::<A>(shell, &words, out).map(|()| Exit::Ok),
    }))
}

/// Prints the completions of the last word of a command line.
fn complete<A: CommandFactory>(shell: Shell, words: &[OsString], out: &mut Out) -> Result<(), Error> {
    let ask = Ask::read(shell, words);
    let mut command = A::command();
    command.build();
    let place = place::find(&command, ask.words());
    let answer: Answer = values::of(&place, shell.is_choosy());
    out.bytes(&ask.print(answer))
}
