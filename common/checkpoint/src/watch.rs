//! Watches the directories where checkpoints are or may appear, by inotify(7), so that tools need not poll.
//! Used by run-eval and run-stop.

use crate::checkpoint::Checkpoint;
use crate::pattern::Pattern;
use crate::walk::walk;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, InotifyEvent, WatchDescriptor};
use run_common::rundir::layout::Layout;
use run_common::rundir::meta;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;
use walkdir::WalkDir;

/// Extensions of files that programs write constantly, and that are not part of a checkpoint with a recognised
/// name.
const LOGS: [&[u8]; 4] = [b".jsonl", b".log", b".csv", b".tsv"];

/// Notifies of runs whose checkpoints may have changed. Changes on another host, or beyond the kernel's
/// limits, are not noticed, so callers also poll now and then.
#[derive(Debug)]
pub struct Watcher {
    /// `None` if the kernel has no more watches.
    inotify: Option<Inotify>,
    watched: HashMap<WatchDescriptor, Watched>,
}

/// A watched directory.
#[derive(Debug)]
struct Watched {
    /// The number of its run.
    run: usize,
    /// Whether it is part of a checkpoint, so that everything in it matters.
    is_inside: bool,
    /// Whether any name may be that of a checkpoint, because a pattern was recorded.
    has_pattern: bool,
}

impl Default for Watcher {
    fn default() -> Self {
        Self::new()
    }
}

impl Watcher {
    /// Creates a watcher that watches nothing.
    pub fn new() -> Self {
        let inotify = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK).ok();
        Self { inotify, watched: HashMap::new() }
    }

    /// Watches the run with this number: the directories that may hold checkpoints, and incomplete checkpoint
    /// directories, as `found`. Returns whether one of them was not watched before: it may have changed since
    /// the look.
    pub fn watch(
        &mut self,
        run: usize,
        layout: &Layout,
        recorded: Option<&meta::Checkpoint>,
        found: &[Checkpoint],
    ) -> bool {
        let root = layout.root();
        let pattern = recorded.and_then(|recorded| recorded.pattern.as_deref());
        let Ok(pattern) = pattern.map(Pattern::parse).transpose() else { return false };
        let Ok(walked) = walk(root, pattern.as_ref()) else { return false };
        // A checkpoint without a step may be overwritten in place.
        let is_settled = |one: &&Checkpoint| one.is_complete() && one.step.is_some();
        let settled: HashSet<&Path> = found.iter().filter(is_settled).map(|one| one.path.as_path()).collect();
        let unsettled = walked.candidates.iter().filter(|one| !settled.contains(one.path.as_path()));
        let inside = unsettled.flat_map(|one| directories(root.join(&one.path)));
        let places = walked.places.iter().map(|place| (root.join(place), false));
        let has_pattern = pattern.is_some();
        let mut is_new = false;
        for (path, is_inside) in places.chain(inside.map(|path| (path, true))) {
            is_new |= self.add(&path, Watched { run, is_inside, has_pattern });
        }
        is_new
    }

    /// Watches a directory; returns whether it was not watched before.
    fn add(&mut self, path: &Path, watched: Watched) -> bool {
        let events = AddWatchFlags::IN_CREATE
            | AddWatchFlags::IN_MOVE
            | AddWatchFlags::IN_CLOSE_WRITE
            | AddWatchFlags::IN_DELETE
            | AddWatchFlags::IN_ONLYDIR;
        let added = self.inotify.as_ref().map(|inotify| inotify.add_watch(path, events));
        match added {
            Some(Ok(descriptor)) => self.watched.insert(descriptor, watched).is_none(),
            _ => false, // it is gone, or the limit is reached: callers poll it instead
        }
    }

    /// Returns a descriptor that becomes readable after a change; `None` if nothing is watched.
    pub fn handle(&self) -> Option<BorrowedFd<'_>> {
        self.inotify.as_ref().map(AsFd::as_fd)
    }

    /// Waits for a change of possible checkpoints, at most for `limit`; returns the numbers of the runs.
    pub fn wait(&mut self, limit: Duration) -> BTreeSet<usize> {
        let mut changed = BTreeSet::new();
        let mut handles: Vec<PollFd> =
            self.handle().into_iter().map(|handle| PollFd::new(handle, PollFlags::POLLIN)).collect();
        let _ = poll(&mut handles, PollTimeout::try_from(limit).unwrap_or(PollTimeout::MAX)); // events are read anyway
        while let Some(Ok(events)) = self.inotify.as_ref().map(Inotify::read_events) {
            for event in events {
                if event.mask.contains(AddWatchFlags::IN_Q_OVERFLOW) {
                    changed.extend(self.watched.values().map(|watched| watched.run));
                } else if event.mask.contains(AddWatchFlags::IN_IGNORED) {
                    self.watched.remove(&event.wd); // the directory is gone
                } else if let Some(watched) =
                    self.watched.get(&event.wd).filter(|watched| watched.matters(&event))
                {
                    changed.insert(watched.run);
                }
            }
        }
        changed
    }
}

