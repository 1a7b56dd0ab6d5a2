//! Names of runs.

use std::collections::{HashMap, HashSet};
use std::path::Path;

/// Maximum length of a name, in bytes.
const LIMIT: usize = 200;

/// Bytes reserved for the suffix that makes a name unique.
const ROOM: usize = 8;

/// Returns what is wrong with a name, if anything.
pub(crate) fn fault(name: &str) -> Option<&'static str> {
    match name {
        "" => Some("it is empty"),
        _ if name.len() > LIMIT => Some("it is longer than 200 bytes"),
        _ if name.starts_with(['-', '.']) => Some("it begins with '-' or '.'"),
        _ if name.contains('/') => Some("it contains '/'"),
        _ if name.chars().any(char::is_control) => Some("it contains a control character"),
        _ => None,
    }
}

/// Returns the prefix of a run's name: the stem of its config, or `run`, made safe and cut.
pub(crate) fn stem(config: Option<&Path>, sign: Sign) -> String {
    let stem = config.and_then(Path::file_stem).map_or_else(|| "run".into(), |stem| stem.to_string_lossy());
    let mut stem: String = stem.chars().map(|c| if sign.allows(c) { c } else { '_' }).collect();
    if stem.starts_with(['-', '.']) {
        stem.replace_range(..1, "_");
    }
    cut(&mut stem, LIMIT - ROOM - 1 - "2026-01-29_12-00-00".len());
    stem
}

/// Makes the stems of configs unique: a duplicate, or a stem that is `reserved`, gets a suffix such as `-2`.
pub(crate) fn different(stems: Vec<String>, reserved: &[&str]) -> Vec<String> {
    let mut taken: HashSet<String> = reserved.iter().map(|&name| name.to_owned()).collect();
    let mut next: HashMap<String, u32> = HashMap::new();
    let one = |stem: String| {
        let mut name = stem.clone();
        let number = next.entry(stem.clone()).or_insert(2);
        while !taken.insert(name.clone()) {
            name = format!("{stem}-{number}");
            *number += 1;
        }
        name
    };
    stems.into_iter().map(one).collect()
}

/// The separator of key and value in the name of a cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sign {
    /// `-`, and no `=` in the name: nanoGPT's configurator and others split an argument at every `=`.
    Dash,
    /// `=`, as in names from an older version.
    Equals,
}

impl Sign {
    /// Returns whether a name may contain this character.
    fn allows(self, c: char) -> bool {
        c != '/' && !c.is_control() && (c != '=' || self == Self::Equals)
    }

    fn text(self) -> &'static str {
        match self {
            Self::Dash => "-",
            Self::Equals => "=",
        }
    }

    /// Returns whether a value could be mistaken for a value followed by another key and value.
    fn looks_like_several(self, value: &str) -> bool {
        match self {
            Self::Dash => value.split_once('_').is_some_and(|(_, rest)| rest.contains('-')),
            Self::Equals => value.contains('_') && value.contains('='),
        }
    }
}

/// Returns the name of a cell: the prefix `base`, then `_key-value` for every swept value.
///
/// The result of `hash` is appended if another cell could have the same name: if a character was replaced, if
/// a value looks like several, or if the name was cut.
pub(crate) fn cell<'a>(
    base: &str,
    swept: impl Iterator<Item = (&'a str, &'a str)>,
    sign: Sign,
    hash: impl FnOnce() -> String,
) -> String {
    let mut name = base.to_owned();
    let mut is_clear = true;
    for (key, value) in swept {
        is_clear &= !sign.looks_like_several(value);
        for part in ["_", key, sign.text(), value] {
            for c in part.chars() {
                let is_safe = sign.allows(c);
                is_clear &= is_safe;
                name.push(if is_safe { c } else { '_' });
            }
        }
    }
    if !is_clear || name.len() > LIMIT - ROOM {
        let hash = hash();
        cut(&mut name, LIMIT - ROOM - 1 - hash.len());
        name = format!("{name}-{hash}");
    }
    name
}

fn cut(name: &mut String, length: usize) {
    while name.len() > length {
        name.pop();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use run_common::provenance::hash::sha256;

    #[test]
    fn names_are_any_text_that_is_safe_as_a_file_name() {
        for good in ["a", "a b", "lr=0.1", "'quoted' \"name\"", "🚀", &"x".repeat(200)] {
            assert_eq!(fault(good), None, "{good}");
        }
        for bad in ["", "-x", ".x", "a/b", "a\nb", "a\u{0}b", &"x".repeat(201)] {
            assert!(fault(bad).is_some(), "{bad}");
        }
    }

    #[test]
    fn stems_are_names_and_different() {
        let stem = |config: Option<&str>| stem(config.map(Path::new), Sign::Dash);
        assert_eq!(stem(None), "run");
        assert_eq!(stem(Some("a/dqn.x.yaml")), "dqn.x");
        assert_eq!(stem(Some("a/lr=1.py")), "lr_1");
        for odd in [".hidden", "-x\n.py", &"ü".repeat(120)] {
            let name = stem(Some(odd)) + "_2026-01-29_12-00-00-1234567";
            assert_eq!(fault(&name), None, "{odd}");
        }
        let stems = ["a", "b", "a", "a-2", "a", "stop"].map(str::to_owned).to_vec();
        assert_eq!(different(stems, &["stop"]), ["a", "b", "a-2", "a-2-2", "a-3", "stop-2"]);
    }

    #[test]
    fn a_name_tells_its_cell() {
        let of =
            |swept: &[(&str, &str)], sign| cell("b", swept.iter().copied(), sign, || "12345678".to_owned());
        let name = |swept: &[(&str, &str)]| of(swept, Sign::Dash);
        assert_eq!(name(&[]), "b");
        assert_eq!(name(&[("lr", "1e-3"), ("size", "a_b")]), "b_lr-1e-3_size-a_b");
        assert_eq!(name(&[("text", "x=y z")]), "b_text-x_y z-12345678");
        assert_eq!(name(&[("path", "a/b\n")]), "b_path-a_b_-12345678");
        assert_eq!(name(&[("x", "1_y-2"), ("y", "3")]), "b_x-1_y-2_y-3-12345678");
        assert_eq!(name(&[("+optim/lr", "1")]), "b_+optim_lr-1-12345678");
        let former = |swept: &[(&str, &str)]| of(swept, Sign::Equals);
        assert_eq!(former(&[("lr", "1e-3"), ("text", "x=y z")]), "b_lr=1e-3_text=x=y z");
        assert_eq!(former(&[("x", "1_y=2"), ("y", "3")]), "b_x=1_y=2_y=3-12345678");
        for length in [188, 190, 500] {
            let name = name(&[("k", &"ü".repeat(length / 2))]);
            assert!(name.len() <= 192 && fault(&name).is_none(), "{name}");
            assert_eq!(name.ends_with("-12345678"), length > 188);
        }
    }

    proptest! {
        #[test]
        fn cells_that_differ_have_different_names(
            one in ["[ab_=/1-]{0,9}", "[ab_=/1-]{0,9}"],
            other in ["[ab_=/1-]{0,9}", "[ab_=/1-]{0,9}"],
        ) {
            let name = |values: &[String; 2]| {
                let swept = ["a", "b"].into_iter().zip(values.iter().map(String::as_str));
                cell("b", swept, Sign::Dash, || sha256(format!("{values:?}").as_bytes())[..8].to_owned())
            };
            prop_assert_eq!(name(&one) == name(&other), one == other);
            prop_assert_eq!(fault(&name(&one)), None);
            prop_assert!(!name(&one).contains('='));
        }
    }
}
