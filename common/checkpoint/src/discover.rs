//! Finds the checkpoints of a run.

use crate::checkpoint::{Checkpoint, Label, Program, Size, State};
use crate::complete::{Demand, Subject, judge};
use crate::gather::{forget_epochs, with_parts};
use crate::name::{self, Name, Role};
use crate::own_step::{own_step, step_of_overwritten};
use crate::pattern::{Pattern, Required};
use crate::siblings::Siblings;
use crate::walk::{Candidate, Walked, walk};
use run_common::error::Error;
use run_common::pipeline::in_order;
use run_common::rundir::attempts::checkpoint_of;
use run_common::rundir::layout::Layout;
use run_common::rundir::meta::{self, Meta};
use run_common::rundir::observe::Observed;
use run_common::time::Timestamp;
use std::collections::HashMap;
use std::convert::Infallible;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Returns all checkpoints below a run, complete or not: first those with a step, by step, then the others by
/// name.
///
/// The search does not enter checkpoints, hidden directories (`.run`, `.eval`), outputs of evaluations, or
/// directories with temporary names. A directory that only contains directories with steps is not a checkpoint.
///
/// Links are not followed, with two exceptions:
/// - A link at the top of the run that is named `checkpoints` or the like and leads to a directory is followed,
///   because checkpoints are often stored on another disk. (`models` and the like are often inputs.)
/// - A link named like a checkpoint represents its target, if the target lies below the run or below such a
///   directory. A checkpoint with several names is listed once, under its real name. A link that is broken or
///   leads out of the run is listed as incomplete.
///
/// A directory that cannot be read, even behind a followed link, is listed as an incomplete checkpoint without
/// a step, because it may contain checkpoints.
///
/// `recorded` has the recorded pattern and required files of the run. A pattern replaces the known names. The
/// required files are paths or globs below the checkpoint; only directories need them. Together with a pattern
/// they replace the requirements of the directory's format.
///
/// Errors: the run cannot be read; the recorded pattern leads out of the run.
pub fn discover(
    layout: &Layout,
    recorded: Option<&meta::Checkpoint>,
    program: Program,
) -> Result<Vec<Checkpoint>, Error> {
    Ok(Names::below(layout, recorded)?.checkpoints(program))
}

/// Like [`discover()`], without checkpoints whose step is smaller than that of the latest complete one. These
/// are not examined, which saves most of the work.
pub fn discover_latest(
    layout: &Layout,
    recorded: Option<&meta::Checkpoint>,
    program: Program,
) -> Result<Vec<Checkpoint>, Error> {
    Ok(Names::below(layout, recorded)?.latest(program))
}

/// Sorts checkpoints, each with its version.
fn sorted(mut all: Vec<(u64, Checkpoint)>) -> Vec<Checkpoint> {
    all.sort_by(|(version, one), (other_version, other)| {
        let key = |one: &Checkpoint| (one.step.is_none(), one.order());
        let path = |one: &Checkpoint| (natural(&one.path), one.path.clone());
        let order = (key(one), version).cmp(&(key(other), other_version));
        order.then_with(|| path(one).cmp(&path(other)))
    });
    all.into_iter().map(|(_, one)| one).collect()
}

/// Numbers with up to this many digits are compared as numbers.
const LONGEST: usize = 20;

/// Returns a sort key of a path: `version_9` sorts before `version_10`.
fn natural(path: &Path) -> String {
    let mut text = String::new();
    let mut digits = String::new();
    for c in path.to_string_lossy().chars().chain(['\0']) {
        if c.is_ascii_digit() {
            digits.push(c);
        } else {
            if !digits.is_empty() {
                text.extend(std::iter::repeat_n('0', LONGEST.saturating_sub(digits.len())));
                text.push_str(&std::mem::take(&mut digits));
            }
            text.push(c);
        }
    }
    text
}

/// Candidates for checkpoints, entries that cannot be read, and the judge of the candidates.
type Findings<'a> = (Vec<Candidate>, Vec<(u64, Checkpoint)>, Judge<'a>);

/// The names below a run: the result of one walk, which yields both the checkpoints and the doubts.
#[derive(Debug)]
pub struct Names<'a> {
    pub(crate) layout: &'a Layout,
    pub(crate) recorded: Option<&'a meta::Checkpoint>,
    pattern: Option<Pattern>,
    pub(crate) walked: Walked,
}

impl<'a> Names<'a> {
    /// Walks through a run, with the recorded pattern and required files. Errors: the run cannot be read; the
    /// pattern leads out of the run.
    pub fn below(layout: &'a Layout, recorded: Option<&'a meta::Checkpoint>) -> Result<Self, Error> {
        let pattern =
            recorded.and_then(|recorded| recorded.pattern.as_deref()).map(Pattern::parse).transpose()?;
        let root = layout.root();
        let walked = walk(root, pattern.as_ref()).map_err(|error| Error::io("read", root, error))?;
        Ok(Self { layout, recorded, pattern, walked })
    }

