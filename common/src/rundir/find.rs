//! Discovery: which directories below another are runs.

use super::layout::{Layout, RECORD_DIR};
use super::open::RunDir;
use crate::error::{Error, plain};
use crate::fsio::join;
use crate::parallel::in_order;
use std::collections::{HashMap, HashSet};
use std::convert::Infallible;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// How deep runs lie below the directory that is searched, at most.
const DEPTH: usize = 3;

/// What discovery comes upon, and what was made of a run.
#[derive(Debug)]
pub enum Found<R = ()> {
    /// A run.
    Run(PathBuf, R),
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

/// A directory that may be a run, or hold some.
struct Candidate {
    path: PathBuf,
    /// It is a link to one, or lies below one that is.
    is_linked: bool,
}

/// What a candidate turned out to be.
enum Kind<R> {
    Run(R),
    /// No run; it may hold some.
    Holder(Vec<Candidate>),
    Unreadable(PathBuf, String),
    /// It is gone, or no directory.
    Nothing,
}

/// Returns the runs below `root`, by path; see [`visit`].
pub fn find(root: &Path) -> Vec<Found> {
    search(root).found
}

/// Like [`find`], and says where runs were looked for.
pub fn search(root: &Path) -> Search {
    let mut found = Vec::new();
    let is_run = |run: &RunDir| RunDir::at(run.layout().root()).map(drop);
    let take = |what: Found<Result<(), Error>>| -> Result<(), Infallible> {
        found.push(match what {
            Found::Run(path, _) => Found::Run(path, ()),
            Found::NotUtf8(path) => Found::NotUtf8(path),
            Found::Other(path) => Found::Other(path),
            Found::Unreadable(path, why) => Found::Unreadable(path, why),
        });
        Ok(())
    };
    let Ok(holders) = visit(root, is_run, take);
    Search { found, holders }
}

/// Goes through the runs below `root`, by path, several at once, and hands on what `look` makes of
/// each. It does not descend into a run, nor deeper than three levels. Names that begin with `.` are
/// skipped. A run that links lead to comes once, by its own name where that is below `root` too, and
/// after all others else; so does what cannot be looked into. Returns the directories in which runs were
/// looked for.
pub fn visit<R: Send, E>(
    root: &Path,
    look: impl Fn(&RunDir) -> Result<R, Error> + Sync,
    mut take: impl FnMut(Found<Result<R, Error>>) -> Result<(), E>,
) -> Result<Vec<PathBuf>, E> {
    let holders = vec![root.to_owned()];
    let entered = Entered::default();
    entered.enter(root, 1);
    let (passed, linked) = (Vec::new(), Vec::new());
    let mut walk = Walk { look: &look, take: &mut take, entered: &entered, holders, passed, linked };
    match inside(root, false) {
        Ok(top) => {
            walk.through(top, 1)?;
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => (walk.take)(Found::Unreadable(root.to_owned(), plain(&error)))?,
    }
    let Walk { holders, passed, linked, .. } = walk;
    if !linked.is_empty() {
        let mut seen: HashSet<_> = passed.iter().filter_map(|path| identity(path)).collect();
        for (path, found) in linked {
            let is_new = match identity(&path) {
                Some(identity) => seen.insert(identity),
                None => matches!(found, Found::Unreadable(..)), // a run is gone
            };
            if is_new {
                take(found)?;
            }
        }
    }
    Ok(holders)
}

/// Tells a directory from all others.
pub(super) fn identity(directory: &Path) -> Option<(u64, u64)> {
    fs::metadata(directory).ok().map(|found| (found.dev(), found.ino()))
}

/// The directories that were gone into, and how deep what is in them lies at least.
#[derive(Default)]
struct Entered(Mutex<HashMap<(u64, u64), usize>>);

impl Entered {
    /// Takes note of a directory; says whether it was not gone into before, from where it lies as deep.
    fn enter(&self, directory: &Path, depth: usize) -> bool {
        let Some(identity) = identity(directory) else { return true };
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match known.get(&identity) {
            Some(least) if *least <= depth => false,
            _ => known.insert(identity, depth).is_none_or(|least| depth < least),
        }
    }
}

struct Walk<'a, R, L, T> {
    look: &'a L,
    take: &'a mut T,
    entered: &'a Entered,
    holders: Vec<PathBuf>,
    /// The directories of what was handed on.
    passed: Vec<PathBuf>,
    /// What is below links, and may be known by its own name, with its directory.
    linked: Vec<(PathBuf, Found<Result<R, Error>>)>,
}

impl<R, E, L, T> Walk<'_, R, L, T>
where
    R: Send,
    L: Fn(&RunDir) -> Result<R, Error> + Sync,
    T: FnMut(Found<Result<R, Error>>) -> Result<(), E>,
{
    /// Goes through directories that lie side by side; says whether there was a run in them.
    fn through(&mut self, candidates: Vec<Candidate>, depth: usize) -> Result<bool, E> {
        let look = self.look;
        let entered = self.entered;
        let mut any = false;
        in_order(
            candidates,
            |candidate| (candidate.kind(depth, look, entered), candidate),
            |(kind, candidate)| {
                let Candidate { path, is_linked } = candidate;
                let mut holds_runs = true;
                match kind {
                    Kind::Run(made) => self.pass(path.clone(), is_linked, run(path, made))?,
                    Kind::Unreadable(what, why) => {
                        self.pass(path, is_linked, Found::Unreadable(what, why))?;
                    }
                    Kind::Holder(inside) => {
                        self.holders.push(path.clone());
                        holds_runs = self.through(inside, depth + 1)?;
                        if depth == 1 && !holds_runs {
                            (self.take)(Found::Other(path))?;
                        }
                    }
                    Kind::Nothing => holds_runs = false,
                }
                any |= holds_runs;
                Ok(())
            },
        )?;
        Ok(any)
    }

    /// Hands on what was found in a directory, or keeps it for the end.
    fn pass(&mut self, path: PathBuf, is_linked: bool, found: Found<Result<R, Error>>) -> Result<(), E> {
        if is_linked {
            self.linked.push((path, found));
            return Ok(());
        }
        self.passed.push(path);
        (self.take)(found)
    }
}

fn run<R>(path: PathBuf, made: R) -> Found<R> {
    if path.to_str().is_some() { Found::Run(path, made) } else { Found::NotUtf8(path) }
}

impl Candidate {
    /// Looks what it is. A run is one of which something can be made, or that has a meta.json.
    fn kind<R>(
        &self,
        depth: usize,
        look: impl Fn(&RunDir) -> Result<R, Error>,
        entered: &Entered,
    ) -> Kind<Result<R, Error>> {
        let failure = match look(&RunDir::seen(&self.path)) {
            Ok(made) => return Kind::Run(Ok(made)),
            Err(failure) => failure,
        };
        match fs::metadata(Layout::new(&self.path).meta()) {
            Ok(_) => Kind::Run(Err(failure)),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                Kind::Unreadable(self.path.join(RECORD_DIR), plain(&error))
            }
            Err(_) if depth == DEPTH => Kind::Nothing,
            // A link to where this is, or to what was gone through already, brings nothing new.
            Err(_) if !entered.enter(&self.path, depth + 1) && self.is_linked => Kind::Nothing,
            Err(_) => match inside(&self.path, self.is_linked) {
                Ok(inside) => Kind::Holder(inside),
                Err(error) if is_nothing(&error) => Kind::Nothing,
                Err(error) => Kind::Unreadable(self.path.clone(), plain(&error)),
            },
        }
    }
}

/// Says whether a path is gone, or a link that leads nowhere, or to a file, or in a circle.
fn is_nothing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
        || error.raw_os_error() == Some(nix::libc::ELOOP)
}

/// Returns the directories in a directory, and the links, by name.
fn inside(directory: &Path, is_linked: bool) -> io::Result<Vec<Candidate>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let Ok(kind) = entry.file_type() else { continue }; // it is gone
        let name = entry.file_name();
        if (kind.is_dir() || kind.is_symlink()) && !name.as_bytes().starts_with(b".") {
            let path = join([directory, Path::new(&name)]);
            found.push(Candidate { path, is_linked: is_linked || kind.is_symlink() });
        }
    }
    found.sort_by(|one, other| bytes(&one.path).cmp(bytes(&other.path)));
    Ok(found)
}

fn bytes(path: &Path) -> &[u8] {
    path.as_os_str().as_bytes()
}
