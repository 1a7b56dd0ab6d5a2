//! The values that are possible at a place, by the name that the help gives a value, such as RUN or METRIC,....

use crate::answer::Answer;
use crate::facts;
use crate::place::{Kind, Place};
use crate::runs::{inner, paths, runs_dir, sample, tops};
use clap::{Arg, Command};
use std::collections::BTreeSet;

/// Words that choose checkpoints.
const LABELLED: [&str; 4] = ["latest", "final", "best", "last"];

/// Returns the possible words at a place. `is_choosy`: the shell itself selects among them, perhaps by other
/// rules than a common beginning.
pub(crate) fn of(place: &Place, is_choosy: bool) -> Answer {
    let matches = |word: &str, typed: &str| {
        if is_choosy { word.to_lowercase().contains(&typed.to_lowercase()) } else { word.starts_with(typed) }
    };
    match place.kind {
        Kind::Command => Answer::Command,
        Kind::Nothing => Answer::Words(Vec::new()),
        Kind::Option => pairs(options(place.command), |word| matches(word, &place.text)),
        Kind::Verb => pairs(verbs(place.command), |word| matches(word, &place.text)),
        Kind::Value(arg) => value(arg, place, matches),
    }
}

fn pairs(all: Vec<(String, String)>, matches: impl Fn(&str) -> bool) -> Answer {
    Answer::Options(all.into_iter().filter(|(word, _)| matches(word)).collect())
}

/// Returns the options of a command, with their help.
fn options(command: &Command) -> Vec<(String, String)> {
    let mut options = Vec::new();
    for arg in command.get_arguments().filter(|arg| !arg.is_hide_set()) {
        let Some(long) = arg.get_long() else { continue };
        let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
        let help = help.lines().next().unwrap_or_default().to_owned();
        options.push((format!("--{long}"), help.clone()));
        if arg.is_require_equals_set() {
            options.push((format!("--{long}="), help));
        }
    }
    options
}

/// Returns the commands of a tool, with their help.
fn verbs(tool: &Command) -> Vec<(String, String)> {
    let about = |verb: &Command| verb.get_about().map(ToString::to_string).unwrap_or_default();
    tool.get_subcommands().map(|verb| (verb.get_name().to_owned(), about(verb))).collect()
}

/// Returns the values that an option or operand may have.
fn value(arg: &Arg, place: &Place, matches: impl Fn(&str, &str) -> bool) -> Answer {
    let name = arg.get_value_names().and_then(|names| names.first()).map_or("", |name| name.as_str());
    let is_list = name.ends_with(",...") || name == "LIST";
    let before = &place.before;
    // The complete items of a list stay.
    let cut = if is_list { place.text.rfind(',').map_or(0, |comma| comma + 1) } else { 0 };
    let (items, typed) = place.text.split_at(cut);
    let chosen: Vec<&str> = items.split(',').collect();
    let words = match values(arg, name, place, typed) {
        Values::Files => return Answer::Files(before.clone()),
        Values::Directories => return Answer::Directories(before.clone()),
        Values::FileAfterEquals => {
            return match place.text.split_once('=') {
                Some((key, _)) => Answer::Files(format!("{before}{key}=")),
                None => Answer::Words(Vec::new()),
            };
        }
        Values::Runs => match runs(place, &matches) {
            Some(names) => names,
            None => return Answer::Directories(before.clone()),
        },
        Values::Words(words) => words
            .into_iter()
            .filter(|word| matches(word, typed) && !chosen.contains(&word.as_str()))
            .collect(),
        Values::Stores(stores) => {
            let stores: Vec<String> = stores.into_iter().filter(|store| matches(store, typed)).collect();
            if stores.is_empty() {
                return Answer::Directories(before.clone());
            }
            stores
        }
    };
    Answer::Words(words.into_iter().map(|word| format!("{before}{items}{word}")).collect())
}

