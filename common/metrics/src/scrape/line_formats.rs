//! Formats in which each line is a row.

use super::scan::{Numbers, Scan, number};
use crate::row::MetricRow;

/// Reads a line of any of the formats.
pub(super) fn row(text: &str) -> Option<MetricRow> {
    match text.as_bytes() {
        [b'i', b't', ..] => nanogpt_iteration(text).or_else(|| pairs(text)),
        [b's', b't', b'e', b'p', b' ', ..] => nanogpt_evaluation(text),
        [b's' | b'v', ..] => torchtitan(text).or_else(|| pairs(text)),
        [b'g' | b'e' | b't', ..] => pairs(text),
        [b'{', b'\'' | b'"', ..] => hugging_face(text).or_else(|| json(text)),
        [b'{', ..] => json(text),
        [b' ', ..] => megatron(text),
        [b'[', ..] => detectron(text).or_else(|| {
            let message = without_prefix(text)?;
            torchtitan(message).or_else(|| pairs(message))
        }),
        _ => None,
    }
}

/// `iter 10: loss 3.1234, time 45.67ms, mfu -100.00%` (nanoGPT's train.py).
fn nanogpt_iteration(text: &str) -> Option<MetricRow> {
    let mut scan = Scan(text);
    let mut numbers = Numbers::default();
    scan.tag("iter ")?;
    numbers.add("iter", scan.whole()?);
    scan.tag(": loss ")?;
    numbers.add("loss", scan.number()?);
    scan.tag(", time ")?;
    numbers.add("time", scan.measure("ms")?);
    if scan.tag(", mfu ").is_some() {
        numbers.add("mfu", scan.measure("%")?);
    }
    learning_rate(&mut scan, &mut numbers)?;
    numbers.row()
}

/// `step 500: train loss 1.7432, val loss 1.9012` (nanoGPT's train.py, at an evaluation).
fn nanogpt_evaluation(text: &str) -> Option<MetricRow> {
    let mut scan = Scan(text);
    let mut numbers = Numbers::default();
    scan.tag("step ")?;
    numbers.add("step", scan.whole()?);
    scan.tag(": train loss ")?;
    numbers.add("train loss", scan.number()?);
    scan.tag(", val loss ")?;
    numbers.add("val loss", scan.number()?);
    learning_rate(&mut scan, &mut numbers)?;
    numbers.row()
}

fn learning_rate(scan: &mut Scan, numbers: &mut Numbers) -> Option<()> {
    if scan.tag(", lr ").is_some() {
        numbers.add("lr", scan.number()?);
    }
    scan.end()
}

/// `{'loss': '3.683', 'epoch': '0.1'}`, as logged by the Trainer of Hugging Face: a Python literal, whose
/// values are quoted in new versions. Values of `None` are left out.
fn hugging_face(text: &str) -> Option<MetricRow> {
    let mut scan = Scan(text);
    let mut numbers = Numbers::default();
    let mut is_log = false;
    scan.tag("{")?;
    loop {
        let name = quoted(&mut scan)?;
        scan.tag(": ")?;
        if scan.tag("None").is_none() {
            let value = match scan.0.as_bytes().first()? {
                b'\'' | b'"' => number(quoted(&mut scan)?)?,
                _ => scan.number()?,
            };
            is_log |= is_logged(name);
            numbers.add(name, value);
        }
        if scan.tag(", ").is_none() {
            break;
        }
    }
    scan.tag("}")?;
    scan.end()?;
    let row = numbers.row().filter(|_| is_log)?;
    row.get("epoch").is_some().then_some(row)
}

/// Returns whether a name shows that a dictionary is a log of the Trainer and not a config.
fn is_logged(name: &str) -> bool {
    let part = name.strip_prefix("eval_").or_else(|| name.strip_prefix("train_"));
    name == "loss"
        || name.starts_with("loss/")
        || part.is_some_and(|part| part.ends_with("loss") || part.ends_with("runtime"))
}

