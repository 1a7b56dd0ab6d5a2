//! Messages about a wrong command line: one line, and a pointer to the help.

use clap::Command;
use clap::error::{ContextKind, ContextValue, Error, ErrorKind};
use std::ffi::OsString;

/// Returns the fault of a tool's command line, and the help to read.
pub(super) fn explain(error: &Error, command: &Command, words: &[OsString]) -> (String, String) {
    let verb = words.iter().find_map(|word| command.find_subcommand(word));
    let asked = verb.unwrap_or(command);
    let what = match error.kind() {
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand if asked.has_subcommands() => {
            let verbs = asked.get_subcommands().map(Command::get_name);
            format!("which command? {}", verbs.collect::<Vec<_>>().join(", "))
        }
        ErrorKind::MissingRequiredArgument => missing(error, asked),
        _ => format!("{}{}", first_paragraph(&error.to_string()), suggestion(error)),
    };
    let verb = verb.map(|verb| format!(" {}", verb.get_name())).unwrap_or_default();
    (what, format!("see '{}{verb} --help'", command.get_name()))
}

/// Returns the usage and the examples of a tool, for a command line that is empty.
pub(super) fn brief(mut command: Command) -> String {
    let usage = command.render_usage();
    let examples = command.get_after_help().map(ToString::to_string).unwrap_or_default();
    format!("{usage}\n\n{examples}\n\nsee '{} --help'\n", command.get_name())
}

/// Names the missing operands or options, and `--all` if it stands for all operands.
fn missing(error: &Error, command: &Command) -> String {
    let Some(ContextValue::Strings(names)) = error.get(ContextKind::InvalidArg) else {
        return first_paragraph(&error.to_string());
    };
    let plain = |name: &String| name.trim_end_matches("...").replace(['<', '>'], "");
    let names: Vec<_> = names.iter().map(plain).collect();
    let has_all = names.len() == 1 && command.get_arguments().any(|arg| arg.get_long() == Some("all"));
    format!("{} missing", if has_all { format!("{} or --all", names[0]) } else { names.join(" and ") })
}

/// Returns the word that was probably meant.
fn suggestion(error: &Error) -> String {
    let kinds = [ContextKind::SuggestedSubcommand, ContextKind::SuggestedArg, ContextKind::SuggestedValue];
    let meant = kinds.into_iter().find_map(|kind| match error.get(kind)? {
        ContextValue::String(meant) => Some(meant.clone()),
        ContextValue::Strings(meant) => meant.first().cloned(),
        _ => None,
    });
    meant.map(|meant| format!("; did you mean '{meant}'?")).unwrap_or_default()
}

/// Joins clap's lines into one, without its usage and tips.
fn first_paragraph(message: &str) -> String {
    let lines: Vec<&str> = message.lines().take_while(|line| !line.is_empty()).map(str::trim).collect();
    lines.join(" ").trim_start_matches("error: ").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::{Arg, ArgAction};

    fn said(line: &str) -> (String, String) {
        let all = || Arg::new("all").long("all").action(ArgAction::SetTrue);
        let run = || Arg::new("run").value_name("RUN").required_unless_present("all").num_args(1..);
        let list = Command::new("list").arg(Arg::new("from").long("from")).arg(Arg::new("name"));
        let command = Command::new("tool")
            .subcommand_required(true)
            .arg_required_else_help(true)
            .subcommand(Command::new("backup").arg(all()).arg(run()))
            .subcommand(list);
        let words: Vec<OsString> = line.split_whitespace().map(Into::into).collect();
        let error = command.clone().try_get_matches_from(&words).unwrap_err();
        explain(&error, &command, &words[1..])
    }

    #[test]
    fn what_is_wrong_is_one_line_that_says_what_to_write() {
        for (line, what, help) in [
            ("tool", "which command? backup, list", "see 'tool --help'"),
            (
                "tool bakcup x",
                "unrecognized subcommand 'bakcup'; did you mean 'backup'?",
                "see 'tool --help'",
            ),
            ("tool backup", "RUN or --all missing", "see 'tool backup --help'"),
            (
                "tool list --form x",
                "unexpected argument '--form' found; did you mean '--from'?",
                "see 'tool list --help'",
            ),
            ("tool list --zzz", "unexpected argument '--zzz' found", "see 'tool list --help'"),
        ] {
            assert_eq!(said(line), (what.to_owned(), help.to_owned()), "{line}");
        }
    }
}
