//! The placeholders in words of a command and in variables: positions, names, and words that only look like
//! one. Used to fill them in, and by run-new and run-exec to report mistakes.

use crate::error::Error;
use crate::message::warn;
use crate::provenance::hints::{is_seed, is_total_steps};
use crate::provenance::redact::redact_text;
use serde_json::{Map, Value};
use strsim::osa_distance;

/// Placeholders without a colon.
const NAMES: [&str; 11] = [
    "run",
    "name",
    "config",
    "config_path",
    "set",
    "seed",
    "total_steps",
    "gpu",
    "checkpoint",
    "step",
    "resume",
];

/// Prefixes of the placeholders with a colon.
const KINDS: [&str; 3] = ["set", "input", "env"];

/// Words that users mistake for a placeholder.
const ALIASES: [(&str, &str); 26] = [
    ("run_dir", "run"),
    ("rundir", "run"),
    ("run_path", "run"),
    ("dir", "run"),
    ("out", "run"),
    ("out_dir", "run"),
    ("outdir", "run"),
    ("output", "run"),
    ("output_dir", "run"),
    ("work_dir", "run"),
    ("save_dir", "run"),
    ("run_name", "name"),
    ("runname", "name"),
    ("cfg", "config"),
    ("conf", "config"),
    ("config_file", "config"),
    ("ckpt", "checkpoint"),
    ("checkpoint_path", "checkpoint"),
    ("resume_from", "checkpoint"),
    ("resume_args", "resume"),
    ("resume_step", "step"),
    ("max_steps", "total_steps"),
    ("overrides", "set"),
    ("params", "set"),
    ("random_seed", "seed"),
    ("gpu_id", "gpu"),
];

/// The spelling of all overrides as arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Spelling {
    /// `--key=value`.
    Options,
    /// The same, with `True`, `False` and `None`.
    Python,
    /// `key=value`.
    Plain,
    /// `--key value`; `--key` for true, and nothing for false.
    Words,
}

impl Spelling {
    /// Returns the spelling of an argument that stands for all overrides.
    pub(super) fn of(argument: &str) -> Option<Self> {
        match argument {
            "{set}" => Some(Self::Options),
            "{set:py}" => Some(Self::Python),
            "{set:plain}" => Some(Self::Plain),
            "{set:words}" => Some(Self::Words),
            _ => None,
        }
    }
}

/// A piece of a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Piece<'a> {
    /// Literal text; for `{{run}}` it is `{run}`.
    Text(&'a str),
    /// A placeholder, without its braces.
    Placeholder(&'a str),
}

/// Splits a word into its pieces; `{out}` is a placeholder only for an evaluation.
pub(super) fn pieces(word: &str, has_out: bool) -> Vec<Piece<'_>> {
    let mut pieces = Vec::new();
    let (mut start, mut at) = (0, 0);
    while let Some(brace) = word[at..].find('{').map(|brace| at + brace) {
        let is_doubled = word[brace..].starts_with("{{");
        let first = brace + if is_doubled { 2 } else { 1 };
        let name = word[first..].find('}').map(|end| &word[first..first + end]);
        let name = name.filter(|name| is_placeholder(name) || *name == "out" && has_out);
        let after = first + name.map_or(0, str::len) + 1;
        match name {
            Some(name) if !is_doubled => {
                pieces.extend([Piece::Text(&word[start..brace]), Piece::Placeholder(name)]);
                (start, at) = (after, after);
            }
            Some(_) if word[after..].starts_with('}') => {
                pieces.extend([Piece::Text(&word[start..brace]), Piece::Text(&word[brace + 1..after])]);
                (start, at) = (after + 1, after + 1);
            }
            _ => at = brace + 1,
        }
    }
    pieces.push(Piece::Text(&word[start..]));
    pieces
}

fn is_placeholder(name: &str) -> bool {
    NAMES.contains(&name)
        || name.split_once(':').is_some_and(|(kind, key)| KINDS.contains(&kind) && !key.is_empty())
}

/// Returns the placeholders of a word, without their braces.
fn placeholders(word: &str) -> impl Iterator<Item = &str> {
    pieces(word, false).into_iter().filter_map(|piece| match piece {
        Piece::Placeholder(name) => Some(name),
        Piece::Text(_) => None,
    })
}

/// Returns the first word that contains the placeholder of this name.
pub fn word_with<'a>(words: &'a [String], name: &str) -> Option<&'a str> {
    words.iter().find(|word| placeholders(word).any(|found| found == name)).map(String::as_str)
}