impl Watched {
    /// Returns whether an event may concern a checkpoint.
    fn matters(&self, event: &InotifyEvent) -> bool {
        let name = event.name.as_deref().unwrap_or_default().as_bytes();
        let is_written = event.mask.contains(AddWatchFlags::IN_CLOSE_WRITE);
        let is_log = LOGS.iter().any(|end| name.ends_with(end));
        self.is_inside || !(name.starts_with(b".") || is_written && is_log && !self.has_pattern)
    }
}

/// Returns a directory and its subdirectories; empty for a file.
fn directories(path: PathBuf) -> impl Iterator<Item = PathBuf> {
    let entries = WalkDir::new(path).into_iter().flatten();
    entries.filter(|entry| entry.file_type().is_dir()).map(walkdir::DirEntry::into_path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::Program;
    use crate::discover::discover;
    use std::fs::{self, OpenOptions};
    use std::io::Write;
    use tempfile::TempDir;

    /// A run with a watcher of its checkpoints.
    struct Run {
        dir: TempDir,
        watcher: Watcher,
        recorded: Option<meta::Checkpoint>,
    }

    impl Run {
        fn new(pattern: Option<&str>) -> Self {
            let dir = tempfile::tempdir().unwrap();
            let recorded = pattern
                .map(|pattern| meta::Checkpoint { pattern: Some(pattern.to_owned()), requires: Vec::new() });
            Self { dir, watcher: Watcher::new(), recorded }
        }

        fn path(&self, name: &str) -> PathBuf {
            self.dir.path().join(name)
        }

        fn write(&self, name: &str) {
            fs::create_dir_all(self.path(name).parent().unwrap()).unwrap();
            fs::write(self.path(name), "{}").unwrap();
        }

        /// Watches the run, as number 7; returns whether a directory was not watched before.
        fn watch(&mut self) -> bool {
            let layout = Layout::new(self.dir.path());
            let found = discover(&layout, self.recorded.as_ref(), Program::Ended).unwrap();
            self.watcher.watch(7, &layout, self.recorded.as_ref(), &found)
        }

        /// Returns whether a change was noticed since the last call.
        fn has_changed(&mut self) -> bool {
            let changed = self.watcher.wait(Duration::ZERO);
            assert!(changed.iter().all(|&run| run == 7));
            !changed.is_empty()
        }
    }

    #[test]
    fn what_comes_where_checkpoints_are_is_noticed_and_what_is_logged_is_not() {
        let mut run = Run::new(None);
        run.write("checkpoints/checkpoint-1/model.bin");
        run.write("checkpoints/checkpoint-1/trainer_state.json");
        assert!(run.watch());
        assert!(!run.watch() && !run.has_changed());
        for name in ["metrics.jsonl", "logs.csv", "stdout.log"] {
            run.write(name);
            assert!(run.has_changed(), "{name} is made"); // its creation, once
            let mut file = OpenOptions::new().append(true).open(run.path(name)).unwrap();
            file.write_all(b"x").unwrap();
            drop(file);
            assert!(!run.has_changed(), "{name} is written");
        }
        run.write(".run/status.json");
        assert!(!run.has_changed(), "the record is none");
        // A complete checkpoint directory is not watched.
        run.write("checkpoints/checkpoint-1/more");
        assert!(!run.has_changed());
        fs::create_dir(run.path("checkpoints/checkpoint-2")).unwrap();
        assert!(run.has_changed() && run.watch());
        run.write("checkpoints/checkpoint-2/deep/trainer.log");
        assert!(run.has_changed() && run.watch());
        run.write("checkpoints/checkpoint-2/deep/more.log");
        assert!(run.has_changed() && !run.watch());
        // A file that is written again, a renamed file, and a removed one.
        run.write("model_3.pt.tmp");
        assert!(run.has_changed());
        run.write("model_3.pt.tmp");
        assert!(run.has_changed());
        fs::rename(run.path("model_3.pt.tmp"), run.path("model_3.pt")).unwrap();
        assert!(run.has_changed());
        fs::remove_file(run.path("model_3.pt")).unwrap();
        assert!(run.has_changed());
    }

    #[test]
    fn a_directory_that_is_made_again_is_watched_again() {
        let mut run = Run::new(None);
        run.write("ckpts/x");
        run.watch();
        for _ in 0..2 {
            fs::remove_dir_all(run.path("ckpts")).unwrap();
            assert!(run.has_changed());
            run.write("ckpts/x");
            assert!(run.has_changed() && run.watch());
            run.write("ckpts/model_1.pt");
            assert!(run.has_changed());
        }
    }

    #[test]
    fn with_a_pattern_every_name_counts() {
        let mut run = Run::new(Some("out/{step}.log"));
        run.write("out/1.log");
        run.watch();
        run.write("out/1.log");
        assert!(run.has_changed());
    }

    #[test]
    fn a_run_that_is_gone_is_not_watched() {
        let mut run = Run::new(None);
        let root = run.dir.path().to_owned();
        fs::remove_dir(&root).unwrap();
        assert!(!run.watcher.watch(7, &Layout::new(root), None, &[]));
        assert!(!run.has_changed());
    }
}
