//! The layout of a metric line. Programs write the same keys line after line, so each line is first compared
//! with the layout of an earlier line, and only its values are read. A line with another layout is parsed in
//! full.

use super::value::{Digits, Kind, PAD, Span, number, other_value, quote, text, value, window};
use crate::standing::StepFields;
use memchr::memchr;

/// The text between two values of a line, stored so that sixteen bytes are compared at once.
#[derive(Debug, PartialEq, Eq)]
struct Literal {
    bytes: Box<[u8]>,
    /// The start of the key in the text.
    quote: usize,
    words: [u64; 2],
    masks: [u64; 2],
}

impl Literal {
    fn new(bytes: &[u8]) -> Self {
        let word = |from: usize, byte: &dyn Fn(u8) -> u8| {
            let mut word = [0; 8];
            for (to, from) in word.iter_mut().zip(bytes.iter().skip(from)) {
                *to = byte(*from);
            }
            u64::from_le_bytes(word)
        };
        Self {
            bytes: bytes.into(),
            quote: memchr(b'"', bytes).unwrap_or_default(),
            words: [word(0, &|byte| byte), word(8, &|byte| byte)],
            masks: [word(0, &|_| 0xff), word(8, &|_| 0xff)],
        }
    }

    #[inline]
    fn is_at(&self, buffer: &[u8], at: usize) -> bool {
        let Some(block) = window::<16>(buffer, at) else { return false };
        let differ = (eight(block, 0) ^ self.words[0]) & self.masks[0]
            | (eight(block, 8) ^ self.words[1]) & self.masks[1];
        differ == 0 && (self.bytes.len() <= 16 || buffer[at + 16..].starts_with(&self.bytes[16..]))
    }
}

