//! Finds names and the values after them in a text: `name=value`, `--name value`, `"name": "value"`, headers,
//! queries of URLs, and each of them inside of another.

use super::shape::{Edit, shapes, urls};
use super::value::{is_plain, is_word, refers};
use super::{REDACTED, and_then};
use crate::provenance::secret::{
    CONTAINERS, HEADERS, PROGRAMS, SCHEMES, USERS, Verdict, has, is_flag, is_secret_in_query, verdict, words,
};
use std::borrow::Cow;

/// Bytes in which brackets are closed, so that a long text of open ones takes no long time.
const FAR: usize = 4096;

/// How far the value of the first name of a text goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Extent {
    /// To the end, as in an argument.
    Whole,
    /// To the end of a word, as in a script or a sentence.
    Word,
}

/// What a text begins with, as the one before says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Awaited {
    #[default]
    Nothing,
    /// A value.
    Value(Verdict),
    /// The value of a header: its scheme may come first.
    Header,
    /// A user and a password.
    User,
}

/// Redacts texts one after the other, as the arguments of a command are.
#[derive(Debug, Default)]
pub(super) struct Scanner {
    awaited: Awaited,
    /// The program that was named last, of those with options of their own.
    program: Option<&'static str>,
    /// A program was named to which `--user` means another thing.
    is_container: bool,
}

impl Scanner {
    /// Returns a text without its secrets.
    pub(super) fn scan<'a>(&mut self, text: &'a str, extent: Extent) -> Cow<'a, str> {
        let awaited = std::mem::take(&mut self.awaited);
        let known = and_then(urls(text), shapes);
        and_then(known, |text| match self.fulfil(awaited, text) {
            Some(redacted) => redacted,
            None => Scan::of(self, text, extent).run(),
        })
    }

    /// Returns a text that is what was awaited; `None` when it is something else.
    fn fulfil<'a>(&mut self, awaited: Awaited, text: &'a str) -> Option<Cow<'a, str>> {
        let is_option = text.starts_with("--") && text.len() > 2 || text.len() == 2 && text.starts_with('-');
        match awaited {
            Awaited::Nothing => None,
            _ if is_option => None,
            Awaited::Value(verdict) if is_plain(verdict, text) => None,
            Awaited::Value(_) => Some(REDACTED.into()),
            Awaited::Header if has(SCHEMES, text) => {
                self.awaited = Awaited::Value(Verdict::Secret);
                Some(text.into())
            }
            Awaited::Header => {
                let secret = after_scheme(text, 0);
                let is_secret = !is_plain(Verdict::Secret, &text[secret..]);
                is_secret.then(|| format!("{}{REDACTED}", &text[..secret]).into())
            }
            Awaited::User => {
                let password = self.password(text)?;
                Some(format!("{}{REDACTED}", &text[..password]).into())
            }
        }
    }

    /// Returns where the password begins in `user:password`.
    fn password(&self, text: &str) -> Option<usize> {
        let (user, word) = text.split_once(':')?;
        let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        let is_user = |c: char| c.is_alphanumeric() || "._-@+%$\\".contains(c);
        let names_user = !user.is_empty() && (user.chars().all(is_user) || refers(user));
        let is_secret = !word.starts_with("//") && !is_plain(Verdict::Password, word);
        let are_ids = is_number(user) && is_number(word);
        (names_user && is_secret && !are_ids && !self.is_container).then_some(user.len() + 1)
    }
}

/// What stands between a name and its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sign {
    Equals,
    Colon,
    Blank,
}

/// A name, and where its value begins.
#[derive(Debug)]
struct Pair<'a> {
    name: &'a str,
    start: usize,
    sign: Sign,
    /// The name is in quotes of its own.
    is_quoted: bool,
    value: usize,
}

/// What the value of a pair is.
#[derive(Debug)]
enum Wanted {
    Nothing,
    Value(Verdict),
    /// A secret unless it could be a word of a sentence.
    NoWord(Verdict),
    User,
}

/// A look at one text.
struct Scan<'a, 's> {
    scanner: &'s mut Scanner,
    text: &'a str,
    extent: Extent,
    at: usize,
    /// Brackets that are open.
    depth: usize,
    /// Nothing but names and signs came so far.
    is_first: bool,
    /// It is in a list, or the value of another.
    is_nested: bool,
    edit: Edit<'a>,
}

