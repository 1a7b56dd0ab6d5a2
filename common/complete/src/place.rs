//! Determines what the word at the cursor is: an option, the value of an option, an operand, or a part of a
//! command.

use clap::{Arg, Command};

/// The kind of the word at the cursor.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind<'a> {
    /// An option.
    Option,
    /// A value of this option or operand.
    Value(&'a Arg),
    /// A command of the tool, such as `backup` of run-sync.
    Verb,
    /// A word of the command after `--`.
    Command,
    /// Nothing that the tool takes.
    Nothing,
}

/// The word at the cursor, and what stands before the word.
#[derive(Debug)]
pub(crate) struct Place<'a> {
    /// The tool, or the command of the tool.
    pub(crate) command: &'a Command,
    /// What the word is.
    pub(crate) kind: Kind<'a>,
    /// The part of the word before the value: `--status=`.
    pub(crate) before: String,
    /// The value so far.
    pub(crate) text: String,
    /// The values so far, each with its option or operand.
    given: Vec<(&'a Arg, String)>,
}

impl Place<'_> {
    /// Returns the values of an option or an operand by its name in clap, in their order.
    pub(crate) fn given(&self, id: &str) -> impl Iterator<Item = &str> {
        self.given.iter().filter(move |(arg, _)| arg.get_id() == id).map(|(_, value)| value.as_str())
    }
}

/// Reads words from left to right.
struct Reader<'a> {
    command: &'a Command,
    given: Vec<(&'a Arg, String)>,
    /// The option whose value comes next.
    pending: Option<&'a Arg>,
    /// Number of operands so far.
    operands: usize,
    /// Whether `--` was read.
    is_over: bool,
}

/// Determines what the last word is. The first word is the name of the tool, whose clap command was built.
pub(crate) fn find<'a>(tool: &'a Command, words: &[String]) -> Place<'a> {
    let mut reader = Reader { command: tool, given: Vec::new(), pending: None, operands: 0, is_over: false };
    let (last, before) = words.split_last().map_or(("", words), |(last, before)| (last.as_str(), before));
    for word in before.iter().skip(1) {
        reader.read(word);
    }
    let (kind, text) = reader.at(last);
    let before = last.strip_suffix(text).unwrap_or_default().to_owned();
    Place { command: reader.command, kind, before, text: text.to_owned(), given: reader.given }
}

impl<'a> Reader<'a> {
    fn read(&mut self, word: &str) {
        if self.is_over {
            if !self.takes_command() {
                self.operand(word);
            }
        } else if word == "--" {
            (self.is_over, self.pending) = (true, None);
        } else if let Some(arg) = self.pending {
            self.given.push((arg, word.to_owned()));
            self.pending = Some(arg).filter(|arg| is_greedy(arg));
        } else if let Some((arg, value)) = self.option(word) {
            match value {
                Some(value) => self.given.push((arg, value.to_owned())),
                None => self.pending = Some(arg).filter(|arg| !arg.is_require_equals_set()),
            }
        } else if !word.starts_with('-') || word == "-" {
            match self.command.find_subcommand(word).filter(|_| self.operands == 0) {
                Some(verb) => self.command = verb,
                None => self.operand(word),
            }
        }
    }

    fn operand(&mut self, word: &str) {
        if let Some(arg) = self.next_operand() {
            self.given.push((arg, word.to_owned()));
        }
        self.operands += 1;
    }

