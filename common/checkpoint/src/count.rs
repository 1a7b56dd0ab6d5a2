//! Determines which of the numbers in a name is the step, and which the epoch.

use crate::tokens::Token::{self, Fraction, Mark, Number, Word};
use crate::words::{CHECKPOINTS, EPOCHS, OTHER_NUMBERS, STEPS, is_model, is_score};

/// The unit of a number in a name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Unit {
    /// Unknown.
    #[default]
    Unknown,
    Steps,
    Epochs,
}

/// The step and epoch of a name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Count {
    pub(crate) step: Option<u64>,
    pub(crate) epoch: Option<u64>,
    /// The unit of the step.
    pub(crate) unit: Unit,
    /// Whether a word names the unit of the step.
    pub(crate) is_named: bool,
}

/// Returns whether a separator may stand between a word and its number.
fn joins(mark: char) -> bool {
    matches!(mark, '_' | '-' | '=' | '.' | ' ' | ':' | '@' | '#')
}

/// Returns whether the token has a separator, or the start of the name, on its left.
pub(crate) fn begins(tokens: &[Token], at: usize) -> bool {
    at == 0 || matches!(tokens[at - 1], Mark(_))
}

/// Returns whether the token has a separator, or the end of the name, on its right.
pub(crate) fn ends(tokens: &[Token], at: usize) -> bool {
    tokens.get(at + 1).is_none_or(|next| matches!(next, Mark(_)))
}

/// Returns whether digits are a date such as 20240128, or a time with it.
pub(crate) fn is_date(digits: &str) -> bool {
    let number =
        |from: usize, to: usize| digits.get(from..to).and_then(|part| part.parse::<u32>().ok()).unwrap_or(0);
    matches!(digits.len(), 8 | 12 | 14)
        && (1990..2100).contains(&number(0, 4))
        && (1..=12).contains(&number(4, 6))
        && (1..=31).contains(&number(6, 8))
}

/// Returns the word directly before a number.
fn word_before<'a>(tokens: &[Token<'a>], at: usize) -> Option<&'a str> {
    match tokens[..at] {
        [.., Word(word)] => Some(word),
        [.., Word(word), Mark(mark)] if joins(mark) => Some(word),
        _ => None,
    }
}

/// Returns the position of the number next to one of `words`: `step_5`, `step=5`, `step5`, else `5_steps`. A
/// short word counts only if it is separate.
pub(crate) fn beside(tokens: &[Token], words: &[&str]) -> Option<usize> {
    let is_joined = |at: usize| matches!(tokens.get(at), Some(Mark(mark)) if joins(*mark));
    let is_count = |at: &usize| tokens.get(*at).is_some_and(|token| token.value().is_some());
    let places = || {
        (0..tokens.len()).filter_map(|at| if let Word(word) = tokens[at] { Some((at, word)) } else { None })
    };
    let is_sure = |word: &str| word.len() > 2;
    // A longer word may end in a known one, as in `modelEpoch5`; `iter` is exempt because of `writer5`.
    let is_end =
        |word: &str| words.iter().any(|known| known.len() > 3 && *known != "iter" && word.ends_with(known));
    let is_it = |word: &str| words.contains(&word) || is_end(word);
    let after = places().filter(|(at, word)| is_it(word) && (is_sure(word) || begins(tokens, *at)));
    let before = places().filter(|(at, word)| words.contains(word) && (is_sure(word) || ends(tokens, *at)));
    let mut after = after.map(|(at, _)| at + 1 + usize::from(is_joined(at + 1))).filter(is_count);
    let mut before =
        before.filter_map(|(at, _)| at.checked_sub(1 + usize::from(at > 0 && is_joined(at - 1))));
    after.next().or_else(|| {
        let is_other = |at: usize| word_before(tokens, at).is_some_and(|word| OTHER_NUMBERS.contains(&word));
        before.find(|at| is_count(at) && !is_other(*at))
    })
}

/// Returns the number at the end, ignoring scores after it. A date, a time, a version, a seed and the like
/// are not steps.
pub(crate) fn trailing(mut tokens: &[Token]) -> Option<u64> {
    loop {
        match *tokens {
            [.., Number(_), Mark('-'), Number(_)] => return None,
            [.., Number(date), Mark('_'), Number(time)] if (date.len(), time.len()) == (8, 6) => return None,
            [.., Fraction] => tokens = before_score(&tokens[..tokens.len() - 1])?,
            [ref rest @ .., Word(word), Number(_)] | [ref rest @ .., Word(word), Mark(_), Number(_)]
                if OTHER_NUMBERS.contains(&word) =>
            {
                tokens = before_score(rest)?;
            }
            [Number(digits)] => return if is_date(digits) { None } else { digits.parse().ok() },
            [.., Mark(mark), Number(digits)] if joins(mark) => {
                return if is_date(digits) { None } else { digits.parse().ok() };
            }
            [.., Word(word), Number(digits)] => {
                let is_padded = digits.len() > 1 && digits.starts_with('0');
                let is_count = word.chars().nth(1).is_some() && (is_padded || digits.len() >= 4);
                let may_be = is_count && !is_hash(tokens) && !is_date(digits);
                return if may_be { digits.parse().ok() } else { None };
            }
            _ => return None,
        }
    }
}

