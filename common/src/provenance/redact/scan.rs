//! Finds names and their values in a text: `name=value`, `--name value`, `"name": "value"`, headers, queries
//! of URLs, and nested forms of these.

use super::shape::{Edit, shapes, urls};
use super::text::{Extent, Pair, Sign, Text, is_in_name};
use super::value::{is_plain, is_word, refers};
use super::{REDACTED, and_then};
use crate::provenance::secret::{
    ATTACHED, HEADERS, OTHER_USERS, PROGRAMS, SCHEMES, USERS, Verdict, has, is_flag, is_secret_in_query,
    verdict, words,
};
use std::borrow::Cow;

/// The meaning of the beginning of a text, determined by the text before.
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
    /// A value after a name in an argument of its own, unless it could be an ordinary word.
    NoWord(Verdict),
}

/// Redacts successive texts, such as the arguments of a command.
#[derive(Debug, Default)]
pub(super) struct Scanner {
    awaited: Awaited,
    /// The last named program that has options of its own.
    program: Option<&'static str>,
    /// Whether a program was named for which `--user` has another meaning.
    is_other: bool,
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

    /// Returns an expected value, redacted; `None` if it is something else.
    fn fulfil<'a>(&mut self, awaited: Awaited, text: &'a str) -> Option<Cow<'a, str>> {
        let is_option = text.starts_with("--") && text.len() > 2 || text.len() == 2 && text.starts_with('-');
        match awaited {
            Awaited::Nothing => None,
            _ if is_option => None,
            Awaited::Value(verdict) | Awaited::NoWord(verdict) if is_plain(verdict, text) => None,
            Awaited::NoWord(_) if is_word(text) => None,
            Awaited::Value(_) | Awaited::NoWord(_) => Some(REDACTED.into()),
            Awaited::Header if has(SCHEMES, text) => {
                self.awaited = Awaited::Value(Verdict::Secret);
                Some(text.into())
            }
            Awaited::Header => {
                let secret = Text { whole: text, extent: Extent::Whole }.after_scheme(0);
                let is_secret = !is_plain(Verdict::Secret, &text[secret..]);
                is_secret.then(|| format!("{}{REDACTED}", &text[..secret]).into())
            }
            Awaited::User => {
                let password = self.password(text)?;
                Some(format!("{}{REDACTED}", &text[..password]).into())
            }
        }
    }

    /// Returns the start of the password in `user:password`.
    fn password(&self, text: &str) -> Option<usize> {
        let (user, word) = text.split_once(':')?;
        let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        let is_user = |c: char| c.is_alphanumeric() || "._-@+%$\\".contains(c);
        let names_user = !user.is_empty() && (user.chars().all(is_user) || refers(user));
        let is_secret = !word.starts_with("//") && !is_plain(Verdict::Password, word);
        let are_ids = is_number(user) && is_number(word);
        (names_user && is_secret && !are_ids && !self.is_other).then_some(user.len() + 1)
    }
}

/// The kind of a pair's value.
#[derive(Debug)]
enum Wanted {
    Nothing,
    Value(Verdict),
    /// A secret, unless it could be an ordinary word.
    NoWord(Verdict),
    User,
}

/// A scan of a text.
struct Scan<'a, 's> {
    scanner: &'s mut Scanner,
    text: Text<'a>,
    at: usize,
    /// Open brackets.
    depth: usize,
    /// Whether only names and signs came so far.
    is_first: bool,
    /// Whether it is in a list, or nested in a value.
    is_nested: bool,
    edit: Edit<'a>,
}

impl<'a, 's> Scan<'a, 's> {
    fn of(scanner: &'s mut Scanner, text: &'a str, extent: Extent) -> Self {
        let (edit, text) = (Edit::of(text), Text { whole: text, extent });
        Self { scanner, text, at: 0, depth: 0, is_first: true, is_nested: false, edit }
    }

