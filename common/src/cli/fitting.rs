//! Fits a table to the width of a terminal: the least important columns are dropped first, the reasons of runs
//! never.

use super::table::{Tint, broken, lines, width_of};
use crate::text::{fit, fit_end, fit_middle, printable};
use std::borrow::Cow;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// A text and its colour.
pub type Cell = (String, Tint);

/// Minimum width to which a name is cut, in columns of a terminal.
const NAME: usize = 24;

/// Minimum width to which a list of words, or a head, is cut.
const WORDS: usize = 12;

/// Maximum length of the name of a figure, in bytes.
const FIGURE: usize = 5;

/// Minimum saving for which the common beginning of all names is removed.
const PREFIX: usize = 6;

/// The way in which a column becomes narrower.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shrink {
    /// Never.
    No,
    /// The common beginning of all cells is removed, and cells are cut in the middle.
    Name,
    /// The last words are removed.
    Words,
    /// Only the head is cut.
    Head,
    /// Head and cells are cut in the middle.
    Text,
    /// The cells move to lines of their own, whole.
    OwnLine,
}

/// A column of a table, and what may be cut or dropped if the table is too wide.
#[derive(Clone, Debug)]
pub struct Column {
    pub(super) head: String,
    /// Columns with a higher rank are dropped first; 0 is never dropped. Unless set, columns are dropped
    /// from the right, and the first one never.
    rank: Option<u32>,
    shrink: Shrink,
}

impl<T: Into<String>> From<T> for Column {
    fn from(head: T) -> Self {
        Self { head: printable(&head.into()).into_owned(), rank: None, shrink: Shrink::No }
    }
}

impl Column {
    /// A column of names, which is never dropped.
    pub fn names(head: impl Into<String>) -> Self {
        Self { rank: Some(0), shrink: Shrink::Name, ..Self::from(head) }
    }

    /// A column of reasons, which is never dropped and never cut: if the table is too wide, each reason gets
    /// lines of its own.
    pub fn reasons(head: impl Into<String>) -> Self {
        Self { rank: Some(0), shrink: Shrink::OwnLine, ..Self::from(head) }
    }

    /// Sets the rank: columns with a higher rank are dropped first; 0 is never dropped.
    #[must_use]
    pub fn ranked(self, rank: u32) -> Self {
        Self { rank: Some(rank), ..self }
    }

    /// Lets the last words of the cells be removed before columns of a lower rank are dropped.
    #[must_use]
    pub fn of_words(self) -> Self {
        Self { shrink: Shrink::Words, ..self }
    }

    /// Lets head and cells be cut.
    #[must_use]
    pub fn of_text(self) -> Self {
        Self { shrink: Shrink::Text, ..self }
    }

    /// Lets the head be cut if the cells are narrower.
    #[must_use]
    pub fn with_long_head(self) -> Self {
        Self { shrink: Shrink::Head, ..self }
    }
}

/// A column while the table is fitted.
struct Draft {
    at: usize,
    /// The width that the column needs, and its minimum width.
    needs: usize,
    least: usize,
    is_kept: bool,
    width: usize,
}

