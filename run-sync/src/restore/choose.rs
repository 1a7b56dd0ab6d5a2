//! Chooses the entries of a manifest to restore.

use crate::format::entry::{Absent, Entry, Place};
use crate::format::manifest::Manifest;
use glob::Pattern;
use run_common::error::Error;
use std::collections::HashSet;
use std::path::Path;

/// The user's choice from a backup.
#[derive(Debug, Default)]
pub(crate) struct Choice {
    /// Patterns for paths; a path must match one of them, if there are any.
    only: Vec<Pattern>,
    /// Include files that the program had removed.
    gone: bool,
    /// Exclude evaluations.
    no_eval: bool,
}

impl Choice {
    /// Reads the patterns of the user.
    pub(crate) fn new(only: &[String], gone: bool, no_eval: bool) -> Result<Self, Error> {
        let pattern = |text: &String| {
            Pattern::new(text.trim_end_matches('/'))
                .map_err(|error| Error::usage(format!("'{text}' is no pattern")).because(error.msg))
        };
        Ok(Self { only: only.iter().map(pattern).collect::<Result<_, _>>()?, gone, no_eval })
    }

    /// Returns whether the choice has no patterns.
    pub(crate) fn is_all(&self) -> bool {
        self.only.is_empty()
    }

    /// Returns the chosen entries in order, with the directories above them.
    pub(crate) fn of<'a>(&self, manifest: &'a Manifest) -> Vec<&'a Entry> {
        let mut above: HashSet<(Option<&str>, &Path)> = HashSet::new();
        let wanted: Vec<bool> = manifest.entries.iter().map(|entry| self.wants(entry)).collect();
        for (entry, _) in manifest.entries.iter().zip(&wanted).filter(|(_, wanted)| **wanted) {
            let label = entry.place.evaluation.as_deref();
            let mut ancestors = entry.place.path.ancestors().skip(1);
            while ancestors.next().is_some_and(|directory| above.insert((label, directory))) {}
        }
        let is_above = |place: &Place| above.contains(&(place.evaluation.as_deref(), place.path.as_path()));
        let pairs = manifest.entries.iter().zip(wanted);
        pairs.filter(|(entry, wanted)| *wanted || is_above(&entry.place)).map(|(entry, _)| entry).collect()
    }

    fn wants(&self, entry: &Entry) -> bool {
        let is_there = self.gone || entry.absent != Some(Absent::Gone);
        let is_run = !self.no_eval || entry.place.evaluation.is_none();
        is_there && is_run && (self.only.is_empty() || self.matches(&entry.place.shown()))
    }

    /// Returns whether a path, or a directory above it, matches, by its whole path or its name.
    fn matches(&self, path: &Path) -> bool {
        let text = |part: &Path| part.to_string_lossy().into_owned();
        path.ancestors().filter(|part| !part.as_os_str().is_empty()).any(|part| {
            let name = part.file_name().map(|name| text(Path::new(name)));
            self.only.iter().any(|pattern| {
                pattern.matches(&text(part)) || name.as_ref().is_some_and(|name| pattern.matches(name))
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_matches_a_path_a_name_or_a_directory() {
        let cases = [
            ("*.safetensors", "checkpoints/step_100/model.safetensors", true),
            ("model*", "checkpoints/step_100/model.safetensors", true),
            ("checkpoints/step_100", "checkpoints/step_100/model.pt", true),
            ("checkpoints/step_100/", "checkpoints/step_100/model.pt", true),
            ("step_100", "checkpoints/step_100/model.pt", true),
            ("checkpoints/step_1*", "checkpoints/step_100/a/b", true),
            ("checkpoints/step_10", "checkpoints/step_100/model.pt", false),
            ("[0-9].pt", "a/7.pt", true),
            ("config.yaml", "config.yaml.bak", false),
            ("*", ".run/meta.json", true),
        ];
        for (pattern, path, expected) in cases {
            let choice = Choice::new(&[pattern.to_owned()], false, false).unwrap();
            assert_eq!(choice.matches(Path::new(path)), expected, "{pattern} {path}");
        }
        assert!(Choice::new(&["[".to_owned()], false, false).is_err());
    }
}
