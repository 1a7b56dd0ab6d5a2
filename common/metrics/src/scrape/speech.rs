//! The lines of toolkits for translation and speech: `OpenNMT-py`, `ESPnet` and `SpeechBrain`.

use super::scan::{Numbers, Scan, number};
use crate::row::MetricRow;

/// The text before the lines of `SpeechBrain` that pass through its logger.
pub(super) const SPEECHBRAIN: &str = "speechbrain.utils.train_logger - ";

/// Returns whether a line that begins with a bracket may be from `OpenNMT-py` or `ESPnet`.
pub(super) fn may_be(line: &[u8]) -> bool {
    let head = &line[..line.len().min(120)];
    [&b" INFO] Step "[..], b") INFO: "].iter().any(|sign| memchr::memmem::find(head, sign).is_some())
}

/// Reads a line that begins with a bracket.
pub(super) fn in_brackets(text: &str) -> Option<MetricRow> {
    opennmt(text).or_else(|| espnet(text))
}

/// `[2019-12-04 15:33:53,389 INFO] Step 50/10000; acc:   0.01; ppl: 9227.77; xent: 9.13; lr: 0.00001; 6909/7255
/// tok/s;    206 sec`: figures without a name are left out.
fn opennmt(text: &str) -> Option<MetricRow> {
    let (_, fields) = text.split_once(" INFO] Step ")?;
    let mut scan = Scan(fields);
    let mut numbers = Numbers::default();
    numbers.add("step", scan.whole()?);
    scan.tag("/")?;
    scan.blanks();
    scan.whole()?;
    scan.tag("; ")?;
    for field in scan.0.split(';') {
        if let Some((name, value)) = field.trim().split_once(':')
            && let Some(value) = number(value.trim())
        {
            numbers.add(name, value);
        }
    }
    numbers.row()
}

/// `[gpu01] 2020-07-19 08:49:04,080 (trainer:464) INFO: 1epoch:train:1-682batch: iter_time=2.878e-04, loss=123.963`
/// for some batches, whose steps restart in each epoch;
/// `1epoch results: [train] loss=2.8, time=3 seconds, [valid] loss=2.3` for an epoch.
fn espnet(text: &str) -> Option<MetricRow> {
    let (_, message) = text.split_once(") INFO: ")?;
    let mut scan = Scan(message);
    let mut numbers = Numbers::default();
    numbers.add("epoch", scan.whole()?);
    if scan.tag("epoch results: ").is_some() {
        let (_, validation) = scan.0.split_once("[valid] ")?;
        let fields = validation.split(" [").next()?;
        return pairs(fields.trim_end_matches(','), "valid_", numbers);
    }
    scan.tag("epoch:train:")?;
    scan.whole()?;
    scan.tag("-")?;
    numbers.add("step", scan.whole()?);
    scan.tag("batch: ")?;
    pairs(scan.0, "", numbers)
}

/// Adds numbers such as `loss=2.5`; other values, such as times in words, are left out.
fn pairs(fields: &str, prefix: &str, mut numbers: Numbers) -> Option<MetricRow> {
    for field in fields.split(", ") {
        let (name, value) = field.split_once('=')?;
        if let Some(value) = number(value) {
            numbers.add(format!("{prefix}{name}"), value);
        }
    }
    numbers.row()
}

/// `epoch: 1, lr: 1.00e+00, optimizer: Adam - train loss: 9.45e-01 - valid loss: 1.23, valid CER: 35.42`, with or
/// without its logger.
pub(super) fn speechbrain(text: &str) -> Option<MetricRow> {
    let text = text.strip_prefix(SPEECHBRAIN).unwrap_or(text);
    let (head, statistics) = text.split_once(" - ")?;
    let mut head = head.split(", ");
    let epoch = head.next()?;
    let epoch = epoch.strip_prefix("epoch: ").or_else(|| epoch.strip_prefix("Epoch: "))?;
    let mut numbers = Numbers::default();
    numbers.add("epoch", Scan(epoch).whole()?);
    let mut fields: Vec<&str> = head.collect();
    for stage in statistics.split(" - ") {
        let is_stage = ["train ", "valid ", "test "].iter().any(|name| stage.starts_with(name));
        fields.extend(is_stage.then_some(stage)?.split(", "));
    }
    for field in fields {
        let (name, value) = field.split_once(": ")?;
        if let Some(value) = number(value.trim_end()) {
            numbers.add(name, value);
        }
    }
    numbers.row()
}
