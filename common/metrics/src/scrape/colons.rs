//! Lines of names and values separated by colons, the step first.

use super::scan::{Numbers, Scan, number};
use crate::row::MetricRow;

/// Reads `step:1 - actor/loss:0.1 - critic/rewards/mean:0.5` (verl) and
/// `step:125/1750 val_loss:10.82 train_time:100ms step_avg:12.3ms` (modded-nanogpt).
pub(super) fn row(text: &str) -> Option<MetricRow> {
    let mut scan = Scan(text);
    let mut numbers = Numbers::default();
    scan.tag("step:")?;
    numbers.add("step", scan.whole()?);
    let separator = if scan.tag("/").is_some() {
        scan.whole()?;
        " "
    } else {
        " - "
    };
    scan.tag(separator)?;
    for field in scan.0.split(separator) {
        let (name, value) = field.rsplit_once(':')?;
        let is_name = name.starts_with(|c: char| c.is_ascii_alphabetic()) && !name.contains(' ');
        let bare = if separator == " " { value.strip_suffix("ms").unwrap_or(value) } else { value };
        numbers.add(name, number(bare).filter(|_| is_name)?);
    }
    numbers.row()
}
