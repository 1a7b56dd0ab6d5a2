//! The lines of fairseq: of some updates, of an epoch, and of a validation.

use super::scan::{Numbers, Scan, number};
use crate::row::MetricRow;

/// Reads a line with its time and logger:
/// `2026-01-29 12:00:00 | INFO | train_inner | epoch 001:    100 / 1000 loss=5.1, ppl=34.2, num_updates=100`,
/// `2026-01-29 12:00:00 | INFO | train | epoch 001 | loss 4.5 | ppl 22.6 | num_updates 1000`,
/// `2026-01-29 12:00:00 | INFO | valid | epoch 001 | valid on 'valid' subset | loss 4.1 | num_updates 1000`.
pub(super) fn row(text: &str) -> Option<MetricRow> {
    let (_, message) = text.split_once(" | INFO | ")?;
    let (logger, message) = message.split_once(" | ")?;
    let mut scan = Scan(message);
    scan.tag("epoch ")?;
    let mut numbers = Numbers::default();
    numbers.add("epoch", scan.whole()?);
    let (prefix, fields, between) = match logger {
        "train_inner" => {
            scan.tag(":")?;
            scan.blanks();
            scan.whole()?;
            scan.tag(" / ")?;
            scan.whole()?;
            scan.tag(" ")?;
            ("", scan.0.split(", "), '=')
        }
        "train" => {
            scan.tag(" | ")?;
            ("train_", scan.0.split(" | "), ' ')
        }
        "valid" => {
            scan.tag(" | valid on '")?;
            let (_, rest) = scan.0.split_once("' subset | ")?;
            ("valid_", rest.split(" | "), ' ')
        }
        _ => return None,
    };
    let mut has_step = false;
    for field in fields {
        let (name, value) = field.split_once(between)?;
        let Some(value) = number(value.trim()) else { continue };
        if name == "num_updates" {
            has_step = true;
            numbers.add("step", value);
        } else {
            numbers.add(format!("{prefix}{name}"), value);
        }
    }
    if has_step { numbers.row() } else { None }
}
