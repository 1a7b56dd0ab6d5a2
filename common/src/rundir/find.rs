//! Discovery: finds the runs below a directory.

use super::foreign::{self, Foreign, Kind, Listing, is_hidden_holder};
use super::layout::RECORD_DIR;
use super::open::{RunDir, has_record, is_missing};
use crate::error::{Error, Exit, plain};
use crate::fsio::join;
use crate::natural::natural_paths;
use crate::pipeline::in_order;
use std::collections::{HashMap, HashSet};
use std::convert::Infallible;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

/// Maximum depth of runs below the searched directory.
const DEPTH: usize = 3;

/// A result of discovery. `R` is what `look` returned for a run.
#[derive(Debug)]
pub enum Found<R = ()> {
    /// A run, of the suite or of another system.
    Run(RunDir, R),
    /// A run whose path is not UTF-8, and cannot be in a record or JSON.
    NotUtf8(PathBuf),
    /// A directory at the top that neither is nor contains a run, except one that another system keeps beside
    /// its runs.
    Other(PathBuf),
    /// A directory that cannot be read, and why.
    Unreadable(PathBuf, String),
}

/// The runs below a directory, and the directories that were searched.
#[derive(Debug, Default)]
pub struct Search {
    /// The runs and other findings, by path.
    pub found: Vec<Found>,
    /// The directories that were searched for runs.
    pub holders: Holders,
}

/// The directories that may contain runs, with their states before they were read.
#[derive(Debug, Default)]
pub struct Holders(Vec<(PathBuf, Option<Changed>)>);

/// The last change of a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Changed {
    mtime: SystemTime,
    /// Whether the change was so recent that a later change might not alter the mtime: some file systems count
    /// in whole seconds.
    is_young: bool,
}

const YOUNG: Duration = Duration::from_secs(2);

impl Holders {
    /// Returns whether runs may have been created, moved or removed since.
    pub fn may_have_changed(&self) -> bool {
        let is_young = |before: &Option<Changed>| before.is_none_or(|before| before.is_young);
        self.0.iter().any(|(_, before)| is_young(before)) || self.have_changed()
    }

    /// Returns whether runs have certainly been created, moved or removed since.
    pub(crate) fn have_changed(&self) -> bool {
        let mtime = |changed: Option<Changed>| changed.map(|changed| changed.mtime);
        self.0.iter().any(|(path, before)| mtime(changed(path)) != mtime(*before))
    }
}

fn changed(directory: &Path) -> Option<Changed> {
    let mtime = fs::metadata(directory).and_then(|directory| directory.modified()).ok()?;
    Some(Changed { mtime, is_young: mtime.elapsed().is_ok_and(|age| age < YOUNG) })
}

impl<R> Found<R> {
    /// Returns the error of a finding that is not a readable run; `None` for a run, or for a directory without
    /// runs.
    pub fn fault(self, root: &Path) -> Option<Error> {
        let unreadable = |exit, path: &Path, why: String| {
            Error::new(exit, format!("cannot read '{}'", path.display())).because(why)
        };
        match self {
            Self::Run(..) | Self::Other(_) => None,
            Self::NotUtf8(path) => Some(unreadable(Exit::BadRun, &path, "its name is not UTF-8".to_owned())),
            Self::Unreadable(path, why) if path == root => Some(unreadable(Exit::System, &path, why)),
            Self::Unreadable(path, why) => Some(unreadable(Exit::BadRun, &path, why)),
        }
    }
}

/// A directory that may be a run, or contain runs.
struct Candidate {
    path: PathBuf,
    /// Whether it is a link, or lies below a link.
    is_linked: bool,
}

/// The kind of a candidate.
enum Nature<R> {
    Run(RunDir, R),
    /// Not a run, but it may contain runs, a level deeper or (without `is_level`) at the same level. `changed`
    /// is its last change.
    Holder {
        changed: Option<Changed>,
        inside: Vec<Candidate>,
        is_level: bool,
    },
    /// The evaluations of runs.
    Evaluations,
    Unreadable(PathBuf, String),
    /// Nothing: it is gone, or not a directory.
    Nothing,
}

