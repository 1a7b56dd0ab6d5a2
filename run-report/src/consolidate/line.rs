//! A metric line, split into the texts of its values. Programs write the same keys line after line,
//! so each line is first compared with the layout of one before: only its values are looked at.
//! A line of another kind is parsed in full.

use memchr::memchr;
use run_common::metrics::row::STEP_KEYS;

/// Bytes after the last line of a buffer that must be there to be looked at; what they are does not
/// matter.
pub(super) const PAD: usize = 32;

/// What a value is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Kind {
    /// A finite number.
    #[default]
    Number,
    /// A text without escapes; its quotes are not in the span.
    Text,
    /// `null`.
    Null,
    /// `true` or `false`.
    Bool,
    /// `NaN`, or a text that says so.
    NaN,
    /// `Infinity`, likewise.
    Infinity,
    /// `-Infinity`, likewise.
    MinusInfinity,
}

/// Where a value is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) start: u32,
    pub(super) end: u32,
    pub(super) kind: Kind,
}

/// A piece of a line between two values, kept so that sixteen bytes are compared at once.
#[derive(Debug, PartialEq, Eq)]
struct Literal {
    bytes: Box<[u8]>,
    /// Where the key begins in it.
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
        let (Some(low), Some(high)) = (eight(buffer, at), eight(buffer, at + 8)) else { return false };
        let differ = (low ^ self.words[0]) & self.masks[0] | (high ^ self.words[1]) & self.masks[1];
        differ == 0 && (self.bytes.len() <= 16 || buffer[at + 16..].starts_with(&self.bytes[16..]))
    }
}

#[inline]
fn eight(buffer: &[u8], at: usize) -> Option<u64> {
    buffer.get(at..)?.first_chunk().map(|bytes| u64::from_le_bytes(*bytes))
}

/// What lines have in common that differ in their values alone.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Template {
    /// What stands before each value, and after the last.
    literals: Vec<Literal>,
    /// The name of each value.
    pub(super) keys: Vec<String>,
    /// Which of them may be the step, the better first, with their names as step keys.
    pub(super) steps: Vec<(usize, &'static str)>,
}

impl Template {
    /// Finds the values of the line at `at`, when it is one of this template; returns where the
    /// next line begins.
    #[inline]
    pub(super) fn find(&self, buffer: &[u8], at: usize, spans: &mut Vec<Span>) -> Option<usize> {
        spans.clear();
        let mut at = at;
        let (last, before) = self.literals.split_last()?;
        for literal in before {
            if !literal.is_at(buffer, at) {
                return None;
            }
            at += literal.bytes.len();
            let (span, end) = value(buffer, at)?;
            spans.push(span);
            at = end;
        }
        last.is_at(buffer, at).then_some(at + last.bytes.len())
    }

    /// Passes over the line at `at`, when its keys are those of this template; returns where the next
    /// line begins. Nothing is said of its values but that there is no other key among them, as
    /// there is no quote.
    #[inline]
    pub(super) fn skip(&self, buffer: &[u8], at: usize) -> Option<usize> {
        let (last, before) = self.literals.split_last()?;
        let mut end = at;
        for (number, literal) in before.iter().enumerate() {
            let start = if number == 0 { at } else { quote(buffer, end)?.checked_sub(literal.quote)? };
            if !literal.is_at(buffer, start) {
                return None;
            }
            end = start + literal.bytes.len();
        }
        let end = number(buffer, end)?;
        last.is_at(buffer, end).then_some(end + last.bytes.len())
    }

    /// Makes the template of a line with its newline. One that holds other objects, or texts with
    /// escapes, has none.
    pub(super) fn of(line: &[u8]) -> Option<Self> {
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
        let last = |name: &str| keys.iter().rposition(|key| key == name);
        let steps = STEP_KEYS.iter().filter_map(|name| Some((last(name)?, *name))).collect();
        Some(Self { literals, keys, steps })
    }
}

fn blanks(buffer: &[u8], mut at: usize) -> usize {
    while buffer.get(at).is_some_and(|byte| matches!(byte, b' ' | b'\t' | b'\r' | b'\n')) {
        at += 1;
    }
    at
}

/// Reads a text without escapes; returns what is in its quotes, and where it ends.
fn text(buffer: &[u8], at: usize) -> Option<(&[u8], usize)> {
    let inside = buffer.get(at..)?.strip_prefix(b"\"")?;
    let length = inside.iter().position(|byte| matches!(byte, b'"' | b'\\' | 0..0x20))?;
    let text = &inside[..length];
    let is_whole = inside[length] == b'"' && (text.is_ascii() || std::str::from_utf8(text).is_ok());
    is_whole.then_some((text, at + length + 2))
}

/// Reads a value; returns it, and where it ends.
#[inline]
fn value(buffer: &[u8], at: usize) -> Option<(Span, usize)> {
    if let Some(end) = number(buffer, at) {
        return Some((span(at, end, Kind::Number)?, end));
    }
    other_value(buffer, at)
}

fn span(start: usize, end: usize, kind: Kind) -> Option<Span> {
    Some(Span { start: u32::try_from(start).ok()?, end: u32::try_from(end).ok()?, kind })
}

