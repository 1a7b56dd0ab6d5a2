//! Finds the checkpoints of a run.

use super::complete::{Demand, Subject, judge};
use super::name::{self, Name, Pattern};
use super::whole;
use super::{Checkpoint, Program, Size, State};
use run_common::error::{Error, plain};
use run_common::parallel::in_order;
use run_common::rundir::layout::Layout;
use run_common::rundir::meta;
use std::collections::{BTreeMap, HashMap};
use std::convert::Infallible;
use std::ffi::OsString;
use std::fs::{self, FileType, Metadata};
use std::io;
use std::mem;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{DirEntryExt, MetadataExt};
use std::path::{Path, PathBuf};

/// How many directories below the run a checkpoint with a known name may be.
const DEPTH: usize = 5;
/// The same for a recorded pattern with `**`.
const DEEPEST: usize = 16;

/// Returns every checkpoint below a run, complete or not: those with a step in the order of their
/// steps, then the others by name.
///
/// It does not descend into a checkpoint (a directory of directories with steps is none), nor into hidden
/// directories (`.run`, `.eval`), outputs of evaluations, directories with temporary names, or links, but
/// for one: a link to a directory that is called `checkpoints` or the like, at the top of the run, is
/// followed, for so they are put on another disk; `models` and the like are often inputs. A link whose
/// own name is that of a checkpoint stands for what it leads to, if that lies below the run or such a
/// directory; what is found under several names is listed once, under the name of the thing itself. A
/// link that leads nowhere or out of the run is incomplete. A directory that cannot be looked into, at the end of a followed link too, is listed as an
/// incomplete checkpoint without step, for it may hold some.
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
    let (found, lost, judge) = search(layout, recorded, program)?;
    let mut all: Vec<(u64, Checkpoint)> = lost;
    let Ok(()) = in_order(
        found,
        |one| judge.judge(one),
        |looked| -> Result<(), Infallible> {
            all.extend(looked);
            Ok(())
        },
    );
    Ok(sorted(all))
}

/// Returns what [`discover`] does, without the checkpoints of smaller steps than the latest complete one
/// has: those are not looked at, which is most of the work.
pub fn discover_latest(
    layout: &Layout,
    recorded: Option<&meta::Checkpoint>,
    program: Program,
) -> Result<Vec<Checkpoint>, Error> {
    let (found, lost, judge) = search(layout, recorded, program)?;
    let (mut stepped, others): (Vec<Found>, Vec<Found>) =
        found.into_iter().partition(|one| one.name.step.is_some());
    let mut all: Vec<(u64, Checkpoint)> = lost;
    all.extend(others.into_iter().filter_map(|one| judge.judge(one)));
    let complete = |(_, one): &(u64, Checkpoint)| one.step.filter(|_| one.is_complete());
    let mut latest = all.iter().filter_map(complete).max();
    stepped.sort_by_key(|one| one.name.step);
    while let Some(one) = stepped.pop_if(|one| one.name.step >= latest) {
        if let Some(looked) = judge.judge(one) {
            latest = latest.max(complete(&looked));
            all.push(looked);
        }
    }
    all.retain(|(_, one)| one.step.is_none() || one.step >= latest);
    Ok(sorted(all))
}

/// Puts checkpoints, each with its version, into their order.
fn sorted(mut all: Vec<(u64, Checkpoint)>) -> Vec<Checkpoint> {
    all.sort_by(|(version, one), (other_version, other)| {
        let key = |one: &Checkpoint| (one.step.is_none(), one.step);
        (key(one), version, &one.path).cmp(&(key(other), other_version, &other.path))
    });
    all.into_iter().map(|(_, one)| one).collect()
}

/// What a search has found: what may be checkpoints, what cannot be looked at, and what judges the former.
type Findings<'a> = (Vec<Found>, Vec<(u64, Checkpoint)>, Judge<'a>);

