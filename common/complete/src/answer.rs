//! A shell's request for completions, and the answer as its script reads it: fields that end in NUL.

use crate::bash::Current;
use crate::decode;
use crate::shell::Shell;
use std::ffi::OsString;

/// What may stand at the cursor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// One of these words.
    Words(Vec<String>),
    /// One of these options.
    Options(Vec<(String, String)>),
    /// The path of a file, after the beginning of the word.
    Files(String),
    /// The path of a directory, after the beginning of the word.
    Directories(String),
    /// A word of the command after `--`.
    Command,
}

/// The question of a shell.
#[derive(Debug)]
pub(crate) struct Ask {
    shell: Shell,
    words: Vec<String>,
    current: Current,
    /// Whether bash lists the completions or cycles through them; it does not insert their common beginning
    /// then.
    is_list: bool,
}

impl Ask {
    /// Parses the arguments of the script. Bash passes the line up to the cursor, the text that bash replaces,
    /// and `$COMP_TYPE`. The other shells pass the words up to the cursor; fish passes the last word as it was
    /// typed.
    pub(crate) fn read(shell: Shell, words: &[OsString]) -> Self {
        let mut words: Vec<String> = words.iter().map(|word| word.to_string_lossy().into_owned()).collect();
        let (mut current, mut is_list) = (Current::default(), false);
        match (shell, words.as_slice()) {
            (Shell::Bash, [line, replaced, kind]) => {
                current = Current::new(line, replaced);
                is_list = kind != "9"; // the number of the key Tab
                words = current.words.iter().map(|word| word.text.clone()).collect();
            }
            (Shell::Fish, [.., last]) => {
                let last = decode::words(last).pop().unwrap_or_default().text;
                words.pop();
                words.push(last);
            }
            _ => {}
        }
        Self { shell, words, current, is_list }
    }

    /// Returns the words up to the cursor, without their quotes.
    pub(crate) fn words(&self) -> &[String] {
        &self.words
    }

    /// Returns the fields for the script.
    pub(crate) fn print(&self, answer: Answer) -> Vec<u8> {
        let mut fields = match answer {
            Answer::Command => vec!["command".to_owned()],
            Answer::Files(before) => self.path("files", &before),
            Answer::Directories(before) => self.path("directories", &before),
            Answer::Words(words) if self.shell == Shell::Bash => self.bash(&words),
            Answer::Options(options) if self.shell == Shell::Bash => {
                self.bash(&options.into_iter().map(|(option, _)| option).collect::<Vec<_>>())
            }
            Answer::Words(mut words) => {
                words.insert(0, "words".to_owned());
                words
            }
            Answer::Options(options) => {
                let about = |(option, help): (String, String)| match self.shell {
                    Shell::Fish => vec![format!("{option}\t{help}")],
                    _ => vec![option, help],
                };
                let options = options.into_iter().flat_map(about);
                std::iter::once("options".to_owned()).chain(options).collect()
            }
        };
        fields.push(String::new());
        fields.join("\0").into_bytes()
    }

    /// Returns the fields for a path: its kind, the beginning of the word, and the path as typed.
    fn path(&self, kind: &str, before: &str) -> Vec<String> {
        let typed = self.words.last().map_or("", |word| word.strip_prefix(before).unwrap_or(word));
        vec![kind.to_owned(), before.to_owned(), typed.to_owned()]
    }

    /// Returns the fields for bash: their kind, `part` if the inserted word is not yet complete, and the words.
    fn bash(&self, words: &[String]) -> Vec<String> {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let mut fields = self.current.replacements(&words, self.is_list);
        let is_part = fields.len() != words.len() || words.iter().all(|word| word.ends_with('='));
        fields.insert(0, if is_part { "part" } else { "words" }.to_owned());
        fields
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn printed(shell: Shell, asked: &[&str], answer: Answer) -> String {
        let asked: Vec<OsString> = asked.iter().map(OsString::from).collect();
        String::from_utf8(Ask::read(shell, &asked).print(answer)).unwrap()
    }

    #[test]
    fn each_shell_gets_the_fields_that_its_script_reads() {
        let words = || Answer::Words(vec!["a b".to_owned(), "a\nc".to_owned()]);
        assert_eq!(printed(Shell::Zsh, &["x", "a"], words()), "words\0a b\0a\nc\0");
        assert_eq!(printed(Shell::Fish, &["x", "'a"], words()), "words\0a b\0a\nc\0");
        assert_eq!(printed(Shell::Bash, &["x ", "", "9"], words()), "part\0a\0");
        assert_eq!(printed(Shell::Bash, &["x ", "", "63"], words()), "words\0a\\ b\0a$'\\n'c\0");
        let option = || Answer::Options(vec![("--all".to_owned(), "All runs".to_owned())]);
        assert_eq!(printed(Shell::Zsh, &["x", "-"], option()), "options\0--all\0All runs\0");
        assert_eq!(printed(Shell::Fish, &["x", "-"], option()), "options\0--all\tAll runs\0");
        assert_eq!(printed(Shell::Bash, &["x -", "-", "9"], option()), "words\0--all\0");
        let files = || Answer::Files("data=".to_owned());
        assert_eq!(printed(Shell::Fish, &["x", "data=a\\ b"], files()), "files\0data=\0a b\0");
    }
}
