//! Lines of widely copied training loops: a position in an epoch, then meters that show a value and its mean.

use super::scan::{Numbers, Scan, number};
use crate::row::MetricRow;

/// Reads `Train Epoch: 1 [640/60000 (1%)]\tLoss: 2.213470` (`PyTorch`'s example for MNIST, which counts samples) and
/// `Train: 0 [  50/1251 (  4%)]  Loss: 6.95 (6.95)  Time: 1.2s, 853.07/s  LR: 1.000e-05` (timm).
pub(super) fn train(text: &str) -> Option<MetricRow> {
    let mut scan = Scan(text);
    let is_timm = scan.tag("Train: ").is_some();
    if !is_timm {
        scan.tag("Train Epoch: ")?;
    }
    let epoch = scan.whole()?;
    scan.tag(" ")?;
    let (done, of) = place(&mut scan)?;
    let before = if is_timm { epoch } else { epoch - 1.0 };
    fields(scan.0.trim_start(), epoch, before.max(0.0) * of + done)
}

/// Reads `Epoch: [0][  10/5005]\tTime  0.5 ( 1.0)\tLoss 6.9e+00 (7.0e+00)\tAcc@1   0.00 (  0.10)` (`PyTorch`'s example for
/// `ImageNet`) and `Epoch: [0]  [  10/100]  eta: 0:01:00  lr: 0.02  loss: 6.9 (7.0)  max mem: 3000` (torchvision, DETR).
pub(super) fn epoch(text: &str) -> Option<MetricRow> {
    let mut scan = Scan(text);
    scan.tag("Epoch: [")?;
    let epoch = scan.whole()?;
    scan.tag("]")?;
    scan.blanks();
    let (done, of) = place(&mut scan)?;
    fields(scan.0.trim_start(), epoch, epoch * of + done)
}

/// Takes `[ 640/60000 ( 1%)]` or `[ 10/100]`.
fn place(scan: &mut Scan) -> Option<(f64, f64)> {
    scan.tag("[")?;
    scan.blanks();
    let done = scan.whole()?;
    scan.tag("/")?;
    scan.blanks();
    let of = scan.whole()?;
    if scan.tag(" (").is_some() {
        let (share, rest) = scan.0.split_once("%)")?;
        number(share.trim())?;
        scan.0 = rest;
    }
    scan.tag("]")?;
    Some((done, of))
}

/// Reads the meters, one of which must be a loss. Meters without a number are left out.
fn fields(text: &str, epoch: f64, step: f64) -> Option<MetricRow> {
    let mut numbers = Numbers::default();
    numbers.add("epoch", epoch);
    numbers.add("step", step);
    let mut has_loss = false;
    let separator = if text.contains('\t') { "\t" } else { "  " };
    for field in text.split(separator).map(str::trim).filter(|field| !field.is_empty()) {
        let named = field.split_once(": ").or_else(|| field.split_once(' '));
        let Some((name, value)) = named else { continue };
        let value = value.split('(').next().unwrap_or(value).trim();
        if let Some(value) = number(value) {
            has_loss |= name.to_ascii_lowercase().contains("loss");
            numbers.add(name.trim(), value);
        }
    }
    if has_loss { numbers.row() } else { None }
}

/// Reads `Training epoch 0, iteration 9/99 | lr: 1e-05 | global_step: 9 | reduced_train_loss: 10.1` (`NeMo`).
pub(super) fn training(text: &str) -> Option<MetricRow> {
    let mut scan = Scan(text);
    let mut numbers = Numbers::default();
    scan.tag("Training epoch ")?;
    numbers.add("epoch", scan.whole()?);
    scan.tag(", iteration ")?;
    scan.whole()?;
    scan.tag("/")?;
    scan.whole()?;
    scan.tag(" | ")?;
    let mut has_step = false;
    for field in scan.0.split(" | ") {
        let (name, value) = field.split_once(": ")?;
        has_step |= name == "global_step";
        numbers.add(name, number(value.trim())?);
    }
    if has_step { numbers.row() } else { None }
}
