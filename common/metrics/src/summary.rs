//! Summarises rows: the figures of each metric, the last rows, and the step. A file of JSON lines in plain
//! order of their steps is read by the layout of its lines, many times as fast as row by row.

use super::aggregate::Aggregates;
use super::figures::Figures;
use super::lines::{LONGEST, is_damage};
use super::read;
use super::resumptions::Resumptions;
use super::row::MetricRow;
use super::source::MetricSource;
use super::supersede::RowOrigin;
use super::template::Template;
use super::value::{Digits, Kind, PAD, Span, float};
use memchr::{memchr, memrchr};
use serde_json::{Map, Value};
use std::fs::File;
use std::io::{self, Read};

/// Maximum size of a file that is read at once, in bytes.
const FILE: u64 = 64 << 20;

/// Maximum number of line layouts to keep, and of keys in one.
const TEMPLATES: usize = 16;
const KEYS: usize = 1_000;

/// Number of last rows to keep.
const RECENT: usize = 5;

/// The summary of a source.
#[derive(Debug)]
pub(crate) struct Summary {
    pub(crate) aggregates: Aggregates,
    /// The last rows.
    pub(crate) recent: Vec<Map<String, Value>>,
    /// The step of the last row.
    pub(crate) step: Option<f64>,
    pub(crate) rows: u64,
    /// Number of unreadable lines.
    pub(crate) skipped: u64,
}

impl Summary {
    /// Summarises the rows of a source.
    pub(crate) fn of(source: &MetricSource) -> io::Result<Self> {
        if let Some(path) = source.plain_lines()
            && let Some(file) = source.open(path)?
            && let Some(summary) = of_lines(&file)?
        {
            return Ok(summary);
        }
        Self::of_rows(source)
    }

    fn of_rows(source: &MetricSource) -> io::Result<Self> {
        let mut figures = Figures::for_record();
        let mut each = |row: MetricRow, attempt: usize| {
            let origin = RowOrigin { attempt: attempt.saturating_sub(1), ..RowOrigin::default() };
            let shape = row.standing().map_or(0, |standing| standing.shape);
            figures.add(origin, row, shape, 0);
        };
        let counts = read::rows(source, &Resumptions::default(), &mut each)?;
        let (recent, step) = (figures.recent(), figures.step());
        let (rows, skipped) = (counts.rows, counts.skipped);
        Ok(Self { aggregates: figures.into_aggregates(), recent, step, rows, skipped })
    }
}

/// A known layout of lines.
struct Known {
    template: Template,
    /// The places of its values among the figures, as far as they have one.
    places: Vec<Option<usize>>,
    /// The number of the value that is the step.
    step: usize,
}

/// Summarises a file of flat JSON objects whose steps have the same name, are whole numbers, and never
/// decrease; `None` for any other file.
fn of_lines(file: &File) -> io::Result<Option<Summary>> {
    let length = file.metadata()?.len();
    if length > FILE {
        return Ok(None);
    }
    let mut buffer = Vec::with_capacity(usize::try_from(length).unwrap_or_default() + PAD);
    file.take(length).read_to_end(&mut buffer)?;
    let length = memrchr(b'\n', &buffer).map_or(0, |newline| newline + 1); // the rest is an unfinished line
    if buffer.len() - length >= LONGEST {
        return Ok(None);
    }
    buffer.truncate(length);
    buffer.resize(length + PAD, 0);
    Ok(of_buffer(&buffer, length))
}

fn of_buffer(buffer: &[u8], length: usize) -> Option<Summary> {
    let mut known: Vec<Known> = Vec::new();
    let mut aggregates = Aggregates::for_record();
    let (mut last, mut spans) = (0, Vec::new());
    let (mut rows, mut skipped) = (0, 0);
    let (mut at, mut step) = (0, Digits::default());
    let mut recent = [(0, 0); RECENT];
    while at < length {
        let Some((number, after)) = find(&known, last, buffer, at, &mut spans) else {
            let end = at + memchr(b'\n', &buffer[at..length])? + 1;
            let line = &buffer[at..end];
            match Known::of(line) {
                Some(new)
                    if known.len() < TEMPLATES && known.iter().all(|old| old.template != new.template) =>
                {
                    let is_same = |one: &Known| one.template.keys[one.step] == new.template.keys[new.step];
                    if !known.first().is_none_or(is_same) {
                        return None;
                    }
                    known.push(new);
                }
                _ if MetricRow::parse(line).is_some() => return None,
                _ => {
                    skipped += u64::from(is_damage(Some(line)));
                    at = end;
                }
            }
            continue;
        };
        last = number;
        let Known { template, places, step: of_step } = &mut known[number];
        let now = Some(spans[*of_step]).filter(|span| span.kind == Kind::Number);
        step = now.and_then(|span| Digits::at(buffer, span.start)).filter(|now| *now >= step)?;
        for (value, span) in spans.iter().enumerate().filter(|(value, _)| *value != *of_step) {
            let number = match span.kind {
                Kind::Number => float(&buffer[span.start..span.end])?,
                Kind::NaN => f64::NAN,
                Kind::Infinity => f64::INFINITY,
                Kind::MinusInfinity => f64::NEG_INFINITY,
                Kind::Text | Kind::Null | Kind::Bool => continue,
            };
            if places[value].is_none() {
                places[value] = aggregates.place(&template.keys[value]);
            }
            if let Some(place) = places[value] {
                aggregates.add_at(place, number);
            }
        }
        rows += 1;
        recent.rotate_left(1);
        recent[RECENT - 1] = (at, after);
        at = after;
    }
    let kept = recent.iter().filter(|(start, end)| start < end);
    let recent: Vec<MetricRow> =
        kept.map(|(start, end)| MetricRow::parse(&buffer[*start..*end])).collect::<Option<_>>()?;
    let step = recent.last().and_then(|row| Some(row.step()?.1));
    let recent = recent.iter().map(MetricRow::to_json).collect();
    Some(Summary { aggregates, recent, step, rows, skipped })
}