/// Fits a table, in this order: empty columns are dropped; the common beginning of names is removed; names,
/// texts and heads are cut in the middle, the widest first; columns are dropped by their ranks, and last words
/// removed. Numbers are aligned right. Returns the lines, and the number of dropped columns.
pub(super) fn fitted(
    columns: &[Column],
    all: &[Vec<Cell>],
    colour: bool,
    width: usize,
) -> (Vec<String>, usize) {
    let mut stripped;
    let mut rows = all;
    let mut drafts = drafts_of(columns, rows);
    if total(&drafts) > width
        && let Some(names) = columns.iter().position(|column| column.shrink == Shrink::Name)
    {
        stripped = rows.to_vec();
        strip_prefixes(&mut stripped, names);
        rows = &stripped;
        drafts = drafts_of(columns, rows);
    }
    let reasons = drafts.iter().position(|one| columns[one.at].shrink == Shrink::OwnLine);
    if let Some(reasons) = reasons {
        // Columns less important than the reasons make room for them; if that is not enough, reasons get lines
        // of their own.
        let limit = u32::try_from(columns.len() / 2 + 1).unwrap_or(u32::MAX);
        if !narrow(columns, &mut drafts, width, limit) {
            for draft in &mut drafts {
                (draft.is_kept, draft.width) = (true, draft.needs);
            }
            drafts[reasons].is_kept = false;
            narrow(columns, &mut drafts, width, 1);
        }
    } else {
        narrow(columns, &mut drafts, width, 1);
    }
    refill(columns, rows, &mut drafts, width, reasons);
    let kept: Vec<&Draft> = drafts.iter().filter(|draft| draft.is_kept).collect();
    let own = reasons.map(|at| &drafts[at]).filter(|draft| !draft.is_kept);
    let head = |draft: &&Draft| (Cow::Owned(fit_end(&columns[draft.at].head, draft.width.max(1))), Tint::Dim);
    let mut shown: Vec<Vec<(Cow<str>, Tint)>> = vec![kept.iter().map(head).collect()];
    let right: Vec<bool> = kept.iter().map(|draft| draft.at > 0 && is_numeric(rows, draft.at)).collect();
    for row in rows {
        if row.len() == 1 {
            shown.push(vec![(Cow::Owned(fit(&row[0].0, width)), row[0].1)]);
            continue;
        }
        let cell = |draft: &&Draft| {
            let Some((text, tint)) = row.get(draft.at) else { return (Cow::Borrowed(""), Tint::None) };
            let text = match columns[draft.at].shrink {
                _ if draft.width == draft.needs => Cow::Borrowed(text.as_str()),
                Shrink::Name | Shrink::Text => Cow::Owned(fit_middle(text, draft.width)),
                Shrink::Words => Cow::Owned(first_words(text, draft.width)),
                _ => Cow::Borrowed(text.as_str()),
            };
            (text, *tint)
        };
        shown.push(kept.iter().map(cell).collect());
        if let Some((reason, tint)) = own.and_then(|own| row.get(own.at)).filter(|(text, _)| !text.is_empty())
        {
            let head = own.map(|own| columns[own.at].head.to_lowercase()).unwrap_or_default();
            let lines = under(&format!("    {head}: "), reason, width);
            shown.extend(lines.into_iter().map(|line| vec![(Cow::Owned(line), *tint)]));
        }
    }
    let hidden = drafts.len() - kept.len() - usize::from(own.is_some());
    let shown: Vec<&[(Cow<str>, Tint)]> = shown.iter().map(Vec::as_slice).collect();
    (lines(&shown, &right, colour, width), hidden)
}

/// Returns the lines of a reason below its row, whole: it continues below its first word.
fn under(head: &str, reason: &str, width: usize) -> Vec<String> {
    let room = width.saturating_sub(head.len());
    let parts = if room < WORDS { vec![reason.to_owned()] } else { broken(reason, room, true) };
    let line = |(number, part): (usize, String)| match number {
        0 => format!("{head}{part}"),
        _ => format!("{:1$}{part}", "", head.len()),
    };
    parts.into_iter().enumerate().map(line).collect()
}

/// Returns the columns that are not empty, each as wide as it needs to be.
fn drafts_of(columns: &[Column], rows: &[Vec<Cell>]) -> Vec<Draft> {
    let mut needs = vec![0; columns.len()];
    for row in rows.iter().filter(|row| row.len() > 1) {
        for ((cell, _), width) in row.iter().zip(&mut needs) {
            *width = width_of(cell).max(*width);
        }
    }
    let draft = |(at, (column, cells)): (usize, (&Column, usize))| {
        let head = column.head.width();
        let needs = cells.max(head);
        let least = match column.shrink {
            Shrink::No | Shrink::OwnLine => needs,
            Shrink::Name => NAME.min(needs),
            Shrink::Text => WORDS.min(needs),
            Shrink::Words => WORDS.max(head).min(needs),
            Shrink::Head => cells.max(least_head(&column.head).min(head)),
        };
        Draft { at, needs, least, is_kept: true, width: needs }
    };
    let is_wanted = |(at, (_, cells)): &(usize, (&Column, usize))| *at == 0 || *cells > 0;
    columns.iter().zip(needs).enumerate().filter(is_wanted).map(draft).collect()
}