#[inline(never)]
fn other_value(buffer: &[u8], at: usize) -> Option<(Span, usize)> {
    if buffer.get(at) == Some(&b'"') {
        let (inside, end) = text(buffer, at)?;
        let kind = match inside {
            b"NaN" => Kind::NaN,
            b"Infinity" => Kind::Infinity,
            b"-Infinity" => Kind::MinusInfinity,
            _ => Kind::Text,
        };
        return Some((span(at + 1, end - 1, kind)?, end));
    }
    let words: [(&[u8], Kind); 6] = [
        (b"NaN", Kind::NaN),
        (b"null", Kind::Null),
        (b"true", Kind::Bool),
        (b"false", Kind::Bool),
        (b"Infinity", Kind::Infinity),
        (b"-Infinity", Kind::MinusInfinity),
    ];
    let rest = buffer.get(at..)?;
    let (word, kind) = words.into_iter().find(|(word, _)| rest.starts_with(word))?;
    Some((span(at, at + word.len(), kind)?, at + word.len()))
}

/// Returns where the number ends that begins here, by the grammar of JSON.
#[inline]
fn number(buffer: &[u8], at: usize) -> Option<usize> {
    let first = at + usize::from(*buffer.get(at)? == b'-');
    let mut end = digits(buffer, first)?;
    if end == first || end > first + 1 && buffer[first] == b'0' {
        return None;
    }
    let mut is_large = end - first > 300;
    if *buffer.get(end)? == b'.' {
        let fraction = end + 1;
        end = digits(buffer, fraction)?;
        if end == fraction {
            return None;
        }
    }
    if *buffer.get(end)? | 0x20 == b'e' {
        let exponent = end + 1 + usize::from(matches!(*buffer.get(end + 1)?, b'+' | b'-'));
        end = digits(buffer, exponent)?;
        if end == exponent {
            return None;
        }
        is_large |= end - exponent > 2;
    }
    if is_large && !float(&buffer[at..end]).is_some_and(f64::is_finite) {
        return None; // no reader takes it for a number
    }
    Some(end)
}

/// Returns a number as one.
pub(super) fn float(text: &[u8]) -> Option<f64> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// Returns where the next quote is, eight bytes at a time.
#[inline]
fn quote(buffer: &[u8], mut at: usize) -> Option<usize> {
    loop {
        let word = eight(buffer, at)? ^ 0x2222_2222_2222_2222; // a quote becomes 0
        let found = word.wrapping_sub(0x0101_0101_0101_0101) & !word & 0x8080_8080_8080_8080;
        if found != 0 {
            return Some(at + found.trailing_zeros() as usize / 8); // the first one found is one
        }
        at += 8;
    }
}

/// Returns where the digits end that begin here, eight at a time.
#[inline]
fn digits(buffer: &[u8], mut at: usize) -> Option<usize> {
    loop {
        let word = eight(buffer, at)? ^ 0x3030_3030_3030_3030; // a digit becomes 0 to 9
        let others =
            (((word & 0x7f7f_7f7f_7f7f_7f7f) + 0x7676_7676_7676_7676) | word) & 0x8080_8080_8080_8080;
        if others != 0 {
            return Some(at + others.trailing_zeros() as usize / 8);
        }
        at += 8;
    }
}

#[cfg(test)]
#[expect(clippy::float_cmp, reason = "the numbers are exact")]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use run_common::metrics::row::{Cell, Row};
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
        let text = |span: &Span| line[span.start as usize..span.end as usize].to_owned();
        Some(spans.iter().map(|span| (span.kind, text(span))).collect())
    }

    #[test]
    fn a_line_is_read_by_the_layout_of_another() {
        let template = Template::of(b"{\"step\": 1, \"loss\": 0.5, \"phase\": \"train\"}\n").unwrap();
        assert_eq!(template.keys, ["step", "loss", "phase"]);
        assert_eq!(template.steps, [(0, "step")]);
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
        let skipped = |line: &str| template.skip(&padded(line), 0).map(|end| end == line.len());
        assert_eq!(skipped("{\"step\": 123456789, \"loss\": NaN, \"lr\": 1}\n"), Some(true));
        for other in [
            "{\"step\": 1, \"other\": 2, \"loss\": 1, \"lr\": 1}\n",
            "{\"step\": 1, \"loss\": \"x\", \"lr\": 1}\n",
            "{\"step\": 1, \"loss\": 1, \"lr\": 1, \"x\": 1}\n",
            "{\"step\": 1, \"loss\": 1}\n{\"step\": 2, \"loss\": 1, \"lr\": 1}\n",
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
        fn a_template_says_what_the_parser_says(line in "\\{(\"[a-c]\" ?: ?(-?[0-9.eE+-]{1,5}|NaN|null|true|-?Infinity|\"[a-zN]{0,3}\"|\\[1\\]),? ?){0,4}\\} ?") {
            let line = line + "\n";
            let row = Row::parse(line.as_bytes());
            let Some(template) = Template::of(line.as_bytes()) else { return Ok(()) };
            let row = row.expect("a template is made of rows alone");
            let values = values(&template, &line).unwrap();
            for (key, (kind, text)) in template.keys.iter().zip(&values).rev() {
                if template.keys.iter().rposition(|other| other == key) != template.keys.iter().position(|other| other == key) {
                    continue; // the last one counts
                }
                match (row.get(key).unwrap(), kind) {
                    (Cell::Number(number), Kind::Number) => prop_assert_eq!(float(text.as_bytes()), Some(*number)),
                    (Cell::Number(number), Kind::NaN) => prop_assert!(number.is_nan()),
                    (Cell::Number(number), Kind::Infinity) => prop_assert_eq!(*number, f64::INFINITY),
                    (Cell::Number(number), Kind::MinusInfinity) => prop_assert_eq!(*number, f64::NEG_INFINITY),
                    (Cell::Other(Value::String(other)), Kind::Text) => prop_assert_eq!(other, text),
                    (Cell::Other(Value::Null), Kind::Null) => {}
                    (Cell::Other(Value::Bool(value)), Kind::Bool) => prop_assert_eq!(&value.to_string(), text),
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
