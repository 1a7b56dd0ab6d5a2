//! Lists of names in options, separated by commas. A name that contains commas may be quoted as in RFC 4180.
//! Quotes are not needed if the whole name is known: if there is a metric `acc,none`, the list `acc,none` means
//! this metric.

use super::csv::Parser;
use std::ops::Range;

/// Maximum number of parts of a name without quotes.
const PARTS: usize = 8;

/// A list that is not split yet, because its commas may belong to names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NameList {
    parts: Vec<Part>,
}

/// The text between two commas.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Part {
    text: String,
    /// Whether the text is a whole name.
    is_quoted: bool,
    /// Number of the option value that contains the text.
    value: usize,
}

impl NameList {
    /// Parses the values of an option, which may be given several times.
    pub fn of(texts: &[String]) -> Self {
        let mut parts = Vec::new();
        for (value, text) in texts.iter().enumerate() {
            let mut parser = Parser::default();
            let Some(record) = parser.line(text.as_bytes()) else {
                parts.push(Part { text: text.clone(), is_quoted: true, value }); // an unclosed quote is a part of the name
                continue;
            };
            let mut fields = Vec::new();
            record.split(&mut fields);
            let cells = record.cells().map(|cell| String::from_utf8_lossy(cell).into_owned());
            let part = |(cell, field): (String, Range<usize>)| Part {
                text: cell,
                is_quoted: text[field].starts_with('"'),
                value,
            };
            parts.extend(cells.zip(fields).map(part));
        }
        Self { parts }
    }

    /// Returns whether the list is empty.
    pub fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    /// Returns whether the list may contain a name.
    pub fn may_have(&self, name: &str) -> bool {
        (0..self.parts.len())
            .any(|start| (1..=PARTS).any(|count| self.joined(start, count).as_deref() == Some(name)))
    }

    /// Returns the names: at each comma the longest known name that begins there.
    pub fn names(&self, is_known: impl Fn(&str) -> bool) -> Vec<String> {
        let mut names = Vec::new();
        let mut start = 0;
        while let Some(first) = self.parts.get(start) {
            let longest = (2..=PARTS).rev().find_map(|count| {
                self.joined(start, count).filter(|name| is_known(name)).map(|name| (name, count))
            });
            let (name, count) = longest.unwrap_or_else(|| (first.text.clone(), 1));
            names.push(name);
            start += count;
        }
        names
    }

    /// Joins `count` parts; `None` if there are fewer, or if several parts include a quoted one.
    fn joined(&self, start: usize, count: usize) -> Option<String> {
        let parts = self.parts.get(start..start + count)?;
        let is_joined = |part: &Part| !part.is_quoted && part.value == parts[0].value;
        let may_join = count == 1 || parts.iter().all(is_joined);
        may_join.then(|| parts.iter().map(|part| part.text.as_str()).collect::<Vec<_>>().join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_known_name_counts_before_its_parts() {
        let names = |texts: &[&str]| {
            let texts: Vec<String> = texts.iter().map(|&text| text.to_owned()).collect();
            NameList::of(&texts).names(|name| ["acc,none", "a,b,c", "a,b", "acc"].contains(&name))
        };
        assert_eq!(names(&["acc,none"]), ["acc,none"]);
        assert_eq!(names(&["loss,acc,none,x"]), ["loss", "acc,none", "x"]);
        assert_eq!(names(&["a,b,c,a,b,d"]), ["a,b,c", "a,b", "d"]);
        assert_eq!(names(&["\"acc,none\",\"say \"\"x\"\"\"", "y"]), ["acc,none", "say \"x\"", "y"]);
        assert_eq!(names(&["acc,\"none\""]), ["acc", "none"]);
        assert_eq!(names(&["acc", "none"]), ["acc", "none"]);
        assert_eq!(names(&["\"open"]), ["\"open"]);
        assert_eq!(names(&[]), Vec::<String>::new());
        let list = NameList::of(&["acc,none".to_owned()]);
        assert!(["acc", "none", "acc,none"].iter().all(|name| list.may_have(name)) && !list.may_have("x"));
    }
}