/// Returns the names of runs; `None` if the typed text is a path, or matches no name and may begin a path.
fn runs(place: &Place, matches: &impl Fn(&str, &str) -> bool) -> Option<Vec<String>> {
    let typed = place.text.as_str();
    if typed.starts_with(['/', '~']) || typed.starts_with("./") || typed.starts_with("../") {
        return None;
    }
    let given: Vec<&str> = place.given("runs").collect();
    let fits = |name: &str| matches(name, typed) && !given.contains(&name);
    let fitting = |names: Vec<String>| names.into_iter().filter(|name| fits(name)).collect::<Vec<_>>();
    let runs_dir = runs_dir(place);
    if let Some((holder, _)) = typed.split_once('/') {
        // A shell that selects by its own rules may find the text anywhere in a path.
        let names = fitting(paths(&runs_dir, |name| name == holder));
        let names =
            if names.is_empty() { fitting(paths(&runs_dir, |name| matches(name, holder))) } else { names };
        return Some(names).filter(|names| !names.is_empty());
    }
    let tops = tops(&runs_dir, fits);
    Some(if tops.is_empty() { fitting(inner(&runs_dir)) } else { tops })
}

/// The source of values.
enum Values {
    Words(Vec<String>),
    Runs,
    Stores(BTreeSet<String>),
    Files,
    Directories,
    /// The path in `NAME=PATH`.
    FileAfterEquals,
}

fn values(arg: &Arg, name: &str, place: &Place, typed: &str) -> Values {
    let fixed = arg.get_value_parser().possible_values();
    if let Some(fixed) = fixed {
        return Values::Words(fixed.map(|value| value.get_name().to_owned()).collect());
    }
    let sample = || sample(place);
    let id = arg.get_id().as_str();
    let words = match (name, id) {
        ("RUN", _) | ("NAME", "names") => return Values::Runs,
        ("CONFIG" | "FILE" | "PATH" | "PATH|PATTERN", _) => return Values::Files,
        ("NAME=PATH", _) => return Values::FileAfterEquals,
        ("DIR", _) => return Values::Directories,
        ("URL", _) => return Values::Stores(facts::stores(&sample())),
        ("METRIC" | "METRIC,...", _) => with_suffixes(facts::metrics(&sample(), true), id, typed),
        ("COLUMN" | "COLUMN,...", _) => {
            let runs = sample();
            let mut names = facts::metrics(&runs, true);
            names.extend(facts::settings(&runs));
            with_suffixes(names, id, typed)
        }
        ("KEY", _) => facts::metrics(&sample(), false).into_iter().collect(),
        ("KEY,...", "group_by") => facts::settings(&sample()).into_iter().collect(),
        ("KEY,...", _) => facts::keys_of_configs(place).into_iter().collect(),
        ("KEY=VALUE", "set") | ("KEY=SPEC", _) => assignments(place),
        ("WORD", _) => facts::tags(&sample()).into_iter().collect(),
        ("LABEL", _) => facts::labels(&sample(), place).into_iter().collect(),
        ("STEP", _) => owned(&LABELLED).chain(facts::steps(&sample())).collect(),
        ("LIST", "steps") => {
            owned(&["all", "new"]).chain(owned(&LABELLED)).chain(facts::steps(&sample())).collect()
        }
        ("LIST", _) => {
            let best = facts::metrics(&sample(), true).into_iter().map(|metric| format!("best:{metric}"));
            owned(&["latest", "final"]).chain(best).collect()
        }
        ("NAME[=OPTIONS]", _) => facts::launchers().into_iter().collect(),
        ("DEVICE", _) => owned(&["cuda", "cpu", "mps"]).collect(),
        ("GPU,...", _) => owned(&["free"]).collect(),
        ("SPEC", _) => owned(&["auto", "none"]).collect(),
        _ => Vec::new(),
    };
    Values::Words(words)
}

fn owned<'a>(words: &'a [&str]) -> impl Iterator<Item = String> + use<'a> {
    words.iter().map(|word| (*word).to_owned())
}

/// Adds names with a suffix, for the better direction or the order, if the name itself is typed in full.
fn with_suffixes(names: BTreeSet<String>, id: &str, typed: &str) -> Vec<String> {
    let ends: &[&str] = match id {
        "best" => &[":min", ":max"],
        "sort" => &[":desc"],
        _ => &[],
    };
    let is_typed = |name: &&String| typed.starts_with(name.as_str());
    let ended =
        names.iter().filter(is_typed).flat_map(|name| ends.iter().map(move |end| format!("{name}{end}")));
    let ended: Vec<String> = ended.collect();
    names.into_iter().chain(ended).collect()
}

/// Returns the keys that `-s` and `--sweep` may set: those in the configs, else those in earlier runs.
fn assignments(place: &Place) -> Vec<String> {
    let keys = facts::keys_of_configs(place);
    let keys = if keys.is_empty() { facts::settings(&sample(place)) } else { keys };
    keys.into_iter().map(|key| format!("{key}=")).collect()
}
