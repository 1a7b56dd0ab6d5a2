//! Turns a JSON object into a table of one row, and finds the last object in a text.

use run_common::json::with_quoted_constants;
use run_metrics::csv::quote;
use run_metrics::row::DEEPEST;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use std::collections::HashMap;
use std::fmt;

/// Maximum number of lines to search at the end of a text for the last object, and of lines to try as its
/// beginning.
const LINES: usize = 100_000;
const BEGINNINGS: usize = 1000;

/// A field of an object: its name, and its value as a CSV field.
pub(crate) type Field = (String, String);

/// Creates a table of one row.
pub(crate) fn table_of(object: &[Field]) -> Vec<u8> {
    let mut table = Vec::new();
    let mut line = |texts: &mut dyn Iterator<Item = &String>| {
        for (number, text) in texts.enumerate() {
            if number > 0 {
                table.push(b',');
            }
            if object.len() == 1 || !text.is_empty() {
                quote(text.as_bytes(), &mut table); // an empty line would not be a row
            }
        }
        table.push(b'\n');
    };
    line(&mut object.iter().map(|(name, _)| name));
    line(&mut object.iter().map(|(_, value)| value));
    table
}

/// Reads a JSON object, `NaN` and `Infinity` included. Names of nested values contain a `/`. Numbers keep
/// their digits.
pub(crate) fn parse(text: &[u8]) -> Option<Vec<Field>> {
    let mut fields = Vec::new();
    match flatten(text, "", 0, &mut fields) {
        Some(()) => Some(fields),
        None => {
            fields.clear();
            flatten(&with_quoted_constants(text)?, "", 0, &mut fields)?;
            Some(fields)
        }
    }
}

/// Appends the fields of an object at this depth, with the names `above` it as prefix.
fn flatten(text: &[u8], above: &str, depth: usize, fields: &mut Vec<Field>) -> Option<()> {
    let mut deserializer = serde_json::Deserializer::from_slice(text);
    let object = deserializer.deserialize_map(Pairs).ok()?;
    deserializer.end().ok()?;
    for (name, value) in object {
        let name = if above.is_empty() { name } else { format!("{above}/{name}") };
        let value = value.get();
        match value.as_bytes().first() {
            Some(b'{') if depth < DEEPEST => flatten(value.as_bytes(), &name, depth + 1, fields)?,
            Some(b'"') => {
                let text: String = serde_json::from_str(value).ok()?;
                let text = match text.as_str() {
                    "Infinity" => "inf".to_owned(),
                    "-Infinity" => "-inf".to_owned(),
                    _ => text,
                };
                fields.push((name, text));
            }
            Some(b'n') => fields.push((name, String::new())),
            _ => fields.push((name, value.to_owned())),
        }
    }
    Some(())
}

/// Collects the pairs of an object in their order.
struct Pairs;

impl<'de> Visitor<'de> for Pairs {
    type Value = Vec<(String, Box<RawValue>)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut pairs: Self::Value = Vec::new();
        let mut places: HashMap<String, usize> = HashMap::new();
        while let Some((name, value)) = map.next_entry::<String, Box<RawValue>>()? {
            match places.get(&name) {
                Some(&place) => pairs[place].1 = value, // the last value counts, as in Python
                None => {
                    places.insert(name.clone(), pairs.len());
                    pairs.push((name, value));
                }
            }
        }
        Ok(pairs)
    }
}

/// Finds the last JSON object in the output of a command, on one line or several.
pub(crate) fn last_object_in(text: &[u8]) -> Option<Vec<Field>> {
    let mut rest = text;
    let (mut seen, mut tries) = (0, 0);
    // From the last line that ends an object, back to the line that begins it.
    while let Some(end) = rest.iter().rposition(|&byte| byte == b'}') {
        let object = &rest[..=end];
        let line_ends =
            rest[end + 1..].iter().take_while(|&&byte| byte != b'\n').all(u8::is_ascii_whitespace);
        let mut lines = object;
        while line_ends && tries < BEGINNINGS && seen < LINES {
            seen += 1;
            let start = lines.iter().rposition(|&byte| byte == b'\n').map_or(0, |newline| newline + 1);
            let first = object[start..].trim_ascii_start();
            if first.starts_with(b"{") {
                tries += 1;
                if let Some(object) = parse(first) {
                    return Some(object);
                }
            }
            if start == 0 {
                break;
            }
            lines = &object[..start - 1];
        }
        let line = rest[..end].iter().rposition(|&byte| byte == b'\n')?;
        rest = &rest[..line];
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn last(text: &str) -> Option<String> {
        last_object_in(text.as_bytes()).map(|object| String::from_utf8(table_of(&object)).unwrap())
    }

    #[test]
    fn the_last_object_on_stdout_counts() {
        let found = last(
            "{\"a\": 1}\nnoise }\n{\"b\":1.50, \"c\": NaN, \"d\": {\"e\": \"x,y\"}, \"f\": [1, 2]}\nbye\n",
        );
        assert_eq!(found.unwrap(), "b,c,d/e,f\n1.50,NaN,\"x,y\",\"[1, 2]\"\n");
        assert_eq!(
            last("x\n{\n  \"a\": {\n    \"b\": 1e-5\n  },\n  \"c\": null\n}\n").unwrap(),
            "a/b,c\n1e-5,\n"
        );
        assert_eq!(last("{\"acc\": -Infinity}").unwrap(), "acc\n-inf\n");
        assert_eq!(last("{\"only\": null}").unwrap(), "only\n\"\"\n");
        assert_eq!(last("done {x}\n[1]\n}\n"), None);
    }

    #[test]
    fn an_object_that_lies_deep_in_others_is_text() {
        let nested = |depth: usize| format!("{}1{}", "{\"a\": ".repeat(depth), "}".repeat(depth));
        let only = |depth: usize| parse(nested(depth).as_bytes()).unwrap().remove(0);
        assert_eq!(only(65), (vec!["a"; 65].join("/"), "1".to_owned()));
        assert_eq!(only(66), (vec!["a"; 65].join("/"), nested(1)));
        assert_eq!(only(100_000).1.len(), nested(100_000 - 65).len());
    }

    #[test]
    fn an_object_of_many_fields_is_one_row() {
        let field = |number| format!("\"{number}\": 1");
        let object = format!("{{{}}}", (0..500_000).map(field).collect::<Vec<_>>().join(", "));
        assert_eq!(parse(object.as_bytes()).unwrap().len(), 500_000);
        assert_eq!(last("{\"a\": 1, \"b\": 2, \"a\": 3}").unwrap(), "a,b\n3,2\n");
    }
}
