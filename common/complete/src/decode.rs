//! Words of a command line as a shell reads them, up to the cursor. Nothing is expanded or executed: `$HOME` and
//! `$(date)` stay as they are.

use std::iter::Peekable;
use std::str::CharIndices;

/// A word of a command line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Word {
    /// Where the word starts in the line, in bytes.
    pub(crate) start: usize,
    /// The word without its quotes.
    pub(crate) text: String,
    /// The quote that is open at the end of the line.
    pub(crate) open: Option<char>,
}

/// Splits a line into words; the last word, empty after a space, ends at the cursor.
pub(crate) fn words(line: &str) -> Vec<Word> {
    let mut chars = line.char_indices().peekable();
    let mut words = Vec::new();
    loop {
        while chars.next_if(|(_, c)| c.is_ascii_whitespace()).is_some() {}
        let start = chars.peek().map_or(line.len(), |(at, _)| *at);
        words.push(word(&mut chars, start));
        if chars.peek().is_none() {
            return words;
        }
    }
}

fn word(chars: &mut Peekable<CharIndices>, start: usize) -> Word {
    let mut word = Word { start, ..Word::default() };
    while let Some((_, c)) = chars.next_if(|(_, c)| !c.is_ascii_whitespace()) {
        match c {
            '\\' => match chars.next() {
                Some((_, '\n')) | None => {}
                Some((_, next)) => word.text.push(next),
            },
            '\'' => word.open = quoted(chars, '\'', &mut word.text),
            '"' => word.open = quoted(chars, '"', &mut word.text),
            '$' if chars.next_if(|(_, c)| *c == '\'').is_some() => {
                word.open = escaped(chars, &mut word.text).then_some('$');
            }
            _ => word.text.push(c),
        }
    }
    word
}

/// Reads up to the end of a quote; returns the quote if the quote does not end.
fn quoted(chars: &mut Peekable<CharIndices>, quote: char, text: &mut String) -> Option<char> {
    while let Some((_, c)) = chars.next() {
        match c {
            _ if c == quote => return None,
            '\\' if quote == '"' => match chars.next_if(|(_, c)| "\\\"$`\n".contains(*c)) {
                Some((_, '\n')) => {}
                Some((_, next)) => text.push(next),
                None => text.push(c),
            },
            _ => text.push(c),
        }
    }
    Some(quote)
}

/// Reads up to the end of `$'...'`; returns whether it does not end.
fn escaped(chars: &mut Peekable<CharIndices>, text: &mut String) -> bool {
    while let Some((_, c)) = chars.next() {
        match c {
            '\'' => return false,
            '\\' => match chars.next() {
                None => return true,
                Some((_, 'n')) => text.push('\n'),
                Some((_, 't')) => text.push('\t'),
                Some((_, 'r')) => text.push('\r'),
                Some((_, 'E' | 'e')) => text.push('\u{1b}'),
                Some((_, 'x')) => text.extend(number(chars, None, 2, 16)),
                Some((_, digit @ '0'..='7')) => text.extend(number(chars, Some(digit), 2, 8)),
                Some((_, next)) => text.push(next),
            },
            _ => text.push(c),
        }
    }
    true
}

/// Reads a character by its number, of at most `most` further digits.
fn number(chars: &mut Peekable<CharIndices>, first: Option<char>, most: usize, radix: u32) -> Option<char> {
    let mut number = first.and_then(|digit| digit.to_digit(radix)).unwrap_or(0);
    for _ in 0..most {
        let Some((_, digit)) = chars.next_if(|(_, c)| c.is_digit(radix)) else { break };
        number = number * radix + digit.to_digit(radix).unwrap_or(0);
    }
    char::from_u32(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(line: &str) -> Vec<String> {
        words(line).into_iter().map(|word| word.text).collect()
    }

    #[test]
    fn a_line_is_split_as_bash_does() {
        assert_eq!(texts(""), [""]);
        assert_eq!(texts("run-status"), ["run-status"]);
        assert_eq!(texts("run-status "), ["run-status", ""]);
        assert_eq!(texts(r#"a 'b c' "d e" f\ g h"i"'j'"#), ["a", "b c", "d e", "f g", "hij"]);
        assert_eq!(texts(r"a b\ "), ["a", "b "]);
        assert_eq!(texts(r"a b\\ "), ["a", r"b\", ""]);
        assert_eq!(texts(r#"a "\$x \y" $'n\nt\x41\101\''"#), ["a", r"$x \y", "n\nt\u{41}\u{41}'"]);
        assert_eq!(texts("a $(touch x) `y`"), ["a", "$(touch", "x)", "`y`"]);
        assert_eq!(texts("a b\\\nc"), ["a", "bc"]);
        assert_eq!(texts("ü é:x=y"), ["ü", "é:x=y"]);
    }

    #[test]
    fn an_open_quote_is_told() {
        let last = |line: &str| words(line).pop().unwrap();
        assert_eq!(last("a 'my ru"), Word { start: 2, text: "my ru".to_owned(), open: Some('\'') });
        assert_eq!(last("a \"my "), Word { start: 2, text: "my ".to_owned(), open: Some('"') });
        assert_eq!(last(r"a $'x\n"), Word { start: 2, text: "x\n".to_owned(), open: Some('$') });
        assert_eq!(last("a 'b'"), Word { start: 2, text: "b".to_owned(), open: None });
    }

    #[test]
    fn no_line_is_too_strange() {
        for line in ["\\", "'", "\"\\", "$'", "$'\\", "$'\\x", "$'\\777", " \\ \\", "\n", "a\\\n", "$"] {
            assert!(!words(line).is_empty());
        }
    }
}
