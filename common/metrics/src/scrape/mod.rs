//! Reads metric rows off what programs print. It knows the exact line formats of trainers and takes
//! nothing else: a whole line matches or it is none. Used by run-exec, which sees every line.

mod keras;
mod line_formats;
mod scan;
mod stable_baselines;

use crate::row::{MetricRow, MetricValue};
use keras::KerasBar;
use memchr::memmem::Finder;
use regex::bytes::{Regex, RegexBuilder};
use scan::number;
use stable_baselines::BaselinesTable;
use std::borrow::Cow;
use std::sync::LazyLock;

/// Longer lines are no metric rows.
const LONGEST: usize = 4 << 10;

/// What is looked for in the output.
#[derive(Clone, Debug)]
pub struct Patterns {
    /// Formats of trainers.
    pub known: bool,
    /// The user's own, which come first.
    pub own: Vec<Pattern>,
}

impl Default for Patterns {
    fn default() -> Self {
        Self { known: true, own: Vec::new() }
    }
}

impl Patterns {
    /// Says whether there is nothing to look for.
    pub fn is_none(&self) -> bool {
        !self.known && self.own.is_empty()
    }
}

/// A regular expression, the named groups of which are metrics.
#[derive(Clone, Debug)]
pub struct Pattern(Regex);

impl Pattern {
    /// Takes an expression; one without a named group, or a wrong one, is refused with the reason.
    /// Its classes are those of ASCII: the table of Unicode would make every start slower.
    pub fn new(expression: &str) -> Result<Self, String> {
        let regex = RegexBuilder::new(expression).unicode(false).build().map_err(|error| {
            let text = error.to_string();
            let last = text.lines().last().unwrap_or_default().trim();
            last.trim_start_matches("error: ").to_owned()
        })?;
        match regex.capture_names().flatten().next() {
            Some(_) => Ok(Self(regex)),
            None => Err("it has no named group, such as (?<loss>[0-9.]+)".to_owned()),
        }
    }

    /// Returns the numbers that the named groups have matched.
    fn row(&self, line: &[u8]) -> Option<MetricRow> {
        let captures = self.0.captures(line)?;
        let cell = |name: &str| {
            let text = std::str::from_utf8(captures.name(name)?.as_bytes()).ok()?;
            Some((name.to_owned(), MetricValue::Number(number(text.trim())?)))
        };
        let cells: Vec<_> = self.0.capture_names().flatten().filter_map(cell).collect();
        Some(MetricRow::new(cells)).filter(|row| row.fields().next().is_some())
    }
}

/// Looks for metric rows in the lines of one stream.
#[derive(Debug)]
pub struct Scraper {
    patterns: Patterns,
    bar: KerasBar,
    table: BaselinesTable,
}

impl Scraper {
    /// Looks for these patterns.
    pub fn new(patterns: Patterns) -> Self {
        Self { patterns, bar: KerasBar::default(), table: BaselinesTable::default() }
    }

    /// Returns with what bytes a line must begin for [`Self::line`] to want it next. Nearly all
    /// lines begin with others.
    #[inline]
    pub fn wanted(&self) -> &'static [bool; 256] {
        match (self.patterns.own.is_empty(), self.patterns.known) {
            (false, _) => &[true; 256],
            (true, true) if self.bar.is_waiting() || self.table.is_open() => &GOING_ON,
            (true, true) => &FIRST,
            (true, false) => &[false; 256],
        }
    }

    /// Takes a whole line, without its end and as it was last drawn; returns the row that it
    /// completes.
    pub fn line(&mut self, line: &[u8]) -> Option<MetricRow> {
        let may_be_known = self.patterns.known && self.may_be_known(line);
        if (may_be_known || !self.patterns.own.is_empty()) && line.len() <= LONGEST {
            self.candidate(line)
        } else {
            None
        }
    }

    /// Says whether a line can be of a known format, which costs less than to read it.
    fn may_be_known(&self, line: &[u8]) -> bool {
        let ends = |ends: &[u8]| line.trim_ascii_end().last().is_some_and(|last| ends.contains(last));
        match line {
            [b' ', b'[' | b'i', ..] => ends(b"|"),
            [b'-', b'-', ..] => ends(b"-"),
            [b'0'..=b'9', ..] => self.bar.is_waiting(),
            [b'E', ..] => line.starts_with(b"Epoch "),
            [b'[', b'0'..=b'9', ..] => ends(b"])0123456789nfN"),
            [b'[', b'r' | b't', ..] => line.starts_with(b"[rank") || line.starts_with(b"[titan] "),
            [b'e', ..] => line.starts_with(b"epoch=") || line.starts_with(b"episode="),
            [b'g', ..] => line.starts_with(b"global_step="),
            [b'\x1b', b'[', ..]
            | [b'i', b't', b'e', b'r', b' ' | b'=', ..]
            | [b's', b't', b'e', b'p', b' ', b'0'..=b'9', ..]
            | [b's', b't', b'e', b'p', b':' | b'=', ..] => true,
            [b'i', ..] => line.starts_with(b"iteration="),
            [b't', ..] => line.starts_with(b"timestep="),
            [b'v', ..] => line.starts_with(b"validate step:"),
            [b'{', b'\'' | b'"' | b' ', ..] => ends(b"}") && has_step(line),
            [b'|', b' ', ..] => self.table.is_open(),
            _ => false,
        }
    }

    fn candidate(&mut self, line: &[u8]) -> Option<MetricRow> {
        let line = without_escapes(line);
        if let Some(row) = self.patterns.own.iter().find_map(|pattern| pattern.row(&line)) {
            return Some(row);
        }
        let text = std::str::from_utf8(&line).ok().filter(|_| self.patterns.known)?.trim_end_matches(' ');
        match *text.as_bytes().first()? {
            b'-' | b'|' => self.table.line(text),
            b'E' | b'0'..=b'9' => self.bar.line(text),
            _ => line_formats::row(text),
        }
    }
}

/// Says whether a part of any of the names of a step is there.
fn has_step(line: &[u8]) -> bool {
    static PARTS: LazyLock<[Finder; 2]> = LazyLock::new(|| ["ep", "iter"].map(Finder::new));
    PARTS.iter().any(|part| part.find(line).is_some())
}

/// With what a line of a known format begins.
static FIRST: [bool; 256] = these(b" -E[{egistv\x1b");

/// The same within a table or an epoch.
static GOING_ON: [bool; 256] = these(b" -E[{egistv\x1b|0123456789");

const fn these(bytes: &[u8]) -> [bool; 256] {
    let mut wanted = [false; 256];
    let mut i = 0;
    while i < bytes.len() {
        wanted[bytes[i] as usize] = true;
        i += 1;
    }
    wanted
}

/// Returns a line as a terminal shows it: without colours, and from where the cursor was last moved.
fn without_escapes(line: &[u8]) -> Cow<'_, [u8]> {
    if memchr::memchr(b'\x1b', line).is_none() {
        return Cow::Borrowed(line);
    }
    let mut text = Vec::with_capacity(line.len());
    let mut rest = line;
    while let Some(start) = memchr::memchr(b'\x1b', rest) {
        text.extend_from_slice(&rest[..start]);
        rest = &rest[start + 1..];
        let Some(sequence) = rest.strip_prefix(b"[") else { continue };
        let Some(end) = sequence.iter().position(|byte| (b'@'..=b'~').contains(byte)) else { continue };
        if !matches!(sequence[end], b'm' | b'K') {
            text.clear();
        }
        rest = &sequence[end + 1..];
    }
    text.extend_from_slice(rest);
    Cow::Owned(text)
}

#[cfg(test)]
mod tests;
