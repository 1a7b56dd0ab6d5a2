//! Lines of home-made loops with named values: `epoch 1: loss 0.1, acc 0.9`,
//! `step    5 | loss: 2.5 | lr 6.0e-04 | dt: 338.5ms`, `Epoch [1/5], Step [100/600], Loss: 0.3`. A loss, reward
//! or score must be among the values, because sentences, tables and settings look similar.

use super::scan::{Numbers, Scan, number};
use crate::row::MetricRow;

/// Words for the step.
pub(super) const KEYS: [&str; 6] = ["epoch", "step", "episode", "iter", "iteration", "update"];

/// Parts of names, one of which must be among the metrics.
const MEASURED: [&str; 15] = [
    "loss",
    "acc",
    "reward",
    "return",
    "score",
    "ppl",
    "perplexity",
    "bpb",
    "err",
    "mse",
    "mae",
    "auc",
    "f1",
    "iou",
    "elbo",
];

/// Words that occur in sentences and in no name.
pub(super) const SPOKEN: [&str; 14] =
    ["improved", "from", "to", "was", "is", "in", "at", "after", "took", "the", "saved", "of", "for", "did"];

/// Units that may follow a value.
const UNITS: [&str; 4] = [" GB", " MB", " ms", " s"];

/// Words in a name.
const WORDS: usize = 3;

/// Reads a line of any of the forms.
pub(super) fn row(text: &str) -> Option<MetricRow> {
    let mut scan = Scan(text);
    let word = scan.some(|byte| byte.is_ascii_alphabetic())?;
    let key = KEYS.into_iter().find(|key| word.eq_ignore_ascii_case(key))?;
    let is_capital = text.starts_with(|c: char| c.is_ascii_uppercase());
    if is_capital {
        let _ = scan.tag(":"); // `Epoch: 3 | …`
    }
    scan.blanks();
    let is_bracketed = scan.tag("[").is_some();
    let step = scan.whole()?;
    if scan.tag("/").is_some() {
        scan.blanks();
        scan.whole()?;
    }
    if is_bracketed {
        scan.tag("]")?;
    }
    if let Some(rest) = scan.0.strip_prefix(" (") {
        let (share, rest) = rest.split_once("%)")?;
        number(share)?;
        scan.0 = rest;
    }
    // Most lines that begin like this are not rows; check this before storing anything.
    let is_table = scan.tag(" | ").is_some();
    if !is_table {
        scan.tag(": ").or_else(|| scan.tag(", "))?;
    }
    let mut numbers = Numbers::default();
    numbers.add(key, step);
    if key == "epoch"
        && let Some(step) = step_in_epoch(&mut scan, step)
    {
        numbers.add("step", step);
    }
    let mut is_measured = false;
    if is_table {
        // Columns without a name, or without a number, are left out.
        for field in scan.0.split('|') {
            if let Some((name, value)) = field_of_table(field) {
                is_measured |= is_measure(name);
                numbers.add(name, value);
            }
        }
    } else {
        if key.starts_with("iter") && !is_capital {
            return None; // part of a line of nanoGPT
        }
        for field in scan.0.split(", ").filter(|field| !field.contains(" took ")) {
            let (name, value) = field_of_list(field)?;
            is_measured |= is_measure(name);
            numbers.add(name, value);
        }
    }
    if is_measured { numbers.row() } else { None }
}

/// Takes `Step [100/600], ` after an epoch, counted from 1, and returns the step over all epochs.
fn step_in_epoch(scan: &mut Scan, epoch: f64) -> Option<f64> {
    let mut ahead = *scan;
    ahead.tag("Step ").or_else(|| ahead.tag("Iter ")).or_else(|| ahead.tag("Batch "))?;
    let is_bracketed = ahead.tag("[").is_some();
    let done = ahead.whole()?;
    ahead.tag("/")?;
    let of = ahead.whole()?;
    if is_bracketed {
        ahead.tag("]")?;
    }
    ahead.tag(", ").or_else(|| ahead.tag(": "))?;
    *scan = ahead;
    Some((epoch - 1.0).max(0.0) * of + done)
}

fn is_measure(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    MEASURED.iter().any(|part| name.contains(part))
}

/// Reads `loss: 2.5`, `lr 6.0e-04`, `dt: 338.5ms`, `loss 7.1 (+0.1z)`, `tok/sec: 1,551`.
fn field_of_table(field: &str) -> Option<(&str, f64)> {
    let field = field.split(" (").next()?.trim();
    let (name, value) = field.split_once(": ").or_else(|| field.split_once(' '))?;
    let bare = value.trim().trim_end_matches(|c: char| c.is_ascii_alphabetic() || c == '%' || c == '/');
    let value = number(value.trim()).or_else(|| number(&bare.trim().replace(',', "")))?;
    is_name(name).then_some((name, value))
}

/// Reads `loss 0.1`, `loss: 0.1`, `loss=0.1` and `peak mem 4.5 GB`.
fn field_of_list(field: &str) -> Option<(&str, f64)> {
    let field = UNITS.iter().find_map(|unit| field.strip_suffix(unit)).unwrap_or(field);
    let (name, value) =
        field.split_once(": ").or_else(|| field.split_once('=')).or_else(|| field.rsplit_once(' '))?;
    let (name, value) = (name.trim(), number(value.trim())?);
    is_name(name).then_some((name, value))
}

fn is_name(name: &str) -> bool {
    let is_part = |word: &str| {
        word.starts_with(|c: char| c.is_ascii_alphabetic())
            && word.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_/.@-".contains(&byte))
            && !SPOKEN.contains(&word.to_ascii_lowercase().as_str())
    };
    !name.is_empty() && name.split(' ').count() <= WORDS && name.split(' ').all(is_part)
}
