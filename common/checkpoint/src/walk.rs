//! Finds candidates for the checkpoints of a run, mostly by names.

use crate::checkpoint::{Checkpoint, Size, State};
use crate::contents::modified_ns;
use crate::inside::{holds_state, is_container, is_of_run};
use crate::name::{self, DirectoryUse, Name, Role};
use crate::pattern::Pattern;
use crate::words::{is_other_place, is_place_of_data, is_place_of_models};
use run_common::error::plain;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::fs::{self, FileType, Metadata};
use std::io;
use std::mem;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{DirEntryExt, MetadataExt};
use std::path::{Path, PathBuf};

/// Maximum depth of a checkpoint with a known name, in directories below the run.
const DEPTH: usize = 8;
/// Maximum depth with a recorded pattern that contains `**`.
const DEEPEST: usize = 16;

/// A candidate for a checkpoint. All paths are below the run.
#[derive(Debug)]
pub(crate) struct Candidate {
    /// Its path; for TensorFlow the common prefix of its files.
    pub(crate) path: PathBuf,
    /// Its files, if it consists of several.
    pub(crate) shards: Vec<PathBuf>,
    /// Its companion files, such as the optimizer beside a model.
    pub(crate) companions: Vec<PathBuf>,
    pub(crate) name: Name,
    /// Whether the directory entry is that of a regular file.
    pub(crate) is_file: bool,
    /// The inode number, after following links. Files on different devices may share a number.
    pub(crate) inode: Option<u64>,
    /// For a link, the path of its target.
    pub(crate) leads_to: Option<PathBuf>,
}

/// The result of a walk below a run.
#[derive(Debug, Default)]
pub(crate) struct Walked {
    pub(crate) candidates: Vec<Candidate>,
    /// The directories that were read, below the run.
    pub(crate) places: Vec<PathBuf>,
    /// Broken links, links that lead out of the run, and directories that cannot be read.
    pub(crate) lost: Vec<Checkpoint>,
    /// Files with the extension of a checkpoint, but no recognised name.
    pub(crate) unknown: Vec<PathBuf>,
}

/// Finds candidates below `root`. Errors: the directory of the run cannot be read.
pub(crate) fn walk(root: &Path, pattern: Option<&Pattern>) -> io::Result<Walked> {
    let (links, followed) = (Vec::new(), Vec::new());
    let mut walk =
        Walk { root, canonical: PathBuf::new(), pattern, links, followed, walked: Walked::default() };
    walk.visit(Path::new(""), &mut Vec::new())?;
    if !walk.links.is_empty() {
        walk.canonical = root.canonicalize()?;
        walk.follow();
    }
    Ok(walk.walked)
}

/// Directories at the top of a run that contain only checkpoints, by their names in lower case.
const HOLDERS: [&str; 5] = ["checkpoints", "checkpoint", "ckpts", "ckpt", "training_state"];

/// Returns whether a directory of this name contains only checkpoints.
fn is_holder(name: &str) -> bool {
    HOLDERS.contains(&name.to_lowercase().as_str())
}

struct Walk<'a> {
    root: &'a Path,
    /// The root with all links resolved; empty if no link was found.
    canonical: PathBuf,
    pattern: Option<&'a Pattern>,
    /// Links found so far, with the components of their paths.
    links: Vec<(PathBuf, Vec<String>)>,
    /// Links at the top of the run that were followed, with their targets.
    followed: Vec<(PathBuf, PathBuf)>,
    walked: Walked,
}

