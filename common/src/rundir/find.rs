//! Discovery: which directories below another are runs.

use super::layout::{Layout, RECORD_DIR};
use crate::error::plain;
use crate::parallel::in_order;
use std::collections::HashSet;
use std::convert::Infallible;
use std::fs;
use std::io;
use std::mem;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// How deep runs lie below the directory that is searched, at most.
const DEPTH: usize = 3;

/// What discovery comes upon.
#[derive(Debug)]
pub enum Found {
    /// A run.
    Run(PathBuf),
    /// A run whose name no record and no JSON can hold.
    NotUtf8(PathBuf),
    /// A directory at the top that is no run and holds none.
    Other(PathBuf),
    /// What could not be looked into, and why.
    Unreadable(PathBuf, String),
}

/// What lies below a directory, and where that was looked for.
#[derive(Debug, Default)]
pub struct Search {
    /// The runs, and what else there is, by path.
    pub found: Vec<Found>,
    /// The directories that hold runs, or may: one that is made or removed changes their mtime.
    pub holders: Vec<PathBuf>,
}

/// Tells one meta.json from all others.
type Identity = (u64, u64);

/// A directory that may be a run, or hold some.
struct Candidate {
    path: PathBuf,
    /// It is a link to one, or lies below one that is.
    is_linked: bool,
    /// Which of the directories at the top it is, or lies below.
    top: usize,
}

/// What a candidate turned out to be.
enum Kind {
    Run(Identity),
    /// No run; it may hold some.
    Holder(Vec<Candidate>),
    Unreadable(PathBuf, String),
    /// It is gone, or no directory.
    Nothing,
}

/// Returns the runs below `root`, by path; it does not descend into a run, nor deeper than three
/// levels. Names that begin with `.` are skipped. A run that links lead to is returned once, by its
/// own name where that is below `root` too.
pub fn find(root: &Path) -> Vec<Found> {
    search(root).found
}

/// Like [`find`], and says where runs were looked for.
pub fn search(root: &Path) -> Search {
    let mut search = Search { found: Vec::new(), holders: vec![root.to_owned()] };
    let mut level = match inside(root, false, 0) {
        Ok(top) => top,
        Err(error) => {
            if error.kind() != io::ErrorKind::NotFound {
                search.found.push(Found::Unreadable(root.to_owned(), plain(&error)));
            }
            return search;
        }
    };
    for (number, candidate) in level.iter_mut().enumerate() {
        candidate.top = number;
    }
    let mut idle: Vec<Option<PathBuf>> = vec![None; level.len()]; // holders at the top, without a run so far
    let mut seen = HashSet::new();
    let mut linked = Vec::new(); // runs below links, with what identifies them
    for depth in 1..=DEPTH {
        let mut kinds = Vec::with_capacity(level.len());
        let look = |candidate: Candidate| (candidate.kind(depth), candidate);
        let take = |looked| -> Result<(), Infallible> {
            kinds.push(looked);
            Ok(())
        };
        let Ok(()) = in_order(mem::take(&mut level), look, take);
        for (kind, Candidate { path, is_linked, top }) in kinds {
            match kind {
                Kind::Holder(inside) => {
                    if depth == 1 {
                        idle[top] = Some(path.clone());
                    }
                    search.holders.push(path);
                    level.extend(inside);
                    continue;
                }
                Kind::Run(identity) if is_linked => linked.push((identity, path)),
                Kind::Run(identity) => {
                    if seen.insert(identity) {
                        search.found.push(run(path));
                    }
                }
                Kind::Unreadable(what, cause) => search.found.push(Found::Unreadable(what, cause)),
                Kind::Nothing => continue,
            }
            idle[top] = None;
        }
    }
    let linked = linked.into_iter().filter(|(identity, _)| seen.insert(*identity));
    search.found.extend(linked.map(|(_, path)| run(path)));
    search.found.extend(idle.into_iter().flatten().map(Found::Other));
    search.found.sort_by(|one, other| bytes(one.path()).cmp(bytes(other.path())));
    search
}

impl Found {
    /// Returns where it lies.
    pub fn path(&self) -> &Path {
        match self {
            Self::Run(path) | Self::NotUtf8(path) | Self::Other(path) | Self::Unreadable(path, _) => path,
        }
    }
}

fn bytes(path: &Path) -> &[u8] {
    path.as_os_str().as_bytes()
}

impl Candidate {
    /// Looks what it is.
    fn kind(&self, depth: usize) -> Kind {
        match fs::metadata(Layout::new(&self.path).meta()) {
            Ok(meta) => Kind::Run((meta.dev(), meta.ino())),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                Kind::Unreadable(self.path.join(RECORD_DIR), plain(&error))
            }
            Err(_) if depth == DEPTH => Kind::Nothing,
            Err(_) => match inside(&self.path, self.is_linked, self.top) {
                Ok(inside) => Kind::Holder(inside),
                // It is gone, or a link that leads nowhere, or to a file, or in a circle.
                Err(error)
                    if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) =>
                {
                    Kind::Nothing
                }
                Err(error) => Kind::Unreadable(self.path.clone(), plain(&error)),
            },
        }
    }
}

/// Returns the directories in a directory, and the links, by name.
fn inside(directory: &Path, is_linked: bool, top: usize) -> io::Result<Vec<Candidate>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let Ok(kind) = entry.file_type() else { continue }; // it is gone
        if (kind.is_dir() || kind.is_symlink()) && !entry.file_name().as_bytes().starts_with(b".") {
            found.push(Candidate { path: entry.path(), is_linked: is_linked || kind.is_symlink(), top });
        }
    }
    found.sort_by(|one, other| bytes(&one.path).cmp(bytes(&other.path)));
    Ok(found)
}

fn run(path: PathBuf) -> Found {
    if path.to_str().is_some() { Found::Run(path) } else { Found::NotUtf8(path) }
}
