//! The metrics of one evaluation: the rows of its `metrics.csv`, else the object in its `summary.json`,
//! else the last JSON object that its command printed.

use run_common::error::Error;
use run_common::fsio::atomic::{Durability, replace};
use run_common::fsio::open_regular;
use run_common::rundir::SCHEMA;
use run_common::rundir::evaluation::{Evaluation, Measured};
use run_common::rundir::layout::Layout;
use run_common::rundir::record::document;
use run_metrics::aggregate::{Aggregate, Room};
use run_metrics::csv::{Damage, Record, Records, quote};
use run_metrics::row::with_quoted_constants;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use std::collections::{HashMap, HashSet};
use std::fmt;
use std::fs::File;
use std::io::{self, Cursor, Read, Seek, SeekFrom};
use std::iter::repeat;

/// Bytes of a summary that are read, and of the end of stdout.
const LIMIT: u64 = 16 << 20;

/// Lines at the end of stdout that are gone through for the last object, and those among them that may
/// begin it.
const LINES: usize = 100_000;
const BEGINNINGS: usize = 1000;

/// Where an evaluation left its metrics.
#[derive(Debug)]
pub(crate) enum Source {
    /// A table.
    Table(File),
    /// One row, made from an object.
    Row(Cursor<Vec<u8>>),
}

impl Read for Source {
    fn read(&mut self, block: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Table(file) => file.read(block),
            Self::Row(row) => row.read(block),
        }
    }
}

/// Finds the metrics of an evaluation, if it left any; else says what is wrong with them.
pub(crate) fn find(layout: &Layout) -> Result<Option<Source>, String> {
    let open = |name: &str| {
        open_regular(&layout.root().join(name)).map_err(|error| format!("{name} {}", Damage::Io(error)))
    };
    if let Some(file) = open("metrics.csv")? {
        return Ok(Some(Source::Table(file)));
    }
    let one_row = |object: Vec<Field>| Source::Row(Cursor::new(as_table(&object)));
    if let Some(file) = open("summary.json")? {
        let mut text = Vec::new();
        file.take(LIMIT)
            .read_to_end(&mut text)
            .map_err(|error| format!("summary.json {}", Damage::Io(error)))?;
        let object = parse(&text).ok_or("summary.json is no JSON object")?;
        return Ok(Some(one_row(object)).filter(|_| !text.is_empty()));
    }
    let printed = last_object(layout).map_err(|error| format!("stdout.log {}", Damage::Io(error)))?;
    Ok(printed.filter(|object| !object.is_empty()).map(one_row))
}

/// Says what is wrong with what an evaluation left, or else notes its figures: it is asked when the command
/// has ended well.
pub(crate) fn check(layout: &Layout) -> Option<String> {
    match find(layout) {
        Ok(Some(source)) => {
            let name = match source {
                Source::Table(_) => "metrics.csv",
                Source::Row(_) => "summary.json",
            };
            match measure(source) {
                Ok((0, _)) => Some(format!("no metrics: {name} has no rows")),
                Ok((rows, metrics)) => {
                    let step = Evaluation::read(layout).ok().and_then(|evaluation| evaluation.step);
                    let measured = Measured { schema: SCHEMA, step, rows, metrics };
                    let path = layout.measured();
                    let written =
                        document(&measured).and_then(|bytes| replace(&path, &bytes, Durability::Process));
                    written.err().map(|error| Error::io("write", &path, error).to_string())
                }
                Err(damage) => Some(format!("{name} {damage}")),
            }
        }
        Ok(None) => Some("no metrics: neither metrics.csv nor summary.json, nor JSON on stdout".to_owned()),
        Err(wrong) => Some(wrong),
    }
}

/// What the fields of a column come to so far.
#[derive(Clone, Debug)]
struct Column {
    /// While they are numbers.
    figures: Option<Aggregate>,
    /// Whether they are the numbers of their rows, from 0 on and from 1 on.
    counts_from: [bool; 2],
}

/// Of fewer rows, no column is said to count them: 0 and 1 are results too.
const COUNTED: u64 = 3;

