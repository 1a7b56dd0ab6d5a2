//! Converts names to those that MLflow accepts for metrics, parameters and tags: each is the path of a file
//! (`mlflow/utils/validation.py`).

use std::collections::{HashMap, HashSet};

/// Maximum size of a part of a path in bytes, and of a name in characters. The rest is reserved for suffixes
/// of duplicates.
const PART: usize = 200;
const NAME: usize = 240;

/// The names of one kind in a run.
#[derive(Debug, Default)]
pub(super) struct Keys {
    given: HashMap<String, String>,
    /// Used names, and those that are directories of others.
    taken: HashSet<String>,
    directories: HashSet<String>,
}

impl Keys {
    /// Returns the converted name, always the same for the same name. If it is taken, or would be a file and
    /// a directory at once, like `loss` beside `loss/train`, it gets dots instead of slashes, or a number.
    pub(super) fn of(&mut self, name: &str) -> &str {
        if !self.given.contains_key(name) {
            let plain = plain(name);
            let dotted = plain.replace('/', ".");
            let numbered = (2..).map(|number: u32| format!("{dotted}_{number}"));
            let mut ways = [plain, dotted.clone()].into_iter().chain(numbered);
            let key = ways.find(|key| self.is_free(key)).unwrap_or_default(); // there is always a part
            self.directories.extend(above(&key).map(str::to_owned));
            self.taken.insert(key.clone());
            self.given.insert(name.to_owned(), key);
        }
        &self.given[name]
    }

    fn is_free(&self, key: &str) -> bool {
        !self.taken.contains(key)
            && !self.directories.contains(key)
            && !above(key).any(|above| self.taken.contains(above))
    }

    /// Returns the changed names, with their replacements.
    pub(super) fn changed(self) -> impl Iterator<Item = (String, String)> {
        self.given.into_iter().filter(|(name, key)| name != key)
    }
}

/// Returns the directories of a path.
fn above(key: &str) -> impl Iterator<Item = &str> {
    key.match_indices('/').map(|(at, _)| &key[..at])
}

/// Converts a name to the characters that MLflow accepts, and to a plain path.
fn plain(name: &str) -> String {
    let letters: String = name.chars().take(NAME).map(|c| if is_taken(c) { c } else { '_' }).collect();
    let part = |part: &str| {
        let end =
            (0..=part.len().min(PART)).rev().find(|&end| part.is_char_boundary(end)).unwrap_or_default();
        part[..end].to_owned()
    };
    let parts = letters.split('/').filter(|part| !["", ".", ".."].contains(part)).map(part);
    let plain = parts.collect::<Vec<_>>().join("/");
    if plain.is_empty() { "_".to_owned() } else { plain }
}

/// Returns whether every version of MLflow accepts a character: Python's `\w`, and some others. Of letters
/// outside ASCII, only those of scripts whose letters are undisputed.
fn is_taken(c: char) -> bool {
    let is_of_script = || {
        matches!(c, '\u{c0}'..='\u{24f}' | '\u{370}'..='\u{481}' | '\u{48a}'..='\u{52f}' | '\u{3041}'..='\u{3096}'
            | '\u{30a1}'..='\u{30fa}' | '\u{4e00}'..='\u{9fff}' | '\u{ac00}'..='\u{d7a3}')
    };
    matches!(c, 'a'..='z' | 'A'..='Z' | '0'..='9' | '_' | '-' | '.' | ' ' | '/')
        || is_of_script() && c.is_alphanumeric()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_are_plain_paths() {
        let mut keys = Keys::default();
        let names = [
            "loss",
            "acc,none",
            "acc_none",
            "a//b",
            "/x/",
            "../y",
            "..",
            "",
            "Genauigkeit (ä)",
            "损失",
            "loss",
        ];
        let given: Vec<String> = names.iter().map(|name| keys.of(name).to_owned()).collect();
        let expected = [
            "loss",
            "acc_none",
            "acc_none_2",
            "a/b",
            "x",
            "y",
            "_",
            "__2",
            "Genauigkeit _ä_",
            "损失",
            "loss",
        ];
        assert_eq!(given, expected);
    }

    #[test]
    fn no_name_is_a_file_and_a_directory() {
        let mut keys = Keys::default();
        assert_eq!(
            ["loss", "loss/train", "val/acc", "val", "loss.train"].map(|name| keys.of(name).to_owned()),
            ["loss", "loss.train", "val/acc", "val_2", "loss.train_2"]
        );
    }

    proptest! {
        #[test]
        fn every_name_is_a_file_of_its_own(names in prop::collection::hash_set("[a-c/.,é ]{0,6}", 0..20)) {
            let mut keys = Keys::default();
            let directory = tempfile::tempdir().unwrap();
            for name in &names {
                let path = directory.path().join(keys.of(name));
                std::fs::create_dir_all(path.parent().unwrap()).unwrap();
                prop_assert!(!path.exists());
                std::fs::write(path, name).unwrap();
            }
            for name in &names {
                prop_assert_eq!(&std::fs::read_to_string(directory.path().join(keys.of(name))).unwrap(), name);
            }
        }
    }
}
