//! Finds the bounds of names and values in a text, between quotes and brackets.

use crate::provenance::secret::{SCHEMES, has};

/// Maximum distance of matching brackets, so that a long text of open brackets is fast.
const FAR: usize = 4096;

/// The extent of the value of the first name in a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Extent {
    /// To the end, as in an argument.
    Whole,
    /// To the end of a word, as in a script or a sentence.
    Word,
}

/// The separator of a name and its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sign {
    Equals,
    Colon,
    Blank,
}

/// A name, and the start of its value.
#[derive(Debug)]
pub(super) struct Pair<'a> {
    pub(super) name: &'a str,
    pub(super) start: usize,
    pub(super) sign: Sign,
    /// Whether the name is in quotes of its own.
    pub(super) is_quoted: bool,
    pub(super) value: usize,
}

/// A text with functions that find positions in it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Text<'a> {
    pub(super) whole: &'a str,
    pub(super) extent: Extent,
}

impl<'a> Text<'a> {
    pub(super) fn bytes(self) -> &'a [u8] {
        self.whole.as_bytes()
    }

    /// Returns the end of the name that begins here.
    pub(super) fn end_of_name(self, start: usize) -> usize {
        start + self.bytes()[start..].iter().take_while(|&&byte| is_in_name(byte)).count()
    }

    /// Reads the text after a name, if the two form a pair.
    pub(super) fn pair(self, start: usize, end: usize) -> Option<Pair<'a>> {
        let name = &self.whole[start..end];
        let rest = self.bytes();
        let quote = self.quote_before(start);
        let is_quoted = !quote.is_empty() && self.whole[end..].starts_with(quote);
        let mut at = if is_quoted { end + quote.len() } else { end };
        if rest.get(at) == Some(&b']') {
            at += 1; // environ["NAME"] = "value"
        }
        let after = self.past_blanks(at);
        let has_blanks = after > at;
        let pair = |sign, value| Some(Pair { name, start, sign, is_quoted, value });
        let ahead = |text: &str| self.whole[after..].starts_with(text);
        match rest.get(after) {
            Some(b'=') if ahead("==") && !name.starts_with("--") => None, // a comparison
            Some(b'=') => {
                let value = after + if ahead("=>") { 2 } else { 1 };
                pair(Sign::Equals, if has_blanks || is_quoted { self.past_blanks(value) } else { value })
            }
            Some(b':') if ahead("://") || ahead("::") || has_blanks && !is_quoted => None,
            Some(b':') if ahead(":=") => pair(Sign::Equals, after + 2),
            Some(b':') => pair(Sign::Colon, self.past_blanks(after + 1)),
            None => pair(Sign::Blank, after),
            Some(_) if has_blanks => pair(Sign::Blank, after),
            Some(_) => None,
        }
    }

    pub(super) fn past_blanks(self, at: usize) -> usize {
        at + self.bytes()[at..].iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count()
    }

    /// Returns the quote directly before a name, with its backslashes.
    pub(super) fn quote_before(self, start: usize) -> &'a str {
        let before = &self.whole[..start];
        let bare = before.strip_suffix(is_quote).unwrap_or(before);
        if bare.len() == before.len() { "" } else { &before[bare.trim_end_matches('\\').len()..] }
    }

    /// Returns the quote that begins here, with its backslashes.
    pub(super) fn quote_at(self, at: usize) -> &'a str {
        let rest = &self.whole[at..];
        let bare = rest.trim_start_matches('\\');
        if bare.starts_with(is_quote) { &rest[..=rest.len() - bare.len()] } else { "" }
    }

    /// Returns the end of a quote.
    pub(super) fn closing(self, quote: &str, from: usize) -> Option<usize> {
        let end = if self.extent == Extent::Whole { self.whole.len() } else { self.end_of_line(from) };
        let found = self.whole[from..end].match_indices(quote).map(|(at, _)| from + at);
        let mut whole = found.filter(|&at| at == from || self.bytes()[at - 1] != b'\\');
        whole.next()
    }

    pub(super) fn end_of_line(self, from: usize) -> usize {
        self.whole[from..].find('\n').map_or(self.whole.len(), |end| from + end)
    }

    /// Returns the start of the next pair of a list.
    pub(super) fn end_in_list(self, from: usize) -> usize {
        let mut commas = self.whole[from..].match_indices(',').map(|(comma, _)| from + comma);
        commas.find(|comma| self.begins_pair(comma + 1)).unwrap_or(self.whole.len())
    }

    /// Returns the end of a word that may be in quotes or brackets, and nested in others.
    pub(super) fn end_of_word(self, from: usize, is_inside: bool) -> usize {
        let bytes = self.bytes();
        let quote = self.quote_at(from);
        let mut at = from;
        if !quote.is_empty() {
            match self.closing(quote, from + quote.len()) {
                Some(end) => at = end + quote.len(),
                None => return self.end_of_line(from),
            }
        }
        while let Some(&byte) = bytes.get(at) {
            let is_over = match byte {
                _ if byte.is_ascii_whitespace() => true,
                b',' | b'}' | b']' if is_inside => true,
                b'"' | b'\'' | b'`' | b',' | b';' | b'&' | b')' | b'}' | b']' => self.is_over(at + 1),
                b'\\' => !self.quote_at(at).is_empty() && self.is_over(at + self.quote_at(at).len()),
                _ => false,
            };
            if is_over {
                break;
            }
            at = match byte {
                b'{' | b'[' | b'(' => self.end_of_brackets(at).unwrap_or(at + 1),
                _ => at + 1,
            };
        }
        at
    }

    /// Returns the end of brackets that open here, in the same line and not far away.
    fn end_of_brackets(self, open: usize) -> Option<usize> {
        let mut depth = 0_usize;
        for (at, byte) in self.whole[open..].bytes().take(FAR).enumerate() {
            match byte {
                b'\n' => return None,
                b'{' | b'[' | b'(' => depth += 1,
                b'}' | b']' | b')' => depth = depth.checked_sub(1)?,
                _ => {}
            }
            if depth == 0 {
                return Some(open + at + 1);
            }
        }
        None
    }

    /// Returns whether this text ends a value.
    fn is_over(self, at: usize) -> bool {
        self.bytes().get(at).is_none_or(|byte| {
            byte.is_ascii_whitespace()
                || matches!(byte, b'"' | b'\'' | b'`' | b',' | b';' | b'&' | b')' | b']' | b'}')
        }) || self.begins_pair(at)
    }

    /// Returns whether a name and an equals sign, or a quoted name and a colon, follow.
    fn begins_pair(self, at: usize) -> bool {
        let Some(rest) = self.whole.get(at..) else { return false };
        let bare = rest.trim_start_matches([' ', '"', '\'']);
        let after = bare.trim_start_matches(|c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.'));
        after.len() < bare.len()
            && (after.starts_with('=') || after.starts_with("\":") || after.starts_with("':"))
    }

    /// Returns the start of the value after the scheme of a header, if there is one.
    pub(super) fn after_scheme(self, from: usize) -> usize {
        let rest = &self.whole[from..];
        let word = rest.split([' ', '\t']).next().unwrap_or(rest);
        if word.is_empty() || !has(SCHEMES, word) {
            return from;
        }
        let value = rest[word.len()..].trim_start_matches([' ', '\t']);
        self.whole.len() - value.len()
    }
}

fn is_quote(c: char) -> bool {
    matches!(c, '"' | '\'' | '`')
}

pub(super) fn is_in_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.') || byte >= 0x80
}