/// Counts the rows of a table, makes sure that each can be used, and adds up each column that holds numbers
/// alone and does not count the rows.
fn measure(source: Source) -> Result<(u64, Map<String, Value>), Damage> {
    let mut rows = Records::new(source, Vec::new())?;
    let Some(header) = rows.next_record()? else { return Ok((0, Map::new())) };
    let names = columns(header);
    let column = Column { figures: Some(Aggregate::default()), counts_from: [true; 2] };
    let mut measured = vec![column; names.len()];
    let (mut count, mut fields) = (0, Vec::new());
    while let Some(row) = rows.next_record()? {
        count += 1;
        row.split(&mut fields);
        fits(&fields, names.len(), count)?;
        for (column, cell) in measured.iter_mut().zip(row.cells().chain(repeat(&b""[..]))) {
            column.add(cell.trim_ascii(), count);
        }
    }
    let named = names.iter().map(|name| String::from_utf8_lossy(name).into_owned()).zip(measured);
    let measures = named.filter(|(_, column)| count < COUNTED || column.counts_from == [false; 2]);
    let known = measures.filter_map(|(name, column)| Some((name, column.figures?.to_json())));
    let is_empty = |figures: &Value| figures["count"] == 0 && figures["nonfinite"] == 0;
    let mut room = Room::default();
    Ok((count, known.filter(|(name, figures)| !is_empty(figures) && room.take(name)).collect()))
}

impl Column {
    /// Takes the field of the next row, the number of which is counted from 1.
    fn add(&mut self, said: &[u8], row: u64) {
        let number = std::str::from_utf8(said).ok().and_then(|said| said.parse::<f64>().ok());
        for (counts, row) in self.counts_from.iter_mut().zip([row - 1, row]) {
            #[expect(clippy::cast_precision_loss, reason = "rows are far fewer than 2^53")]
            let row = row as f64;
            *counts &= number == Some(row);
        }
        match (number, self.figures.as_mut()) {
            (Some(number), Some(figures)) => figures.add(number),
            (None, Some(_)) if !said.is_empty() => self.figures = None,
            _ => {}
        }
    }
}

/// Refuses a row with more fields than there are columns; empty ones at the end are none.
pub(crate) fn fits(fields: &[std::ops::Range<usize>], columns: usize, row: u64) -> Result<(), Damage> {
    if fields.iter().skip(columns).all(std::ops::Range::is_empty) {
        return Ok(());
    }
    let count = fields.len();
    Err(Damage::Form(format!("has {count} fields in row {row}, and {columns} columns")))
}

/// Returns the names of the columns, each a different one.
pub(crate) fn columns(header: Record) -> Vec<Vec<u8>> {
    let mut names: Vec<Vec<u8>> = Vec::new();
    let mut taken: HashSet<Vec<u8>> = HashSet::new();
    let mut numbers: HashMap<&[u8], u64> = HashMap::new(); // the last that a name got
    for cell in header.cells() {
        let mut name = match cell {
            b"step" => b"metrics.step".to_vec(), // the checkpoint's has that name
            _ => cell.to_vec(),
        };
        while !taken.insert(name.clone()) {
            let number = numbers.entry(cell).or_default();
            *number += 1;
            name = [cell, format!(".{number}").as_bytes()].concat();
        }
        names.push(name);
    }
    names
}

/// A field of an object: its name, and its value as CSV means it.
type Field = (String, String);

/// Makes a table of one row.
fn as_table(object: &[Field]) -> Vec<u8> {
    let mut table = Vec::new();
    let mut line = |texts: &mut dyn Iterator<Item = &String>| {
        for (number, text) in texts.enumerate() {
            if number > 0 {
                table.push(b',');
            }
            if object.len() == 1 || !text.is_empty() {
                quote(text.as_bytes(), &mut table); // a line that is empty is no row
            }
        }
        table.push(b'\n');
    };
    line(&mut object.iter().map(|(name, _)| name));
    line(&mut object.iter().map(|(_, value)| value));
    table
}

