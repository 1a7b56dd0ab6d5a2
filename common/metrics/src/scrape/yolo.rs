//! Ultralytics' YOLO: a line with the names of columns, then the complete bar of an epoch, with the values
//! before the bar, and after it the scores of all classes. The names are those of its results.csv.

use super::scan::{Numbers, number};
use crate::row::MetricRow;

/// The state of a training.
#[derive(Debug, Default)]
pub(super) struct Yolo {
    /// Names of the columns of the training.
    columns: Vec<String>,
    /// Names of the scores.
    scores: Vec<String>,
    /// The epoch of the last bar.
    epoch: Option<f64>,
}

impl Yolo {
    /// Returns whether a line can be one of these, which is cheaper than reading it.
    pub(super) fn may_be(line: &[u8]) -> bool {
        match line.trim_ascii_start() {
            [b'E', b'p', b'o', b'c', b'h', b' ', ..]
            | [b'C', b'l', b'a', b's', b's', b' ', ..]
            | [b'a', b'l', b'l', b' ', ..] => true,
            [b'0'..=b'9', rest @ ..] => rest.iter().take(8).any(|&byte| byte == b'/'),
            _ => false,
        }
    }

    /// Takes an indented line.
    pub(super) fn line(&mut self, text: &str) -> Option<MetricRow> {
        let words: Vec<&str> = text.split_ascii_whitespace().take(40).collect();
        match *words.first()? {
            "Epoch" if words.get(1).is_some_and(|word| word.eq_ignore_ascii_case("gpu_mem")) => {
                self.columns = words.iter().map(|word| (*word).to_owned()).collect();
                self.epoch = None;
                None
            }
            "Class" if words.get(1) == Some(&"Images") => {
                self.scores = scores(&words);
                None
            }
            "all" => self.scored(&words[1..]),
            _ => self.bar(&words),
        }
    }

    /// Reads `1/3  2.18G  1.216  3.402  1.331  57  640: 100%|███| 4/4 [00:01<00:00,  2.9it/s]`.
    fn bar(&mut self, words: &[&str]) -> Option<MetricRow> {
        let count = self.columns.len();
        let (values, rest) = words.split_at_checked(count).filter(|_| count > 2)?;
        if !values.last()?.ends_with(':') || !rest.first()?.starts_with("100%") {
            return None;
        }
        let (epoch, of) = values.first()?.split_once('/')?;
        let (epoch, _) = (number(epoch)?, number(of)?);
        let mut numbers = Numbers::default();
        numbers.add("epoch", epoch);
        for (name, value) in self.columns.iter().zip(values).skip(1) {
            match name.strip_suffix("loss") {
                Some(_) => numbers.add(format!("train/{name}"), number(value)?),
                None if name.eq_ignore_ascii_case("gpu_mem") => {
                    if let Some(value) = value.strip_suffix('G').and_then(number) {
                        numbers.add(name.as_str(), value);
                    }
                }
                None => {} // of the last batch
            }
        }
        self.epoch = Some(epoch);
        numbers.row()
    }

    /// Reads `all  128  929  0.652  0.548  0.618  0.458`.
    fn scored(&mut self, words: &[&str]) -> Option<MetricRow> {
        let values: Vec<f64> = words.iter().map(|word| number(word)).collect::<Option<_>>()?;
        let mut numbers = Numbers::default();
        numbers.add("epoch", self.epoch?);
        let scores = values.get(2..)?;
        if scores.len() != self.scores.len() {
            return None;
        }
        self.scores.iter().zip(scores).for_each(|(name, value)| numbers.add(name.as_str(), *value));
        self.epoch = None; // each epoch is scored once
        numbers.row()
    }
}

/// Returns the names of the scores in `Class  Images  Instances  Box(P  R  mAP50  mAP50-95): 100%|███|`.
fn scores(words: &[&str]) -> Vec<String> {
    let mut of = "B";
    let mut names = Vec::new();
    for word in words.iter().skip(3) {
        let (task, word) = word.split_once('(').unwrap_or(("", word));
        of = match task {
            "" => of,
            "Mask" => "M",
            "Pose" => "P",
            _ => "B",
        };
        let name = match word.trim_end_matches([')', ':']) {
            "P" => "precision",
            "R" => "recall",
            name => name,
        };
        names.push(format!("metrics/{name}({of})"));
        if word.ends_with(':') {
            return names;
        }
    }
    Vec::new()
}