/// Returns the minimum width of a head: two thirds have the end of it, which names the figures, as in
/// `loss.last.mean`.
fn least_head(head: &str) -> usize {
    let is_figure = |word: &&str| (1..=FIGURE).contains(&word.len());
    let figures: usize = head.rsplit('.').take(2).take_while(is_figure).map(|word| word.len() + 1).sum();
    WORDS.max((figures * 3).div_ceil(2))
}

/// Returns the width of the table.
fn total(drafts: &[Draft]) -> usize {
    let kept = drafts.iter().filter(|draft| draft.is_kept);
    kept.map(|draft| draft.width + 2).sum::<usize>().saturating_sub(2)
}

/// Makes the table narrower until it fits; keeps the columns whose rank is lower than `limit`. Returns whether
/// the table fits.
fn narrow(columns: &[Column], drafts: &mut [Draft], width: usize, limit: u32) -> bool {
    let rank = |draft: &Draft| rank_of(columns, draft.at);
    level(columns, drafts, width);
    // The columns by rank, the words of a column before the column itself.
    let mut steps: Vec<(u32, bool, usize)> = Vec::new();
    for (number, draft) in drafts.iter().enumerate().filter(|(_, draft)| draft.is_kept) {
        match columns[draft.at].shrink {
            Shrink::Words => steps.push((rank(draft).max(1) + 1, true, number)),
            Shrink::No | Shrink::OwnLine | Shrink::Name | Shrink::Head | Shrink::Text => {}
        }
        if rank(draft) >= limit.max(1) {
            steps.push((rank(draft), false, number));
        }
    }
    steps.sort_by(|one, other| other.cmp(one));
    let mut now = total(drafts);
    let mut narrowed = Vec::new();
    for (_, shrinks, number) in steps {
        let Some(over) = now.checked_sub(width).filter(|&over| over > 0) else { break };
        let draft = &mut drafts[number];
        if shrinks {
            let saved = over.min(draft.width - draft.least);
            draft.width -= saved;
            now -= saved;
            narrowed.push(number);
        } else {
            draft.is_kept = false;
            now -= (draft.width + 2).min(now);
        }
    }
    // A column that was dropped later may have left room for words.
    for number in narrowed.into_iter().rev() {
        let draft = &mut drafts[number];
        if draft.is_kept {
            let more = width.saturating_sub(now).min(draft.needs - draft.width);
            draft.width += more;
            now += more;
        }
    }
    level(columns, drafts, width);
    total(drafts) <= width
}

/// Restores dropped columns, the lowest ranks first, as far as there is room beside the words. Reasons are not
/// restored, because they have lines of their own.
fn refill(
    columns: &[Column],
    rows: &[Vec<Cell>],
    drafts: &mut [Draft],
    width: usize,
    reasons: Option<usize>,
) {
    for draft in drafts.iter_mut().filter(|draft| draft.is_kept && draft.width < draft.needs) {
        if columns[draft.at].shrink == Shrink::Words {
            let cells = rows.iter().filter(|row| row.len() > 1).filter_map(|row| row.get(draft.at));
            let widest = cells.map(|(text, _)| first_words(text, draft.width).width()).max().unwrap_or(0);
            draft.width = widest.max(columns[draft.at].head.width()).min(draft.width);
        }
    }
    let mut dropped: Vec<usize> =
        (0..drafts.len()).filter(|number| !drafts[*number].is_kept && Some(*number) != reasons).collect();
    dropped.sort_by_key(|number| rank_of(columns, drafts[*number].at));
    for number in dropped {
        if total(drafts) + drafts[number].needs + 2 <= width {
            (drafts[number].is_kept, drafts[number].width) = (true, drafts[number].needs);
        }
    }
}