/// Finds the layout of the line at `at`, and the start of the next line.
fn find(
    known: &[Known],
    last: usize,
    buffer: &[u8],
    at: usize,
    spans: &mut Vec<Span>,
) -> Option<(usize, usize)> {
    let mut found = |number: usize| Some((number, known.get(number)?.template.find(buffer, at, spans)?));
    found(last).or_else(|| (0..known.len()).filter(|number| *number != last).find_map(found))
}

impl Known {
    /// Creates the layout of a line, if it has one and contains a step.
    fn of(line: &[u8]) -> Option<Self> {
        let template = Template::of(line)?;
        let (step, _) = *template.steps.first()?;
        let keys = &template.keys;
        let is_twice = |at: usize| keys[..at].contains(&keys[at]);
        if keys.len() > KEYS || (0..keys.len()).any(is_twice) {
            return None;
        }
        Some(Self { places: vec![None; keys.len()], step, template })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;
    use std::io::Write;

    /// Returns a summary as a JSON value.
    fn shown(summary: &Summary) -> Value {
        let metrics: Vec<_> =
            summary.aggregates.iter().map(|(name, of)| json!([name, of.to_json()])).collect();
        json!([metrics, summary.recent, summary.step, summary.rows, summary.skipped])
    }

    /// Summarises a text by the layout of its lines, and row by row.
    fn both(text: &str) -> (Option<Value>, Value) {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        let quick = of_lines(&File::open(file.path()).unwrap()).unwrap();
        let source = MetricSource::made(file.path().to_owned(), Vec::new());
        let slow = Summary::of_rows(&source).unwrap();
        (quick.as_ref().map(shown), shown(&slow))
    }

    #[test]
    fn plain_lines_are_read_by_their_layout() {
        let text = "{\"step\": 1, \"loss\": 0.5, \"phase\": \"train\", \"lr\": null}\n{\"step\": 1, \"val/loss\": NaN}\n\n\
                    torn{\n{\"step\": 12, \"loss\": \"0.25\", \"phase\": \"x\", \"lr\": 1e-3}\n{\"step\": 13, \"lo";
        let (quick, slow) = both(text);
        assert_eq!(quick.unwrap(), slow);
        assert_eq!((&slow[2], &slow[3], &slow[4]), (&json!(12.0), &json!(3), &json!(1)));
        for other in [
            "{\"step\": 2}\n{\"step\": 1}\n",
            "{\"step\": 2}\n{\"loss\": 1}\n",
            "{\"step\": 2}\n{\"epoch\": 3, \"loss\": 1}\n",
            "{\"step\": 2, \"of\": {\"a\": 1}}\n",
            "{\"step\": 1.5}\n",
            "{\"a\": 1, \"a\": 2, \"step\": 1}\n",
        ] {
            assert_eq!(both(other).0, None, "{other}");
        }
    }

    proptest! {
        #[test]
        fn a_quick_summary_is_that_of_the_rows(
            lines in prop::collection::vec(
                "\\{\"step\": [1-9],? ?(\"loss\": (-?[0-9]\\.[0-9]{1,3}|NaN|null|\"[0-9]\"|\"x\"),? ?)?(\"kl\": [0-9])?\\}|[a-z{]{0,3}", 0..12),
            ends in any::<bool>(),
        ) {
            let text = lines.join("\n") + if ends { "\n" } else { "" };
            let (quick, slow) = both(&text);
            if let Some(quick) = quick {
                prop_assert_eq!(quick, slow);
            }
        }
    }
}
