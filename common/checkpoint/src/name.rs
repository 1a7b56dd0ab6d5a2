//! What the names of checkpoints say.

use crate::checkpoint::Label;

/// What a name says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Name {
    pub(crate) step: Option<u64>,
    pub(crate) labels: Vec<Label>,
    /// The number after `-v`: of two with one step the greater is newer.
    pub(crate) version: u64,
    /// It says that the checkpoint is still being written.
    pub(crate) temporary: bool,
}

/// Extensions of files that are checkpoints when their names say so.
const EXTENSIONS: [&str; 6] = [".pth.tar", ".pt", ".pth", ".ckpt", ".safetensors", ".zip"];

const STEPS: [&str; 11] = [
    "step",
    "steps",
    "globalstep",
    "iter",
    "iters",
    "iteration",
    "iterations",
    "it",
    "timestep",
    "timesteps",
    "update",
];
const EPOCHS: [&str; 4] = ["epoch", "epochs", "episode", "ep"];
const CHECKPOINTS: [&str; 2] = ["checkpoint", "ckpt"];
/// Words that may stand beside the others in the name of a directory.
const COMPANIONS: [&str; 9] =
    ["global", "model", "models", "rl", "train", "training", "state", "weights", "agent"];
/// Words of files that are a part of a checkpoint, or of none.
const PARTS: [&str; 11] = [
    "optimizer",
    "optim",
    "scheduler",
    "scaler",
    "rng",
    "buffer",
    "rank",
    "shard",
    "part",
    "data",
    "dataset",
];
const TEMPORARY: [&str; 4] = ["tmp", "temp", "partial", "incomplete"];

/// Says whether a name ends in one of these.
pub(crate) fn ends_in(name: &str, ends: &[&str]) -> bool {
    ends.iter().any(|end| name.ends_with(end))
}

/// A piece of a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token<'a> {
    Word(&'a str),
    Number(&'a str),
    Mark(char),
}
use Token::{Mark, Number, Word};

/// Takes a lower-case name apart.
fn tokens(name: &str) -> Vec<Token<'_>> {
    let mut found = Vec::new();
    let mut rest = name;
    while let Some(first) = rest.chars().next() {
        let run = |is: fn(char) -> bool| rest.find(|c| !is(c)).unwrap_or(rest.len());
        let length = if first.is_ascii_digit() {
            run(|c| c.is_ascii_digit())
        } else if first.is_alphabetic() {
            run(char::is_alphabetic)
        } else {
            first.len_utf8()
        };
        let (piece, after) = rest.split_at(length);
        found.push(match first {
            c if c.is_ascii_digit() => Number(piece),
            c if c.is_alphabetic() => Word(piece),
            c => Mark(c),
        });
        rest = after;
    }
    found
}

/// Returns a number that may be a step: neither negative nor a part of a fraction.
fn number(tokens: &[Token], at: usize) -> Option<u64> {
    let Number(digits) = tokens.get(at)? else { return None };
    let token = |back: usize| at.checked_sub(back).and_then(|at| tokens.get(at));
    let is_negative = token(1) == Some(&Mark('-')) && matches!(token(2), None | Some(Mark(_)));
    let ends_fraction = token(1) == Some(&Mark('.')) && matches!(token(2), Some(Number(_)));
    let begins_fraction =
        tokens.get(at + 1) == Some(&Mark('.')) && matches!(tokens.get(at + 2), Some(Number(_)));
    if is_negative || ends_fraction || begins_fraction { None } else { digits.parse().ok() }
}

/// Returns the number beside one of `words`: `step_5`, `step=5`, `step5`, else `5_steps`.
fn beside(tokens: &[Token], words: &[&str]) -> Option<u64> {
    let is_word = |at: usize| matches!(tokens.get(at), Some(Word(word)) if words.contains(word));
    let joins = |at: usize| matches!(tokens.get(at), Some(Mark('_' | '-' | '=')));
    let places = 0..tokens.len();
    let mut after = places.clone().filter(|&at| is_word(at));
    let mut before = places.filter(|&at| is_word(at));
    after.find_map(|at| number(tokens, at + 1 + usize::from(joins(at + 1)))).or_else(|| {
        before.find_map(|at| number(tokens, at.checked_sub(1 + usize::from(at > 0 && joins(at - 1)))?))
    })
}

/// Returns the number at the end, apart from what stands before it. A date or a time is no step.
fn trailing(tokens: &[Token]) -> Option<u64> {
    match tokens {
        [.., Number(_), Mark('-'), Number(_)] => None,
        [.., Number(date), Mark('_'), Number(time)] if (date.len(), time.len()) == (8, 6) => None,
        [Number(_)] | [.., Mark('_' | '-' | '='), Number(_)] => number(tokens, tokens.len() - 1),
        _ => None,
    }
}