/// Returns the rank of a column; unless set, its position.
fn rank_of(columns: &[Column], at: usize) -> u32 {
    columns[at].rank.unwrap_or_else(|| u32::try_from(at).unwrap_or(u32::MAX))
}

/// Cuts the widest names, texts and heads to one width, as far as necessary.
fn level(columns: &[Column], drafts: &mut [Draft], width: usize) {
    let cut_to = |draft: &Draft, level: usize| match columns[draft.at].shrink {
        Shrink::Name | Shrink::Head | Shrink::Text => draft.needs.min(draft.least.max(level)),
        Shrink::No | Shrink::Words | Shrink::OwnLine => draft.width,
    };
    let total = |level: usize| {
        let kept = drafts.iter().filter(|draft| draft.is_kept);
        kept.map(|draft| cut_to(draft, level) + 2).sum::<usize>().saturating_sub(2)
    };
    let (mut low, mut high) = (0, drafts.iter().map(|draft| draft.needs).max().unwrap_or(0));
    while low < high {
        let middle = (low + high).div_ceil(2);
        if total(middle) <= width {
            low = middle;
        } else {
            high = middle - 1;
        }
    }
    for draft in drafts {
        draft.width = cut_to(draft, low);
    }
}

/// Removes the common beginning of the names in a column, up to a separator. A row that spans all columns
/// begins a new group of names.
fn strip_prefixes(rows: &mut [Vec<Cell>], at: usize) {
    for group in rows.chunk_by_mut(|_, next| next.len() > 1) {
        let names = || group.iter().filter(|row| row.len() > 1).filter_map(|row| row.get(at));
        let mut names_only = names().map(|(name, _)| name.trim_start());
        let Some(first) = names_only.next() else { continue };
        let common = names_only.fold(first, |common, name| {
            let same = common.char_indices().zip(name.chars()).find(|((_, one), other)| one != other);
            let end = same.map_or(common.len().min(name.len()), |((end, _), _)| end);
            common.get(..end).unwrap_or_default()
        });
        // A dash may stand between a setting and its value.
        let up_to = |signs: &[char]| common.rfind(signs).map(|end| end + 1);
        let ends = [up_to(&['/', '_', ',', ' ']), up_to(&['-'])];
        let is_worth = |end: &usize| common[..*end].width() >= PREFIX;
        let Some(end) = ends.into_iter().flatten().find(is_worth).filter(|_| names().count() > 1) else {
            continue;
        };
        for (name, _) in group.iter_mut().filter(|row| row.len() > 1).filter_map(|row| row.get_mut(at)) {
            let indent = name.len() - name.trim_start().len();
            name.replace_range(indent..indent + end, "…");
        }
    }
}

/// Returns the first words that fit into a width.
fn first_words(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let mut kept = 0;
    let mut used = 0;
    for (at, sign) in text.char_indices() {
        if used > width {
            break;
        }
        if sign == ' ' {
            kept = at;
        }
        used += sign.width().unwrap_or(0);
    }
    if kept == 0 { fit(text, width) } else { text[..kept].to_owned() }
}

/// Returns whether all cells of a column are numbers, sizes or durations.
fn is_numeric(rows: &[Vec<Cell>], at: usize) -> bool {
    let cells = rows.iter().filter(|row| row.len() > 1).filter_map(|row| row.get(at));
    cells.map(|(cell, _)| cell.as_str()).filter(|cell| !cell.is_empty()).all(is_number)
}

/// Returns whether a text is a number, a size or a duration.
fn is_number(text: &str) -> bool {
    let text = text.strip_suffix(" *").unwrap_or(text); // the mark of run-report --compare
    let is_duration = || {
        text.starts_with(|sign: char| sign.is_ascii_digit())
            && text.ends_with(|sign: char| sign.is_ascii_alphabetic())
            && text.chars().all(|sign| sign.is_ascii_digit() || "dhms.".contains(sign))
    };
    let number = text.strip_suffix(['B', 'K', 'M', 'G', 'T', 'P']).unwrap_or(text);
    number.parse::<f64>().is_ok() || is_duration()
}

#[cfg(test)]
mod tests;
