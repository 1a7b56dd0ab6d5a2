//! Lines of tianshou: the last drawn bar of an epoch, and the test after the epoch.

use super::scan::{Numbers, Scan, number};
use crate::row::MetricRow;

/// `Epoch #1: 50001it [00:40, 1244.54it/s, env_step=50000, len=200, loss=-0.562, rew=200.00]` and
/// `Epoch #1: test_reward: 200.000000 ± 0.000000, best_reward: 200.000000 ± 0.000000 in #1`.
pub(super) fn row(text: &str) -> Option<MetricRow> {
    let mut scan = Scan(text);
    let mut numbers = Numbers::default();
    scan.tag("Epoch #")?;
    numbers.add("epoch", scan.whole()?);
    scan.tag(": ")?;
    if scan.0.starts_with("test_reward: ") {
        for field in scan.0.split(", ") {
            let (name, value) = field.split_once(": ")?;
            numbers.add(name, number(value.split(" ± ").next()?)?);
        }
        return numbers.row();
    }
    let (_, fields) = scan.0.strip_suffix(']')?.split_once(" [")?;
    fields.contains("it/s, env_step=").then_some(())?;
    for (name, value) in fields.split(", ").filter_map(|field| field.split_once('=')) {
        if let Some(value) = number(value) {
            numbers.add(name, value);
        }
    }
    numbers.row()
}
