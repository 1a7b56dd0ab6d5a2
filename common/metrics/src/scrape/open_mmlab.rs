//! The lines of `OpenMMLab`'s trainers: of mmengine, and of mmcv, which came before it.

use super::scan::{Numbers, Scan, number};
use crate::row::MetricRow;

/// The last step of the training, which is also the step of a validation.
#[derive(Debug, Default)]
pub(super) struct Progress {
    step: Option<f64>,
}

impl Progress {
    /// Reads a line with its time and logger:
    /// `05/01 10:00:00 - mmengine - INFO - Epoch(train) [1][ 10/25]  lr: 1.0e-02  eta: 0:00:10  loss: 1.7`,
    /// `2021-05-01 10:00:00,123 - mmdet - INFO - Epoch [1][50/7330]\tlr: 1.0e-03, eta: 1 day, 2:00:00, loss: 1.2`.
    pub(super) fn line(&mut self, text: &str) -> Option<MetricRow> {
        let (_, message) = text.split_once(" - INFO - ")?;
        let mut scan = Scan(message);
        let by_epoch = scan.tag("Epoch").is_some();
        if !by_epoch {
            scan.tag("Iter")?;
        }
        let is_training = match scan.0.strip_prefix('(') {
            Some(rest) => {
                let (mode, rest) = rest.split_once(')')?;
                scan.0 = rest;
                mode == "train"
            }
            None => true,
        };
        scan.blanks();
        let epoch = if by_epoch { Some(in_brackets(&mut scan)?.0) } else { None };
        let (done, of) = in_brackets(&mut scan)?;
        if is_training {
            let before = epoch.map_or(0.0, |epoch| (epoch - 1.0).max(0.0));
            self.step = Some(before * of.unwrap_or(0.0) + done).filter(|_| of.is_some());
            self.step?;
        }
        let mut numbers = Numbers::default();
        if let Some(epoch) = epoch {
            numbers.add("epoch", epoch);
        }
        if let Some(step) = self.step {
            numbers.add("step", step);
        }
        let mut is_any = false;
        for field in fields(scan.0) {
            if let Some((name, value)) = field.split_once(": ")
                && let Some(value) = number(value.trim())
            {
                numbers.add(name.trim(), value);
                is_any = true;
            }
        }
        if is_any { numbers.row() } else { None }
    }
}

/// Takes `[3]` or `[ 10/25]`.
fn in_brackets(scan: &mut Scan) -> Option<(f64, Option<f64>)> {
    scan.tag("[")?;
    scan.blanks();
    let done = scan.whole()?;
    let of = if scan.tag("/").is_some() {
        scan.blanks();
        Some(scan.whole()?)
    } else {
        None
    };
    scan.tag("]")?;
    Some((done, of))
}

/// Returns the fields after the position: separated by two blanks, or after a tab by commas.
fn fields(text: &str) -> impl Iterator<Item = &str> {
    let separator = if text.starts_with('\t') { ", " } else { "  " };
    text.split(separator).map(str::trim).filter(|field| !field.is_empty())
}