    fn run(mut self) -> Cow<'a, str> {
        while let Some(start) = self.next_name() {
            let end = self.text.end_of_name(start);
            self.at = end;
            if self.holds_password(start, end) {
                self.at = self.end_of_word(start + 2);
                self.edit.redact(start + 2, self.at);
            } else if let Some(pair) = self.text.pair(start, end) {
                self.take(&pair);
            }
            self.note_program(&self.text.whole[start..end], start);
        }
        self.edit.done()
    }

    /// Advances to the next name.
    fn next_name(&mut self) -> Option<usize> {
        while let Some(&byte) = self.text.bytes().get(self.at) {
            match byte {
                _ if is_in_name(byte) => return Some(self.at),
                b'{' | b'[' => self.depth += 1,
                b'}' | b']' => self.depth = self.depth.saturating_sub(1),
                b',' => self.is_nested = true,
                _ => {}
            }
            if matches!(byte, b'\n' | b';' | b'|' | b'&') {
                (self.scanner.program, self.scanner.is_other) = (None, false);
            }
            let goes_on = matches!(byte, b'+' | b'~' | b'@' | b'/' | b'$' | b',' | b'=' | b':' | b'%');
            self.is_first &= goes_on;
            self.at += 1;
        }
        None
    }

    /// Records a program that has options of its own.
    fn note_program(&mut self, name: &str, start: usize) {
        let is_begun = start == 0 || !matches!(self.text.bytes()[start - 1], b'=' | b':' | b',' | b'@');
        let programs = PROGRAMS.iter().map(|(program, _)| *program).chain(ATTACHED.split(' '));
        if let Some(program) = programs.into_iter().find(|program| is_begun && *program == name) {
            self.scanner.program = Some(program);
            self.scanner.is_other = false;
        }
        self.scanner.is_other |= is_begun && has(OTHER_USERS, name);
    }

    /// Returns whether a name is an option of the program that contains the password.
    fn holds_password(&self, start: usize, end: usize) -> bool {
        let is_attached = end > start + 2 && self.text.whole[start..end].starts_with("-p");
        is_attached && self.scanner.program.is_some_and(|program| has(ATTACHED, program))
    }

    /// Returns whether a secret follows a word of the last named program.
    fn is_own(&self, name: &str) -> bool {
        PROGRAMS.iter().any(|own| self.scanner.program == Some(own.0) && own.1 == name)
    }

    /// Returns the kind of a pair's value.
    fn wanted(&self, pair: &Pair) -> Wanted {
        let name = pair.name;
        let bare = name.trim_start_matches('-');
        let is_option = bare.len() < name.len();
        let is_attached = name.starts_with('-') && !name.starts_with("--") && name.is_char_boundary(2);
        let attached = if is_attached { &name[2..] } else { "" }; // -DNAME=value, -HName: value
        let before = self.text.bytes()[..pair.start].last();
        match pair.sign {
            Sign::Blank | Sign::Equals if has(USERS, name) => Wanted::User,
            Sign::Blank if self.is_own(name) => Wanted::Value(Verdict::Password),
            Sign::Blank if bare.eq_ignore_ascii_case("bearer") => Wanted::NoWord(Verdict::Secret),
            Sign::Blank if is_option && !is_flag(bare) => Wanted::of(verdict(bare)),
            // A name and a value in separate arguments: WANDB.API_KEY value.
            Sign::Blank
                if pair.start == 0
                    && pair.value == self.text.whole.len()
                    && self.text.extent == Extent::Whole =>
            {
                match verdict(name) {
                    verdict if verdict >= Verdict::Secret && words(name).len() > 1 => Wanted::NoWord(verdict),
                    _ => Wanted::Nothing,
                }
            }
            Sign::Blank => Wanted::Nothing,
            Sign::Equals if matches!(before, Some(b'?' | b'&')) && is_secret_in_query(name) => {
                Wanted::Value(Verdict::Secret)
            }
            Sign::Equals => Wanted::of(verdict(bare).max(verdict(attached))),
            Sign::Colon if self.scanner.program == Some("curl") && name.starts_with("-u") => Wanted::User,
            Sign::Colon if is_option && pair.value > pair.start + name.len() + 1 => {
                Wanted::of(verdict(attached))
            }
            Sign::Colon if is_option => Wanted::of(verdict(bare).max(verdict(attached))),
            Sign::Colon => {
                let verdict = verdict(name);
                let is_sure = pair.is_quoted
                    || self.depth > 0
                    || !self.text.quote_before(pair.start).is_empty()
                    || self.is_first && self.text.extent == Extent::Whole
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

    /// Redacts the value of a pair, if it is secret.
    fn take(&mut self, pair: &Pair) {
        let wanted = self.wanted(pair);
        if matches!(wanted, Wanted::Nothing) {
            self.is_nested |= pair.sign != Sign::Blank;
            return;
        }
        let has_scheme = pair.sign == Sign::Colon || pair.sign == Sign::Equals;
        let mut from = if has_scheme { self.text.after_scheme(pair.value) } else { pair.value };
        if from >= self.text.whole.len() {
            self.await_value(pair, &wanted, from > pair.value);
            self.at = self.text.whole.len();
            return;
        }
        if pair.sign == Sign::Blank && self.text.whole[from..].starts_with(['-', '|', '&', ';', '>', ')']) {
            return;
        }
        let mut to = match wanted {
            Wanted::User if pair.sign == Sign::Colon => self.end_of_word(from),
            _ => self.end_of_value(pair, from),
        };
        let quote = self.text.quote_at(from);
        if !quote.is_empty() && to >= from + 2 * quote.len() && self.text.whole[..to].ends_with(quote) {
            (from, to) = (from + quote.len(), to - quote.len());
            from = if has_scheme { self.text.after_scheme(from).min(to) } else { from };
        }
        let value = &self.text.whole[from..to];
        let is_secret = match wanted {
            Wanted::Nothing => false,
            Wanted::Value(verdict) => !is_plain(verdict, value),
            Wanted::NoWord(verdict) => !is_plain(verdict, value) && !is_word(value),
            Wanted::User => {
                let user = if pair.sign == Sign::Colon { pair.start } else { from };
                let password = self.scanner.password(&self.text.whole[user..to]);
                from = password.map_or(from, |password| user + password);
                password.is_some()
            }
        };
        if is_secret {
            self.edit.redact(from, to);
            self.is_first = false;
        }
        if self.is_own(pair.name) {
            self.scanner.program = None; // another secret may follow: sshpass -p WORD ssh -p PORT
        }
        self.at = if is_secret { to } else { from.max(self.at) };
    }

    /// Expects the next text as the value of a pair whose own text has ended.
    fn await_value(&mut self, pair: &Pair, wanted: &Wanted, has_scheme: bool) {
        let is_alone = pair.start == 0 && self.text.extent == Extent::Whole;
        self.scanner.awaited = match (pair.sign, wanted) {
            (Sign::Equals, _) | (_, Wanted::Nothing) => Awaited::Nothing,
            (_, Wanted::User) => Awaited::User,
            (Sign::Colon, Wanted::Value(_) | Wanted::NoWord(_)) if !has_scheme => Awaited::Header,
            (_, Wanted::NoWord(_)) if !is_alone => Awaited::Nothing,
            (_, Wanted::NoWord(verdict)) if !pair.name.eq_ignore_ascii_case("bearer") => {
                Awaited::NoWord(*verdict)
            }
            (_, Wanted::Value(verdict) | Wanted::NoWord(verdict)) => Awaited::Value(*verdict),
        };
        if self.is_own(pair.name) {
            self.scanner.program = None;
        }
    }

    fn end_of_word(&self, from: usize) -> usize {
        self.text.end_of_word(from, self.depth > 0)
    }

    /// Returns the end of a pair's value.
    fn end_of_value(&self, pair: &Pair, from: usize) -> usize {
        let end_at = |ends: &[char]| {
            self.text.whole[from..].find(ends).map_or(self.text.whole.len(), |end| from + end)
        };
        let quote = self.text.quote_before(pair.start);
        if pair.sign == Sign::Blank {
            return self.end_of_word(from);
        }
        if !pair.is_quoted
            && !quote.is_empty()
            && let Some(end) = self.text.closing(quote, from)
        {
            return end;
        }
        match self.text.bytes()[..pair.start].last() {
            _ if self.is_first && self.text.extent == Extent::Whole && !self.is_nested => {
                self.text.whole.len()
            }
            _ if self.is_first && self.text.extent == Extent::Whole => self.text.end_in_list(from),
            Some(b'?' | b'&') => end_at(&['&', ' ', '\t', '\n', '"', '\'', '`', '\\']),
            Some(b';') if self.text.quote_at(from).is_empty() => end_at(&[';', '\n', '"', '\'']),
            _ if has("cookie set-cookie", pair.name) => self.text.end_of_line(from),
            _ => self.end_of_word(from),
        }
    }
}

impl Wanted {
    fn of(verdict: Verdict) -> Self {
        if verdict == Verdict::Plain { Self::Nothing } else { Self::Value(verdict) }
    }
}