    /// Returns the checkpoints, as [`discover()`] does.
    pub fn checkpoints(self, program: Program) -> Vec<Checkpoint> {
        let (found, lost, judge) = self.findings(program);
        let mut all: Vec<(u64, Checkpoint)> = lost;
        let Ok(()) = in_order(
            found,
            |one| judge.judge(one),
            |looked| -> Result<(), Infallible> {
                all.extend(looked);
                Ok(())
            },
        );
        sorted(all)
    }

    /// Returns the latest checkpoints, as [`discover_latest()`] does.
    pub fn latest(self, program: Program) -> Vec<Checkpoint> {
        let (found, lost, judge) = self.findings(program);
        let (mut stepped, others): (Vec<Candidate>, Vec<Candidate>) =
            found.into_iter().partition(|one| one.name.step.is_some());
        let mut all: Vec<(u64, Checkpoint)> = lost;
        all.extend(others.into_iter().filter_map(|one| judge.judge(one)));
        let complete = |(_, one): &(u64, Checkpoint)| one.order().filter(|_| one.is_complete());
        let mut latest = all.iter().filter_map(complete).max();
        stepped.sort_by_key(|one| one.name.order());
        while let Some(one) = stepped.pop_if(|one| one.name.order() >= latest) {
            if let Some(looked) = judge.judge(one) {
                latest = latest.max(complete(&looked));
                all.push(looked);
            }
        }
        all.retain(|(_, one)| one.step.is_none() || one.order() >= latest);
        sorted(all)
    }

    fn findings(self, program: Program) -> Findings<'a> {
        let Self { layout, recorded, pattern, walked } = self;
        let root = layout.root();
        let requires = recorded.map_or_else(Vec::new, |recorded| Required::all(&recorded.requires));
        let mut found = distinct(root, walked.candidates);
        if pattern.is_none() {
            found = with_parts(found);
        }
        forget_epochs(found.iter_mut().map(|one| &mut one.name));
        let siblings = Siblings::new(root, &found);
        let judge = Judge { layout, requires, has_pattern: pattern.is_some(), program, siblings };
        let lost = walked.lost.into_iter().map(|lost| (0, Checkpoint { epoch: None, ..lost })).collect();
        (found, lost, judge)
    }
}

/// Judges the candidates of a run.
struct Judge<'a> {
    layout: &'a Layout,
    requires: Vec<Required>,
    has_pattern: bool,
    program: Program,
    siblings: Siblings,
}

impl Judge<'_> {
    /// Judges a candidate, and returns its version, too; `None` if it is gone, or not a checkpoint.
    fn judge(&self, one: Candidate) -> Option<(u64, Checkpoint)> {
        let root = self.layout.root();
        let path = root.join(&one.path);
        let shards: Vec<PathBuf> = one.shards.iter().map(|shard| root.join(shard)).collect();
        let companions: Vec<PathBuf> = one.companions.iter().map(|part| root.join(part)).collect();
        let subject = Subject {
            path: &path,
            is_file: one.is_file,
            shards: (!shards.is_empty()).then_some(&shards[..]),
            companions: &companions,
            temporary: one.name.temporary,
            requires: &self.requires,
            requires_alone: self.has_pattern && !self.requires.is_empty(),
            program: self.program,
        };
        let demand = match one.name.step {
            _ if self.has_pattern => Demand::Nothing,
            Some(_) => Demand::Step,
            None => Demand::Label,
        };
        let (size, mut state) = judge(&subject, demand)?;
        // Recorded requirements with a pattern replace those derived from siblings.
        if state == State::Complete
            && one.name.step.is_some()
            && !subject.requires_alone
            && let Some(lack) = self.siblings.lack(&one.path, one.name.order())
        {
            state = State::Incomplete(lack);
        }
        let version = one.name.step.map_or(0, |_| one.name.version);
        Some((version, self.checkpoint(one, &path, size, state)))
    }

    fn checkpoint(&self, one: Candidate, path: &Path, size: Size, state: State) -> Checkpoint {
        let Candidate { path: below, shards, companions, name, .. } = one;
        let Name { step, epoch, mut labels, .. } = name;
        labels.sort_unstable();
        labels.dedup();
        let parts = if shards.is_empty() { vec![below.clone()] } else { shards };
        let parts = parts.into_iter().chain(companions).collect();
        let mut found =
            Checkpoint { path: below, parts, step, epoch, is_named: step.is_some(), labels, size, state };
        if found.step.is_none() {
            found.step = own_step(path);
        }
        if found.step.is_none() && found.is_complete() && found.labels.contains(&Label::Last) {
            found.step = step_of_overwritten(self.layout, &found.path, size);
        }
        found
    }
}