fn step(tokens: &[Token]) -> Option<u64> {
    beside(tokens, &STEPS)
        .or_else(|| beside(tokens, &EPOCHS))
        .or_else(|| trailing(tokens))
        .or_else(|| beside(tokens, &CHECKPOINTS))
}

fn label(word: &str) -> Option<Label> {
    match word {
        "final" => Some(Label::Final),
        "best" => Some(Label::Best),
        "last" | "latest" => Some(Label::Last),
        _ => None,
    }
}

fn labels(tokens: &[Token]) -> Vec<Label> {
    tokens.iter().filter_map(|token| if let Word(word) = token { label(word) } else { None }).collect()
}

/// Returns what a name says besides a step.
pub(crate) fn labels_in(name: &str) -> Vec<Label> {
    labels(&tokens(&name.to_lowercase()))
}

/// Returns the step in a piece of a name: a number beside a word such as `step` or `epoch`, else its last
/// number, fractions left aside.
pub(crate) fn step_in(piece: &str) -> Option<u64> {
    let piece = piece.to_lowercase();
    let tokens = tokens(&piece);
    step(&tokens).or_else(|| (0..tokens.len()).rev().find_map(|at| number(&tokens, at)))
}

/// Takes the mark of a temporary name off; says whether there was one.
pub(crate) fn without_mark(name: &str) -> (String, bool) {
    const MARKS: [&str; 7] =
        [".orbax-checkpoint-tmp", ".incomplete", ".inprogress", ".partial", ".part", ".temp", ".tmp"];
    for mark in MARKS {
        for (at, _) in name.match_indices(mark) {
            let after = &name[at + mark.len()..];
            if after.starts_with(|c: char| c.is_ascii_alphabetic()) {
                continue;
            }
            let extension = EXTENSIONS.into_iter().find(|end| *end == after).unwrap_or("");
            return (format!("{}{extension}", &name[..at]), true);
        }
    }
    for mark in ["_tmp", "-tmp"] {
        if let Some(before) = name.strip_suffix(mark) {
            return (before.to_owned(), true);
        }
    }
    for mark in ["tmp-", "tmp_", "tmp."] {
        if let Some(after) = name.strip_prefix(mark) {
            return (after.to_owned(), true);
        }
    }
    (name.to_owned(), name == "tmp")
}

/// Says whether a name is that of something which is still being written.
pub(crate) fn is_temporary(name: &str) -> bool {
    without_mark(&name.to_ascii_lowercase()).1
}

/// Says whether a word that stands alone is that of a part: `data2vec_200.pt` has none.
fn is_part(tokens: &[Token]) -> bool {
    let is_mark = |at: Option<usize>| at.and_then(|at| tokens.get(at)).is_none_or(|at| matches!(at, Mark(_)));
    tokens.iter().enumerate().any(|(at, token)| {
        matches!(token, Word(word) if PARTS.contains(word))
            && is_mark(at.checked_sub(1))
            && is_mark(Some(at + 1))
    })
}

/// Reads the name of a file; `None` when it is not that of a checkpoint.
pub(crate) fn of_file(name: &str) -> Option<Name> {
    let (name, marked) = without_mark(&name.to_ascii_lowercase());
    let (stem, extension) = EXTENSIONS.into_iter().find_map(|end| Some((name.strip_suffix(end)?, end)))?;
    let mut tokens = tokens(stem);
    let mut found = Name { temporary: marked, ..Name::default() };
    if let Some(at) = tokens.iter().position(|token| matches!(token, Word(word) if TEMPORARY.contains(word)))
    {
        let mark = at.checked_sub(1).filter(|&mark| matches!(tokens[mark], Mark(_)));
        tokens.drain(mark.unwrap_or(at)..=at);
        found.temporary = true;
    }
    if let [.., Mark('-'), Word("v"), Number(version)] = tokens[..] {
        found.version = version.parse().unwrap_or(0);
        tokens.truncate(tokens.len() - 3);
    }
    let is_shard =
        tokens.windows(5).any(|five| matches!(five, [Number(_), Mark(_), Word("of"), Mark(_), Number(_)]));
    let words: Vec<&str> =
        tokens.iter().filter_map(|token| if let Word(word) = token { Some(*word) } else { None }).collect();
    let says = |known: &[&str]| words.iter().any(|word| known.contains(word));
    if is_shard || is_part(&tokens) {
        return None;
    }
    // Other archives are common.
    if extension == ".zip" && !says(&STEPS) && !says(&CHECKPOINTS) && !says(&COMPANIONS) {
        return None;
    }
    found.step = step(&tokens);
    found.labels = labels(&tokens);
    let at_an_end = [words.first(), words.last()].into_iter().flatten().any(|word| label(word).is_some());
    if words.len() == 1 && says(&CHECKPOINTS) && found.step.is_none() {
        found.labels.push(Label::Last);
    } else if found.step.is_none() && !at_an_end {
        return None;
    }
    Some(found)
}

