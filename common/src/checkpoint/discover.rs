//! Finds the checkpoints of a run.

use super::complete::{Demand, Subject, judge};
use super::name::{self, Name, Pattern};
use super::whole;
use super::{Checkpoint, Program, Size, State};
use crate::error::{Error, plain};
use crate::parallel::in_order;
use crate::rundir::layout::Layout;
use crate::rundir::meta;
use std::collections::{BTreeMap, HashMap};
use std::convert::Infallible;
use std::ffi::OsString;
use std::fs::{self, FileType, Metadata};
use std::io;
use std::mem;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// How many directories below the run a checkpoint with a known name may be.
const DEPTH: usize = 5;
/// The same for a recorded pattern with `**`.
const DEEPEST: usize = 16;

/// Returns every checkpoint below a run, complete or not: those with a step in the order of their
/// steps, then the others by name.
///
/// It does not descend into a checkpoint (a directory of directories with steps is none), nor into hidden directories (`.run`, `.eval`), outputs
/// of evaluations, directories with temporary names, or links. A link whose own name is that of a
/// checkpoint stands for what it leads to, if that lies below the run; what is found under
/// several names is listed once, under the name of the thing itself. A link that leads nowhere or
/// out of the run is incomplete. A directory that cannot be looked into is listed as an incomplete
/// checkpoint without step, for it may hold some.
///
/// `recorded` is the pattern and the required files of the run. A recorded pattern stands in place
/// of the names that are known. The required files, paths or globs below the checkpoint, are
/// demanded of directories; together with a pattern they stand in place of what the format of a
/// directory is known to demand.
///
/// Errors: the run cannot be read; the recorded pattern leads out of it.
pub fn discover(
    layout: &Layout,
    recorded: Option<&meta::Checkpoint>,
    program: Program,
) -> Result<Vec<Checkpoint>, Error> {
    let pattern =
        recorded.and_then(|recorded| recorded.pattern.as_deref()).map(Pattern::parse).transpose()?;
    let root = layout.root();
    let canonical = root.canonicalize().map_err(|error| Error::io("read", root, error))?;
    let mut walk = Walk { root, canonical, pattern, found: Vec::new(), lost: Vec::new() };
    walk.visit(Path::new(""), &mut Vec::new()).map_err(|error| Error::io("read", root, error))?;

    let requires = recorded.map_or(&[][..], |recorded| &recorded.requires);
    let demands = |name: &Name| match (&walk.pattern, name.step) {
        (Some(_), _) => Demand::Nothing,
        (None, Some(_)) => Demand::Step,
        (None, None) => Demand::Label,
    };
    let look = |one: Found| {
        let path = root.join(&one.path);
        let shards: Vec<PathBuf> = one.shards.iter().map(|shard| root.join(shard)).collect();
        let subject = Subject {
            path: &path,
            meta: one.meta.as_ref(),
            shards: (!shards.is_empty()).then_some(&shards[..]),
            temporary: one.name.temporary,
            requires,
            requires_alone: walk.pattern.is_some() && !requires.is_empty(),
            program,
        };
        let (size, state) = judge(&subject, demands(&one.name))?;
        let version = one.name.step.map_or(0, |_| one.name.version);
        Some((version, one.into_checkpoint(&path, size, state)))
    };
    let mut all: Vec<(u64, Checkpoint)> = Vec::new();
    let Ok(()) = in_order(once(mem::take(&mut walk.found)), look, |looked| -> Result<(), Infallible> {
        all.extend(looked);
        Ok(())
    });
    all.extend(walk.lost.into_iter().map(|lost| (0, lost)));
    all.sort_by(|(version, one), (other_version, other)| {
        let key = |one: &Checkpoint| (one.step.is_none(), one.step);
        (key(one), version, &one.path).cmp(&(key(other), other_version, &other.path))
    });
    Ok(all.into_iter().map(|(_, one)| one).collect())
}

