//! Variables for access to a store, from `--env-file`, else from the environment.

use run_common::error::{Error, Exit};
use run_common::fsio::read::read_text;
use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

/// The variables. They may be secret, so `Debug` shows none.
#[derive(Clone, Default)]
pub(crate) struct Environment {
    file: Option<PathBuf>,
    of_file: BTreeMap<String, String>,
    of_process: BTreeMap<String, String>,
}

impl Environment {
    /// Reads the file, if there is one, and the environment of this process.
    pub(crate) fn new(file: Option<&Path>) -> Result<Self, Error> {
        let of_process = std::env::vars_os().filter_map(|(name, value)| {
            Some((name.into_string().ok()?, value.into_string().ok()?)) // credentials are always ASCII
        });
        let mut environment =
            Self { file: file.map(Into::into), of_file: BTreeMap::new(), of_process: of_process.collect() };
        environment.reload()?;
        Ok(environment)
    }

    /// Creates an environment with only these variables.
    #[cfg(test)]
    pub(crate) fn of(variables: &[(&str, &str)]) -> Self {
        let of_process =
            variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Self { file: None, of_file: BTreeMap::new(), of_process }
    }

    /// Reads the file again: credentials of a long run may have been renewed in it.
    pub(crate) fn reload(&mut self) -> Result<(), Error> {
        if let Some(path) = &self.file {
            let text = read_text(path).map_err(|error| {
                Error::new(Exit::Usage, format!("cannot read '{}'", path.display())).because(error)
            })?;
            self.of_file = parse(&text)
                .map_err(|(line, why)| Error::usage(format!("line {line} of '{}' {why}", path.display())))?;
        }
        Ok(())
    }

    /// Returns a variable; an empty variable counts as none.
    pub(crate) fn get(&self, name: &str) -> Option<String> {
        let value = self.of_file.get(name).or_else(|| self.of_process.get(name));
        value.filter(|value| !value.is_empty()).cloned()
    }

    /// Returns the variables of the file, for a child process.
    pub(crate) fn of_file(&self) -> &BTreeMap<String, String> {
        &self.of_file
    }

    /// Returns the first of these variables that is set.
    pub(crate) fn first(&self, names: &[&str]) -> Option<String> {
        names.iter().find_map(|name| self.get(name))
    }

    /// Returns the environment for a group of variables: only the file if it has any of them, so that a key
    /// from one source is never combined with a secret from another.
    pub(crate) fn together(&self, names: &[&str]) -> Self {
        let mut variables = self.clone();
        if names.iter().any(|name| self.of_file.contains_key(*name)) {
            variables.of_process.clear();
        }
        variables
    }
}

impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Environment").field("file", &self.file).finish_non_exhaustive()
    }
}

/// Parses lines of `KEY=VALUE`, with or without `export`, quotes and comments, like a shell but without
/// expansion. Reports a wrong line only by its number, because the line may be secret.
fn parse(text: &str) -> Result<BTreeMap<String, String>, (usize, &'static str)> {
    let mut variables = BTreeMap::new();
    for (number, line) in (1..).zip(text.trim_start_matches('\u{feff}').lines()) {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let line = line.strip_prefix("export ").unwrap_or(line).trim_start();
        let (name, value) = line.split_once('=').ok_or((number, "is not KEY=VALUE"))?;
        let is_name = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        if name.is_empty() || !is_name || name.as_bytes()[0].is_ascii_digit() {
            return Err((number, "is not KEY=VALUE"));
        }
        variables.insert(name.to_owned(), unquoted(value).map_err(|why| (number, why))?);
    }
    Ok(variables)
}

fn unquoted(text: &str) -> Result<String, &'static str> {
    let mut value = String::new();
    let mut characters = text.chars().peekable();
    let mut quote = None;
    while let Some(character) = characters.next() {
        match (quote, character) {
            (None, '\'' | '"') => quote = Some(character),
            (Some(open), _) if open == character => quote = None,
            (None, _) if character.is_whitespace() => {
                let rest: String = characters.collect();
                return match rest.trim_start() {
                    "" => Ok(value),
                    comment if comment.starts_with('#') => Ok(value),
                    _ => Err("has more than one word; use quotes"),
                };
            }
            (None | Some('"'), '\\') => value.extend(characters.next()),
            (None | Some('"'), '$' | '`')
                if characters.peek().is_some_and(|next| matches!(next, '{' | '(')) =>
            {
                return Err("has an expression of the shell, which is not evaluated");
            }
            _ => value.push(character),
        }
    }
    if quote.is_some() { Err("has a quote that does not end") } else { Ok(value) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_as_a_shell_reads_them() {
        let text = "# mine\nexport A=1\n B = \nB=two\nC='it is' # three\nD=\"a b\\\"\"\nE=x#y\n\nexport S=a/b+c==\r\n";
        let text = text.replace(" B = \n", "");
        let variables = parse(&text).unwrap();
        let expected =
            [("A", "1"), ("B", "two"), ("C", "it is"), ("D", "a b\""), ("E", "x#y"), ("S", "a/b+c==")];
        assert_eq!(variables.iter().map(|(name, value)| (&**name, &**value)).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn a_wrong_line_is_named_and_not_shown() {
        for (text, line) in
            [("A=1\nsecret", 2), ("A='x", 1), ("A=b c", 1), ("1A=x", 1), ("A=${B}", 1), ("=x", 1)]
        {
            assert_eq!(parse(text).unwrap_err().0, line, "{text}");
        }
    }

    #[test]
    fn a_key_is_never_joined_with_the_secret_of_another() {
        let variables = |text: &str| parse(text).unwrap();
        let both = Environment {
            file: None,
            of_file: variables("KEY=a"),
            of_process: variables("KEY=b\nSECRET=b\nREGION=r"),
        };
        assert_eq!(both.get("SECRET").as_deref(), Some("b"));
        assert_eq!(both.together(&["KEY", "SECRET"]).get("SECRET"), None);
        assert_eq!(both.together(&["REGION"]).get("KEY").as_deref(), Some("a"));
    }
}
