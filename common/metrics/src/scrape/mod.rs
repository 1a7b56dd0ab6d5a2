//! Reads metric rows from the output of programs. It knows the exact line formats of trainers: only whole lines
//! that match are rows. Used by run-exec, which sees every line.

mod boosting;
mod colons;
mod fairseq;
mod home_made;
mod keras;
mod lightning;
mod line_formats;
pub mod log;
mod meters;
mod open_mmlab;
mod plain_pairs;
mod rank;
mod rsl_rl;
mod scan;
mod spacy;
mod speech;
mod stable_baselines;
mod tianshou;
mod yolo;

use crate::row::{MetricRow, MetricValue};
use keras::KerasBar;
use memchr::memmem::{self, Finder};
use open_mmlab::Progress;
use regex::bytes::{Regex, RegexBuilder};
use rsl_rl::RslBlock;
use scan::number;
use spacy::SpacyTable;
use stable_baselines::BaselinesTable;
use std::borrow::Cow;
use std::sync::LazyLock;
use yolo::Yolo;

/// Maximum length of a line with a row, in bytes.
const LONGEST: usize = 4 << 10;

/// How metrics that no tool has seen can be had; the advice of all tools.
pub const WAYS_TO_METRICS: &str = "let the program append lines such as {\"step\": 1, \"loss\": 0.5} to $RUN_METRICS, name a \
                                   file with run-exec --metrics FILE, or read the output with run-report --scrape PATTERN";

/// The patterns to search for in output.
#[derive(Clone, Debug)]
pub struct Patterns {
    /// Whether the known formats of trainers count.
    pub known: bool,
    /// The user's patterns, which take precedence.
    pub own: Vec<Pattern>,
}

impl Default for Patterns {
    fn default() -> Self {
        Self { known: true, own: Vec::new() }
    }
}

impl Patterns {
    /// Parses the values of `--scrape`. The last of `auto` and `none` determines whether the known formats
    /// count; all other values are regular expressions.
    pub fn parse(specs: &[String]) -> Result<Self, String> {
        let mut patterns = Self::default();
        for spec in specs {
            match spec.as_str() {
                "auto" => patterns.known = true,
                "none" => patterns.known = false,
                _ => patterns.own.push(Pattern::new(spec)?),
            }
        }
        Ok(patterns)
    }

    /// Checks a value of `--scrape`, and returns it as typed.
    pub fn check(spec: &str) -> Result<String, String> {
        let spec = spec.to_owned();
        Self::parse(std::slice::from_ref(&spec)).map(|_| spec)
    }

    /// Returns whether there are no patterns.
    pub fn is_none(&self) -> bool {
        !self.known && self.own.is_empty()
    }
}

/// A regular expression whose named groups are metrics.
#[derive(Clone, Debug)]
pub struct Pattern(Regex);

impl Pattern {
    /// Compiles an expression; the error says what is wrong with it, such as a missing named group. Its
    /// character classes are ASCII: the tables of Unicode would slow down every start.
    pub fn new(expression: &str) -> Result<Self, String> {
        let regex = RegexBuilder::new(expression).unicode(false).build().map_err(|error| {
            let text = error.to_string();
            let last = text.lines().last().unwrap_or_default().trim();
            last.trim_start_matches("error: ").to_owned()
        })?;
        match regex.capture_names().flatten().next() {
            Some(_) => Ok(Self(regex)),
            None => Err("must have a named group, such as (?<loss>[0-9.]+)".to_owned()),
        }
    }

    /// Returns the names of its groups.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.capture_names().flatten()
    }

    /// Returns a row with the numbers in the named groups; `None` if the line does not match.
    fn row(&self, line: &[u8]) -> Option<MetricRow> {
        let captures = self.0.captures(line)?;
        let cell = |name: &str| {
            let text = std::str::from_utf8(captures.name(name)?.as_bytes()).ok()?;
            let text = text.trim();
            let value = number(text).or_else(|| number(&scan::ungrouped(text)?))?;
            Some((name.to_owned(), MetricValue::Number(value)))
        };
        let cells: Vec<_> = self.0.capture_names().flatten().filter_map(cell).collect();
        Some(MetricRow::new(cells)).filter(|row| row.fields().next().is_some())
    }
}

/// Finds metric rows in the lines of one stream.
#[derive(Debug)]
pub struct Scraper {
    patterns: Patterns,
    bar: KerasBar,
    table: BaselinesTable,
    block: RslBlock,
    spacy: SpacyTable,
    yolo: Yolo,
    progress: Progress,
    /// The first rank that printed a row, if a launcher labels lines with ranks. Other ranks print the same
    /// rows, or rows of their part of the batch.
    rank: Option<u32>,
}