/// Reads a JSON object, `NaN` and `Infinity` included; what is inside of an object gets a name with a
/// `/`. Numbers keep their digits.
fn parse(text: &[u8]) -> Option<Vec<Field>> {
    let mut fields = Vec::new();
    match flatten(text, "", &mut fields) {
        Some(()) => Some(fields),
        None => {
            fields.clear();
            flatten(&with_quoted_constants(text)?, "", &mut fields)?;
            Some(fields)
        }
    }
}

fn flatten(text: &[u8], above: &str, fields: &mut Vec<Field>) -> Option<()> {
    let mut deserializer = serde_json::Deserializer::from_slice(text);
    let object = deserializer.deserialize_map(Pairs).ok()?;
    deserializer.end().ok()?;
    for (name, value) in object {
        let name = if above.is_empty() { name } else { format!("{above}/{name}") };
        let value = value.get();
        match value.as_bytes().first() {
            Some(b'{') => flatten(value.as_bytes(), &name, fields)?,
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

/// Takes the pairs of an object as they stand there.
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
                Some(&place) => pairs[place].1 = value, // the last counts, as in Python
                None => {
                    places.insert(name.clone(), pairs.len());
                    pairs.push((name, value));
                }
            }
        }
        Ok(pairs)
    }
}

/// Finds the last JSON object that was printed, on one line or over several.
fn last_object(layout: &Layout) -> io::Result<Option<Vec<Field>>> {
    let Some(mut file) = open_regular(&layout.stdout())? else { return Ok(None) };
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(LIMIT)))?;
    let mut text = Vec::new();
    file.take(LIMIT).read_to_end(&mut text)?;
    Ok(last_object_in(&text))
}

fn last_object_in(text: &[u8]) -> Option<Vec<Field>> {
    let mut rest = text;
    let (mut seen, mut tries) = (0, 0);
    // From the last line that ends an object back to one that begins it.
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
    use run_metrics::csv::Parser;

    fn last(text: &str) -> Option<String> {
        last_object_in(text.as_bytes()).map(|object| String::from_utf8(as_table(&object)).unwrap())
    }

    #[test]
    fn a_column_with_the_numbers_of_the_rows_in_their_order_measures_nothing() {
        let measured = |table: &str| {
            let table = Source::Row(Cursor::new(table.as_bytes().to_vec()));
            measure(table).unwrap().1.keys().cloned().collect::<Vec<_>>().join(" ")
        };
        assert_eq!(measured("i,n,m\n0,1,5\n1.0,2,5\n\"2\",3,5\n"), "m");
        assert_eq!(measured("order,rating\n2,1\n0,1\n1,3\n"), "order rating");
        assert_eq!(measured("rating\n1\n1\n3\n5\n5\n"), "rating");
        assert_eq!(measured("x,gap,short\n0,0,0\n1,,1\n3,2\n"), "x gap short");
        assert_eq!(measured("acc\n0\n1\n"), "acc");
        assert_eq!(measured("from_2\n2\n3\n4\n"), "from_2");
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
    fn columns_with_one_name_are_numbered_however_many_they_are() {
        let names = |header: &str| {
            let mut parser = Parser::default();
            let names = columns(parser.line(header.as_bytes()).unwrap());
            names.into_iter().map(|name| String::from_utf8(name).unwrap()).collect::<Vec<_>>()
        };
        let expected = ["a", "a.2", "a.1", "a.3", "metrics.step", "step.1", "", ".1"];
        assert_eq!(names("a,a.2,a,a,step,step,,"), expected);
        assert_eq!(names(&vec!["a"; 500_000].join(",")).last().unwrap(), "a.499999");
    }

    #[test]
    fn an_object_of_many_fields_is_one_row() {
        let field = |number| format!("\"{number}\": 1");
        let object = format!("{{{}}}", (0..500_000).map(field).collect::<Vec<_>>().join(", "));
        assert_eq!(parse(object.as_bytes()).unwrap().len(), 500_000);
        assert_eq!(last("{\"a\": 1, \"b\": 2, \"a\": 3}").unwrap(), "a,b\n3,2\n");
    }
}