impl Walk<'_> {
    /// Reads the directory at `below`, whose path has these components.
    fn visit(&mut self, below: &Path, components: &mut Vec<String>) -> io::Result<()> {
        self.walked.places.push(below.to_owned());
        let mut entries: Vec<(OsString, FileType, u64)> = Vec::new();
        for entry in fs::read_dir(self.root.join(below))? {
            let entry = entry?;
            let name = entry.file_name();
            if name.as_bytes().starts_with(b".") {
                continue;
            }
            match entry.file_type() {
                Ok(kind) => entries.push((name, kind, entry.ino())),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {} // removed meanwhile
                Err(error) => return Err(error),
            }
        }
        entries.sort_unstable_by(|(a, ..), (b, ..)| a.cmp(b));
        self.tensorflow(below, components, &entries);
        let (first, first_unknown) = (self.walked.candidates.len(), self.walked.unknown.len());
        for (file_name, kind, inode) in entries {
            let path = below.join(&file_name);
            let text = file_name.to_string_lossy().into_owned();
            components.push(text);
            if kind.is_symlink() {
                self.links.push((path, components.clone()));
            } else if let Some(name) = self.name(&path, components, kind.is_dir()) {
                let is_file = kind.is_file();
                let inode = Some(inode);
                self.walked.candidates.push(Candidate {
                    path,
                    shards: Vec::new(),
                    companions: Vec::new(),
                    name,
                    is_file,
                    inode,
                    leads_to: None,
                });
            } else if kind.is_dir() && self.enters(components) {
                match self.visit(&path, components) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => self.lose(path, &plain(&error)),
                    _ => {}
                }
            } else if kind.is_file()
                && self.pattern.is_none()
                && name::looks_like_one(&components[components.len() - 1])
            {
                self.walked.unknown.push(path);
            }
            components.pop();
        }
        self.complete_series(below, first, first_unknown);
        Ok(())
    }

    /// Adds files whose names differ only in the number from a checkpoint beside them: `model950.pt` beside
    /// `model1000.pt`.
    fn complete_series(&mut self, below: &Path, first: usize, first_unknown: usize) {
        let series = |path: &Path| path.file_name().and_then(|name| name::series(&name.to_string_lossy()));
        let is_here = |path: &Path| path.parent() == Some(below);
        let known: BTreeSet<String> = self.walked.candidates[first..]
            .iter()
            .filter(|one| one.is_file && is_here(&one.path))
            .filter_map(|one| Some(series(&one.path)?.0))
            .collect();
        if known.is_empty() {
            return;
        }
        for path in self.walked.unknown.split_off(first_unknown) {
            match series(&path).filter(|(series, _)| is_here(&path) && known.contains(series)) {
                Some((_, step)) => self.walked.candidates.push(Candidate {
                    inode: fs::symlink_metadata(self.root.join(&path)).ok().map(|meta| meta.ino()),
                    path,
                    shards: Vec::new(),
                    companions: Vec::new(),
                    name: Name { step: Some(step), ..Name::default() },
                    is_file: true,
                    leads_to: None,
                }),
                None => self.walked.unknown.push(path),
            }
        }
    }

    /// Returns whether a directory that is not a checkpoint may contain checkpoints.
    fn enters(&self, components: &[String]) -> bool {
        let name = components.last().map_or("", String::as_str);
        match self.pattern {
            Some(pattern) => components.len() < pattern.depth().unwrap_or(DEEPEST),
            None => components.len() <= DEPTH && !is_other_place(name) && !name::is_temporary(name),
        }
    }

    /// Reads the name of an entry that is not a link; `None` if it is not that of a checkpoint.
    fn name(&self, path: &Path, components: &[String], is_directory: bool) -> Option<Name> {
        if let Some(pattern) = self.pattern {
            return pattern.read(components);
        }
        let name = self.by_grammar(path, components, is_directory)?;
        // If the name has no epoch, a parent directory that is named after an epoch provides it.
        let above = components.iter().rev().skip(1).find_map(|above| name::epoch_directory(above));
        Some(Name { epoch: name.epoch.or(above), ..name })
    }

    fn by_grammar(&self, path: &Path, components: &[String], is_directory: bool) -> Option<Name> {
        let name = components.last()?;
        let is_held = components.len().checked_sub(2).is_some_and(|above| is_holder(&components[above]));
        if !is_directory {
            let is_data = components.iter().rev().skip(1).any(|above| is_place_of_data(above));
            let mut above = components.iter().rev().skip(1).take(2);
            let directory = match is_held {
                true => DirectoryUse::Checkpoints,
                false if is_data => DirectoryUse::Data,
                false if above.any(|above| is_place_of_models(above)) => DirectoryUse::Models,
                false => DirectoryUse::Other,
            };
            return name::of_file_in(name, directory);
        }
        let path = self.root.join(path);
        let numbered = || name::of_numbered_directory(name).filter(|_| is_held && holds_state(&path));
        let other = || {
            let name = name::of_any_directory(name).filter(|_| holds_state(&path) && !is_of_run(&path))?;
            Some(Name { role: Role::Second, ..name })
        };
        name::of_directory(name)
            .filter(|_| !is_container(&path, name))
            .or_else(numbered)
            .or_else(|| {
                let is_marked = name.contains(".orbax-checkpoint-tmp")
                    || ["_CHECKPOINT_METADATA", ".metadata", "__0_0.distcp"]
                        .iter()
                        .any(|mark| path.join(mark).is_file());
                name::of_marked_directory(name).filter(|_| is_marked)
            })
            .or_else(other)
    }

    /// Adds a link as a candidate if its name is that of a checkpoint.
    fn link(&mut self, path: PathBuf, components: &[String]) {
        let whole = self.root.join(&path);
        let target = whole.canonicalize();
        let is_directory = target.as_ref().map_or_else(
            // A broken link does not show what its target was.
            |_| components.last().is_none_or(|name| name::of_file(name).is_none()),
            |target| target.is_dir(),
        );
        let Some(name) = self.name(&path, components, is_directory) else { return };
        if name.role == Role::Part {
            return;
        }
        let why = match target {
            Err(_) => "is a link that leads nowhere",
            Ok(target) => match self.below(&target) {
                None => "is a link that leads out of the run",
                Some(leads_to) => {
                    let meta = fs::metadata(target).ok();
                    let is_file = meta.as_ref().is_some_and(Metadata::is_file);
                    let inode = meta.as_ref().map(Metadata::ino);
                    let leads_to = Some(leads_to);
                    self.walked.candidates.push(Candidate {
                        path,
                        shards: Vec::new(),
                        companions: Vec::new(),
                        name,
                        is_file,
                        inode,
                        leads_to,
                    });
                    return;
                }
            },
        };
        let Name { step, epoch, labels, .. } = name;
        let size = fs::symlink_metadata(&whole)
            .map(|meta| Size { modified_ns: modified_ns(&meta), ..Size::default() });
        let (size, state) = (size.unwrap_or_default(), State::Incomplete(why.to_owned()));
        self.walked.lost.push(Checkpoint {
            parts: vec![path.clone()],
            path,
            step,
            epoch,
            is_named: step.is_some(),
            labels,
            size,
            state,
        });
    }

    /// Returns the path of a link's target below the run, or below the target of a followed link.
    fn below(&self, target: &Path) -> Option<PathBuf> {
        let run = (PathBuf::new(), self.canonical.clone());
        let mut tops = std::iter::once(&run).chain(&self.followed);
        tops.find_map(|(name, top)| {
            let below = target.strip_prefix(top).ok()?;
            let is_visible = |part: &OsStr| !part.as_bytes().starts_with(b".");
            (!below.as_os_str().is_empty() && below.iter().all(is_visible)).then(|| name.join(below))
        })
    }

    /// Processes the links. Links to directories of checkpoints come first, because others may lead into these.
    fn follow(&mut self) {
        let links = mem::take(&mut self.links);
        for (path, components) in &links {
            self.follow_holder(path, components);
        }
        for (path, components) in links.into_iter().chain(mem::take(&mut self.links)) {
            self.link(path, &components);
        }
    }

    /// Follows a link at the top of the run if it leads to a directory of checkpoints. Targets inside the run
    /// are visited anyway; targets that contain the run are ignored. Links behind it are not followed, so there
    /// are no loops.
    fn follow_holder(&mut self, path: &Path, components: &[String]) {
        let [name] = components else { return };
        let is_holder = match self.pattern {
            Some(pattern) => pattern.holder() == Some(name),
            None => is_holder(name),
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

    /// Records a directory that cannot be read.
    fn lose(&mut self, path: PathBuf, why: &str) {
        self.walked.lost.push(Checkpoint {
            parts: vec![path.clone()],
            path,
            step: None,
            epoch: None,
            is_named: false,
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
            let name = match self.pattern {
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
                self.walked.candidates.push(Candidate {
                    path,
                    shards,
                    companions: Vec::new(),
                    name,
                    is_file: false,
                    inode: None,
                    leads_to: None,
                });
            }
        }
    }
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