impl Scraper {
    /// Creates a scraper for these patterns.
    pub fn new(patterns: Patterns) -> Self {
        Self {
            patterns,
            bar: KerasBar::default(),
            table: BaselinesTable::default(),
            block: RslBlock::default(),
            spacy: SpacyTable::default(),
            yolo: Yolo::default(),
            progress: Progress::default(),
            rank: None,
        }
    }

    /// Returns the set of first bytes of lines that [`Self::line`] wants next. Nearly all lines begin with
    /// other bytes.
    #[inline]
    pub fn wanted(&self) -> &'static [bool; 256] {
        match (self.patterns.own.is_empty(), self.patterns.known) {
            (false, _) => &[true; 256],
            (true, true) if self.table.is_open() => &GOING_ON,
            (true, true) => &FIRST,
            (true, false) => &[false; 256],
        }
    }

    /// Reads a whole line in its last drawn state, without its newline; returns the row that the line
    /// completes.
    #[inline]
    pub fn line(&mut self, line: &[u8]) -> Option<MetricRow> {
        let may_be_known = self.patterns.known && self.may_be_known(line);
        if (may_be_known || !self.patterns.own.is_empty()) && line.len() <= LONGEST {
            self.candidate(line)
        } else {
            None
        }
    }

    /// Returns whether a line may have a known format, which is cheaper than reading the line.
    #[inline]
    fn may_be_known(&self, line: &[u8]) -> bool {
        let ends = |ends: &[u8]| line.trim_ascii_end().last().is_some_and(|last| ends.contains(last));
        match line {
            [b' ', b'[' | b'i' | b'v' | b's', ..] if ends(b"|") => true,
            [b' ', ..] => {
                Yolo::may_be(line) || self.block.may_be(line) || self.spacy.is_open() || has_rank(line)
            }
            [b'-', b'-', ..] => ends(b"-"),
            [b'0'..=b'9', ..] => {
                self.bar.is_waiting() || has_rank(line) || is_logged(line) || is_boosted(line)
            }
            [b'[', b'0'..=b'9', ..] => ends(b"])0123456789nfNM") || has_rank(line) || speech::may_be(line),
            [b'[', b't', ..] if line.starts_with(b"[titan] ") => true,
            [b'[', ..] => has_rank(line) || speech::may_be(line),
            [b'(', ..] => has_rank(line),
            [b'g', ..] => line.starts_with(b"global_step="),
            [b'\x1b', b'[', ..] | [b'T', b'r', b'a', b'i', b'n', ..] => true,
            [b't', ..] => line.starts_with(b"timestep="),
            [b'v', ..] => line.starts_with(b"validate step:"),
            [b'{', b'\'' | b'"' | b' ', ..] => ends(b"}") && has_step(line),
            [b'|', b' ', ..] => self.table.is_open(),
            [b's', b'p', ..] => line.starts_with(speech::SPEECHBRAIN.as_bytes()),
            [b's' | b'S', ..] => begins_with_step(line, b"step"),
            [b'E', b' ', ..] => line.starts_with(spacy::HEAD.as_bytes()),
            [b'e' | b'E', ..] => begins_with_step(line, b"epoch") || begins_with_step(line, b"episode"),
            [b'i' | b'I', ..] => begins_with_step(line, b"iter") || begins_with_step(line, b"iteration"),
            [b'u' | b'U', ..] => begins_with_step(line, b"update"),
            _ => false,
        }
    }

    /// Reads a line that may be a row. Few lines get here; a separate function keeps the check before it short.
    #[inline(never)]
    fn candidate(&mut self, line: &[u8]) -> Option<MetricRow> {
        let line = without_escapes(line);
        if let Some(row) = self.own(&line) {
            return Some(row);
        }
        let text = std::str::from_utf8(&line).ok()?.trim_end_matches(' ');
        let Some((rank, rest)) = rank::rank(text) else { return self.known(text) };
        if self.rank.is_some_and(|first| first != rank) {
            return None;
        }
        let own = rest.strip_prefix(' ').unwrap_or(rest);
        let row = self.own(own.as_bytes()).or_else(|| self.known(rest));
        let row = row.or_else(|| if own.len() < rest.len() { self.known(own) } else { None });
        if row.is_some() {
            self.rank = Some(rank);
        }
        row
    }

    /// Matches the user's patterns.
    fn own(&self, line: &[u8]) -> Option<MetricRow> {
        self.patterns.own.iter().find_map(|pattern| pattern.row(line))
    }

    /// Reads a line in one of the known formats.
    fn known(&mut self, text: &str) -> Option<MetricRow> {
        if !self.patterns.known {
            return None;
        }
        match *text.as_bytes().first()? {
            b'-' | b'|' => self.block.end(text).or_else(|| self.table.line(text)),
            b'E' if text.starts_with(spacy::HEAD) => {
                self.spacy.head(text);
                None
            }
            b'E' => self
                .bar
                .line(text)
                .or_else(|| lightning::row(text))
                .or_else(|| tianshou::row(text))
                .or_else(|| speech::speechbrain(text))
                .or_else(|| meters::epoch(text))
                .or_else(|| home_made::row(text))
                .or_else(|| plain_pairs::row(text)),
            b'0'..=b'9' => self
                .bar
                .line(text)
                .or_else(|| self.progress.line(text))
                .or_else(|| fairseq::row(text))
                .or_else(|| boosting::numbered(text)),
            b'T' => meters::train(text).or_else(|| meters::training(text)),
            b' ' => {
                self.block.line(text);
                line_formats::row(text).or_else(|| self.yolo.line(text)).or_else(|| self.spacy.line(text))
            }
            b'[' => line_formats::row(text)
                .or_else(|| boosting::in_brackets(text))
                .or_else(|| speech::in_brackets(text)),
            b'{' => line_formats::row(text),
            _ => line_formats::row(text)
                .or_else(|| colons::row(text))
                .or_else(|| speech::speechbrain(text))
                .or_else(|| home_made::row(text))
                .or_else(|| plain_pairs::row(text)),
        }
    }
}