/// Returns the runs below `root` in the natural order of their paths; see [`visit`].
pub fn find(root: &Path) -> Vec<Found> {
    search(root).found
}

/// Like [`find`], and also returns the searched directories.
pub fn search(root: &Path) -> Search {
    let mut found = Vec::new();
    let is_run = RunDir::check;
    let take = |what: Found<Result<(), Error>>| -> Result<(), Infallible> {
        found.push(match what {
            Found::Run(run, _) => Found::Run(run, ()),
            Found::NotUtf8(path) => Found::NotUtf8(path),
            Found::Other(path) => Found::Other(path),
            Found::Unreadable(path, why) => Found::Unreadable(path, why),
        });
        Ok(())
    };
    let Ok(holders) = visit(root, is_run, take);
    Search { found, holders }
}

/// Visits the runs below `root`, several at a time, and passes the results of `look` on in the natural order of
/// their paths. The search does not enter runs, and ends three levels below `root`. Names that begin with `.`
/// are skipped. Runs and unreadable directories behind links come after all others, once each, and only if they
/// were not found under their own names. Returns the searched directories.
pub fn visit<R: Send, E>(
    root: &Path,
    look: impl Fn(&RunDir) -> Result<R, Error> + Sync,
    mut take: impl FnMut(Found<Result<R, Error>>) -> Result<(), E>,
) -> Result<Holders, E> {
    let holders = vec![(root.to_owned(), changed(root))];
    let entered = Entered::default();
    entered.enter(root, 1);
    let (passed, linked) = (Vec::new(), Vec::new());
    let mut walk = Walk { look: &look, take: &mut take, entered: &entered, holders, passed, linked };
    match Listing::read(root) {
        Ok(top) => {
            walk.through(inside(&top, false), 1)?;
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
                None => matches!(found, Found::Unreadable(..)), // a run that is gone is left out
            };
            if is_new {
                take(found)?;
            }
        }
    }
    Ok(Holders(holders))
}

/// Returns the identity of a directory: device and inode.
pub(super) fn identity(directory: &Path) -> Option<(u64, u64)> {
    fs::metadata(directory).ok().map(|found| (found.dev(), found.ino()))
}

/// The searched directories, each with the least depth of its contents so far.
#[derive(Default)]
struct Entered(Mutex<HashMap<(u64, u64), usize>>);

impl Entered {
    /// Records a directory; returns whether it was not visited before at the same depth or higher.
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
    holders: Vec<(PathBuf, Option<Changed>)>,
    /// The directories of findings that were passed on.
    passed: Vec<PathBuf>,
    /// Findings below links, with their directories: they may also have names of their own.
    linked: Vec<(PathBuf, Found<Result<R, Error>>)>,
}

impl<R, E, L, T> Walk<'_, R, L, T>
where
    R: Send,
    L: Fn(&RunDir) -> Result<R, Error> + Sync,
    T: FnMut(Found<Result<R, Error>>) -> Result<(), E>,
{
    /// Visits the directories of one level; returns whether any of them contains a run.
    fn through(&mut self, candidates: Vec<Candidate>, depth: usize) -> Result<bool, E> {
        let look = self.look;
        let entered = self.entered;
        let mut any = false;
        in_order(
            candidates,
            |candidate| (candidate.look(depth, look, entered), candidate),
            |(nature, candidate)| {
                let Candidate { path, is_linked } = candidate;
                let mut holds_runs = true;
                match nature {
                    Nature::Run(run, made) => self.pass(path, is_linked, found(run, made))?,
                    Nature::Unreadable(what, why) => {
                        self.pass(path, is_linked, Found::Unreadable(what, why))?;
                    }
                    Nature::Holder { changed, inside, is_level } => {
                        self.holders.push((path.clone(), changed));
                        holds_runs = self.through(inside, depth + usize::from(is_level))?;
                        let is_other =
                            || !path.parent().and_then(Path::file_name).is_some_and(is_hidden_holder);
                        if depth == 1 && is_level && !holds_runs && is_other() {
                            (self.take)(Found::Other(path))?;
                        }
                    }
                    Nature::Evaluations => {}
                    Nature::Nothing => holds_runs = false,
                }
                any |= holds_runs;
                Ok(())
            },
        )?;
        Ok(any)
    }

    /// Passes a finding on, or keeps it for the end if it is behind a link.
    fn pass(&mut self, path: PathBuf, is_linked: bool, found: Found<Result<R, Error>>) -> Result<(), E> {
        if is_linked {
            self.linked.push((path, found));
            return Ok(());
        }
        self.passed.push(path);
        (self.take)(found)
    }
}

