//! Where rows are beside their steps: their number, when they were written, and their epoch.

use super::media::{Picture, add};
use crate::curve::Beside;
use run_common::time::Timestamp;
use run_metrics::row::{MetricRow, MetricValue, instant, is_instant};

/// Finds the places of the rows of a run, one after another. A row that does not tell is where the row before is.
#[derive(Debug)]
pub(crate) struct RowPlaces {
    /// The names of the row before, with the positions of its time and its epoch among them.
    names: Vec<String>,
    time: Option<usize>,
    epoch: Option<usize>,
    last: Beside,
    /// The pictures that the rows name.
    pub(crate) pictures: Vec<Picture>,
}

impl Default for RowPlaces {
    fn default() -> Self {
        Self {
            names: Vec::new(),
            time: None,
            epoch: None,
            last: Beside { row: 0.0, ..Beside::NOTHING },
            pictures: Vec::new(),
        }
    }
}

impl RowPlaces {
    /// Returns the place of the next row.
    pub(crate) fn next(&mut self, row: &MetricRow) -> Beside {
        if !row.fields().map(|(name, _)| name).eq(self.names.iter()) {
            self.names = row.fields().map(|(name, _)| name.to_owned()).collect();
            let is_epoch = |name: &String| {
                let last = name.rsplit('/').next().unwrap_or(name);
                last.trim_start_matches('_').eq_ignore_ascii_case("epoch")
            };
            self.time = self.names.iter().position(|name| is_instant(name));
            self.epoch = self.names.iter().position(is_epoch);
        }
        let value = |place: Option<usize>| row.fields().nth(place?).map(|(_, value)| value);
        let time = || match value(self.time)? {
            MetricValue::Number(number) => instant(*number),
            #[expect(
                clippy::cast_precision_loss,
                reason = "times of centuries fit a double to the millisecond"
            )]
            MetricValue::Other(text) => Some(Timestamp::of_iso(text.as_str()?)?.millis() as f64 / 1000.0),
        };
        let epoch = || match value(self.epoch)? {
            MetricValue::Number(number) if number.is_finite() => Some(*number),
            _ => None,
        };
        self.last = Beside {
            row: self.last.row + 1.0,
            time: row.logged().and_then(instant).or_else(time).unwrap_or(self.last.time),
            epoch: epoch().unwrap_or(self.last.epoch),
        };
        add(row, self.last.row, &mut self.pictures);
        self.last
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_tell_their_time_and_epoch() {
        let mut places = RowPlaces::default();
        let mut place = |line: &str| {
            let Beside { row, time, epoch } = places.next(&MetricRow::parse(line.as_bytes()).unwrap());
            (row, time, epoch)
        };
        let (row, time, epoch) = place(r#"{"step": 1, "time": 0.5}"#);
        assert!(row.total_cmp(&1.0).is_eq() && time.is_nan() && epoch.is_nan(), "no instant");
        assert_eq!(place(r#"{"step": 2, "_timestamp": 1.7e9, "train/epoch": 0.5}"#), (2.0, 1.7e9, 0.5));
        assert_eq!(place(r#"{"step": 3, "val": 1}"#), (3.0, 1.7e9, 0.5));
        assert_eq!(place(r#"{"epoch": 2, "time": "2023-11-14T22:13:30Z"}"#), (4.0, 1_700_000_010.0, 2.0));
    }
}
