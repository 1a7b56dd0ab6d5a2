//! Reads the names of checkpoints, by the grammar that run-dir(5) publishes.

use crate::checkpoint::Label;
use crate::count::{Count, Unit, begins, beside, count, ends, first, is_date, trailing};
use crate::tokens::Token::{self, Fraction, Mark, Number, Word};
use crate::tokens::tokens;
use crate::words::{
    CHECKPOINTS, COMPANIONS, ENDINGS, EPOCHS, NONE, OTHER_NUMBERS, PART_ENDINGS, PARTS, SECONDS,
    SHARED_ENDINGS, STEPS, TEMPORARY, are_of_a_model, are_of_a_split, are_of_what_is_made, is_model,
    is_result, is_step,
};

/// The contents of a name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Name {
    pub(crate) step: Option<u64>,
    /// The epoch, if the name has one beside the step.
    pub(crate) epoch: Option<u64>,
    /// The unit of the step.
    pub(crate) unit: Unit,
    pub(crate) labels: Vec<Label>,
    /// The number after `-v`: the greater version of a step is newer.
    pub(crate) version: u64,
    /// Whether the name marks a checkpoint that is still being written.
    pub(crate) temporary: bool,
    pub(crate) role: Role,
}

impl Name {
    /// Returns the sort key of checkpoints: the epoch (0 if there is none) and the step.
    pub(crate) fn order(&self) -> Option<(u64, u64)> {
        self.step.map(|step| (self.epoch.unwrap_or(0), step))
    }
}

/// The role of a file in the checkpoint of its step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Role {
    /// The file is the checkpoint.
    #[default]
    Main,
    /// The file is a part if another file of its step lies beside it; else it is the checkpoint.
    Second,
    /// The file is a part of the checkpoint beside it, and never a checkpoint itself.
    Part,
}

/// Returns whether a name has one of these suffixes.
pub(crate) fn ends_in(name: &str, ends: &[&str]) -> bool {
    ends.iter().any(|end| name.ends_with(end))
}

/// Returns the extension of a file that may be a checkpoint; the longest that fits.
pub(crate) fn ending(name: &str) -> Option<&'static str> {
    let all = ENDINGS.into_iter().chain(SHARED_ENDINGS);
    all.filter(|end| name.ends_with(end)).max_by_key(|end| end.len())
}

fn words<'a>(tokens: &[Token<'a>]) -> Vec<&'a str> {
    tokens.iter().filter_map(|token| if let Word(word) = token { Some(*word) } else { None }).collect()
}

/// Returns the words that have no value after them; `loss=0.5` and `consumed_samples=100` have values.
fn without_values<'a>(tokens: &[Token<'a>]) -> Vec<&'a str> {
    let has_value = |at: usize| match tokens.get(at + 1..) {
        Some([Mark('='), value, ..]) => value.is_number(),
        Some([Mark(_), Fraction, ..]) => true,
        _ => false,
    };
    let places = (0..tokens.len()).filter(|&at| !has_value(at));
    places.filter_map(|at| if let Word(word) = tokens[at] { Some(word) } else { None }).collect()
}

fn label(word: &str) -> Option<Label> {
    match word {
        "final" => Some(Label::Final),
        "best" | "bestmodel" => Some(Label::Best),
        "last" | "latest" => Some(Label::Last),
        _ => None,
    }
}

fn labels(tokens: &[Token]) -> Vec<Label> {
    tokens.iter().filter_map(|token| if let Word(word) = token { label(word) } else { None }).collect()
}

/// Returns the labels in a name.
pub(crate) fn labels_in(name: &str) -> Vec<Label> {
    labels(&tokens(&name.to_lowercase()))
}

/// Returns the step in a part of a name: the number beside a word such as `step` or `epoch`, else the last
/// whole number.
pub(crate) fn step_in(piece: &str) -> Option<u64> {
    let piece = piece.to_lowercase();
    let tokens = tokens(&piece);
    count(&tokens).step.or_else(|| tokens.iter().rev().find_map(Token::value))
}

/// Returns the epoch in a name.
pub(crate) fn epoch_in(name: &str) -> Option<u64> {
    let name = name.to_lowercase();
    let tokens = tokens(&name);
    beside(&tokens, &EPOCHS).and_then(|at| tokens.get(at)?.value())
}