fn found<R>(run: RunDir, made: R) -> Found<R> {
    let root = run.layout().root();
    if root.to_str().is_some() { Found::Run(run, made) } else { Found::NotUtf8(root.to_owned()) }
}

impl Candidate {
    /// Classifies the directory. It is a run if `look` succeeds, if it has a record, or if it has the layout of
    /// another system.
    fn look<R>(
        &self,
        depth: usize,
        look: impl Fn(&RunDir) -> Result<R, Error>,
        entered: &Entered,
    ) -> Nature<Result<R, Error>> {
        let own = RunDir::seen(&self.path);
        let failure = match look(&own) {
            Ok(made) => return Nature::Run(own, Ok(made)),
            Err(failure) => failure,
        };
        let changed = changed(&self.path); // taken before the directory is read
        let listing = Listing::read(&self.path);
        // Without a record directory, there can be no record.
        if listing.as_ref().map_or(true, |listing| listing.has(RECORD_DIR)) {
            match has_record(own.layout()) {
                Ok(true) => return Nature::Run(own, Err(failure)),
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                    return Nature::Unreadable(self.path.join(RECORD_DIR), plain(&error));
                }
                Ok(false) | Err(_) => {}
            }
        }
        let listing = match listing {
            Ok(listing) => listing,
            Err(error) if is_missing(&error) || depth >= DEPTH => return Nature::Nothing,
            Err(error) => return Nature::Unreadable(self.path.clone(), plain(&error)),
        };
        if let Some(foreign) = Foreign::of_listing(&listing) {
            let run = RunDir::foreign(&self.path, foreign);
            let made = look(&run);
            return Nature::Run(run, made);
        }
        // A link to a directory that contains it, or that was searched before, adds nothing.
        if !entered.enter(&self.path, depth + 1) && self.is_linked {
            return Nature::Nothing;
        }
        if foreign::has_evaluations(&listing) {
            return Nature::Evaluations;
        }
        let is_level = !foreign::is_holder(&listing);
        if is_level && depth >= DEPTH {
            return Nature::Nothing;
        }
        Nature::Holder { changed, inside: inside(&listing, self.is_linked), is_level }
    }
}

