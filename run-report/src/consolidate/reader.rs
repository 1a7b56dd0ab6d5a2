//! Reads the lines that begin in a piece of a file.

use super::columns::Plan;
use super::input::{LinesFile, Piece};
use super::order::Skim;
use memchr::{memchr, memrchr};
use run_common::fsio::open_regular;
use run_metrics::lines::LONGEST;
use run_metrics::row::MetricRow;
use run_metrics::standing::{Cell, Standing};
use run_metrics::template::Template;
use run_metrics::value::{Kind, PAD, Span, float};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

/// Bytes after a piece to read at first for the rest of its last line.
const REST: usize = 4 << 10;

/// Maximum number of templates, and of keys in all of them.
const TEMPLATES: usize = 64;
const KEYS: usize = 1 << 16;

/// A thread's buffers, and its known templates.
#[derive(Default)]
pub(super) struct Reader {
    open: Option<(PathBuf, File)>,
    buffer: Vec<u8>,
    spans: Vec<Span>,
    known: Vec<Known>,
    /// The template of the previous line, and the next template to replace.
    last: usize,
    oldest: usize,
}

/// A template, and values computed from it.
pub(super) struct Known {
    pub(super) template: Template,
    pub(super) plan: Option<Plan>,
    /// Its columns are known, so that lines of it may be only counted.
    pub(super) is_noted: bool,
    /// The template of the line that followed the last line of this template.
    next: usize,
}

/// A line that is a row.
pub(super) enum Visit<'a> {
    /// A line with a template: its values are in the buffer.
    Plain(&'a mut Known, &'a [Span], &'a [u8]),
    /// A line that was parsed in full.
    Odd(MetricRow),
}

/// The position of lines in the buffer.
#[derive(Default)]
struct Lines {
    /// Start of the first line.
    at: usize,
    /// The last line begins before this.
    within: usize,
    /// Number of valid bytes.
    length: usize,
}

impl Known {
    /// Returns the number of the value that is the step; epochs only count with `epochs`.
    #[inline]
    pub(super) fn step(&self, spans: &[Span], epochs: bool) -> Option<usize> {
        let mut steps = self.template.steps.iter();
        let is_step =
            |(at, is_epoch): &&(usize, bool)| spans[*at].kind == Kind::Number && (epochs || !is_epoch);
        steps.find(is_step).map(|(at, _)| *at)
    }

    /// Returns where a row stands among others.
    pub(super) fn standing(&self, spans: &[Span], buffer: &[u8]) -> Option<Standing> {
        let Template { keys, fields, .. } = &self.template;
        let cell = |at: usize| {
            let span = &spans[at];
            let text = &buffer[span.start..span.end];
            match span.kind {
                Kind::Number => float(text).map_or(Cell::Other, Cell::Number),
                Kind::Text => Cell::Text(text),
                Kind::NaN => Cell::Number(f64::NAN),
                Kind::Infinity => Cell::Number(f64::INFINITY),
                Kind::MinusInfinity => Cell::Number(f64::NEG_INFINITY),
                Kind::Null | Kind::Bool => Cell::Other,
            }
        };
        fields.standing(|at| &keys[at], cell)
    }
}