/// Refuses words with a placeholder that can never be filled in: an override or an input that the run lacks,
/// the config of a run without one, and placeholders that must be a whole argument. Variables are not
/// arguments.
pub fn refuse(
    words: &[String],
    are_arguments: bool,
    overrides: &Map<String, Value>,
    inputs: &Map<String, Value>,
    has_config: bool,
) -> Result<(), Error> {
    for word in words {
        if are_arguments && (Spelling::of(word).is_some() || word == "{resume}") {
            continue;
        }
        for name in placeholders(word) {
            let cause = match name.split_once(':') {
                None if ["set", "resume"].contains(&name) => "it must be a whole argument".to_owned(),
                Some(("set", "py" | "plain" | "words")) => "it must be a whole argument".to_owned(),
                None if name.starts_with("config") && !has_config => "there is no config".to_owned(),
                Some(("set", key)) if !overrides.contains_key(key) => {
                    format!("there is no override '{key}'")
                }
                Some(("input", input)) if !inputs.contains_key(input) => {
                    format!("there is no input '{input}'")
                }
                _ => continue,
            };
            let what = format!("cannot fill in '{{{name}}}' of '{}'", redact_text(word));
            return Err(Error::usage(what).because(cause));
        }
    }
    Ok(())
}

/// Returns the overrides that no word passes on.
pub fn unreached<'a>(words: &[String], overrides: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    if words.iter().any(|word| Spelling::of(word).is_some()) {
        return Vec::new();
    }
    let used: Vec<&str> = words.iter().flat_map(|word| placeholders(word)).collect();
    let is_used = |key: &str| {
        used.iter().any(|name| match *name {
            "seed" => is_seed(key),
            "total_steps" => is_total_steps(key),
            _ => name.strip_prefix("set:") == Some(key),
        })
    };
    overrides.filter(|key| !is_used(key)).collect()
}

/// Returns whether the words pass the checkpoint to resume from, or the fact of resuming.
pub fn tell_of_resume(words: &[String], resume_args: Option<&[String]>) -> bool {
    let has_arguments = resume_args.is_some_and(|arguments| !arguments.is_empty());
    words.iter().flat_map(|word| placeholders(word)).any(|name| match name {
        "resume" => has_arguments,
        _ => ["checkpoint", "step"].contains(&name),
    })
}

/// Warns about words that look like misspelt placeholders; `has_out` for the command of an evaluation.
pub fn say_misspelt(words: &[String], has_out: bool) {
    for (typed, meant) in misspelt(words, has_out) {
        let typed = redact_text(&typed);
        warn(&format!("'{typed}' is not a placeholder and stays unchanged; did you mean '{meant}'?"));
    }
}

/// Returns words that look like misspelt placeholders, with their braces, and the placeholder that may be
/// meant.
fn misspelt(words: &[String], has_out: bool) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for word in words {
        for (brace, _) in word.match_indices('{') {
            let is_free = !word[..brace].ends_with(['{', '$']);
            let Some(name) = word[brace + 1..].split_once('}').map(|(name, _)| name) else { continue };
            if is_free
                && !is_placeholder(name)
                && !(has_out && name == "out")
                && let Some(meant) = meant_by(name)
            {
                let is_out = has_out && name.to_lowercase().starts_with("out");
                let meant = if is_out { "out" } else { &meant };
                found.push((format!("{{{name}}}"), format!("{{{meant}}}")));
            }
        }
    }
    found
}

/// Returns the placeholder that an unknown one probably means.
fn meant_by(name: &str) -> Option<String> {
    let lower = name.to_lowercase();
    if let Some((kind, key)) = lower.split_once([':', '.']) {
        let meant = match kind {
            "set" | "sets" | "override" | "overrides" => "set",
            "input" | "inputs" => "input",
            "env" | "envs" | "environ" => "env",
            _ => return None,
        };
        let key = &name[name.len() - key.len()..];
        return (!key.is_empty()).then(|| format!("{meant}:{key}"));
    }
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if !lower.chars().all(is_word) {
        return None;
    }
    let lower = lower.replace('-', "_");
    let alias = ALIASES.iter().find(|(alias, _)| *alias == lower).map(|(_, meant)| *meant);
    let near = || NAMES.iter().find(|known| is_near(&lower, known)).copied();
    alias.or_else(near).map(str::to_owned)
}

