//! Whether a checkpoint is complete.

use crate::bytes::Bytes;
use crate::checkpoint::{Program, QUIET, Size, State};
use crate::contents::{Contents, Item, quoted};
use crate::document;
use crate::format;
use crate::integrity::{self, Proof, concerns, holds_state};
use crate::name::{ends_in, is_temporary};
use crate::pattern::Required;
use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// A candidate for a checkpoint.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Subject<'a> {
    /// Its path.
    pub(crate) path: &'a Path,
    /// Whether `path` is known to be a regular file.
    pub(crate) is_file: bool,
    /// Its files, if it is not just the file or directory at `path`.
    pub(crate) shards: Option<&'a [PathBuf]>,
    /// Its companion files.
    pub(crate) companions: &'a [PathBuf],
    /// Whether its name is temporary.
    pub(crate) temporary: bool,
    /// Files that were recorded as required.
    pub(crate) requires: &'a [Required],
    /// Whether these replace the requirements of its format.
    pub(crate) requires_alone: bool,
    /// Whether a program may still write to it.
    pub(crate) program: Program,
}

/// Which directories turn out not to be checkpoints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Demand {
    /// None, because a pattern was recorded.
    Nothing,
    /// Those with only pictures: the name contains a step.
    Step,
    /// Those without files that can hold state: the name is `best` or the like.
    Label,
}

/// Checks a candidate; `None` if it is gone, or not a checkpoint.
pub(crate) fn judge(subject: &Subject, demand: Demand) -> Option<(Size, State)> {
    // Use the open file: each query by name costs as much as opening it.
    let open = if subject.is_file { Bytes::open(subject.path).ok() } else { None };
    let own = open
        .as_ref()
        .map_or_else(|| Contents::read(subject.path, subject.shards), |file| Ok(Contents::of(file)));
    let mut contents = match own {
        Ok(contents) => contents,
        Err((io::ErrorKind::NotFound, _)) if fs::symlink_metadata(subject.path).is_err() => return None,
        Err((_, why)) => return Some((Size::default(), State::Incomplete(why))),
    };
    let is_file = subject.shards.is_some() || contents.items.iter().any(|item| item.name.is_empty());
    let is_none = match demand {
        _ if is_file => false,
        Demand::Nothing => false,
        Demand::Step => contents.is_of_results(),
        Demand::Label => !contents.holds_state(),
    };
    if is_none {
        return None;
    }
    let proof = if subject.temporary {
        Err("has a temporary name".to_owned())
    } else if subject.shards.is_some() {
        format::tensorflow(&contents)
    } else if is_file {
        open.map_or_else(|| integrity::check(subject.path), |file| integrity::check_open(&file, subject.path))
    } else {
        directory(subject, &contents)
    };
    let proof = proof.and_then(|proof| companions(subject.companions, &mut contents, proof));
    let proof = proof.and_then(|proof| match subject.program {
        Program::Ended => Ok(proof),
        Program::Lives => settled(subject, &contents, proof),
    });
    if proof.is_err() && subject.shards.is_none() && fs::symlink_metadata(subject.path).is_err() {
        return None; // rotated away meanwhile
    }
    Some((contents.size, proof.map_or_else(State::Incomplete, |_| State::Complete)))
}

/// Checks the companion files: a checkpoint is proven complete only if each of them is.
fn companions(paths: &[PathBuf], contents: &mut Contents, proof: Proof) -> Result<Proof, String> {
    contents.add_files(paths)?;
    let mut all = proof;
    for path in paths {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if is_temporary(&name) {
            return Err(format!("{} has a temporary name", quoted(&name)));
        }
        match integrity::check(path) {
            Ok(Proof::Shown) => {}
            Ok(Proof::None) => all = Proof::None,
            Err(why) => return Err(format!("{} {why}", quoted(&name))),
        }
    }
    Ok(all)
}

/// Refuses a checkpoint that changes during the check, or that proves nothing and was changed recently.
fn settled(subject: &Subject, contents: &Contents, proof: Proof) -> Result<Proof, String> {
    let mut again = Contents::read(subject.path, subject.shards).map_err(|(_, why)| why)?;
    again.add_files(subject.companions)?;
    if again.size != contents.size {
        return Err("is being written".to_owned());
    }
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let now = i128::try_from(now.as_nanos()).unwrap_or(i128::MAX);
    // Far in the future is not recent: such a time must not refuse the checkpoint until then.
    let quiet = i128::try_from(QUIET.as_nanos()).unwrap_or(0);
    if proof == Proof::None && (now - contents.size.modified_ns).abs() < quiet {
        return Err(format!("may still be written: it was changed within {} seconds", QUIET.as_secs()));
    }
    Ok(proof)
}

/// Checks a directory: the requirements of its format, the recorded requirements, and each file that can
/// prove its completeness.
fn directory(subject: &Subject, contents: &Contents) -> Result<Proof, String> {
    if contents.size.bytes == 0 {
        return Err("is empty".to_owned());
    }
    let names = contents.directories.iter().chain(contents.items.iter().map(|item| &item.name));
    for name in names {
        if is_temporary(name.rsplit('/').next().unwrap_or(name)) {
            return Err(format!("{} has a temporary name", quoted(name)));
        }
    }
    if let Some(link) = &contents.broken {
        return Err(format!("{} is a link that leads nowhere", quoted(link)));
    }
    let required = requirements(subject, contents)?;
    let format =
        if subject.requires_alone { Proof::None } else { format::directory(subject.path, contents)? };
    let indexed = format::indexes(contents)?;
    let mut shown = BTreeSet::new();
    for item in &contents.items {
        let lower = item.name.to_ascii_lowercase();
        if item.len == 0 && holds_state(&lower) && !lower.ends_with(".distcp") {
            return Err(format!("{} is empty", quoted(&item.name)));
        }
        if concerns(&lower) {
            match integrity::check(&item.path) {
                Ok(Proof::Shown) => _ = shown.insert(item.name.as_str()),
                Ok(Proof::None) => {}
                Err(why) => return Err(format!("{} {why}", quoted(&item.name))),
            }
        }
    }
    // Named files prove only their own completeness.
    let all_shown = !required.is_empty()
        && required.iter().all(|item| {
            shown.contains(item.name.as_str())
                || ends_in(&item.name, &[".json"]) && document::record(&item.path).is_ok()
        });
    let is_shown = format == Proof::Shown || all_shown || indexed && format::is_step_dash(subject.path);
    Ok(if is_shown { Proof::Shown } else { Proof::None })
}

/// Finds the files that were recorded as required.
fn requirements<'a>(subject: &Subject, contents: &'a Contents) -> Result<Vec<&'a Item>, String> {
    let mut found = Vec::new();
    for required in subject.requires {
        let before = found.len();
        found.extend(contents.items.iter().filter(|item| required.covers(&item.name)));
        if found[before..].iter().all(|item| item.len == 0) {
            let what = if found.len() > before { "empty" } else { "missing" };
            return Err(format!("{} is {what}", quoted(required.text())));
        }
    }
    Ok(found)
}
