//! The rank that launchers put before the lines of each of several processes.

/// Maximum number of digits of a rank.
const DIGITS: usize = 6;

/// Removes the rank from a line; `None` for a line without a rank. The rest may begin with a blank of the
/// launcher.
///
/// `[default0]:text` (torchrun with `--tee`), `[rank0]: text` (PyTorch), `0: text` (srun with `--label`),
/// `[1,0]<stdout>:text` (mpirun with `--tag-output`), `(Worker pid=7, ip=10.0.0.1) text` (Ray).
pub(super) fn rank(line: &str) -> Option<(u32, &str)> {
    let text = line.trim_start_matches(' ');
    match text.as_bytes().first()? {
        b'[' => in_brackets(text),
        b'(' => {
            let (label, rest) = text.strip_prefix('(')?.split_once(") ")?;
            let (_, pid) = label.split_once(" pid=")?;
            Some((pid.split(',').next()?.parse().ok()?, rest))
        }
        b'0'..=b'9' => {
            let (digits, rest) = text.split_once(": ")?;
            Some((number(digits)?, rest))
        }
        _ => None,
    }
}

fn in_brackets(text: &str) -> Option<(u32, &str)> {
    let (label, rest) = text.strip_prefix('[')?.split_once(']')?;
    let marked = rest.strip_prefix("<stdout>").or_else(|| rest.strip_prefix("<stderr>"));
    let rest = marked.unwrap_or(rest).strip_prefix(':')?;
    let digits = match label.rsplit_once(',') {
        Some((_, rank)) if marked.is_some() => rank,
        _ => {
            let role = label.trim_end_matches(|c: char| c.is_ascii_digit());
            let is_role =
                !role.is_empty() && role.bytes().all(|byte| byte.is_ascii_alphabetic() || byte == b'_');
            label.get(role.len()..).filter(|_| is_role)?
        }
    };
    Some((number(digits)?, rest))
}

fn number(digits: &str) -> Option<u32> {
    let is_number =
        !digits.is_empty() && digits.len() <= DIGITS && digits.bytes().all(|byte| byte.is_ascii_digit());
    if is_number { digits.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rank_is_cut_off() {
        for (line, expected) in [
            ("[default0]:step: 1", Some((0, "step: 1"))),
            ("[default7]: iteration 1", Some((7, " iteration 1"))),
            ("[default7]:  iteration 1", Some((7, "  iteration 1"))),
            ("[rank12]: x", Some((12, " x"))),
            ("0: x", Some((0, "x"))),
            (" 0: {'loss': 1}", Some((0, "{'loss': 1}"))),
            ("13:  iteration", Some((13, " iteration"))),
            ("[1,3]<stdout>:x", Some((3, "x"))),
            ("[prterun-gpu3-4711@1,3]<stderr>: x", Some((3, " x"))),
            ("[1,3]:x", None),
            ("(RayTrainWorker pid=17, ip=10.0.0.1) x", Some((17, "x"))),
            ("12:30:01 x", None),
            ("2024-01-28 14:30:22,123: x", None),
            ("[01/05 10:20:30 d2.utils.events]:  eta", None),
            ("[0]: x", None),
            ("[INFO]: x", None),
            ("(x) y", None),
            ("1234567: x", None),
            ("", None),
        ] {
            assert_eq!(rank(line), expected, "{line}");
        }
    }
}