impl<'a, 's> Scan<'a, 's> {
    fn of(scanner: &'s mut Scanner, text: &'a str, extent: Extent) -> Self {
        let edit = Edit::of(text);
        Self { scanner, text, extent, at: 0, depth: 0, is_first: true, is_nested: false, edit }
    }

    fn run(mut self) -> Cow<'a, str> {
        while let Some(start) = self.next_name() {
            let end = start + self.bytes()[start..].iter().take_while(|&&byte| is_in_name(byte)).count();
            self.at = end;
            if let Some(pair) = self.pair(start, end) {
                self.take(&pair);
            }
            self.note_program(&self.text[start..end], start);
        }
        self.edit.done()
    }

    fn bytes(&self) -> &'a [u8] {
        self.text.as_bytes()
    }

    /// Goes to the next name, past what is between names.
    fn next_name(&mut self) -> Option<usize> {
        while let Some(&byte) = self.bytes().get(self.at) {
            match byte {
                _ if is_in_name(byte) => return Some(self.at),
                b'{' | b'[' => self.depth += 1,
                b'}' | b']' => self.depth = self.depth.saturating_sub(1),
                b',' => self.is_nested = true,
                _ => {}
            }
            if matches!(byte, b'\n' | b';' | b'|' | b'&') {
                (self.scanner.program, self.scanner.is_container) = (None, false);
            }
            let goes_on = matches!(byte, b'+' | b'~' | b'@' | b'/' | b'$' | b',' | b'=' | b':' | b'%');
            self.is_first &= goes_on;
            self.at += 1;
        }
        None
    }

    /// Notes a program with options of its own.
    fn note_program(&mut self, name: &str, start: usize) {
        let is_begun = start == 0 || !matches!(self.bytes()[start - 1], b'=' | b':' | b',' | b'@');
        if let Some((program, _)) = PROGRAMS.iter().find(|(program, _)| is_begun && *program == name) {
            self.scanner.program = Some(program);
        }
        self.scanner.is_container |= is_begun && has(CONTAINERS, name);
    }

    /// Reads what follows a name, if that makes a pair.
    fn pair(&self, start: usize, end: usize) -> Option<Pair<'a>> {
        let name = &self.text[start..end];
        let rest = self.bytes();
        let quote = self.quote_before(start);
        let is_quoted = !quote.is_empty() && self.text[end..].starts_with(quote);
        let mut at = if is_quoted { end + quote.len() } else { end };
        if rest.get(at) == Some(&b']') {
            at += 1; // environ["NAME"] = "value"
        }
        let after = self.past_blanks(at);
        let has_blanks = after > at;
        let pair = |sign, value| Some(Pair { name, start, sign, is_quoted, value });
        let ahead = |text: &str| self.text[after..].starts_with(text);
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

    fn past_blanks(&self, at: usize) -> usize {
        at + self.bytes()[at..].iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count()
    }

    /// Returns the quote right before a name, with the backslashes before that.
    fn quote_before(&self, start: usize) -> &'a str {
        let before = &self.text[..start];
        let bare = before.strip_suffix(is_quote).unwrap_or(before);
        if bare.len() == before.len() { "" } else { &before[bare.trim_end_matches('\\').len()..] }
    }

    /// Returns the quote that begins there, with the backslashes before it.
    fn quote_at(&self, at: usize) -> &'a str {
        let rest = &self.text[at..];
        let bare = rest.trim_start_matches('\\');
        if bare.starts_with(is_quote) { &rest[..=rest.len() - bare.len()] } else { "" }
    }

    /// Returns where a quote is closed.
    fn closing(&self, quote: &str, from: usize) -> Option<usize> {
        let end = if self.extent == Extent::Whole { self.text.len() } else { self.end_of_line(from) };
        let found = self.text[from..end].match_indices(quote).map(|(at, _)| from + at);
        let mut whole = found.filter(|&at| at == from || self.bytes()[at - 1] != b'\\');
        whole.next()
    }

    fn end_of_line(&self, from: usize) -> usize {
        self.text[from..].find('\n').map_or(self.text.len(), |end| from + end)
    }

    /// Says what the value of a pair is.
    fn wanted(&self, pair: &Pair) -> Wanted {
        let name = pair.name;
        let bare = name.trim_start_matches('-');
        let is_option = bare.len() < name.len();
        let is_attached = name.starts_with('-') && !name.starts_with("--") && name.is_char_boundary(2);
        let attached = if is_attached { &name[2..] } else { "" }; // -DNAME=value, -HName: value
        let before = self.bytes()[..pair.start].last();
        match pair.sign {
            Sign::Blank | Sign::Equals if has(USERS, name) => Wanted::User,
            Sign::Blank
                if PROGRAMS.iter().any(|own| self.scanner.program == Some(own.0) && own.1 == name) =>
            {
                Wanted::Value(Verdict::Password)
            }
            Sign::Blank if bare.eq_ignore_ascii_case("bearer") => Wanted::NoWord(Verdict::Secret),
            Sign::Blank if is_option && !is_flag(bare) => Wanted::of(verdict(bare)),
            Sign::Blank => Wanted::Nothing,
            Sign::Equals if matches!(before, Some(b'?' | b'&')) && is_secret_in_query(name) => {
                Wanted::Value(Verdict::Secret)
            }
            Sign::Equals => Wanted::of(verdict(bare).max(verdict(attached))),
            Sign::Colon if self.scanner.program == Some("curl") && name.starts_with("-u") => Wanted::User,
            Sign::Colon if is_option => Wanted::of(verdict(attached)),
            Sign::Colon => {
                let verdict = verdict(name);
                let is_sure = pair.is_quoted
                    || self.depth > 0
                    || !self.quote_before(pair.start).is_empty()
                    || self.is_first && self.extent == Extent::Whole
                    || has(HEADERS, name)
                    || verdict == Verdict::Password
                    || words(name).len() > 1;
                if is_sure || verdict == Verdict::Plain {
                    Wanted::of(verdict)
                } else {
                    Wanted::NoWord(verdict)
                }
            }
        }
    }

    /// Redacts the value of a pair, where it is secret.
    fn take(&mut self, pair: &Pair) {
        let wanted = self.wanted(pair);
        if matches!(wanted, Wanted::Nothing) {
            self.is_nested |= pair.sign != Sign::Blank;
            return;
        }
        let has_scheme = pair.sign == Sign::Colon || pair.sign == Sign::Equals;
        let mut from = if has_scheme { after_scheme(self.text, pair.value) } else { pair.value };
        if from >= self.text.len() {
            self.await_value(pair, &wanted, from > pair.value);
            self.at = self.text.len();
            return;
        }
        if pair.sign == Sign::Blank && self.text[from..].starts_with(['-', '|', '&', ';', '>', ')']) {
            return;
        }
        let mut to = match wanted {
            Wanted::User if pair.sign == Sign::Colon => self.end_of_word(from),
            _ => self.end_of_value(pair, from),
        };
        let quote = self.quote_at(from);
        if !quote.is_empty() && to >= from + 2 * quote.len() && self.text[..to].ends_with(quote) {
            (from, to) = (from + quote.len(), to - quote.len());
            from = if has_scheme { after_scheme(self.text, from).min(to) } else { from };
        }
        let value = &self.text[from..to];
        let is_secret = match wanted {
            Wanted::Nothing => false,
            Wanted::Value(verdict) => !is_plain(verdict, value),
            Wanted::NoWord(verdict) => !is_plain(verdict, value) && !is_word(value),
            Wanted::User => {
                let user = if pair.sign == Sign::Colon { pair.start } else { from };
                let password = self.scanner.password(&self.text[user..to]);
                from = password.map_or(from, |password| user + password);
                password.is_some()
            }
        };
        if is_secret {
            self.edit.redact(from, to);
            self.is_first = false;
        }
        if pair.sign == Sign::Blank {
            self.scanner.program = None; // another may follow: sshpass -p WORD ssh -p PORT
        }
        self.at = if is_secret { to } else { from.max(self.at) };
    }

    /// Lets the next text be the value of a pair whose text ends before it.
    fn await_value(&mut self, pair: &Pair, wanted: &Wanted, has_scheme: bool) {
        let is_alone = pair.start == 0 && self.extent == Extent::Whole;
        self.scanner.awaited = match (pair.sign, wanted) {
            (Sign::Equals, _) | (_, Wanted::Nothing) => Awaited::Nothing,
            (_, Wanted::User) => Awaited::User,
            (Sign::Colon, Wanted::Value(_) | Wanted::NoWord(_)) if !has_scheme => Awaited::Header,
            (_, Wanted::NoWord(_)) if !is_alone => Awaited::Nothing,
            (_, Wanted::Value(verdict) | Wanted::NoWord(verdict)) => Awaited::Value(*verdict),
        };
        self.scanner.program = None;
    }

    /// Returns where the value of a pair ends.
    fn end_of_value(&self, pair: &Pair, from: usize) -> usize {
        let end_at = |ends: &[char]| self.text[from..].find(ends).map_or(self.text.len(), |end| from + end);
        let quote = self.quote_before(pair.start);
        if pair.sign == Sign::Blank {
            return self.end_of_word(from);
        }
        if !pair.is_quoted
            && !quote.is_empty()
            && let Some(end) = self.closing(quote, from)
        {
            return end;
        }
        match self.bytes()[..pair.start].last() {
            _ if self.is_first && self.extent == Extent::Whole && !self.is_nested => self.text.len(),
            _ if self.is_first && self.extent == Extent::Whole => self.end_in_list(from),
            Some(b'?' | b'&') => end_at(&['&', ' ', '\t', '\n', '"', '\'', '`', '\\']),
            Some(b';') if self.quote_at(from).is_empty() => end_at(&[';', '\n', '"', '\'']),
            _ if has("cookie set-cookie", pair.name) => self.end_of_line(from),
            _ => self.end_of_word(from),
        }
    }

    /// Returns where the next pair of a list begins.
    fn end_in_list(&self, from: usize) -> usize {
        let mut commas = self.text[from..].match_indices(',').map(|(comma, _)| from + comma);
        commas.find(|comma| self.begins_pair(comma + 1)).unwrap_or(self.text.len())
    }

    /// Returns where a word ends that may be in quotes or brackets.
    fn end_of_word(&self, from: usize) -> usize {
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
                b',' | b'}' | b']' if self.depth > 0 => true,
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

    /// Returns where brackets that open there are closed, in the same line and not far away.
    fn end_of_brackets(&self, open: usize) -> Option<usize> {
        let mut depth = 0_usize;
        for (at, byte) in self.text[open..].bytes().take(FAR).enumerate() {
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

    /// Says whether a value that is followed by this is over.
    fn is_over(&self, at: usize) -> bool {
        self.bytes().get(at).is_none_or(|byte| {
            byte.is_ascii_whitespace()
                || matches!(byte, b'"' | b'\'' | b'`' | b',' | b';' | b'&' | b')' | b']' | b'}')
        }) || self.begins_pair(at)
    }

    /// Says whether a name and an equals sign, or a quoted one and a colon, are there.
    fn begins_pair(&self, at: usize) -> bool {
        let Some(rest) = self.text.get(at..) else { return false };
        let bare = rest.trim_start_matches([' ', '"', '\'']);
        let after = bare.trim_start_matches(|c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.'));
        after.len() < bare.len()
            && (after.starts_with('=') || after.starts_with("\":") || after.starts_with("':"))
    }
}

impl Wanted {
    fn of(verdict: Verdict) -> Self {
        if verdict == Verdict::Plain { Self::Nothing } else { Self::Value(verdict) }
    }
}

fn is_quote(c: char) -> bool {
    matches!(c, '"' | '\'' | '`')
}

fn is_in_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.') || byte >= 0x80
}

/// Returns where the value begins after the scheme of a header, if there is one.
fn after_scheme(text: &str, from: usize) -> usize {
    let rest = &text[from..];
    let word = rest.split([' ', '\t']).next().unwrap_or(rest);
    if word.is_empty() || !has(SCHEMES, word) {
        return from;
    }
    let value = rest[word.len()..].trim_start_matches([' ', '\t']);
    text.len() - value.len()
}