/// Reads the name of a directory; `None` when it is not that of a checkpoint.
pub(crate) fn of_directory(name: &str) -> Option<Name> {
    let (base, temporary) = without_mark(&name.to_ascii_lowercase());
    if ends_in(&base, &EXTENSIONS) {
        return of_file(name); // sharded strategies make directories where a file was
    }
    let tokens = tokens(&base);
    let is_key = |word: &str| STEPS.contains(&word) || EPOCHS.contains(&word) || CHECKPOINTS.contains(&word);
    let known = tokens.iter().all(|token| match token {
        Word(word) => is_key(word) || label(word).is_some() || COMPANIONS.contains(word),
        Number(_) => true,
        Mark(mark) => matches!(mark, '_' | '-' | '='),
    });
    if !known {
        return None;
    }
    let labels = labels(&tokens);
    let step = match tokens[..] {
        [.., Word(word), Number(_)] | [.., Word(word), Mark(_), Number(_)] if is_key(word) => {
            number(&tokens, tokens.len() - 1).and(step(&tokens))
        }
        _ => None,
    };
    let numbered = tokens.iter().any(|token| matches!(token, Number(_)));
    (step.is_some() || (!labels.is_empty() && !numbered)).then_some(Name {
        step,
        labels,
        version: 0,
        temporary,
    })
}

/// Reads the name of a directory that holds the marks of a format which takes any name: a number
/// at its end.
pub(crate) fn of_marked_directory(name: &str) -> Option<Name> {
    let (name, temporary) = without_mark(&name.to_ascii_lowercase());
    let step = trailing(&tokens(&name))?;
    Some(Name { step: Some(step), temporary, ..Name::default() })
}

/// Reads the prefix of a TensorFlow checkpoint, `model.ckpt-500` or `cp-0005.ckpt`.
pub(crate) fn of_tensorflow(prefix: &str) -> Option<Name> {
    let prefix = prefix.to_ascii_lowercase();
    let tokens = tokens(prefix.strip_suffix(".ckpt").unwrap_or(&prefix));
    Some(Name { step: Some(trailing(&tokens)?), ..Name::default() })
}

/// Reads the tag of a `DeepSpeed` checkpoint.
pub(crate) fn deepspeed_step(name: &str) -> Option<u64> {
    let digits = name.strip_prefix("global_step")?;
    digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(name: &str) -> Option<u64> {
        of_file(name)?.step
    }

    fn directory(name: &str) -> Option<u64> {
        of_directory(name)?.step
    }

    #[test]
    fn the_number_beside_a_step_counts_else_that_of_an_epoch_else_the_last() {
        assert_eq!(file("epoch=3-step=400.ckpt"), Some(400));
        assert_eq!(file("epoch_3_iter_500.pth"), Some(500));
        assert_eq!(file("epoch=03-val_loss=0.25.ckpt"), Some(3));
        assert_eq!(file("RL_Model_1000_steps.zip"), Some(1000));
        assert_eq!(file("checkpoint_3_5000.pt"), Some(5000));
        assert_eq!(file("checkpoint12.pt"), Some(12));
        assert_eq!(file("data2vec_200.pt"), Some(200));
        assert_eq!(file("200.pt"), Some(200));
        assert_eq!(directory("global_step1000"), Some(1000));
        assert_eq!(directory("epoch=3-step=400"), Some(400));
        assert_eq!(of_directory("step_final").unwrap().labels, [Label::Final]);
    }

    #[test]
    fn versions_scores_dates_and_parts_are_no_steps() {
        for name in [
            "loss-0.25.pt",
            "run_2024-01-28.pt",
            "m_20240128_143022.pt",
            "step_-9.pt",
            "optimizer_6.pt",
            "model-00001-of-00002.safetensors",
            "resnet50.pt",
            "logs_7.zip",
            "model_5.json",
        ] {
            assert_eq!(of_file(name), None, "{name}");
        }
        for name in [
            "version_1",
            "step_20_math",
            "eval_step_20",
            "checkpoints",
            "5",
            "step_",
            "checkpoint_2024-01-28",
        ] {
            assert_eq!(of_directory(name), None, "{name}");
        }
        let version = of_file("epoch=3-step=400-v12.ckpt").unwrap();
        assert_eq!((version.step, version.version), (Some(400), 12));
    }

    #[test]
    fn temporary_names_are_told_from_others() {
        for name in [
            "x.tmp",
            "x.tmp12",
            "tmp-checkpoint-5",
            "x.pt.partial",
            "5.orbax-checkpoint-tmp-1",
            "x.PART",
            "a_tmp",
        ] {
            assert!(is_temporary(name), "{name}");
        }
        for name in ["template.pt", "x.tmpl", "x.parts", "attempt_5", ".metadata", "model.pt"] {
            assert!(!is_temporary(name), "{name}");
        }
    }
}
