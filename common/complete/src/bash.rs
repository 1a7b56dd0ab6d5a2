//! Completions in the form that bash inserts into a line. Bash quotes nothing itself, and replaces only the
//! part of a word after the last of `$COMP_WORDBREAKS`, or after an open quote.

use crate::decode::{self, Word};

/// The word to complete.
#[derive(Debug, Default)]
pub(crate) struct Current {
    /// The words of the line up to the cursor.
    pub(crate) words: Vec<Word>,
    /// The text that bash replaces.
    replaced: String,
    /// The part of the word before the replaced text, without quotes.
    kept: String,
}

impl Current {
    /// Creates the word from the line up to the cursor, and the text that bash replaces.
    pub(crate) fn new(line: &str, replaced: &str) -> Self {
        let words = decode::words(line);
        let raw = words.last().map_or("", |word| &line[word.start..]);
        let kept = raw.strip_suffix(replaced).unwrap_or("");
        let kept = decode::words(kept).pop().unwrap_or_default().text;
        Self { words, replaced: replaced.to_owned(), kept }
    }

    /// Returns the texts that replace `replaced`, for words that all begin with the typed word. With `is_list`,
    /// bash only shows them. Otherwise, several words without an open quote yield their common beginning.
    pub(crate) fn replacements(&self, words: &[&str], is_list: bool) -> Vec<String> {
        let typed = self.words.last();
        let open = typed.and_then(|word| word.open);
        let text = |word: &str| quote(word.strip_prefix(self.kept.as_str()).unwrap_or(word), open);
        if is_list || open.is_some() || words.len() < 2 {
            return words.iter().map(|word| text(word)).collect();
        }
        let common = common(words);
        // The common beginning that bash itself finds may end within a quoted character.
        let is_more = typed.is_none_or(|typed| common.len() > typed.text.len());
        vec![if is_more { text(common) } else { self.replaced.clone() }]
    }
}

/// Returns the beginning that all words have in common.
fn common<'a>(words: &[&'a str]) -> &'a str {
    let Some((first, others)) = words.split_first() else { return "" };
    let shared =
        |other: &&str| first.chars().zip(other.chars()).take_while(|(one, other)| one == other).count();
    let least = others.iter().map(shared).min().unwrap_or(usize::MAX);
    first.char_indices().nth(least).map_or(first, |(at, _)| &first[..at])
}

/// Quotes a text for bash where no quote is open, or inside the quote that is open.
fn quote(text: &str, open: Option<char>) -> String {
    let mut quoted = String::new();
    for c in text.chars() {
        let is_plain = c.is_alphanumeric() || "-_./=:,+@%^".contains(c);
        match (open, c) {
            (Some('$'), '\n') => quoted.push_str("\\n"),
            (Some('$'), c) if c.is_control() => quoted.push_str(&escape(c)),
            (Some('\''), '\'') => quoted.push_str(r"'\''"),
            (Some('"'), '"' | '\\' | '$' | '`') | (Some('$'), '\'' | '\\') => {
                quoted.extend(['\\', c]);
            }
            // Bash expands the history in double quotes, too.
            (Some('"'), '!') => quoted.push_str("\"'!'\""),
            (Some(quote), c) if c.is_control() => {
                quoted.extend([&*quote.to_string(), "$'", &escape(c), "'", &quote.to_string()]);
            }
            (None, c) if c.is_control() => quoted.extend(["$'", &escape(c), "'"]),
            (None, c) if !is_plain => quoted.extend(['\\', c]),
            (_, c) => quoted.push(c),
        }
    }
    quoted
}

/// Returns an escape of `$'...'` for a control character.
fn escape(c: char) -> String {
    match c {
        '\n' => "\\n".to_owned(),
        '\t' => "\\t".to_owned(),
        c if c.is_ascii() => format!("\\x{:02x}", u32::from(c)),
        c => c.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn replacements(line: &str, replaced: &str, words: &[&str]) -> Vec<String> {
        Current::new(line, replaced).replacements(words, false)
    }

    #[test]
    fn a_word_is_quoted_as_it_was_begun() {
        for (line, replaced, expected) in [
            ("x a", "a", r"a\ b\'c\\\$d"),
            ("x 'a", "a", r"a b'\''c\$d"),
            ("x \"a", "a", r"a b'c\\\$d"),
            ("x $'a", "a", r"a b\'c\\$d"),
        ] {
            assert_eq!(replacements(line, replaced, &[r"a b'c\$d"]), [expected], "{line}");
        }
        assert_eq!(replacements("x ", "", &["a\nb", "c"]), [""]);
        assert_eq!(replacements("x a", "a", &["a\nb"]), [r"a$'\n'b"]);
        assert_eq!(replacements("x 'a", "a", &["a\nb"]), [r"a'$'\n''b"]);
        assert_eq!(replacements("x \"a", "a", &["a!b"]), ["a\"'!'\"b"]);
        assert_eq!(replacements("x ü", "ü", &["über"]), ["über"]);
    }

    #[test]
    fn what_bash_keeps_is_left_out() {
        assert_eq!(replacements("x --status=ru", "ru", &["--status=running"]), ["running"]);
        assert_eq!(replacements("x a:b", "b", &["a:bc d"]), [r"bc\ d"]);
        assert_eq!(replacements(r"x my\ a:b", "b", &["my a:bc"]), ["bc"]);
        assert_eq!(replacements("x \"a:b", "a:b", &["a:bc"]), ["a:bc"]);
        assert_eq!(replacements("x --status=", "", &["--status=dead"]), ["dead"]);
    }

    #[test]
    fn several_words_are_what_they_have_in_common() {
        assert_eq!(replacements("x a", "a", &["ab cd", "ab ce"]), [r"ab\ c"]);
        // The text stays as typed; bash lists the words after the next key.
        assert_eq!(replacements(r#"x "a"b"#, r#""a"b"#, &["ab c", "ab'd"]), [r#""a"b"#]);
        assert_eq!(Current::new("x a", "a").replacements(&["a b", "a'c"], true), [r"a\ b", r"a\'c"]);
    }
}
