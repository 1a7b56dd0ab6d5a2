//! The columns of the consolidated CSV, and the order of a row's values under them.

use super::rows::{Rows, write_value};
use crate::scalar::csv_number;
use crate::table::CONFIG;
use run_metrics::csv::quote;
use run_metrics::row::{MetricRow, MetricValue};
use run_metrics::template::Template;
use run_metrics::value::Span;
use serde_json::Value;
use std::collections::{BTreeMap, HashMap};

/// Columns of settings between run and step, and columns of metrics after the step, by name.
pub(super) struct Columns {
    settings: Vec<String>,
    names: Vec<String>,
    places: HashMap<String, usize>,
}

/// The order in which the values of a template are written.
pub(super) struct Plan {
    /// Commas before a value, and the number of the value.
    values: Vec<(usize, usize)>,
    /// Commas after the last value.
    rest: usize,
}

/// Returns the column of a metric. The step has its own column, and a metric `run` is renamed.
pub(super) fn column(name: &str) -> Option<&str> {
    match name {
        "step" => None,
        "run" => Some("metric.run"),
        name => Some(name),
    }
}

impl Columns {
    /// Creates columns. A setting with the name of a metric gets a prefix.
    pub(super) fn new<'a>(names: Vec<String>, settings: impl Iterator<Item = &'a str>) -> Self {
        let places: HashMap<String, usize> =
            names.iter().enumerate().map(|(place, name)| (name.clone(), place)).collect();
        let free = |name: &str| {
            let mut name = name.to_owned();
            while places.contains_key(&name) || ["run", "step"].contains(&name.as_str()) {
                name.insert_str(0, CONFIG);
            }
            name
        };
        Self { settings: settings.map(free).collect(), names, places }
    }

    pub(super) fn header(&self) -> Vec<u8> {
        let mut header = b"run".to_vec();
        for name in self
            .settings
            .iter()
            .map(String::as_str)
            .chain(["step"])
            .chain(self.names.iter().map(String::as_str))
        {
            header.push(b',');
            quote(name.as_bytes(), &mut header);
        }
        header.push(b'\n');
        header
    }

    fn place(&self, name: &str) -> Option<usize> {
        self.places.get(column(name)?).copied()
    }

    pub(super) fn plan(&self, template: &Template) -> Plan {
        let numbered = template.keys.iter().enumerate();
        let places: BTreeMap<usize, usize> = // the last of two values with the same name counts
            numbered.filter_map(|(number, key)| Some((self.place(key)?, number))).collect();
        let mut done = 0;
        let commas = |(place, number): (usize, usize)| {
            let commas = place + 1 - done;
            done = place + 1;
            (commas, number)
        };
        let values = places.into_iter().map(commas).collect();
        Plan { values, rest: self.names.len() - done }
    }

    /// Appends a row that was parsed in full.
    pub(super) fn write_row(&self, row: &MetricRow, step: &str, into: &mut Vec<u8>) {
        into.extend_from_slice(step.as_bytes());
        let mut cells: Vec<(usize, &MetricValue)> =
            row.fields().filter_map(|(name, cell)| Some((self.place(name)?, cell))).collect();
        cells.sort_by_key(|(place, _)| *place);
        let mut done = 0;
        for (number, &(place, cell)) in cells.iter().enumerate() {
            if cells.get(number + 1).is_some_and(|(next, _)| *next == place) {
                continue; // the last of two values with the same name counts
            }
            into.resize(into.len() + place + 1 - done, b',');
            done = place + 1;
            match cell {
                MetricValue::Number(number) => into.extend_from_slice(csv_number(*number).as_bytes()),
                MetricValue::Other(Value::Null) => {}
                MetricValue::Other(Value::String(text)) => quote(text.as_bytes(), into),
                MetricValue::Other(other) => quote(other.to_string().as_bytes(), into),
            }
        }
        into.resize(into.len() + self.names.len() - done, b',');
        into.push(b'\n');
    }
}