/// Returns the eight bytes at a place of a block.
#[inline]
fn eight<const SIZE: usize>(block: &[u8; SIZE], at: usize) -> u64 {
    let bytes = block.get(at..).and_then(<[u8]>::first_chunk);
    bytes.map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

/// The common part of lines that differ only in their values.
#[derive(Debug, PartialEq, Eq)]
pub struct Template {
    /// The text before each value, and after the last.
    literals: Vec<Literal>,
    /// The name of each value.
    pub keys: Vec<String>,
    /// The values that may be the step, the best first, and whether they count epochs.
    pub steps: Vec<(usize, bool)>,
    /// The values that determine the position of a row in the order of rows.
    pub fields: StepFields,
}

impl Template {
    /// Finds the values of the line at `at`, if the line has this template; returns the start of the next line.
    #[inline]
    pub fn find(&self, buffer: &[u8], at: usize, spans: &mut Vec<Span>) -> Option<usize> {
        let mut at = at;
        let (last, before) = self.literals.split_last()?;
        if spans.len() != before.len() {
            *spans = vec![Span::default(); before.len()];
        }
        for (literal, place) in before.iter().zip(spans) {
            if !literal.is_at(buffer, at) {
                return None;
            }
            at += literal.bytes.len();
            if let Some(end) = number(buffer, at) {
                // Fields are written one by one: building a span and copying it stalls.
                (place.start, place.end, place.kind) = (at, end, Kind::Number);
                at = end;
            } else {
                (*place, at) = other_value(buffer, at)?;
            }
        }
        last.is_at(buffer, at).then_some(at + last.bytes.len())
    }

    /// Skips the line at `at`, if it has the keys of this template and its step is at least `least`, which is
    /// set to the step; returns the start of the next line. Other values are not checked, except that they
    /// contain no quote and hence no other key.
    #[inline]
    pub fn skip(&self, buffer: &[u8], at: usize, least: &mut Digits) -> Option<usize> {
        let (last, before) = self.literals.split_last()?;
        let (step, _) = *self.steps.first()?;
        let mut end = at;
        for (number, literal) in before.iter().enumerate() {
            let start = if number == 0 { at } else { quote(buffer, end)?.checked_sub(literal.quote)? };
            if !literal.is_at(buffer, start) {
                return None;
            }
            end = start + literal.bytes.len();
            if number == step {
                let digits = Digits::at(buffer, end).filter(|digits| digits >= least)?;
                *least = digits;
            }
        }
        let end = number(buffer, end)?;
        last.is_at(buffer, end).then_some(end + last.bytes.len())
    }

    /// Returns the number of the value that is the step, if the step alone determines the position of rows.
    pub fn only_step(&self) -> Option<usize> {
        self.steps.first().filter(|_| self.fields.has_only_a_step()).map(|(at, _)| *at)
    }

    /// Creates the template of a line with its newline; `None` if the line contains nested objects, or texts
    /// with escapes.
    pub fn of(line: &[u8]) -> Option<Self> {
        let mut padded = line.to_vec();
        padded.resize(line.len() + PAD, 0);
        let (mut literals, mut keys) = (Vec::new(), Vec::new());
        let mut at = blanks(&padded, 0);
        let mut start = 0; // of the literal
        if padded[at] != b'{' {
            return None;
        }
        at = blanks(&padded, at + 1);
        if padded[at] != b'}' {
            loop {
                let (key, after) = text(&padded, at)?;
                let colon = blanks(&padded, after);
                if padded[colon] != b':' {
                    return None;
                }
                at = blanks(&padded, colon + 1);
                literals.push(Literal::new(&padded[start..at]));
                keys.push(std::str::from_utf8(key).ok()?.to_owned());
                (_, start) = value(&padded, at)?;
                at = blanks(&padded, start);
                match padded[at] {
                    b',' => at = blanks(&padded, at + 1),
                    b'}' => break,
                    _ => return None,
                }
            }
        }
        if blanks(&padded, at + 1) != line.len() {
            return None;
        }
        literals.push(Literal::new(&line[start..]));
        let fields = StepFields::of(keys.iter().map(String::as_str));
        // If two values have the same name, the last counts.
        let last = |at: usize| keys.iter().rposition(|key| *key == keys[at]).unwrap_or(at);
        let steps = fields.steps().map(|(at, is_epoch)| (last(at), is_epoch)).collect();
        Some(Self { literals, keys, steps, fields })
    }
}

fn blanks(buffer: &[u8], mut at: usize) -> usize {
    while buffer.get(at).is_some_and(|byte| matches!(byte, b' ' | b'\t' | b'\r' | b'\n')) {
        at += 1;
    }
    at
}

#[cfg(test)]
#[expect(clippy::float_cmp, reason = "the numbers are exact")]
mod tests {
    use super::*;
    use crate::row::{MetricRow, MetricValue};
    use crate::value::float;
    use proptest::prelude::*;
    use serde_json::Value;

    fn padded(text: &str) -> Vec<u8> {
        let mut bytes = text.as_bytes().to_vec();
        bytes.resize(text.len() + PAD, 0);
        bytes
    }

    /// Returns the values of a line by a template.
    fn values(template: &Template, line: &str) -> Option<Vec<(Kind, String)>> {
        let (buffer, mut spans) = (padded(line), Vec::new());
        assert_eq!(template.find(&buffer, 0, &mut spans)?, line.len());
        let text = |span: &Span| line[span.start..span.end].to_owned();
        Some(spans.iter().map(|span| (span.kind, text(span))).collect())
    }

    #[test]
    fn a_line_is_read_by_the_layout_of_another() {
        let template = Template::of(b"{\"step\": 1, \"loss\": 0.5, \"phase\": \"train\"}\n").unwrap();
        assert_eq!(template.keys, ["step", "loss", "phase"]);
        assert_eq!(template.steps, [(0, false)]);
        let found = values(&template, "{\"step\": 12345678, \"loss\": -1.25e-17, \"phase\": NaN}\n").unwrap();
        let expected = [(Kind::Number, "12345678"), (Kind::Number, "-1.25e-17"), (Kind::NaN, "NaN")];
        assert_eq!(found, expected.map(|(kind, text)| (kind, text.to_owned())));
        for other in [
            "{\"step\": 01, \"loss\": 1, \"phase\": 1}\n",
            "{\"step\": 1., \"loss\": 1, \"phase\": 1}\n",
            "{\"step\": 1, \"loss\": 1e400, \"phase\": 1}\n",
            "{\"step\": 1, \"loss\": [1], \"phase\": 1}\n",
            "{\"step\": 1, \"loss\": 1, \"phase\": \"a\\\"b\"}\n",
            "{\"step\": 1, \"lose\": 1, \"phase\": 1}\n",
            "{\"step\": 1, \"loss\": 1, \"phase\": 1",
        ] {
            assert_eq!(values(&template, other), None, "{other}");
        }
    }

    #[test]
    fn a_line_is_passed_over_by_its_keys() {
        let template = Template::of(b"{\"step\": 1, \"loss\": 0.5, \"lr\": 1e-3}\n").unwrap();
        let skipped = |line: &str| {
            let mut least = Digits::at(&padded("100,"), 0).unwrap();
            template.skip(&padded(line), 0, &mut least).map(|end| end == line.len())
        };
        assert_eq!(skipped("{\"step\": 123456789, \"loss\": NaN, \"lr\": 1}\n"), Some(true));
        assert_eq!(skipped("{\"step\": 100, \"loss\": NaN, \"lr\": 1}\n"), Some(true));
        for other in [
            "{\"step\": 99, \"loss\": 1, \"lr\": 1}\n",
            "{\"step\": 1e3, \"loss\": 1, \"lr\": 1}\n",
            "{\"step\": 1000.5, \"loss\": 1, \"lr\": 1}\n",
            "{\"step\": 1000, \"other\": 2, \"loss\": 1, \"lr\": 1}\n",
            "{\"step\": 1000, \"loss\": \"x\", \"lr\": 1}\n",
            "{\"step\": 1000, \"loss\": 1, \"lr\": 1, \"x\": 1}\n",
            "{\"step\": 1000, \"loss\": 1}\n{\"step\": 2000, \"loss\": 1, \"lr\": 1}\n",
        ] {
            assert_eq!(skipped(other), None, "{other}");
        }
    }

    #[test]
    fn a_long_key_is_compared_to_its_end() {
        let template = Template::of(b"{\"a_key_that_is_longer_than_sixteen\": 1}\n").unwrap();
        assert!(values(&template, "{\"a_key_that_is_longer_than_sixteen\": 2}\n").is_some());
        assert!(values(&template, "{\"a_key_that_is_longer_than_sixteem\": 2}\n").is_none());
    }

    proptest! {
        #[test]
        fn a_template_says_what_the_parser_says(line in "\\{(\"[a-c]\" ?: ?(-?[0-9.eE+-]{1,5}|NaN|null|true|-?Infinity|\"[a-zN]{0,3}\"|\"-?[0-9.e-]{1,4}\"|\\[1\\]),? ?){0,4}\\} ?") {
            let line = line + "\n";
            let row = MetricRow::parse(line.as_bytes());
            let Some(template) = Template::of(line.as_bytes()) else { return Ok(()) };
            let row = row.expect("a template is made of rows alone");
            let values = values(&template, &line).unwrap();
            for (key, (kind, text)) in template.keys.iter().zip(&values).rev() {
                if template.keys.iter().rposition(|other| other == key) != template.keys.iter().position(|other| other == key) {
                    continue; // the last one counts
                }
                match (row.get(key).unwrap(), kind) {
                    (MetricValue::Number(number), Kind::Number) => prop_assert_eq!(float(text.as_bytes()), Some(*number)),
                    (MetricValue::Number(number), Kind::NaN) => prop_assert!(number.is_nan()),
                    (MetricValue::Number(number), Kind::Infinity) => prop_assert_eq!(*number, f64::INFINITY),
                    (MetricValue::Number(number), Kind::MinusInfinity) => prop_assert_eq!(*number, f64::NEG_INFINITY),
                    (MetricValue::Other(Value::String(other)), Kind::Text) => prop_assert_eq!(other, text),
                    (MetricValue::Other(Value::Null), Kind::Null) => {}
                    (MetricValue::Other(Value::Bool(value)), Kind::Bool) => prop_assert_eq!(&value.to_string(), text),
                    (cell, kind) => prop_assert!(false, "{cell:?} is {kind:?}"),
                }
            }
        }

        #[test]
        fn any_bytes_have_a_template_or_none(bytes: Vec<u8>) {
            let _ = Template::of(&bytes);
        }
    }
}