/// Returns the directories and links in a directory, in natural order.
fn inside(listing: &Listing, is_linked: bool) -> Vec<Candidate> {
    let may_be = |(name, kind): &(&OsStr, Kind)| {
        let is_hidden = name.as_bytes().starts_with(b".") && !is_hidden_holder(name);
        matches!(kind, Kind::Directory | Kind::Link) && !is_hidden
    };
    let candidate = |(name, kind): (&OsStr, Kind)| Candidate {
        path: join([listing.path(), Path::new(name)]),
        is_linked: is_linked || kind == Kind::Link,
    };
    let mut inside: Vec<Candidate> = listing.entries().filter(may_be).map(candidate).collect();
    inside.sort_by(|one, other| natural_paths(&one.path, &other.path));
    inside
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};
    use tempfile::TempDir;

    fn add_run(root: &Path, name: &str) {
        fs::create_dir_all(root.join(name).join(".run")).unwrap();
        fs::write(root.join(name).join(".run/meta.json"), "{}").unwrap();
    }

    fn shown(root: &Path) -> Vec<String> {
        let found = find(root).into_iter().map(|found| {
            let kind = match &found {
                Found::Run(..) => "run",
                Found::NotUtf8(_) => "not UTF-8",
                Found::Other(_) => "other",
                Found::Unreadable(..) => "unreadable",
            };
            let path = match &found {
                Found::Run(run, ()) => run.layout().root(),
                Found::NotUtf8(path) | Found::Other(path) | Found::Unreadable(path, _) => path,
            };
            format!("{kind} {}", path.strip_prefix(root).unwrap().display())
        });
        found.collect()
    }

    #[test]
    fn a_run_comes_once_however_links_lead_to_it() {
        let dir = TempDir::new().unwrap();
        let root = dir.path().join("runs");
        for run in ["a", "batch/b", "../elsewhere/c"] {
            add_run(&root, run);
        }
        for (to, at) in [
            ("..", "loop"),
            (".", "here"),
            ("..", "batch/up"),
            ("b", "batch/latest"),
            ("../a", "batch/other"),
            ("../elsewhere", "far"),
            ("../elsewhere/c", "again"),
            ("itself", "itself"),
            ("nowhere", "dangling"),
        ] {
            symlink(to, root.join(at)).unwrap();
        }
        // Hard links between records do not make two runs one.
        fs::create_dir_all(root.join("d/.run")).unwrap();
        fs::hard_link(root.join("a/.run/meta.json"), root.join("d/.run/meta.json")).unwrap();
        symlink("d", root.join("e")).unwrap();
        let expected = ["run a", "run batch/b", "run d", "other loop", "run again"];
        assert_eq!(shown(&root), expected);
        let by_link = dir.path().join("link");
        symlink("runs", &by_link).unwrap();
        assert_eq!(shown(&by_link), expected);
    }

    #[test]
    fn a_run_without_meta_json_is_a_run_and_a_damaged_one_is_once_one() {
        let dir = TempDir::new().unwrap();
        let root = &dir.path().join("runs");
        fs::create_dir(root).unwrap();
        symlink("..", root.join("loop")).unwrap();
        for (name, file) in [("cut", "meta.json"), ("lost", "status.json")] {
            fs::create_dir_all(root.join(name).join(".run")).unwrap();
            fs::write(root.join(name).join(".run").join(file), "").unwrap();
        }
        fs::create_dir_all(root.join("none/.run")).unwrap();
        fs::create_dir_all(root.join("directory/.run/meta.json")).unwrap();
        assert_eq!(shown(root), ["run cut", "run directory", "other loop", "run lost", "other none"]);
    }

    #[test]
    fn what_cannot_be_read_is_said_once() {
        let dir = TempDir::new().unwrap();
        let root = dir.path();
        add_run(root, "a");
        fs::create_dir(root.join("locked")).unwrap();
        fs::set_permissions(root.join("locked"), PermissionsExt::from_mode(0o000)).unwrap();
        symlink(".", root.join("here")).unwrap();
        let expected = if nix::unistd::getuid().is_root() { "other locked" } else { "unreadable locked" };
        assert_eq!(shown(root), ["run a", expected]);
    }

    #[test]
    fn holders_tell_of_runs_that_come_and_go() {
        let dir = TempDir::new().unwrap();
        let root = dir.path();
        for run in ["a", "batch/b"] {
            add_run(root, run);
        }
        let rest = |directories: &[&str]| {
            let long_ago = SystemTime::now() - Duration::from_secs(60);
            for directory in directories {
                fs::File::open(root.join(directory)).unwrap().set_modified(long_ago).unwrap();
            }
        };
        assert!(search(root).holders.may_have_changed(), "what was just changed may be changed again");
        assert!(!search(root).holders.have_changed());
        let rested = || {
            rest(&["batch", "."]);
            let holders = search(root).holders;
            assert!(!holders.may_have_changed());
            holders
        };
        let holders = rested();
        fs::write(root.join("a/file"), "").unwrap();
        assert!(!holders.may_have_changed(), "a run is no holder");
        add_run(root, "batch/c");
        assert!(holders.may_have_changed());
        let holders = rested();
        fs::remove_dir_all(root.join("a")).unwrap();
        assert!(holders.may_have_changed());
    }
}
