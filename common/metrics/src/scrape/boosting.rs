//! Lines of trainers of boosted trees: an iteration and its scores, separated by tabs.

use super::scan::{Numbers, Scan, number};
use crate::row::MetricRow;

/// Reads `[10]\ttrain-rmse:0.12\teval-rmse:0.23` (`XGBoost`) and
/// `[10]\tvalid_0's l2: 0.24\ttraining's auc: 0.9` (`LightGBM`). In cross validations a deviation follows the
/// score: `0.24+0.01`, `0.24 + 0.01`.
pub(super) fn in_brackets(text: &str) -> Option<MetricRow> {
    let mut scan = Scan(text);
    let mut numbers = Numbers::default();
    scan.tag("[")?;
    numbers.add("iteration", scan.whole()?);
    scan.tag("]\t")?;
    for field in scan.0.split('\t') {
        let (name, value) = field.rsplit_once(':')?;
        let is_one = name.contains('-') || name.contains("'s ");
        let score = value.split('+').next()?.trim();
        numbers.add(name, number(score).filter(|_| is_one)?);
    }
    numbers.row()
}

/// Reads `10:\tlearn: 0.5\ttest: 0.6\tbest: 0.6 (9)\ttotal: 100ms\tremaining: 1s` (`CatBoost`).
pub(super) fn numbered(text: &str) -> Option<MetricRow> {
    let mut scan = Scan(text);
    let mut numbers = Numbers::default();
    numbers.add("iteration", scan.whole()?);
    scan.tag(":\tlearn: ")?;
    let (scores, _) = scan.0.split_once("\ttotal: ")?;
    let mut fields = scores.split('\t');
    numbers.add("learn", number(fields.next()?)?);
    for field in fields {
        let (name, value) = field.split_once(": ")?;
        numbers.add(name, number(value.split(" (").next()?)?);
    }
    numbers.row()
}