/// Looks again at a checkpoint, below `root`: that of its run, or that of a copy. `None` when it is gone.
pub fn look_again(
    root: &Path,
    one: &Checkpoint,
    recorded: Option<&meta::Checkpoint>,
    program: Program,
) -> Option<Checkpoint> {
    let path = root.join(&one.path);
    let shards: Vec<PathBuf> = one.parts.iter().map(|part| root.join(part)).collect();
    let requires = recorded.map_or(&[][..], |recorded| &recorded.requires);
    let has_pattern = recorded.is_some_and(|recorded| recorded.pattern.is_some());
    let subject = Subject {
        path: &path,
        meta: None,
        shards: (one.parts != [one.path.clone()]).then_some(&shards[..]),
        temporary: one.path.file_name().is_some_and(|name| name::is_temporary(&name.to_string_lossy())),
        requires,
        requires_alone: has_pattern && !requires.is_empty(),
        program,
    };
    let (size, state) = judge(&subject, Demand::Nothing)?;
    Some(Checkpoint { size, state, ..one.clone() })
}

/// Looks at what lies at a path, which is taken for a checkpoint whatever its name; the path of what
/// is returned is its name. `None` when there is nothing.
pub fn at(path: &Path, program: Program) -> Option<Checkpoint> {
    let file_name = PathBuf::from(path.file_name()?);
    let text = file_name.to_string_lossy();
    let name = if path.is_dir() { name::of_directory(&text) } else { name::of_file(&text) };
    let (step, mut labels) = name.map(|name| (name.step, name.labels)).unwrap_or_default();
    labels.sort_unstable();
    let one = Checkpoint {
        parts: vec![file_name.clone()],
        path: file_name,
        step: step.or_else(|| own_step(path)),
        labels,
        size: Size::default(),
        state: State::Complete,
    };
    look_again(path.parent()?, &one, None, program)
}

/// What may be a checkpoint.
#[derive(Debug)]
struct Found {
    /// Below the run.
    path: PathBuf,
    /// Files of one that consists of several, below the run.
    shards: Vec<PathBuf>,
    name: Name,
    /// It was found by a link.
    is_link: bool,
    /// What it is, links followed.
    meta: Option<Metadata>,
}

impl Found {
    fn into_checkpoint(self, path: &Path, size: Size, state: State) -> Checkpoint {
        let Name { mut step, mut labels, .. } = self.name;
        if step.is_none() {
            step = own_step(path);
        }
        labels.sort_unstable();
        labels.dedup();
        let parts = if self.shards.is_empty() { vec![self.path.clone()] } else { self.shards };
        Checkpoint { path: self.path, parts, step, labels, size, state }
    }
}

/// Returns the step that a checkpoint without one in its name records.
fn own_step(path: &Path) -> Option<u64> {
    let record = |name: &str| whole::record(&path.join(name)).ok();
    record("training_info.json")
        .and_then(|row| whole::step(&row, &["step", "global_step"]))
        .or_else(|| whole::step(&record("trainer_state.json")?, &["global_step"]))
}

/// Keeps one of those that are the same thing: no link, with a step, by the first name; it takes
/// the labels of the others.
fn once(mut found: Vec<Found>) -> Vec<Found> {
    found.sort_by(|a, b| {
        let key = |one: &Found| (one.is_link, one.name.step.is_none());
        (key(a), &a.path).cmp(&(key(b), &b.path))
    });
    let mut seen: HashMap<(u64, u64), usize> = HashMap::new();
    let mut kept: Vec<Found> = Vec::new();
    for one in found {
        let identity = one.meta.as_ref().map(|meta| (meta.dev(), meta.ino()));
        match identity.and_then(|identity| seen.get(&identity)) {
            Some(&same) => {
                kept[same].name.labels.extend(one.name.labels);
                kept[same].name.step = kept[same].name.step.or(one.name.step);
            }
            None => {
                if let Some(identity) = identity {
                    seen.insert(identity, kept.len());
                }
                kept.push(one);
            }
        }
    }
    kept
}