/// Removes the words and separators before a score. `None` if another word is there.
fn before_score<'a, 'b>(mut tokens: &'a [Token<'b>]) -> Option<&'a [Token<'b>]> {
    while let Some((last, rest)) = tokens.split_last() {
        match last {
            Mark(_) => {}
            Word(word) if is_score(word) => {}
            Word(_) => return None,
            _ => break,
        }
        tokens = rest;
    }
    Some(tokens)
}

/// Returns whether the last part of a name is a hash, such as `b0353104` in the names of published weights.
fn is_hash(tokens: &[Token]) -> bool {
    let piece = tokens.rsplit(|token| matches!(token, Mark(_))).next().unwrap_or_default();
    let texts = piece.iter().map(|token| match token {
        Word(text) | Number(text) => text,
        _ => "",
    });
    let text: String = texts.collect();
    text.len() == 8 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Returns the number at the beginning, `0000100_adapters` or `10_net_G`, if it has leading zeros or a word
/// for a model follows.
fn leading(tokens: &[Token]) -> Option<u64> {
    let [Number(digits), Mark('_' | '-' | '.'), rest @ ..] = tokens else { return None };
    let is_padded = digits.len() > 1 && digits.starts_with('0');
    let is_of_model = rest.iter().any(|token| matches!(token, Word(word) if is_model(word)));
    let is_alone = !rest.iter().any(Token::is_number) && matches!(rest.first(), Some(Word(_)));
    (is_alone && (is_padded || is_of_model) && !is_date(digits)).then(|| digits.parse().ok())?
}

/// Returns the epoch and the step of `name_e20_s4000` or `model_state_e1_b500`, and of `recovery-1-500`.
fn short_pair(tokens: &[Token]) -> Option<Count> {
    let is_saved = |word: &str| word == "recovery" || CHECKPOINTS.contains(&word);
    tokens.windows(5).enumerate().find_map(|(at, five)| {
        let (epoch, step) = match five {
            [Word("e"), epoch, Mark(_), Word("s" | "b"), step] => (epoch, step),
            [Word(word), Mark(mark), epoch, Mark('-'), step] if joins(*mark) && is_saved(word) => {
                (epoch, step)
            }
            _ => return None,
        };
        let is_apart = begins(tokens, at) && ends(tokens, at + 4) && !begins_date(tokens, at + 2);
        let is_last = !matches!(tokens[at + 5..], [Mark('-'), Token::Number(_), ..]);
        (is_apart && is_last).then_some(Count {
            step: Some(step.value()?),
            epoch: Some(epoch.value()?),
            unit: Unit::Steps,
            is_named: true,
        })
    })
}

/// Returns whether a date begins with this token.
fn begins_date(tokens: &[Token], at: usize) -> bool {
    match tokens.get(at..) {
        Some([Number(year), Mark('-'), Number(_), Mark('-'), Number(_), ..]) => year.len() == 4,
        Some([Number(digits), ..]) => is_date(digits),
        _ => false,
    }
}

/// Returns the number at the beginning of a name whose directory is known to hold checkpoints.
pub(crate) fn first(tokens: &[Token]) -> Option<u64> {
    match tokens {
        [Number(digits), Mark('_' | '-' | '.'), Word(_), ..] if !is_date(digits) => digits.parse().ok(),
        _ => None,
    }
}

/// Reads the numbers of a name.
pub(crate) fn count(tokens: &[Token]) -> Count {
    let value = |at: usize| tokens.get(at).and_then(Token::value);
    let of = |at: usize| Count { step: value(at), is_named: true, ..Count::default() };
    let steps = |at: usize| Count { unit: Unit::Steps, ..of(at) };
    let with = |step: usize, epoch: usize| Count { epoch: value(epoch), ..steps(step) };
    let step = STEPS.iter().find_map(|words| beside(tokens, words));
    let of_checkpoint = || beside(tokens, &CHECKPOINTS).filter(|&at| !begins_date(tokens, at));
    match (step, beside(tokens, &EPOCHS)) {
        (Some(step), Some(epoch)) if step != epoch => with(step, epoch),
        (Some(step), _) => steps(step),
        (None, Some(epoch)) => match of_checkpoint().filter(|&step| step != epoch) {
            Some(step) => with(step, epoch),
            None => Count { unit: Unit::Epochs, ..of(epoch) },
        },
        (None, None) => short_pair(tokens).unwrap_or_else(|| {
            let named = of_checkpoint();
            let at_end = trailing(tokens);
            match (named, at_end) {
                (Some(named), None) => of(named),
                (Some(named), step) if value(named) == step => of(named),
                _ => Count { step: at_end.or_else(|| leading(tokens)), ..Count::default() },
            }
        }),
    }
}