impl Reader {
    /// Calls `visit` for every row that begins in a piece of a file, with its offset; returns how many lines
    /// are no rows. An unfinished last line does not count, unless it is too long already. With `skim`, lines that
    /// plainly go on from the one before are only counted.
    pub(super) fn rows(
        &mut self,
        file: &LinesFile,
        piece: &Piece,
        mut skim: Option<&mut Skim>,
        visit: &mut impl FnMut(u64, Visit),
    ) -> io::Result<u64> {
        let Lines { mut at, within, length } = self.fill(file, piece)?;
        let from = piece.start.saturating_sub(1); // the buffer's offset in the file
        let mut skipped = 0;
        while at < length && at < within {
            let offset = from + at as u64;
            if let Some(skim) = skim.as_deref_mut()
                && let Some(known) = self.known.get(self.last)
                && let Some(after) = skim.skip(known, &self.buffer, at, length, offset)
            {
                at = after;
                continue;
            }
            if let Some(after) = self.find(at).filter(|&after| after <= length) {
                let known = &mut self.known[self.last];
                if let Some(skim) = skim.as_deref_mut() {
                    skim.note_line(offset, known, &self.spans, &self.buffer);
                }
                visit(offset, Visit::Plain(known, &self.spans, &self.buffer));
                at = after;
                continue;
            }
            let Some(newline) = memchr(b'\n', &self.buffer[at..length]) else {
                skipped += u64::from(length - at >= LONGEST);
                break;
            };
            let after = at + newline + 1;
            if self.learn(at, after) {
                continue; // now it is found
            }
            let line = &self.buffer[at..after];
            match MetricRow::parse(line) {
                Some(row) => {
                    if let Some(skim) = skim.as_deref_mut() {
                        skim.note_row(offset, &row);
                    }
                    visit(offset, Visit::Odd(row));
                }
                None => skipped += u64::from(!line.trim_ascii().is_empty()),
            }
            at = after;
        }
        Ok(skipped)
    }

    /// Reads a piece with the rest of its last line, unless this line is too long.
    fn fill(&mut self, file: &LinesFile, piece: &Piece) -> io::Result<Lines> {
        let LinesFile { path, length: end_of_file, .. } = file;
        if self.open.as_ref().is_none_or(|(open, _)| open != path) {
            let file = open_regular(path)?.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
            self.open = Some((path.to_owned(), file));
        }
        let Some((_, file)) = &self.open else { return Ok(Lines::default()) };
        let (start, from) = (piece.start, piece.start.saturating_sub(1));
        let in_buffer = |offset: u64| usize::try_from(offset - from).unwrap_or(usize::MAX);
        let (within, most) = (in_buffer(piece.end), in_buffer(*end_of_file));
        let (mut length, mut wanted) = (0, within + REST);
        loop {
            if self.buffer.len() < wanted + PAD {
                self.buffer.resize(wanted + PAD, 0);
            }
            let count = file.read_at(&mut self.buffer[length..wanted.min(most)], from + length as u64)?;
            length += count;
            // The start of the last line; no line starts in a piece that is within a line.
            let before = &self.buffer[..length.min(within - 1)];
            let last = memrchr(b'\n', before).map_or(0, |newline| newline + 1);
            let has_none = last == 0 && start > 0 && length >= within;
            let has_end = || memchr(b'\n', &self.buffer[(within - 1).min(length)..length]).is_some();
            if count == 0 || has_none || length >= within && has_end() || length >= last + LONGEST {
                break;
            }
            if length == wanted {
                wanted = (wanted + (wanted - within).max(REST)).min((last + LONGEST).max(wanted + 1));
            }
        }
        self.buffer[length..length + PAD].fill(0);
        if self.buffer.len() > 4 * (within + REST) {
            self.buffer.truncate(length + PAD); // such a long line is rare
            self.buffer.shrink_to_fit();
        }
        let at = match start {
            0 => 0,
            _ => memchr(b'\n', &self.buffer[..length]).map_or(length, |newline| newline + 1),
        };
        Ok(Lines { at, within, length })
    }

    /// Finds the template of the line at `at`, and the start of the next line.
    #[inline]
    fn find(&mut self, at: usize) -> Option<usize> {
        let next = self.known.get(self.last)?.next;
        if let Some(after) = self.known[next].template.find(&self.buffer, at, &mut self.spans) {
            self.last = next;
            return Some(after);
        }
        self.find_other(at)
    }

    #[inline(never)]
    fn find_other(&mut self, at: usize) -> Option<usize> {
        for number in 0..self.known.len() {
            if let Some(after) = self.known[number].template.find(&self.buffer, at, &mut self.spans) {
                self.known[self.last].next = number;
                self.last = number;
                return Some(after);
            }
        }
        None
    }