    /// Returns what the last word is, and the relevant part of the word.
    fn at<'w>(&self, word: &'w str) -> (Kind<'a>, &'w str) {
        if self.is_over && self.takes_command() {
            return (Kind::Command, word);
        }
        if let Some(arg) = self.pending {
            return (Kind::Value(arg), word);
        }
        if !self.is_over && word.starts_with('-') {
            return match self.option(word) {
                Some((arg, Some(value))) => (Kind::Value(arg), value),
                _ => (Kind::Option, word),
            };
        }
        match self.next_operand() {
            Some(arg) => (Kind::Value(arg), word),
            None if self.command.has_subcommands() => (Kind::Verb, word),
            None => (Kind::Nothing, word),
        }
    }

    /// Returns whether the tool takes a command after `--`.
    fn takes_command(&self) -> bool {
        self.command.get_positionals().any(Arg::is_last_set)
    }

    /// Returns the next operand; the last one may be given again.
    fn next_operand(&self) -> Option<&'a Arg> {
        let mut operands: Vec<&Arg> =
            self.command.get_positionals().filter(|arg| !arg.is_last_set()).collect();
        operands.sort_by_key(|arg| arg.get_index());
        let repeated = operands.last().copied().filter(|arg| is_greedy(arg));
        operands.get(self.operands).copied().or(repeated)
    }

    /// Returns the option with a value in a word that begins with `-`, and the value if the word contains it.
    fn option<'w>(&self, word: &'w str) -> Option<(&'a Arg, Option<&'w str>)> {
        let takes_value = |arg: &&Arg| arg.get_num_args().is_some_and(|range| range.takes_values());
        let mut args = self.command.get_arguments();
        if let Some(long) = word.strip_prefix("--") {
            let (name, value) = match long.split_once('=') {
                Some((name, value)) => (name, Some(value)),
                None => (long, None),
            };
            let arg = args.find(|arg| arg.get_long() == Some(name)).filter(takes_value)?;
            return Some((arg, value));
        }
        let flags = word.strip_prefix('-')?;
        for (at, flag) in flags.char_indices() {
            let arg = self.command.get_arguments().find(|arg| arg.get_short() == Some(flag))?;
            if takes_value(&arg) {
                let value = &flags[at + flag.len_utf8()..];
                let joined = value.strip_prefix('=').unwrap_or(value);
                return Some((arg, (!value.is_empty()).then_some(joined)));
            }
        }
        None
    }
}

/// Returns whether an option or operand takes any number of values.
fn is_greedy(arg: &Arg) -> bool {
    arg.get_num_args().is_some_and(|range| range.max_values() == usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::ArgAction;

    fn tool() -> Command {
        let run = || Arg::new("run").num_args(1..);
        let mut tool = Command::new("tool")
            .arg(Arg::new("all").short('a').long("all").action(ArgAction::SetTrue))
            .arg(Arg::new("dir").short('d').long("dir"))
            .arg(Arg::new("watch").short('w').long("watch").num_args(0..=1).require_equals(true))
            .arg(Arg::new("rest").long("rest").num_args(1..).allow_hyphen_values(true))
            .arg(Arg::new("first"))
            .arg(run())
            .arg(Arg::new("command").last(true).num_args(1..));
        tool.build();
        tool
    }

    fn found(tool: &Command, line: &str) -> String {
        let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
        let place = find(tool, &words);
        let kind = match place.kind {
            Kind::Option => "option".to_owned(),
            Kind::Value(arg) => arg.get_id().to_string(),
            Kind::Verb => "verb".to_owned(),
            Kind::Command => "command".to_owned(),
            Kind::Nothing => "nothing".to_owned(),
        };
        format!("{kind} {}|{}", place.before, place.text)
    }

    #[test]
    fn the_word_at_the_cursor_is_known() {
        let tool = tool();
        for (line, expected) in [
            ("tool", "first |tool"),
            ("tool ", "first |"),
            ("tool x ", "run |"),
            ("tool x y z", "run |z"),
            ("tool -", "option |-"),
            ("tool --al", "option |--al"),
            ("tool --dir ", "dir |"),
            ("tool --dir=a", "dir --dir=|a"),
            ("tool -d a", "dir |a"),
            ("tool -da", "dir -d|a"),
            ("tool -ad=a", "dir -ad=|a"),
            ("tool -d x y", "first |y"),
            ("tool -w ", "first |"),
            ("tool -w=1", "watch -w=|1"),
            ("tool --watch ", "first |"),
            ("tool --rest --a b", "rest |b"),
            ("tool --rest a -- b", "command |b"),
            ("tool x -- y -", "command |-"),
            ("tool --nope x", "first |x"),
        ] {
            assert_eq!(found(&tool, line), expected, "{line}");
        }
    }

    #[test]
    fn verbs_and_operands_without_a_command() {
        let mut tool = Command::new("tool").subcommand(
            Command::new("list").arg(Arg::new("from").long("from")).arg(Arg::new("name").num_args(0..)),
        );
        tool.build();
        for (line, expected) in [
            ("tool ", "verb |"),
            ("tool li", "verb |li"),
            ("tool list ", "name |"),
            ("tool list --from ", "from |"),
            ("tool list -- -", "name |-"),
        ] {
            assert_eq!(found(&tool, line), expected, "{line}");
        }
    }

    #[test]
    fn what_is_given_is_known() {
        let tool = tool();
        let words = ["tool", "-ad", "x", "--dir=y", "one", "two", "-"].map(str::to_owned);
        let place = find(&tool, &words);
        assert_eq!(place.given("dir").collect::<Vec<_>>(), ["x", "y"]);
        assert_eq!(place.given("run").collect::<Vec<_>>(), ["two"]);
    }
}
