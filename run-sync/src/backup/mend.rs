//! `--read-back`: what the store has lost of the backup to continue. It is sent again where the run still has it.

use super::report::Report;
use crate::examine::{WHOLE, examine};
use crate::fetch::Damage;
use crate::format::entry::{Entry, Kind, Place};
use crate::set::Set;
use run_common::error::Error;
use std::collections::{HashMap, HashSet};

/// The damaged and missing objects of a manifest.
#[derive(Debug, Default)]
pub(crate) struct Losses(HashMap<String, (u64, Damage)>);

impl Losses {
    /// Reads all objects of a manifest.
    pub(crate) fn find(set: &Set<'_>, entries: &[Entry], transfers: usize) -> Result<Self, Error> {
        let damaged = examine(set, entries, WHOLE, transfers)?.damaged;
        let mut lost: HashMap<String, (u64, Damage)> = HashMap::new();
        for entry in entries {
            if let (Some(key), Kind::File(file)) = (entry.object(), &entry.kind)
                && let Some(damage) = damaged.get(&key)
            {
                let (size, _) = lost.entry(key).or_insert((0, *damage));
                *size = file.size.max(*size);
            }
        }
        Ok(Self(lost))
    }

    /// Returns whether the object of an entry is lost.
    pub(crate) fn has(&self, entry: &Entry) -> bool {
        !self.0.is_empty() && entry.object().is_some_and(|key| self.0.contains_key(&key))
    }

    /// Returns the keys of the lost objects, with the bytes that they should have.
    pub(crate) fn sizes(&self) -> HashMap<String, u64> {
        self.0.iter().map(|(key, (size, _))| (key.clone(), *size)).collect()
    }

    /// Returns the keys of the lost objects.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &String> {
        self.0.keys()
    }

    /// Reports what was sent again, and what is still lost.
    pub(crate) fn tell(
        &self,
        before: &[Entry],
        after: &[Entry],
        lost: &HashSet<String>,
        report: &mut Report,
    ) {
        if self.0.is_empty() {
            return;
        }
        let after: HashMap<&Place, &Entry> = after.iter().map(|entry| (&entry.place, entry)).collect();
        for entry in before {
            let Some((key, (_, damage))) = entry.object().and_then(|key| self.0.get_key_value(&key)) else {
                continue;
            };
            let path = entry.place.shown().display().to_string();
            let is_elsewhere = after.get(&entry.place).is_some_and(|after| {
                content(after) == content(entry) && after.object().as_ref() != Some(key)
            });
            if !lost.contains(key) || is_elsewhere {
                report.mended.push(path);
            } else {
                report.damaged.push(format!("{path}: {damage}"));
            }
        }
    }
}

fn content(entry: &Entry) -> Option<(u64, crate::format::digest::Digest)> {
    match &entry.kind {
        Kind::File(file) => Some((file.size, file.sha256)),
        Kind::Dir | Kind::Link(_) => None,
    }
}