/// Returns whether a line may begin with the rank of the process that printed it.
fn has_rank(line: &[u8]) -> bool {
    let text = line.trim_ascii_start();
    let head = &text[..text.len().min(64)];
    match head.first() {
        Some(b'0'..=b'9') => {
            let digits = head.iter().take_while(|byte| byte.is_ascii_digit()).count();
            head[digits..].starts_with(b": ")
        }
        Some(b'[') => {
            memchr::memchr(b']', head).is_some_and(|end| matches!(head.get(end + 1), Some(b':' | b'<')))
        }
        Some(b'(') => memmem::find(head, b" pid=").is_some(),
        _ => false,
    }
}

/// Returns whether a line begins with a time and a logger, as lines of `OpenMMLab`'s trainers and fairseq do.
fn is_logged(line: &[u8]) -> bool {
    let is_dated = line.get(2) == Some(&b'/') || matches!(line.get(4), Some(b'/' | b'-'));
    let head = &line[..line.len().min(80)];
    is_dated
        && (memmem::find(head, b" - INFO - ")
            .is_some_and(|at| matches!(line.get(at + 10), Some(b'E' | b'I')))
            || memmem::find(head, b" | INFO | ")
                .is_some_and(|at| matches!(line.get(at + 10), Some(b't' | b'v'))))
}

/// Returns whether a line begins with an iteration, as lines of `CatBoost` do.
fn is_boosted(line: &[u8]) -> bool {
    let digits = line.iter().take_while(|byte| byte.is_ascii_digit()).count();
    line[digits..].starts_with(b":\tlearn: ")
}

/// Returns whether a line begins with a word for the step, in any case, after which a number may follow.
/// Excludes `step 5 took long` and the like: such lines are common, and the only format in which a word follows the
/// number ends in a number.
#[inline]
fn begins_with_step<const LENGTH: usize>(line: &[u8], word: &[u8; LENGTH]) -> bool {
    let Some((begin, rest)) = line.split_first_chunk::<LENGTH>() else { return false };
    matches!(rest, [b' ' | b':' | b'=', ..])
        && (begin == word || begin.eq_ignore_ascii_case(word))
        && (!goes_on_with_a_word(rest) || plain_pairs::may_end_so(rest))
}

/// Returns whether a number comes next, between blanks, and then a word.
#[inline]
fn goes_on_with_a_word(rest: &[u8]) -> bool {
    let blanks = rest.iter().take_while(|&&byte| byte == b' ').count();
    let digits = rest[blanks..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    blanks > 0
        && digits > 0
        && matches!(rest[blanks + digits..], [b' ', next, ..] if next.is_ascii_alphabetic())
}

/// Returns whether a line contains a part of a name for the step.
fn has_step(line: &[u8]) -> bool {
    static PARTS: LazyLock<[Finder; 2]> = LazyLock::new(|| ["ep", "iter"].map(Finder::new));
    PARTS.iter().any(|part| part.find(line).is_some())
}

/// First bytes of lines in the known formats.
static FIRST: [bool; 256] = these(b" -E[{(egistuvISTU\x1b0123456789");

/// First bytes of lines within a table.
static GOING_ON: [bool; 256] = these(b" -E[{(egistuvISTU\x1b0123456789|");

const fn these(bytes: &[u8]) -> [bool; 256] {
    let mut wanted = [false; 256];
    let mut i = 0;
    while i < bytes.len() {
        wanted[bytes[i] as usize] = true;
        i += 1;
    }
    wanted
}

/// Returns a line as a terminal shows it: without colours, and from the last movement of the cursor on.
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