struct Walk<'a> {
    root: &'a Path,
    canonical: PathBuf,
    pattern: Option<Pattern>,
    found: Vec<Found>,
    /// What could not be looked at.
    lost: Vec<Checkpoint>,
}

impl Walk<'_> {
    /// Looks at a directory, `below` the run by these components.
    fn visit(&mut self, below: &Path, components: &mut Vec<String>) -> io::Result<()> {
        let mut entries: Vec<(OsString, FileType)> = Vec::new();
        for entry in fs::read_dir(self.root.join(below))? {
            let entry = entry?;
            let name = entry.file_name();
            if name.as_bytes().starts_with(b".") {
                continue;
            }
            match entry.file_type() {
                Ok(kind) => entries.push((name, kind)),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {} // it is gone meanwhile
                Err(error) => return Err(error),
            }
        }
        entries.sort_by(|(a, _), (b, _)| a.cmp(b));
        self.tensorflow(below, components, &entries);
        for (file_name, kind) in entries {
            let path = below.join(&file_name);
            let text = file_name.to_string_lossy().into_owned();
            components.push(text);
            if kind.is_symlink() {
                self.link(path, components);
            } else if let Some(name) = self.name(&path, components, kind.is_dir()) {
                let meta = fs::metadata(self.root.join(&path)).ok();
                self.found.push(Found { path, shards: Vec::new(), name, is_link: false, meta });
            } else if kind.is_dir() && self.enters(components) {
                match self.visit(&path, components) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => self.lose(path, &plain(&error)),
                    _ => {}
                }
            }
            components.pop();
        }
        Ok(())
    }

    /// Says whether checkpoints may be in a directory that is none.
    fn enters(&self, components: &[String]) -> bool {
        let name = components.last().map_or("", String::as_str);
        match &self.pattern {
            Some(pattern) => components.len() < pattern.depth().unwrap_or(DEEPEST),
            None => {
                let is_eval = ["eval", "evals", "evaluation", "evaluations"].contains(&name);
                components.len() <= DEPTH
                    && !is_eval
                    && !name.starts_with("eval_")
                    && !name::is_temporary(name)
            }
        }
    }

    /// Reads the name of an entry that is no link; `None` when it is not that of a checkpoint.
    fn name(&self, path: &Path, components: &[String], is_directory: bool) -> Option<Name> {
        if let Some(pattern) = &self.pattern {
            return pattern.read(components);
        }
        let name = components.last()?;
        if !is_directory {
            return name::of_file(name);
        }
        let path = self.root.join(path);
        name::of_directory(name).filter(|_| !is_container(&path)).or_else(|| {
            let is_marked = name.contains(".orbax-checkpoint-tmp")
                || ["_CHECKPOINT_METADATA", ".metadata", "__0_0.distcp"]
                    .iter()
                    .any(|mark| path.join(mark).is_file());
            name::of_marked_directory(name).filter(|_| is_marked)
        })
    }

    /// Looks at a link. It is followed when its name is that of a checkpoint, and no further.
    fn link(&mut self, path: PathBuf, components: &[String]) {
        let whole = self.root.join(&path);
        let target = whole.canonicalize();
        let is_directory = target.as_ref().map_or_else(
            // Which it was meant to be cannot be seen.
            |_| components.last().is_none_or(|name| name::of_file(name).is_none()),
            |target| target.is_dir(),
        );
        let Some(name) = self.name(&path, components, is_directory) else { return };
        let inside = |target: &Path| {
            let below = target.strip_prefix(&self.canonical).ok()?;
            let is_visible = |part: &std::ffi::OsStr| !part.as_bytes().starts_with(b".");
            (!below.as_os_str().is_empty() && below.iter().all(is_visible)).then_some(())
        };
        let why = match &target {
            Err(_) => "is a link that leads nowhere",
            Ok(target) if inside(target).is_none() => "is a link that leads out of the run",
            Ok(target) => {
                let meta = fs::metadata(target).ok();
                self.found.push(Found { path, shards: Vec::new(), name, is_link: true, meta });
                return;
            }
        };
        let Name { step, labels, .. } = name;
        let size = fs::symlink_metadata(&whole).map(|meta| Size {
            modified_ns: i128::from(meta.mtime()) * 1_000_000_000 + i128::from(meta.mtime_nsec()),
            ..Size::default()
        });
        let (size, state) = (size.unwrap_or_default(), State::Incomplete(why.to_owned()));
        self.lost.push(Checkpoint { parts: vec![path.clone()], path, step, labels, size, state });
    }

    /// Notes a directory that cannot be looked into.
    fn lose(&mut self, path: PathBuf, why: &str) {
        self.lost.push(Checkpoint {
            parts: vec![path.clone()],
            path,
            step: None,
            labels: Vec::new(),
            size: Size::default(),
            state: State::Incomplete(format!("cannot be read: {why}")),
        });
    }

    /// Finds TensorFlow checkpoints: several files, `PREFIX.index` and `PREFIX.data-00000-of-00001`.
    fn tensorflow(&mut self, below: &Path, components: &mut Vec<String>, entries: &[(OsString, FileType)]) {
        let mut groups: BTreeMap<Vec<u8>, (Vec<PathBuf>, bool)> = BTreeMap::new();
        for (name, _) in entries.iter().filter(|(_, kind)| kind.is_file()) {
            let Some((prefix, rest)) = split_tensorflow(name.as_bytes()) else { continue };
            let (files, is_sure) = groups.entry(prefix.to_vec()).or_default();
            files.push(below.join(name));
            *is_sure |= rest.starts_with(b".data-") || rest == b".index" && contains(prefix, b"ckpt");
        }
        for (prefix, (shards, is_sure)) in groups {
            let prefix = OsString::from_vec(prefix);
            let text = prefix.to_string_lossy().into_owned();
            let name = match &self.pattern {
                _ if !is_sure => None,
                None => name::of_tensorflow(&text),
                Some(pattern) => {
                    components.push(text);
                    let name = pattern.read(components);
                    components.pop();
                    name
                }
            };
            if let Some(name) = name {
                let path = below.join(prefix);
                self.found.push(Found { path, shards, name, is_link: false, meta: None });
            }
        }
    }
}