/// Takes a string as written by Python's repr, without escapes.
fn quoted<'a>(scan: &mut Scan<'a>) -> Option<&'a str> {
    let quote = scan.0.as_bytes().first().copied().filter(|byte| b"'\"".contains(byte))?;
    scan.tag(if quote == b'"' { "\"" } else { "'" })?;
    let text = scan.some(|byte| byte != quote && byte != b'\\')?;
    scan.tag(if quote == b'"' { "\"" } else { "'" })?;
    Some(text)
}

/// A row as in metrics.jsonl.
fn json(text: &str) -> Option<MetricRow> {
    let row = MetricRow::parse(text.as_bytes())?;
    (row.sure_step().is_some() && row.numbers().next().is_some()).then_some(row)
}

/// Names that such a line may begin with: unambiguous step keys only, because any program prints pairs.
const FIRST: [&str; 7] = ["step", "global_step", "iteration", "iter", "epoch", "episode", "timestep"];

/// `global_step=22, episodic_return=[21.]` (CleanRL, DeepSpeed): begins with a step key.
fn pairs(text: &str) -> Option<MetricRow> {
    let (first, _) = text.split_once('=')?;
    if !FIRST.contains(&first) {
        return None;
    }
    let mut scan = Scan(text);
    let mut numbers = Numbers::default();
    loop {
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"_/.-".contains(&byte);
        let name = scan.some(is_name)?;
        scan.tag("=")?;
        values(&mut scan, name, &mut numbers, 0)?;
        if scan.0.is_empty() {
            break;
        }
        scan.tag(", ")?;
    }
    numbers.row()
}

/// Takes a number, or a list of numbers: a list of one number is that number; the numbers of a longer list
/// get their positions as names.
fn values(scan: &mut Scan, name: &str, numbers: &mut Numbers, depth: usize) -> Option<()> {
    let close = match scan.0.as_bytes().first()? {
        b'[' => "]",
        b'(' => ")",
        _ => {
            numbers.add(name, scan.number()?);
            return Some(());
        }
    };
    if depth == 4 {
        return None;
    }
    let is_one = is_of_one(scan.0);
    scan.0 = &scan.0[1..];
    let mut place = 0;
    loop {
        scan.blanks();
        if scan.tag(close).is_some() {
            return (place > 0).then_some(());
        }
        let inner = if is_one { name.to_owned() } else { format!("{name}[{place}]") };
        values(scan, &inner, numbers, depth + 1)?;
        place += 1;
        let _ = scan.tag(","); // NumPy writes none
    }
}

/// Returns whether a list has one element.
fn is_of_one(list: &str) -> bool {
    let mut depth = 0;
    let mut elements = 0;
    let mut is_between = true;
    for byte in list.bytes() {
        match byte {
            b'[' | b'(' => {
                elements += usize::from(depth == 1);
                depth += 1;
                is_between = true;
            }
            b']' | b')' => {
                depth -= 1;
                if depth == 0 {
                    break;
                }
            }
            b',' | b' ' => is_between = true,
            _ => {
                elements += usize::from(depth == 1 && is_between);
                is_between = false;
            }
        }
    }
    elements == 1
}

/// ` iteration       10/    1000 | lm loss: 1.2E+00 | … |` (Megatron). New versions have the time in brackets
/// before it, GPT-NeoX the speed; the total is `infinity` if it is unknown.
fn megatron(text: &str) -> Option<MetricRow> {
    let mut scan = Scan(text);
    scan.tag(" ")?;
    if scan.tag("[").is_some() {
        scan.some(|byte| byte.is_ascii_digit() || b"-: .".contains(&byte))?;
        scan.tag("] ")?;
    }
    let line = scan.0.strip_suffix('|')?.trim_end();
    if let Some(rest) = line.strip_prefix("validation loss at iteration ") {
        return megatron_validation(rest);
    }
    let mut numbers = Numbers::default();
    let (before, fields) = line.split_once("iteration ")?;
    let mut scan = Scan(fields);
    scan.blanks();
    numbers.add("iteration", scan.whole()?);
    scan.tag("/")?;
    scan.blanks();
    scan.tag("infinity").or_else(|| scan.whole().map(drop))?;
    scan.tag(" | ")?;
    let before = before.split(" | ").filter(|field| !field.is_empty());
    for field in before.chain(scan.0.split(" | ")) {
        let (name, value) = field.rsplit_once(':')?;
        if let Some(value) = number(value.trim()) {
            numbers.add(name.trim(), value);
        }
    }
    numbers.row()
}