/// Finds what may be checkpoints, by names alone.
fn search<'a>(
    layout: &'a Layout,
    recorded: Option<&'a meta::Checkpoint>,
    program: Program,
) -> Result<Findings<'a>, Error> {
    let pattern =
        recorded.and_then(|recorded| recorded.pattern.as_deref()).map(Pattern::parse).transpose()?;
    let root = layout.root();
    let (links, followed, found, lost) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let mut walk = Walk { root, canonical: PathBuf::new(), pattern, links, followed, found, lost };
    walk.visit(Path::new(""), &mut Vec::new()).map_err(|error| Error::io("read", root, error))?;
    if !walk.links.is_empty() {
        walk.canonical = root.canonicalize().map_err(|error| Error::io("read", root, error))?;
        walk.follow();
    }
    let requires = recorded.map_or(&[][..], |recorded| &recorded.requires);
    let judge = Judge { root, requires, has_pattern: walk.pattern.is_some(), program };
    let lost = walk.lost.into_iter().map(|lost| (0, lost)).collect();
    Ok((once(root, walk.found), lost, judge))
}

/// Judges what was found below a run.
#[derive(Clone, Copy)]
struct Judge<'a> {
    root: &'a Path,
    requires: &'a [String],
    has_pattern: bool,
    program: Program,
}

impl Judge<'_> {
    /// Looks at what may be a checkpoint; `None` when it is gone, or none after all. The number is its
    /// version.
    fn judge(&self, one: Found) -> Option<(u64, Checkpoint)> {
        let path = self.root.join(&one.path);
        let shards: Vec<PathBuf> = one.shards.iter().map(|shard| self.root.join(shard)).collect();
        let subject = Subject {
            path: &path,
            is_file: one.is_file,
            shards: (!shards.is_empty()).then_some(&shards[..]),
            temporary: one.name.temporary,
            requires: self.requires,
            requires_alone: self.has_pattern && !self.requires.is_empty(),
            program: self.program,
        };
        let demand = match one.name.step {
            _ if self.has_pattern => Demand::Nothing,
            Some(_) => Demand::Step,
            None => Demand::Label,
        };
        let (size, state) = judge(&subject, demand)?;
        let version = one.name.step.map_or(0, |_| one.name.version);
        Some((version, one.into_checkpoint(&path, size, state)))
    }
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
        is_file: false,
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
    /// It is a regular file, by its directory.
    is_file: bool,
    /// The number of its inode, links followed; on another device it may be that of something else.
    inode: Option<u64>,
    /// What it stands for, below the run as far as is known, when it was found by a link.
    leads_to: Option<PathBuf>,
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
fn once(root: &Path, mut found: Vec<Found>) -> Vec<Found> {
    found.sort_by(|a, b| {
        let key = |one: &Found| (one.leads_to.is_some(), one.name.step.is_none());
        (key(a), &a.path).cmp(&(key(b), &b.path))
    });
    let identity = |one: &Found| fs::metadata(root.join(&one.path)).ok().map(|meta| (meta.dev(), meta.ino()));
    let mut inodes: HashMap<u64, usize> = HashMap::with_capacity(found.len());
    let mut paths: HashMap<PathBuf, usize> = HashMap::new();
    let mut kept: Vec<Found> = Vec::with_capacity(found.len());
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

/// Directories at the top of a run that hold its checkpoints and nothing else, by their names in lower case.
const HOLDERS: [&str; 5] = ["checkpoints", "checkpoint", "ckpts", "ckpt", "training_state"];

struct Walk<'a> {
    root: &'a Path,
    /// The root without links, where any are looked at.
    canonical: PathBuf,
    pattern: Option<Pattern>,
    /// Links that were met, with the components of their paths.
    links: Vec<(PathBuf, Vec<String>)>,
    /// Links at the top of the run that were followed, by their names, and where they lead.
    followed: Vec<(PathBuf, PathBuf)>,
    found: Vec<Found>,
    /// What could not be looked at.
    lost: Vec<Checkpoint>,
}

