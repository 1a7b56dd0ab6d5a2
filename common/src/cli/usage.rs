//! Messages about a wrong command line: one line, and a pointer to the help.

use super::mistakes::{is_program, put_dashes};
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
        ErrorKind::UnknownArgument => unknown(error, asked, words),
        _ => format!("{}{}", first_paragraph(&error.to_string()), suggestion(error)),
    };
    let verb = verb.map(|verb| format!(" {}", verb.get_name())).unwrap_or_default();
    (what, format!("see '{}{verb} --help'", command.get_name()))
}

/// Explains an option that does not exist, or that was meant otherwise.
fn unknown(error: &Error, command: &Command, words: &[OsString]) -> String {
    let Some(ContextValue::String(given)) = error.get(ContextKind::InvalidArg) else {
        return first_paragraph(&error.to_string());
    };
    let words: Vec<_> = words.iter().map(|word| word.to_string_lossy()).collect();
    let at = words.iter().position(|word| word.starts_with(given.as_str()));
    let before = at.and_then(|at| words.get(at.checked_sub(1)?));
    if given.parse::<f64>().is_ok()
        && let Some(option) = before.filter(|word| word.starts_with('-'))
    {
        return format!("invalid value '{given}' for '{option}'");
    }
    let fault = format!("unknown option '{given}'");
    for arg in command.get_arguments().filter(|arg| arg.is_require_equals_set()) {
        let Some(short) = arg.get_short() else { continue };
        let joined = words.iter().find_map(|word| word.strip_prefix('-')?.strip_prefix(short));
        if let Some(value) = joined.filter(|value| !value.is_empty() && !value.starts_with(['-', '='])) {
            return format!("{fault}; write -{short}={value} for a value of -{short}");
        }
    }
    let takes_command = command.get_positionals().any(clap::Arg::is_last_set);
    let is_program = |word: &str| is_program(word) || has_script_name(word);
    let starts = words.iter().take(at.unwrap_or(0)).position(|word| is_program(word));
    if let Some(start) = starts.filter(|_| takes_command && !words.iter().any(|word| word == "--")) {
        let command: Vec<String> = words[start..].iter().map(|word| word.clone().into_owned()).collect();
        return format!("{fault}; {}", put_dashes(&command));
    }
    let other = SYNONYMS.iter().find(|(word, option)| {
        *word == given.trim_start_matches('-')
            && command.get_arguments().any(|arg| arg.get_long() == Some(*option))
    });
    match other {
        Some((_, option)) => format!("{fault}; did you mean '--{option}'?"),
        None => format!("{fault}{}", suggestion(error)),
    }
}

/// Words for options in other programs, and ours.
const SYNONYMS: [(&str, &str); 12] = [
    ("reason", "why"),
    ("message", "why"),
    ("because", "why"),
    ("message", "note"),
    ("description", "note"),
    ("background", "detach"),
    ("daemon", "detach"),
    ("parallel", "jobs"),
    ("workers", "jobs"),
    ("dir", "runs-dir"),
    ("restart", "resume"),
    ("filter", "status"),
];

/// Returns whether a word has the name of a script.
fn has_script_name(word: &str) -> bool {
    [".py", ".sh"].iter().any(|end| word.ends_with(end))
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
    let is_operand = names.len() == 1 && !names[0].starts_with('-');
    let has_all = is_operand && command.get_arguments().any(|arg| arg.get_long() == Some("all"));
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
    let meant = meant.filter(|meant| !["--version", "--help"].contains(&meant.as_str()));
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
        let log = Arg::new("log").long("log").value_name("LOG");
        let follow = Arg::new("follow").short('f').action(ArgAction::SetTrue).requires("log");
        let list = Command::new("list").arg(Arg::new("from").long("from")).arg(Arg::new("name"));
        let command = Command::new("tool")
            .subcommand_required(true)
            .arg_required_else_help(true)
            .subcommand(Command::new("backup").arg(all()).arg(run()))
            .subcommand(Command::new("status").args([all(), log, follow]))
            .subcommand(list);
        let words: Vec<OsString> = line.split_whitespace().map(Into::into).collect();
        let error = command.clone().try_get_matches_from(&words).unwrap_err();
        explain(&error, &command, &words[1..])
    }

    #[test]
    fn what_is_wrong_is_one_line_that_says_what_to_write() {
        for (line, what, help) in [
            ("tool", "which command? backup, status, list", "see 'tool --help'"),
            (
                "tool bakcup x",
                "unrecognized subcommand 'bakcup'; did you mean 'backup'?",
                "see 'tool --help'",
            ),
            ("tool backup", "RUN or --all missing", "see 'tool backup --help'"),
            ("tool status --all -f", "--log LOG missing", "see 'tool status --help'"),
            (
                "tool list --form x",
                "unknown option '--form'; did you mean '--from'?",
                "see 'tool list --help'",
            ),
            ("tool list --zzz", "unknown option '--zzz'", "see 'tool list --help'"),
        ] {
            assert_eq!(said(line), (what.to_owned(), help.to_owned()), "{line}");
        }
    }
}