/// ` validation loss at iteration 1000 | lm loss value: 2.5E+00 | lm loss PPL: 1.2E+01 |`; also with
/// `on validation set` or `on test set`.
fn megatron_validation(text: &str) -> Option<MetricRow> {
    let mut scan = Scan(text);
    let mut numbers = Numbers::default();
    numbers.add("iteration", scan.whole()?);
    let set = if scan.tag(" on test set").is_some() { "test" } else { "validation" };
    let _ = scan.tag(" on validation set");
    scan.tag(" | ")?;
    for field in scan.0.split(" | ") {
        let (name, value) = field.rsplit_once(':')?;
        numbers.add(format!("{set} {}", name.trim()), number(value.trim())?);
    }
    numbers.row()
}

/// `[01/29 12:00:00 d2.utils.events]:  eta: 0:01:10  iter: 19  total_loss: 3.3  lr: 2e-05  max_mem: 3000M`
/// (Detectron2).
fn detectron(text: &str) -> Option<MetricRow> {
    let (_, message) = text.strip_prefix('[')?.split_once("]: ")?;
    let mut fields = message.split("  ").map(str::trim).filter(|field| !field.is_empty()).peekable();
    fields.next_if(|field| field.starts_with("eta: "));
    let mut numbers = Numbers::default();
    numbers.add("iter", number(fields.next()?.strip_prefix("iter: ")?)?);
    let mut has_loss = false;
    for field in fields {
        let (name, value) = field.split_once(": ")?;
        if let Some(value) = number(value.strip_suffix('M').unwrap_or(value)) {
            has_loss |= name.contains("loss");
            numbers.add(name, value);
        }
    }
    if has_loss { numbers.row() } else { None }
}

/// `step: 10  loss:  4.12345  memory: 12.34GiB(45.67%)  tps: 1,234` (torchtitan, colours removed). The numbers
/// of a validation get names of their own.
fn torchtitan(text: &str) -> Option<MetricRow> {
    let (prefix, text) = match text.strip_prefix("validate ") {
        Some(rest) => ("validate ", rest),
        None => ("", text),
    };
    let mut scan = Scan(text);
    let mut numbers = Numbers::default();
    scan.tag("step:")?;
    scan.blanks();
    numbers.add("step", scan.whole()?);
    if !scan.0.starts_with("  loss:") {
        return None;
    }
    while scan.tag("  ").is_some() {
        let name = scan.some(|byte| byte.is_ascii_alphanumeric() || b"_/.-".contains(&byte))?;
        scan.tag(":")?;
        scan.blanks();
        let value = scan.some(|byte| byte != b' ')?;
        let (value, share) = match value.split_once('(') {
            Some((value, share)) => (value, Some(share.strip_suffix("%)")?)),
            None => (value, None),
        };
        let bare = value.strip_suffix("GiB").or_else(|| value.strip_suffix('%')).unwrap_or(value);
        numbers.add(format!("{prefix}{name}"), number(&bare.replace(',', ""))?);
        if let Some(share) = share {
            numbers.add(format!("{prefix}{name}(%)"), number(share)?);
        }
    }
    scan.end()?;
    numbers.row()
}

/// Removes the prefixes of loggers: torchtitan's `[titan] TIME - root - INFO - `, and DeepSpeed's `[TIME]
/// [INFO] [logging.py:96:log_dist] [Rank 0] `.
fn without_prefix(text: &str) -> Option<&str> {
    let mut scan = Scan(text);
    if scan.tag("[titan] ").is_some() {
        let (_, message) = scan.0.split_once(" - INFO - ")?;
        return Some(message);
    }
    while scan.tag("[").is_some() {
        scan.some(|byte| byte != b']' && byte != b'[')?;
        scan.tag("] ")?;
    }
    Some(scan.0)
}