/// Says whether a directory holds checkpoints and nothing of its own, as `epoch_1/step_500/`.
fn is_container(path: &Path) -> bool {
    let mut holds_step = false;
    for entry in fs::read_dir(path).into_iter().flatten().flatten() {
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => {
                let name = name::of_directory(&entry.file_name().to_string_lossy());
                holds_step |= name.is_some_and(|name| name.step.is_some());
            }
            Ok(kind) if kind.is_symlink() => {}
            _ => return false,
        }
    }
    holds_step
}

/// Splits the name of a file of a TensorFlow checkpoint into the prefix and the rest.
fn split_tensorflow(name: &[u8]) -> Option<(&[u8], &[u8])> {
    for end in [&b".index"[..], b".meta"] {
        if let Some(prefix) = name.strip_suffix(end) {
            return Some((prefix, end));
        }
    }
    let at = name.windows(6).rposition(|part| part == b".data-")?;
    let (prefix, rest) = name.split_at(at);
    let digits = |bytes: &[u8]| !bytes.is_empty() && bytes.iter().all(u8::is_ascii_digit);
    let of = rest.windows(4).position(|part| part == b"-of-")?;
    (digits(rest.get(6..of)?) && digits(&rest[of + 4..])).then_some((prefix, rest))
}

fn contains(name: &[u8], word: &[u8]) -> bool {
    name.windows(word.len()).any(|part| part == word)
}