    /// Adds the template of a line; returns false if the line has none.
    fn learn(&mut self, at: usize, after: usize) -> bool {
        let Some(template) = Template::of(&self.buffer[at..after]) else { return false };
        if self.known.iter().any(|known| known.template == template) {
            return false; // its values do not fit a template
        }
        let keys = |known: &Known| known.template.keys.len();
        if self.known.iter().map(keys).sum::<usize>() + template.keys.len() > KEYS {
            self.known.clear();
            (self.last, self.oldest) = (0, 0);
        }
        let number = if self.known.len() < TEMPLATES { self.known.len() } else { self.oldest };
        self.oldest = (number + 1) % TEMPLATES;
        let known = Known { template, plan: None, is_noted: false, next: number };
        match self.known.get_mut(number) {
            Some(place) => *place = known,
            None => self.known.push(known),
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::fs::OpenOptions;
    use std::io::Write;
    use tempfile::TempDir;

    /// Makes a file of lines in a directory of its own.
    fn file_of(text: &[u8]) -> (TempDir, LinesFile) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("metrics.jsonl");
        std::fs::write(&path, text).unwrap();
        (directory, LinesFile { path, length: text.len() as u64, boundaries: Vec::new() })
    }

    /// Reads a file in pieces; returns where rows begin, with their values, and how many lines are no rows.
    fn rows(reader: &mut Reader, file: &LinesFile, size: u64) -> (Vec<(u64, String)>, u64) {
        let (mut rows, mut skipped) = (Vec::new(), 0);
        for start in (0..file.length).step_by(usize::try_from(size).unwrap()) {
            let piece = Piece::of(0, start, (start + size).min(file.length));
            let mut visit = |offset, line: Visit| {
                let values = match line {
                    Visit::Plain(known, spans, buffer) => known
                        .template
                        .keys
                        .iter()
                        .zip(spans)
                        .map(|(key, span)| {
                            format!("{key}={} ", String::from_utf8_lossy(&buffer[span.start..span.end]))
                        })
                        .collect(),
                    Visit::Odd(row) => format!("{row:?}"),
                };
                rows.push((offset, values));
            };
            skipped += reader.rows(file, &piece, None, &mut visit).unwrap();
        }
        (rows, skipped)
    }

    #[test]
    fn what_comes_after_the_first_look_is_not_read() {
        let begin = b"{\"step\": 1}\n{\"step\": 2, \"lo";
        let (_directory, file) = file_of(begin);
        let expected = (vec![(0, "step=1 ".to_owned())], 0);
        assert_eq!(rows(&mut Reader::default(), &file, 1 << 18), expected);
        OpenOptions::new()
            .append(true)
            .open(&file.path)
            .unwrap()
            .write_all(b"ss\": 3}\n{\"b\": 4}\n")
            .unwrap();
        assert_eq!(rows(&mut Reader::default(), &file, 1 << 18), expected);
        assert_eq!(rows(&mut Reader::default(), &file, 5), expected);
    }

    proptest! {
        #[test]
        fn pieces_have_the_rows_of_the_whole_each_once(
            lines in prop::collection::vec(
                "\\{\"(step|loss)\": (1|-0\\.5|\"x{0,30}\"|\\[1\\])\\}|\\{\\}|[a-z ]{0,9}|\\{\"a\": 1, \"b\": 2\\}", 0..40),
            size in 1_u64..200,
            ends in any::<bool>(),
        ) {
            let text = lines.join("\n") + if ends { "\n" } else { "" };
            let (_directory, file) = file_of(text.as_bytes());
            let whole = rows(&mut Reader::default(), &file, 1 << 18);
            prop_assert_eq!(&rows(&mut Reader::default(), &file, size), &whole);
            let is_row = |line: &&str| MetricRow::parse(line.as_bytes()).is_some();
            let complete: Vec<&str> = text.split_inclusive('\n').filter(|line| line.ends_with('\n')).collect();
            prop_assert_eq!(whole.0.len(), complete.iter().filter(|line| is_row(line)).count());
        }
    }
}
