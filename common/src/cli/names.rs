//! Finds the run or batch for a name that a user gives. Used by every tool that takes runs.

use super::operands::Operand;
use crate::error::{Error, Exit};
use crate::rundir::find::{Found, Holders, Search, search};
use crate::rundir::open::RunDir;
use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

/// Finds names below a runs directory. The directory is searched for the first name, and again only if it has
/// changed or a name is missing: a pipe may deliver names for days, of runs that are created meanwhile.
#[derive(Debug)]
pub struct Names {
    runs_dir: PathBuf,
    index: Option<Index>,
    /// Number of searches so far.
    #[cfg(test)]
    searches: usize,
}

/// The runs below a directory, by the names of their own directories.
#[derive(Debug)]
struct Index {
    runs: HashMap<OsString, Vec<RunDir>>,
    holders: Holders,
}

impl Names {
    /// Creates a finder for the names below this directory, which need not exist.
    pub fn below(runs_dir: impl Into<PathBuf>) -> Self {
        Self {
            runs_dir: runs_dir.into(),
            index: None,
            #[cfg(test)]
            searches: 0,
        }
    }

    /// Opens an operand: a path if it contains `/`, else the name of a run or batch below the runs directory.
    /// The run may be in a batch.
    pub fn open(&mut self, name: &str) -> Result<Operand, Error> {
        if name.contains('/') || name == "." || name == ".." {
            return self.at_path(Path::new(name));
        }
        let direct = self.runs_dir.join(name);
        let named = Operand::at(&direct);
        let mut below = self.inside(name, &direct, named.is_ok());
        match (named, below.len()) {
            (Ok(operand), 0) => Ok(operand),
            (Err(_), 1) => Ok(Operand::Run(below.remove(0))),
            (Err(error), 0) => Err(match error.exit() {
                Exit::BadRun if !direct.exists() => {
                    Error::new(Exit::BadRun, format!("no run '{name}' below '{}'", self.runs_dir.display()))
                        .hint("list all runs with run-status -a, or choose another runs directory with -d")
                }
                _ => error,
            }),
            (direct, _) => {
                let below = below.iter().map(|run| run.layout().root().to_owned());
                let paths = direct.ok().map(|operand| operand.path().to_owned()).into_iter().chain(below);
                let paths: Vec<String> = paths.map(|path| format!("'{}'", path.display())).collect();
                Err(Error::usage(format!("'{name}' names {} runs", paths.len()))
                    .because(paths.join(" and "))
                    .hint("name one by its path"))
            }
        }
    }

    fn at_path(&self, path: &Path) -> Result<Operand, Error> {
        match Operand::at(path) {
            // The path as a table shows it: a run below the name of its batch.
            Err(error) if path.is_relative() && !path.exists() => {
                Operand::at(&self.runs_dir.join(path)).map_err(|_| error)
            }
            found => found,
        }
    }

    /// Returns the runs of this name, without the one directly in the runs directory. If there is no run of
    /// this name at all, searches again.
    fn inside(&mut self, name: &str, direct: &Path, is_direct: bool) -> Vec<RunDir> {
        let is_current = self.index.as_ref().is_some_and(|index| !index.holders.have_changed());
        let mut is_new = !is_current;
        loop {
            if is_new {
                self.index = None;
            }
            let runs_dir = &self.runs_dir;
            let index = self.index.get_or_insert_with(|| Index::of(search(runs_dir)));
            #[cfg(test)]
            {
                self.searches += usize::from(is_new);
            }
            let named = index.runs.get(OsStr::new(name)).into_iter().flatten();
            let inside: Vec<RunDir> = named.filter(|run| run.layout().root() != direct).cloned().collect();
            if is_new || is_direct || !inside.is_empty() {
                return inside;
            }
            is_new = true;
        }
    }
}