/// Checks a checkpoint again; `root` is its run, or a copy of the run. `None` if the checkpoint is gone.
pub fn look_again(
    root: &Path,
    one: &Checkpoint,
    recorded: Option<&meta::Checkpoint>,
    program: Program,
) -> Option<Checkpoint> {
    let path = root.join(&one.path);
    let parts: Vec<PathBuf> = one.parts.iter().map(|part| root.join(part)).collect();
    // For TensorFlow, `path` is a prefix and not one of the files.
    let (shards, companions) = match one.parts.first() {
        Some(first) if *first == one.path => (None, &parts[1..]),
        _ => (Some(&parts[..]), &[][..]),
    };
    let requires = recorded.map_or_else(Vec::new, |recorded| Required::all(&recorded.requires));
    let has_pattern = recorded.is_some_and(|recorded| recorded.pattern.is_some());
    let subject = Subject {
        path: &path,
        is_file: false,
        shards,
        companions,
        temporary: one.path.file_name().is_some_and(|name| name::is_temporary(&name.to_string_lossy())),
        requires: &requires,
        requires_alone: has_pattern && !requires.is_empty(),
        program,
    };
    let (size, state) = judge(&subject, Demand::Nothing)?;
    Some(Checkpoint { size, state, ..one.clone() })
}

/// Checks the file or directory at a path as a checkpoint, whatever its name. The path of the result is this
/// name. `None` if nothing is there.
pub fn at(path: &Path, program: Program) -> Option<Checkpoint> {
    let file_name = PathBuf::from(path.file_name()?);
    let text = file_name.to_string_lossy();
    let of_directory = || {
        let plain = name::of_directory(&text).or_else(|| name::of_numbered_directory(&text));
        plain.or_else(|| name::of_any_directory(&text))
    };
    let name = if path.is_dir() { of_directory() } else { name::of_file(&text) };
    let Name { step, mut labels, .. } = name.filter(|name| name.role != Role::Part).unwrap_or_default();
    labels.sort_unstable();
    let one = Checkpoint {
        parts: vec![file_name.clone()],
        path: file_name,
        step: step.or_else(|| own_step(path)),
        epoch: None,
        is_named: step.is_some(),
        labels,
        size: Size::default(),
        state: State::Complete,
    };
    look_again(path.parent()?, &one, None, program)
}

/// Keeps one of several candidates that are the same file or directory: preferably not a link, then with a
/// step, then the first by name. The kept candidate receives the labels of the others.
fn distinct(root: &Path, mut found: Vec<Candidate>) -> Vec<Candidate> {
    found.sort_by(|a, b| {
        let key = |one: &Candidate| (one.leads_to.is_some(), one.name.step.is_none());
        (key(a), &a.path).cmp(&(key(b), &b.path))
    });
    let identity =
        |one: &Candidate| fs::metadata(root.join(&one.path)).ok().map(|meta| (meta.dev(), meta.ino()));
    let mut inodes: HashMap<u64, usize> = HashMap::with_capacity(found.len());
    let mut paths: HashMap<PathBuf, usize> = HashMap::new();
    let mut kept: Vec<Candidate> = Vec::with_capacity(found.len());
    for one in found {
        if paths.is_empty() && one.leads_to.is_some() {
            paths = kept.iter().enumerate().map(|(at, one)| (one.path.clone(), at)).collect();
        }
        let named = one.leads_to.as_ref().and_then(|path| paths.get(path));
        let numbered = one.inode.and_then(|inode| inodes.get(&inode));
        let same = named.or(numbered.filter(|&&same| identity(&kept[same]) == identity(&one)));
        if let Some(&same) = same {
            kept[same].name.labels.extend(one.name.labels);
            kept[same].name.step = kept[same].name.step.or(one.name.step);
            continue;
        }
        if let Some(inode) = one.inode {
            inodes.insert(inode, kept.len());
        }
        kept.push(one);
    }
    kept
}

/// Returns the modification times of the complete checkpoints of a run.
pub fn save_times(run: &Observed, meta: &Meta) -> Vec<Timestamp> {
    let program = if run.status().has_ended() { Program::Ended } else { Program::Lives };
    let layout = run.run.layout();
    let found = discover(layout, checkpoint_of(meta, layout).as_ref(), program).unwrap_or_default();
    found.iter().filter(|one| one.is_complete()).map(Checkpoint::modified).collect()
}