impl Plan {
    /// Appends the values of a line, and its end.
    #[inline]
    pub(super) fn write(&self, spans: &[Span], buffer: &[u8], into: &mut Rows) {
        for (commas, number) in &self.values {
            if *commas > 1 {
                into.repeat(b',', commas - 1);
            }
            write_value(&spans[*number], buffer, into);
        }
        if self.rest > 0 {
            into.repeat(b',', self.rest);
        }
        into.append(b"\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use run_metrics::value::PAD;
    use serde_json::Map;

    /// Returns the cells of the one record that a row is.
    fn read_back(row: &[u8]) -> Vec<String> {
        let mut reader = csv::ReaderBuilder::new().has_headers(false).from_reader(row);
        let records: Vec<_> = reader.records().map(Result::unwrap).collect();
        assert_eq!(records.len(), 1, "{}", String::from_utf8_lossy(row));
        records[0].iter().map(str::to_owned).collect()
    }

    fn any_value() -> impl Strategy<Value = Value> {
        prop_oneof![
            any::<String>().prop_map(Value::from),
            any::<f64>().prop_filter("JSON has none", |number| number.is_finite()).prop_map(Value::from),
            any::<i32>().prop_map(Value::from),
            Just(Value::from("NaN")),
            Just(Value::from("-Infinity")),
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            prop::collection::vec(any::<u8>(), 0..3).prop_map(Value::from),
        ]
    }

    #[test]
    fn a_million_columns_are_no_harder_to_find_than_one() {
        let field = |number| format!("\"c{number}\": {number}");
        let line = format!("{{{}}}\n", (0..1_000_000).map(field).collect::<Vec<_>>().join(", "));
        let template = Template::of(line.as_bytes()).unwrap();
        let plan = Columns::new(template.keys.clone(), std::iter::empty()).plan(&template);
        assert_eq!((plan.values.len(), plan.values[999_999], plan.rest), (1_000_000, (1, 999_999), 0));
    }

    proptest! {
        #[test]
        fn any_row_is_read_back_as_it_was(
            cells in prop::collection::vec(("step|run|metric.run|[a-d]|.{0,4}", any_value()), 0..6),
            others in prop::collection::vec("[a-d]", 0..3),
        ) {
            let object: Map<String, Value> = cells.into_iter().collect();
            let mut names: Vec<String> = Vec::new();
            for name in others.iter().chain(object.keys()).filter_map(|name| column(name)) {
                if !names.iter().any(|known| known == name) {
                    names.push(name.to_owned());
                }
            }
            let columns = Columns::new(names.clone(), std::iter::empty());
            prop_assert_eq!(&read_back(&columns.header())[2..], names.as_slice());
            let line = serde_json::to_string(&object).unwrap() + "\n";
            let row = MetricRow::parse(line.as_bytes()).unwrap();
            let mut written = b"r,".to_vec();
            columns.write_row(&row, "7", &mut written);
            let read = read_back(&written);
            prop_assert_eq!(read.len(), 2 + names.len());
            for (name, cell) in names.iter().zip(&read[2..]) {
                let value = object.iter().rev().find(|(key, _)| column(key) == Some(name)).map(|(_, value)| value);
                match value {
                    None | Some(Value::Null) => prop_assert_eq!(cell, ""),
                    Some(Value::Number(number)) => prop_assert_eq!(cell.parse::<f64>().ok(), number.as_f64()),
                    Some(Value::String(text)) if text == "-Infinity" => prop_assert_eq!(cell, "-inf"),
                    Some(Value::String(text)) => prop_assert_eq!(cell, text),
                    Some(other) => prop_assert_eq!(cell, &other.to_string()),
                }
            }
            // A plain line comes out the same, but for how its numbers are spelt.
            let Some(template) = Template::of(line.as_bytes()) else { return Ok(()) };
            let mut buffer = line.into_bytes();
            buffer.resize(buffer.len() + PAD, 0);
            let mut spans = Vec::new();
            prop_assert!(template.find(&buffer, 0, &mut spans).is_some());
            let mut plain = Rows::default();
            plain.append(b"r,7");
            columns.plan(&template).write(&spans, &buffer, &mut plain);
            let same = |(one, other): (&String, &String)| {
                one == other || one.parse::<f64>().is_ok_and(|one| other.parse() == Ok(one))
            };
            let plain = read_back(plain.bytes());
            prop_assert!(plain.len() == read.len() && plain.iter().zip(&read).all(same), "{:?} {:?}", plain, read);
        }
    }
}