impl Index {
    fn of(search: Search) -> Self {
        let mut runs: HashMap<OsString, Vec<RunDir>> = HashMap::new();
        for found in search.found {
            if let Found::Run(run, ()) = found
                && let Some(name) = run.layout().root().file_name()
            {
                runs.entry(name.to_owned()).or_default().push(run);
            }
        }
        Self { runs, holders: search.holders }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{self, File};
    use std::time::{Duration, SystemTime};
    use tempfile::TempDir;

    /// A runs directory whose last change is long past.
    struct Runs(TempDir);

    impl Runs {
        fn with(names: &[&str]) -> Self {
            let runs = Self(TempDir::new().unwrap());
            for name in names {
                runs.add(name);
            }
            runs.rest();
            runs
        }

        fn add(&self, name: &str) {
            let record = self.0.path().join(name).join(".run");
            fs::create_dir_all(&record).unwrap();
            fs::write(record.join("meta.json"), "{}").unwrap();
        }

        fn rest(&self) {
            let long_ago = SystemTime::now() - Duration::from_secs(60);
            let inside = fs::read_dir(self.0.path()).unwrap().map(|entry| entry.unwrap().path());
            for directory in inside.chain([self.0.path().to_owned()]) {
                File::open(directory).unwrap().set_modified(long_ago).unwrap();
            }
        }

        fn names(&self) -> Names {
            Names::below(self.0.path())
        }
    }

    fn opened(names: &mut Names, name: &str) -> Result<String, String> {
        let root = names.runs_dir.clone();
        match names.open(name) {
            Ok(operand) => Ok(operand.path().strip_prefix(&root).unwrap().to_str().unwrap().to_owned()),
            Err(error) => Err(error.to_string().replace(&format!("{}/", root.display()), "")),
        }
    }

    #[test]
    fn any_number_of_names_is_one_search() {
        let all: Vec<String> = (0..300).map(|number| format!("batch{}/r{number}", number % 3)).collect();
        let runs = Runs::with(&all.iter().map(String::as_str).collect::<Vec<_>>());
        let mut names = runs.names();
        for path in &all[..200] {
            assert_eq!(opened(&mut names, path.split_once('/').unwrap().1).as_ref(), Ok(path));
        }
        assert_eq!(names.searches, 1);
        // Likewise while a batch is running, which writes its summary into its own directory.
        fs::write(runs.0.path().join("batch0/experiment_summary.json"), "{}").unwrap();
        let mut names = runs.names();
        for path in &all[..200] {
            assert_eq!(opened(&mut names, path.split_once('/').unwrap().1).as_ref(), Ok(path));
        }
        assert_eq!(names.searches, 1);
    }

    #[test]
    fn paths_are_no_search() {
        let runs = Runs::with(&["a", "batch/b"]);
        let mut names = runs.names();
        for path in ["a".to_owned(), "batch/b".to_owned()] {
            assert_eq!(opened(&mut names, runs.0.path().join(&path).to_str().unwrap()), Ok(path));
        }
        assert_eq!(opened(&mut names, "batch/b"), Ok("batch/b".to_owned()), "as a table shows it");
        assert_eq!(names.searches, 0);
    }

    #[test]
    fn runs_that_are_created_meanwhile_are_found() {
        let runs = Runs::with(&["a", "batch/b"]);
        let mut names = runs.names();
        assert_eq!(opened(&mut names, "b"), Ok("batch/b".to_owned()));
        // A run that the modification times reveal, and one that they do not.
        for (path, rests) in [("batch/c", false), ("batch/d", true)] {
            runs.add(path);
            if rests {
                runs.rest();
            }
            assert_eq!(opened(&mut names, path.split_once('/').unwrap().1), Ok(path.to_owned()));
        }
        assert!(opened(&mut names, "nope").unwrap_err().starts_with("no run 'nope' below '"));
    }

    #[test]
    fn a_name_that_becomes_ambiguous_is_refused() {
        let runs = Runs::with(&["batch/a", "other/b"]);
        let mut names = runs.names();
        assert_eq!(opened(&mut names, "a"), Ok("batch/a".to_owned()));
        runs.add("other/a");
        assert_eq!(opened(&mut names, "a").unwrap_err(), "'a' names 2 runs: 'batch/a' and 'other/a'");
        runs.add("a");
        let refused = "'a' names 3 runs: 'a' and 'batch/a' and 'other/a'";
        assert_eq!(opened(&mut names, "a").unwrap_err(), refused);
        assert_eq!(names.open("a").unwrap_err().exit(), Exit::Usage);
    }
}