impl Walk<'_> {
    /// Looks at a directory, `below` the run by these components.
    fn visit(&mut self, below: &Path, components: &mut Vec<String>) -> io::Result<()> {
        let mut entries: Vec<(OsString, FileType, u64)> = Vec::new();
        for entry in fs::read_dir(self.root.join(below))? {
            let entry = entry?;
            let name = entry.file_name();
            if name.as_bytes().starts_with(b".") {
                continue;
            }
            match entry.file_type() {
                Ok(kind) => entries.push((name, kind, entry.ino())),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {} // it is gone meanwhile
                Err(error) => return Err(error),
            }
        }
        entries.sort_unstable_by(|(a, ..), (b, ..)| a.cmp(b));
        self.tensorflow(below, components, &entries);
        for (file_name, kind, inode) in entries {
            let path = below.join(&file_name);
            let text = file_name.to_string_lossy().into_owned();
            components.push(text);
            if kind.is_symlink() {
                self.links.push((path, components.clone()));
            } else if let Some(name) = self.name(&path, components, kind.is_dir()) {
                let is_file = kind.is_file();
                let inode = Some(inode);
                self.found.push(Found { path, shards: Vec::new(), name, is_file, inode, leads_to: None });
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
        let why = match target {
            Err(_) => "is a link that leads nowhere",
            Ok(target) => match self.below(&target) {
                None => "is a link that leads out of the run",
                Some(leads_to) => {
                    let meta = fs::metadata(target).ok();
                    let is_file = meta.as_ref().is_some_and(Metadata::is_file);
                    let inode = meta.as_ref().map(Metadata::ino);
                    let leads_to = Some(leads_to);
                    self.found.push(Found { path, shards: Vec::new(), name, is_file, inode, leads_to });
                    return;
                }
            },
        };
        let Name { step, labels, .. } = name;
        let size = fs::symlink_metadata(&whole).map(|meta| Size {
            modified_ns: i128::from(meta.mtime()) * 1_000_000_000 + i128::from(meta.mtime_nsec()),
            ..Size::default()
        });
        let (size, state) = (size.unwrap_or_default(), State::Incomplete(why.to_owned()));
        self.lost.push(Checkpoint { parts: vec![path.clone()], path, step, labels, size, state });
    }

    /// Returns where a path without links lies below the run, or a directory that a link was followed to.
    fn below(&self, target: &Path) -> Option<PathBuf> {
        let run = (PathBuf::new(), self.canonical.clone());
        let mut tops = std::iter::once(&run).chain(&self.followed);
        tops.find_map(|(name, top)| {
            let below = target.strip_prefix(top).ok()?;
            let is_visible = |part: &std::ffi::OsStr| !part.as_bytes().starts_with(b".");
            (!below.as_os_str().is_empty() && below.iter().all(is_visible)).then(|| name.join(below))
        })
    }

    /// Looks at the links, those first that lead to where checkpoints are put, as others may lead there.
    fn follow(&mut self) {
        let links = mem::take(&mut self.links);
        for (path, components) in &links {
            self.follow_holder(path, components);
        }
        for (path, components) in links.into_iter().chain(mem::take(&mut self.links)) {
            self.link(path, &components);
        }
    }

    /// Goes on behind a link at the top of the run, if it leads to where checkpoints are put. What lies in
    /// the run is looked at anyhow; what holds the run is none of it. As no link behind it is followed,
    /// there are no loops.
    fn follow_holder(&mut self, path: &Path, components: &[String]) {
        let [name] = components else { return };
        let is_holder = match &self.pattern {
            Some(pattern) => pattern.begins(name),
            None => HOLDERS.contains(&name.to_lowercase().as_str()),
        };
        if !is_holder {
            return;
        }
        let target = match self.root.join(path).canonicalize() {
            Ok(target) if target.is_dir() => target,
            Ok(_) => return,
            Err(error) => return self.lose(path.to_owned(), &plain(&error)),
        };
        let is_known = self.followed.iter().any(|(_, top)| *top == target) || self.below(&target).is_some();
        if is_known || self.canonical.starts_with(&target) {
            return;
        }
        self.followed.push((path.to_owned(), target));
        if let Err(error) = self.visit(path, &mut components.to_vec()) {
            self.lose(path.to_owned(), &plain(&error));
        }
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
    fn tensorflow(
        &mut self,
        below: &Path,
        components: &mut Vec<String>,
        entries: &[(OsString, FileType, u64)],
    ) {
        let mut groups: BTreeMap<Vec<u8>, (Vec<PathBuf>, bool)> = BTreeMap::new();
        for (name, ..) in entries.iter().filter(|(_, kind, _)| kind.is_file()) {
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
                self.found.push(Found { path, shards, name, is_file: false, inode: None, leads_to: None });
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
