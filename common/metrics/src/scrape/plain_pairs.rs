//! Lines of the plainest loops: names and values and nothing else, without a sign between the pairs, as
//! `step 10 loss 0.5`, `step=3 loss=0.5` and `Epoch 3 train loss 0.5 lr: 1e-3`. The step comes first, and one of the
//! metrics has a usual name, because sentences that begin with a step look similar.

use super::home_made::{KEYS, SPOKEN};
use super::scan::{Numbers, Scan, number};
use crate::row::MetricRow;

/// Words, one of which must be in the name of a metric.
const MEASURED: [&str; 20] = [
    "loss",
    "acc",
    "accuracy",
    "reward",
    "rewards",
    "return",
    "score",
    "ppl",
    "perplexity",
    "bpb",
    "nll",
    "mse",
    "rmse",
    "mae",
    "auc",
    "f1",
    "iou",
    "elbo",
    "bleu",
    "wer",
];

/// Words that may come before a name.
const SPLITS: [&str; 7] = ["train", "training", "val", "valid", "validation", "test", "eval"];

/// Returns whether a line may end in a value, which is cheaper than reading the line.
#[inline]
pub(super) fn may_end_so(line: &[u8]) -> bool {
    matches!(line.trim_ascii_end().last(), Some(b'0'..=b'9' | b'.' | b'n' | b'N' | b'f' | b'y' | b's'))
}

/// Reads such a line.
pub(super) fn row(text: &str) -> Option<MetricRow> {
    let mut scan = Scan(text);
    let word = scan.some(|byte| byte.is_ascii_alphabetic())?;
    let key = KEYS.into_iter().find(|key| word.eq_ignore_ascii_case(key))?;
    between(&mut scan)?;
    let step = scan.whole()?;
    if scan.tag("/").is_some() {
        scan.whole()?;
    }
    if scan.tag(":").is_some() && text.starts_with("iter") {
        return None; // part of a line of nanoGPT
    }
    let mut numbers = Numbers::default();
    numbers.add(key, step);
    let mut is_measured = false;
    while !scan.0.is_empty() {
        scan.some(|byte| byte == b' ')?;
        let start = scan.0;
        let mut last = scan.some(is_of_name)?;
        if SPLITS.iter().any(|split| last.eq_ignore_ascii_case(split)) && scan.0.starts_with(' ') {
            let mut ahead = Scan(&scan.0[1..]);
            if ahead.0.starts_with(|c: char| c.is_ascii_alphabetic()) {
                last = ahead.some(is_of_name)?;
                scan = ahead;
            }
        }
        let name = &start[..start.len() - scan.0.len()];
        if !name.starts_with(|c: char| c.is_ascii_alphabetic()) || is_spoken(last) {
            return None;
        }
        between(&mut scan)?;
        let value = scan.some(|byte| byte != b' ')?;
        let bare = value.strip_suffix('s').map_or(value, |bare| bare.strip_suffix('m').unwrap_or(bare));
        is_measured |= bare.len() == value.len() && is_measure(name);
        numbers.add(name, number(bare)?);
    }
    if is_measured { numbers.row() } else { None }
}

/// Takes what is between a name and its value: blanks, or one sign with blanks around it.
fn between(scan: &mut Scan) -> Option<()> {
    let before = scan.0.len();
    scan.blanks();
    let _ = scan.tag("=").or_else(|| scan.tag(":"));
    scan.blanks();
    (scan.0.len() < before).then_some(())
}

fn is_of_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"_/.@-".contains(&byte)
}

fn is_spoken(word: &str) -> bool {
    SPOKEN.iter().any(|spoken| word.eq_ignore_ascii_case(spoken))
}

fn is_measure(name: &str) -> bool {
    let mut words = name.split(|c: char| !c.is_ascii_alphanumeric());
    words.any(|word| MEASURED.iter().any(|measure| word.eq_ignore_ascii_case(measure)))
}