/// Returns whether a word is a name with a typo; in a short name only an extra, missing or transposed letter
/// counts, because many short words differ by one letter.
fn is_near(word: &str, name: &str) -> bool {
    match osa_distance(word, name) {
        0 => true,
        1 if name.len() < 6 => word.len() != name.len() || sorted(word) == sorted(name),
        distance => name.len() >= 6 && distance <= 2,
    }
}

fn sorted(word: &str) -> Vec<u8> {
    let mut bytes = word.as_bytes().to_vec();
    bytes.sort_unstable();
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn words(words: &[&str]) -> Vec<String> {
        words.iter().map(|&word| word.to_owned()).collect()
    }

    #[test]
    fn a_slip_is_seen_and_other_braces_are_not() {
        for (word, meant) in [
            ("{rundir}", "{run}"),
            ("--dir={run_dir}/x", "{run}"),
            ("{chekpoint}", "{checkpoint}"),
            ("{RUN}", "{run}"),
            ("{Config}", "{config}"),
            ("{confg}", "{config}"),
            ("{total-steps}", "{total_steps}"),
            ("{steps}", "{step}"),
            ("{sead}", ""),
            ("{sede}", "{seed}"),
            ("{sets:Lr}", "{set:Lr}"),
            ("{env.HOME}", "{env:HOME}"),
            ("{inputs:data}", "{input:data}"),
            ("{output_dir}", "{run}"),
        ] {
            let found = misspelt(&words(&[word]), false);
            let expected = if meant.is_empty() { vec![] } else { vec![meant] };
            assert_eq!(found.iter().map(|(_, meant)| meant.as_str()).collect::<Vec<_>>(), expected, "{word}");
        }
        let others = [
            "{epoch}",
            "{val_loss:.2f}",
            "{cpu}",
            "{}",
            "{a,b}",
            "{'run_dir': 1}",
            "${run_dir}",
            "${oc.env:HOME}",
            "{{rundir}}",
            "{x:1}",
            "{\"lr\": 0.1}",
            "{1..3}",
            "{need}",
            "{game}",
        ];
        assert_eq!(misspelt(&words(&others), false), []);
        let of_evaluation = misspelt(&words(&["{out}", "{output_dir}", "{chekpoint}"]), true);
        let meant: Vec<&str> = of_evaluation.iter().map(|(_, meant)| meant.as_str()).collect();
        assert_eq!(meant, ["{out}", "{checkpoint}"]);
    }

    #[test]
    fn an_override_is_passed_on_by_its_name_or_with_all() {
        let left = |given: &[&str]| unreached(&words(given), ["lr", "seed", "trainer.max_steps"].into_iter());
        assert_eq!(left(&["train"]), ["lr", "seed", "trainer.max_steps"]);
        assert_eq!(left(&["x{set}", "{{set}}"]), ["lr", "seed", "trainer.max_steps"]);
        assert_eq!(left(&["--lr={set:lr}", "--seed", "{seed}"]), ["trainer.max_steps"]);
        assert_eq!(left(&["--n={total_steps}", "{set:seed}"]), ["lr"]);
        for all in ["{set}", "{set:py}", "{set:plain}", "{set:words}"] {
            assert_eq!(left(&["train", all]), [""; 0], "{all}");
        }
    }

    #[test]
    fn a_program_is_told_of_a_checkpoint_by_a_placeholder_for_it() {
        let arguments = words(&["--resume"]);
        let tell = |word: &str, arguments| tell_of_resume(&words(&["x", word]), arguments);
        assert!(tell("{resume}", Some(&arguments)) && tell("--from={checkpoint}", None));
        assert!(tell("{step}", None));
        assert!(!tell("{resume}", None) && !tell("{{checkpoint}}", None) && !tell("y", Some(&arguments)));
    }

    proptest! {
        #[test]
        fn pieces_are_all_of_a_word_but_for_the_braces_of_placeholders(
            word in "([{}a]|\\{run\\}|\\{set:|\\{\\{seed\\}\\}|é){0,9}",
        ) {
            let parts = pieces(&word, false);
            let length = |piece: &Piece| match piece {
                Piece::Text(text) => text.len(),
                Piece::Placeholder(name) => name.len() + 2,
            };
            prop_assert!(parts.iter().map(length).sum::<usize>() <= word.len());
            if !word.contains('{') {
                prop_assert_eq!(parts, [Piece::Text(word.as_str())]);
            }
            let _ = misspelt(&[word], true);
        }
    }
}