/// Returns the number of a directory that is named after an epoch alone, such as `epoch_3`.
pub(crate) fn epoch_directory(name: &str) -> Option<u64> {
    let name = name.to_lowercase();
    match tokens(&name)[..] {
        [Word(word), number] | [Word(word), Mark('_' | '-' | '='), number] if EPOCHS.contains(&word) => {
            number.value()
        }
        _ => None,
    }
}

/// Removes the marker of a temporary name; returns whether there was one.
pub(crate) fn without_mark(name: &str) -> (String, bool) {
    const MARKS: [&str; 7] =
        [".orbax-checkpoint-tmp", ".incomplete", ".inprogress", ".partial", ".part", ".temp", ".tmp"];
    for mark in MARKS {
        for (at, _) in name.match_indices(mark) {
            let after = &name[at + mark.len()..];
            if after.starts_with(|c: char| c.is_ascii_alphabetic()) {
                continue;
            }
            let extension = ending(after).filter(|end| *end == after).unwrap_or("");
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

/// Returns whether a name marks a file or directory that is still being written.
pub(crate) fn is_temporary(name: &str) -> bool {
    without_mark(&name.to_ascii_lowercase()).1
}

/// Returns whether one of `words` is bounded by separators, or is followed by a number that is: `opt010000`,
/// but not `data2vec_200`.
fn has_alone(tokens: &[Token], words: &[&str]) -> bool {
    (0..tokens.len()).any(|at| {
        let is_it = matches!(tokens[at], Word(word) if words.contains(&word));
        let ends_in_number = tokens.get(at + 1).is_some_and(Token::is_number) && ends(tokens, at + 1);
        is_it && begins(tokens, at) && (ends(tokens, at) || ends_in_number)
    })
}

/// Removes the rank 0 (`rank0`) from a name whose rest has a step or label, because rank 0 saves for all ranks.
/// False if the file belongs to another rank, or the name has nothing else: it is only a part.
fn without_rank(tokens: &mut Vec<Token>) -> bool {
    let at = |pair: &[Token]| matches!(pair, [Word("rank"), Number(_)] | [Word("rank"), Mark(_), Number(_)]);
    for length in [2, 3] {
        let Some(from) = tokens.windows(length).position(at) else { continue };
        if !begins(tokens, from) || !ends(tokens, from + length - 1) {
            continue;
        }
        let is_first = tokens[from + length - 1].value() == Some(0);
        let mut rest = tokens.clone();
        rest.drain(from.saturating_sub(1)..from + length);
        let says_something = count(&rest).step.is_some() || !labels(&rest).is_empty();
        if is_first && says_something {
            *tokens = rest;
        }
        return is_first && says_something;
    }
    true
}

/// Returns whether a name is that of a shard, such as `00001-of-00002`, unlike `epoch_5_of_100`.
fn is_shard(tokens: &[Token]) -> bool {
    let of = |five: &[Token]| matches!(five, [Number(_), Mark(_), Word("of"), Mark(_), Number(_)]);
    let counts = STEPS.into_iter().chain([&EPOCHS[..]]).filter_map(|words| beside(tokens, words));
    tokens.windows(5).position(of).is_some_and(|at| counts.into_iter().all(|count| count != at))
}

/// Reads the name of a file without an extension: `checkpoint_500` as Flax writes it, `snapshot_iter_500`,
/// `ckpt.5`.
fn of_bare_file(name: &str, temporary: bool) -> Option<Name> {
    // A quick test first: nearly all files below a run are not checkpoints.
    CHECKPOINTS.iter().find(|word| name.contains(**word))?;
    let tokens = tokens(name);
    let is_joined = |token: &Token| !matches!(token, Mark(mark) if !matches!(mark, '_' | '-' | '='));
    let is_known = |token: &Token| match token {
        Word(word) => is_key(word),
        Fraction => false,
        _ => is_joined(token),
    };
    let Count { step, epoch, unit, is_named } = count(&tokens);
    let is_one = match tokens[..] {
        [Word(_), Mark('.'), Number(_)] => true,
        [ref before @ .., Word(word), Mark('_' | '-'), Number(_)] if CHECKPOINTS.contains(&word) => {
            before.iter().all(is_joined)
        }
        _ => tokens.iter().all(is_known),
    } && is_named;
    is_one.then_some(Name { step: Some(step?), epoch, unit, temporary, ..Name::default() })
}

/// Reads the name of an optimizer that has an extension of its own, such as `10.pdopt`.
fn of_part(name: &str) -> Option<Name> {
    let stem = PART_ENDINGS.iter().find_map(|end| name.strip_suffix(end))?;
    let tokens = tokens(stem);
    let Count { step, epoch, unit, .. } = count(&tokens);
    Some(Name { step, epoch, unit, labels: labels(&tokens), role: Role::Part, ..Name::default() })
}

/// Returns whether a word names the unit of a number beside it.
fn is_key(word: &str) -> bool {
    is_step(word) || EPOCHS.contains(&word) || CHECKPOINTS.contains(&word)
}

/// Reads the name of a file; `None` if the file is neither a checkpoint nor a part of one.
pub(crate) fn of_file(name: &str) -> Option<Name> {
    of_file_in(name, DirectoryUse::Other)
}

/// The use of a file's directory, by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DirectoryUse {
    Checkpoints,
    Models,
    Data,
    Other,
}

/// Returns whether a name is just a number, or a word and a number with leading zeros, such as `w_00010`.
fn is_a_number(tokens: &[Token]) -> bool {
    match tokens {
        [Number(_)] => true,
        [Word(word), Mark('_' | '-'), Number(digits)] => {
            digits.len() > 3 && digits.starts_with('0') && !OTHER_NUMBERS.contains(word)
        }
        _ => false,
    }
}

/// Reads the name of a file in a directory with this use; `None` as in [`of_file`].
pub(crate) fn of_file_in(name: &str, directory: DirectoryUse) -> Option<Name> {
    let (name, marked) = without_mark(&name.to_ascii_lowercase());
    let Some(ending) = ending(&name) else { return of_part(&name).or_else(|| of_bare_file(&name, marked)) };
    let mut tokens = tokens(name.strip_suffix(ending)?);
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
    if is_shard(&tokens) || !without_rank(&mut tokens) || has_alone(&tokens, &NONE) {
        return None;
    }
    let words = words(&tokens);
    // `state` in a `.bin` file is the state of one rank, which llm.c writes beside `model_00010000.bin`.
    let is_part = has_alone(&tokens, &PARTS) || ending == ".bin" && words.contains(&"state");
    if is_part {
        found.role = Role::Part;
    } else if has_alone(&tokens, &SECONDS) {
        found.role = Role::Second;
    }
    // Files with these extensions, or in directories of data, are usually not checkpoints.
    let is_shared = SHARED_ENDINGS.contains(&ending) || directory == DirectoryUse::Data;
    let is_held = match directory {
        DirectoryUse::Checkpoints => true,
        DirectoryUse::Models => is_a_number(&tokens),
        DirectoryUse::Data | DirectoryUse::Other => false,
    };
    let is_made = !is_held && (are_of_a_split(&words) || are_of_what_is_made(&without_values(&tokens)));
    if found.role != Role::Part && (is_shared && !are_of_a_model(&words, is_held) || is_made) {
        return None;
    }
    let Count { step, epoch, unit, is_named } = count(&tokens);
    let step = step.or_else(|| first(&tokens).filter(|_| is_held));
    found.unit = unit;
    (found.step, found.epoch) = (step.filter(|_| is_named || ending != ".gguf"), epoch);
    found.labels = labels(&tokens);
    let at_an_end = [words.first(), words.last()].into_iter().flatten().any(|word| label(word).is_some());
    let is_checkpoint = |word: &&str| CHECKPOINTS.contains(word);
    let is_overwritten = words.iter().any(is_checkpoint)
        && words.iter().all(|word| is_checkpoint(word) || is_model(word))
        && !tokens.iter().any(Token::is_number);
    if found.step.is_none() && found.labels.is_empty() && is_overwritten {
        found.labels.push(Label::Last);
    } else if found.step.is_none() && !at_an_end {
        return None;
    }
    Some(found)
}

/// Splits the name of a file that ends in a word and a number, such as `model950.pt`, into the name without the
/// number, and the number. All files of such a series are checkpoints if one of them is.
pub(crate) fn series(name: &str) -> Option<(String, u64)> {
    let name = name.to_ascii_lowercase();
    let stem = name.strip_suffix(ending(&name)?)?;
    match tokens(stem)[..] {
        [.., Word(word), Number(digits)] if word.len() > 1 && !OTHER_NUMBERS.contains(&word) => {
            let (before, after) = (&stem[..stem.len() - digits.len()], &name[stem.len()..]);
            Some((format!("{before}{after}"), digits.parse().ok()?))
        }
        _ => None,
    }
}

/// Returns whether a file has the extension of a checkpoint, but no recognised name. Shards, parts and
/// temporary files are recognised.
pub(crate) fn looks_like_one(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    let Some(ending) = ending(&name) else { return false };
    let stem = name.strip_suffix(ending).unwrap_or_default();
    let tokens = tokens(stem);
    let words = words(&tokens);
    let is_known = !SHARED_ENDINGS.contains(&ending) || are_of_a_model(&words, false);
    is_known
        && of_file(&name).is_none()
        && !words.contains(&"of")
        && !are_of_what_is_made(&without_values(&tokens))
        && ![&PARTS[..], &NONE].iter().any(|known| has_alone(&tokens, known))
}

/// Reads the name of a directory; `None` if it is not that of a checkpoint.
pub(crate) fn of_directory(name: &str) -> Option<Name> {
    let (base, temporary) = without_mark(&name.to_ascii_lowercase());
    if ending(&base).is_some() {
        return of_file(name).filter(|name| name.role != Role::Part); // sharded strategies turn files into directories
    }
    let mut tokens = tokens(&base);
    without_rank(&mut tokens);
    let known = tokens.iter().all(|token| match token {
        Word(word) => is_key(word) || label(word).is_some() || COMPANIONS.contains(word),
        Mark(mark) => matches!(mark, '_' | '-' | '='),
        Fraction => false,
        _ => true,
    });
    if !known {
        return None;
    }
    let labels = labels(&tokens);
    // In `checkpoint-500-best` and `step_best_500`, the step is in the rest of the name.
    while let Some(at) = tokens.iter().position(|token| matches!(token, Word(word) if label(word).is_some()))
    {
        let mark = at.checked_sub(1).filter(|&mark| matches!(tokens[mark], Mark(_)));
        tokens.drain(mark.unwrap_or(at)..=at);
    }
    let Count { step, epoch, unit, .. } = match tokens[..] {
        [.., Word(word), number]
        | [.., Word(word), Mark(_), number]
        | [number, Word(word)]
        | [number, Mark(_), Word(word)]
            if is_key(word) && number.value().is_some() =>
        {
            count(&tokens)
        }
        _ => Count::default(),
    };
    let numbered = tokens.iter().any(Token::is_number);
    (step.is_some() || (!labels.is_empty() && !numbered)).then_some(Name {
        step,
        epoch,
        unit,
        labels,
        temporary,
        ..Name::default()
    })
}

/// Reads the name of a directory that is just a number.
pub(crate) fn of_numbered_directory(name: &str) -> Option<Name> {
    let (name, temporary) = without_mark(&name.to_ascii_lowercase());
    match tokens(&name)[..] {
        [Number(digits)] if !is_date(digits) => {
            Some(Name { step: Some(digits.parse().ok()?), temporary, ..Name::default() })
        }
        _ => None,
    }
}

/// Reads the name of a directory with the marker files of a format that allows any name. The step is a number
/// beside a word that names its unit, or at the end.
pub(crate) fn of_marked_directory(name: &str) -> Option<Name> {
    of_any_directory(name).or_else(|| {
        let (name, temporary) = without_mark(&name.to_ascii_lowercase());
        let step = trailing(&tokens(&name))?;
        Some(Name { step: Some(step), temporary, ..Name::default() })
    })
}

/// Reads the name of a directory with words that [`of_directory`] does not know, such as `step1000-unsharded`.
/// Such a directory is a checkpoint only if it contains state.
pub(crate) fn of_any_directory(name: &str) -> Option<Name> {
    let (name, temporary) = without_mark(&name.to_ascii_lowercase());
    let tokens = tokens(&name);
    let Count { step, epoch, unit, is_named } = count(&tokens);
    // `epochs_10_lr_0.1` is a setting: the number of epochs to train.
    let is_length = |word: &&str| *word == "max" || word.ends_with('s') && is_key(word);
    let is_one = is_named
        && !words(&tokens).iter().any(is_length)
        && !without_values(&tokens).iter().any(|word| is_result(word));
    is_one.then_some(Name {
        step: Some(step?),
        epoch,
        unit,
        temporary,
        labels: labels(&tokens),
        ..Name::default()
    })
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
mod tests;
