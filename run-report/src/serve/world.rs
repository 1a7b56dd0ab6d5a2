//! The runs as the live page shows them: what is light of all, kept up to date; details on demand.

use super::details::Details;
use super::stamp::{Stamp, beside};
use crate::curves::Options;
use crate::export::about;
use crate::figures::Figures;
use crate::goodput::in_seconds;
use crate::page::data;
use crate::run::Run;
use crate::runs::{Selection, name_of, open};
use crate::table;
use run_common::cost::Rates;
use run_common::error::Error;
use run_common::pipeline::in_order;
use run_common::rundir::evaluations::Finder;
use run_common::rundir::observe::Observer;
use run_common::rundir::open::RunDir;
use run_common::rundir::status::Status;
use run_metrics::foreign::figures;
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::convert::Infallible;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use uuid::Uuid;

/// Maximum number of messages that wait for a client; one that lets more wait has to connect again.
const WAITING: usize = 64;

/// Maximum number of ended runs whose details are kept.
const KEPT: usize = 64;

/// Maximum number of runs that are known to have gone.
const GONE: usize = 10_000;

/// How long a page of few runs waits for the metrics of all; those that come later are sent to it.
const FILLING: Duration = Duration::from_millis(100);

/// How old the first look at all runs may be for the first page; pages that follow runs are no newer.
const FRESH: Duration = Duration::from_secs(1);

/// Maximum number of runs that are sent together.
const TOGETHER: usize = 100;

/// How much is read of a run.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Depth {
    /// What its record tells.
    Record,
    /// Its metrics, too, where the record lacks them.
    Metrics,
}

/// A run to read, and the files of its trainer, as far as they are known.
type Wanted = (RunDir, Vec<PathBuf>);

/// A run that was read.
struct Read {
    run: Run,
    stamp: Stamp,
    depth: Depth,
    /// When it began to be read.
    begun: Instant,
    /// What the page has of it without its details.
    light: Value,
}

/// A run of the page.
struct Known<'a> {
    id: u64,
    run: Run,
    /// Grows with each change.
    version: u64,
    stamp: Stamp,
    depth: Depth,
    /// When it began to be read.
    begun: Instant,
    /// When it changed last, by the clock of the state.
    changed: u64,
    /// What the page has of it without its details.
    light: Value,
    details: Arc<Mutex<Details<'a>>>,
}

#[derive(Default)]
struct State<'a> {
    runs: BTreeMap<PathBuf, Known<'a>>,
    last_id: u64,
    /// Grows with each change.
    clock: u64,
    /// Runs that have gone, and when.
    gone: Vec<(u64, u64)>,
    /// The ended runs whose details are kept, the oldest first.
    kept: VecDeque<PathBuf>,
    clients: Vec<SyncSender<Arc<String>>>,
    /// When all runs were first looked at, until there is a page.
    begun: Option<Instant>,
    /// The metrics of all runs have been read.
    is_filled: bool,
}

/// The runs, and the clients that follow them.
pub(super) struct World<'a> {
    selection: &'a Selection<'a>,
    /// How curves are read, and how the page shows them first.
    options: &'a Options<'a>,
    shown: &'a Options<'a>,
    rates: Option<&'a Rates>,
    above: PathBuf,
    /// What tells this server from another at the same address.
    server: String,
    state: Mutex<State<'a>>,
    filled: Condvar,
}

impl<'a> World<'a> {
    pub(super) fn new(
        selection: &'a Selection<'a>,
        options: &'a Options<'a>,
        shown: &'a Options<'a>,
        rates: Option<&'a Rates>,
    ) -> Self {
        let above = std::path::absolute(&selection.runs_dir).unwrap_or_else(|_| selection.runs_dir.clone());
        let server = Uuid::new_v4().simple().to_string();
        Self {
            selection,
            options,
            shown,
            rates,
            above,
            server,
            state: Mutex::default(),
            filled: Condvar::new(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State<'a>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks for runs, and reads their records; calls `say` for those that cannot be opened. Returns the number of
    /// runs.
    pub(super) fn begin(&self, say: &mut dyn FnMut(Error)) -> Result<usize, Error> {
        self.look_for(Depth::Record, say)?;
        let state = &mut *self.state();
        state.begun = Some(Instant::now());
        Ok(state.runs.len())
    }

    /// Reads the metrics of the runs that [`Self::begin`] has found, the last ones first.
    pub(super) fn fill(&self) {
        let mut found = self.wanted(|known| known.depth == Depth::Record);
        found.reverse();
        let gone = self.read(found, Depth::Metrics);
        self.forget(&gone);
        self.state().is_filled = true;
        self.filled.notify_all();
    }

    fn wanted(&self, is_wanted: impl Fn(&Known) -> bool) -> Vec<Wanted> {
        let state = self.state();
        let wanted = state.runs.values().filter(|known| is_wanted(known));
        wanted.map(|known| (known.run.seen.run.clone(), beside(&known.run))).collect()
    }

    /// Looks for runs before a page is made, unless that was just done, or is done all the time.
    pub(super) fn refresh(&self) {
        let is_first = self.state().begun.take().is_some_and(|time| time.elapsed() < FRESH);
        if !is_first && !self.is_followed() {
            self.scan();
        }
    }

    /// Looks for runs, and reads those that are new or have changed.
    pub(super) fn scan(&self) {
        let _ = self.look_for(Depth::Metrics, &mut drop); // a directory that cannot be read now may be read later
    }

    fn look_for(&self, depth: Depth, say: &mut dyn FnMut(Error)) -> Result<(), Error> {
        let opened = open(self.selection)?.into_iter();
        let opened: Vec<RunDir> = opened.filter_map(|run| run.map_err(&mut *say).ok()).collect();
        // Files are looked at while others may read the state.
        let known: HashMap<PathBuf, (Vec<PathBuf>, Stamp, String)> = {
            let state = self.state();
            let known = |(path, known): (&PathBuf, &Known)| {
                (path.clone(), (beside(&known.run), known.stamp.clone(), known.run.meta.run_id.clone()))
            };
            state.runs.iter().map(known).collect()
        };
        let finder = Finder::new(self.selection.eval_dir).silent();
        let (mut changed, mut found): (Vec<Wanted>, _) = (Vec::new(), HashSet::new());
        for run in opened {
            let path = run.absolute();
            match known.get(&path) {
                None => changed.push((run, Vec::new())),
                Some((beside, stamp, run_id)) => {
                    let evaluations = finder.of_run(&run, run_id);
                    if !Stamp::of(&run, beside).with(&evaluations).is_same(stamp) {
                        changed.push((run, beside.clone()));
                    }
                }
            }
            found.insert(path);
        }
        let mut gone: Vec<PathBuf> = known.into_keys().filter(|path| !found.contains(path)).collect();
        gone.extend(self.read(changed, depth));
        self.forget(&gone);
        Ok(())
    }

    /// Looks at the runs that are running, or in doubt; others change less often, and are seen by a scan.
    pub(super) fn look(&self) {
        let active = self.wanted(|known| matches!(known.run.seen.status(), Status::Running | Status::Stale));
        // A run without a change may have died.
        self.read(active, Depth::Metrics);
    }

    /// Reads runs, and tells the clients what has changed. Returns those that cannot be read any more, or have lost a
    /// tag.
    fn read(&self, runs: Vec<Wanted>, depth: Depth) -> Vec<PathBuf> {
        let observer = Observer::of_many(None);
        let observer = if depth == Depth::Record { observer } else { observer.with_figures(figures) };
        let finder = Finder::new(self.selection.eval_dir);
        let finder = if depth == Depth::Record { finder } else { finder.silent() };
        let read = |(run, beside): Wanted| {
            let begun = Instant::now();
            let stamp = Stamp::of(&run, &beside);
            let read = Run::read(&run, name_of(&run, &self.above), &observer, &finder).ok();
            // A run may have lost a tag.
            let read = read.filter(|run| self.selection.tags.iter().all(|tag| run.meta.tags.contains(tag)));
            let read = read.map(|run| {
                let stamp = if depth == Depth::Record { stamp } else { stamp.with(&run.evaluations) };
                let light = light(&run, depth);
                Read { run, stamp, depth, begun, light }
            });
            (run.absolute(), read)
        };
        let (mut gone, mut changed) = (Vec::new(), Vec::new());
        let take = |(path, read): (PathBuf, Option<Read>)| -> Result<(), Infallible> {
            match read {
                Some(read) => changed.extend(self.take(path, read)),
                None => gone.push(path),
            }
            if changed.len() == TOGETHER {
                self.tell(&json!({"changed": std::mem::take(&mut changed)}));
            }
            Ok(())
        };
        let Ok(()) = in_order(runs, read, take);
        if !changed.is_empty() {
            self.tell(&json!({"changed": changed}));
        }
        gone
    }

    /// Keeps a run that was read. Returns what the page needs if it has changed.
    fn take(&self, path: PathBuf, read: Read) -> Option<Value> {
        let Read { run, stamp, depth, begun, mut light } = read;
        let state = &mut *self.state();
        let (id, version, details) = match state.runs.get_mut(&path) {
            // Another thread has read it since.
            Some(known) if known.begun > begun => return None,
            Some(known) => {
                let is_same = known.stamp.is_same(&stamp) && known.run.seen.status() == run.seen.status();
                if is_same && known.depth == depth {
                    return None;
                }
                light["id"] = known.id.into();
                light["version"] = known.version.into();
                if is_same && known.light == light {
                    (known.run, known.stamp, known.depth, known.begun) = (run, stamp, depth, begun);
                    return None;
                }
                let is_other = known.run.meta.run_id != run.meta.run_id; // it has taken the place of one that is gone
                let details = if is_other { Arc::default() } else { known.details.clone() };
                (known.id, known.version + 1, details)
            }
            None => (state.last_id + 1, 1, Arc::default()),
        };
        state.last_id = state.last_id.max(id);
        state.clock += 1;
        light["id"] = id.into();
        light["version"] = version.into();
        let changed = light.clone();
        let known = Known { id, run, version, stamp, depth, begun, changed: state.clock, light, details };
        state.runs.insert(path, known);
        Some(changed)
    }

    fn forget(&self, gone: &[PathBuf]) {
        let mut ids = Vec::new();
        for path in gone {
            let mut state = self.state();
            if let Some(known) = state.runs.remove(path) {
                state.clock += 1;
                let now = state.clock;
                state.gone.push((now, known.id));
                if state.gone.len() > GONE {
                    state.gone.remove(0);
                }
                ids.push(known.id);
            }
        }
        if !ids.is_empty() {
            self.tell(&json!({"gone": ids}));
        }
    }

    /// Sends a message to all clients. Those that do not read are left.
    fn tell(&self, message: &Value) {
        let text = Arc::new(format!("event: runs\ndata: {message}\n\n"));
        self.state().clients.retain(|client| client.try_send(text.clone()).is_ok());
    }

    /// Returns whether anybody follows.
    pub(super) fn is_followed(&self) -> bool {
        !self.state().clients.is_empty()
    }

    /// Begins to send messages to a client, the first about what has changed `since` its page was made or its last
    /// stream began. The id of the first message is the clock of the next `since`.
    pub(super) fn follow(&self, server: &str, since: u64) -> Receiver<Arc<String>> {
        let (sender, receiver) = sync_channel(WAITING);
        let mut state = self.state();
        let changed: Vec<&Value> =
            state.runs.values().filter(|known| known.changed > since).map(|known| &known.light).collect();
        let gone: Vec<u64> = state.gone.iter().filter(|(time, _)| *time > since).map(|(_, id)| *id).collect();
        let first = if server == self.server {
            let runs = json!({"changed": changed, "gone": gone});
            format!("id: {}\nevent: runs\ndata: {runs}\n\n", state.clock)
        } else {
            "event: other\ndata:\n\n".to_owned()
        };
        let _ = sender.try_send(Arc::new(first)); // there is room for the first message
        state.clients.push(sender);
        receiver
    }

    /// Ends the messages to clients that have gone. A comment, which a browser ignores, is sent to find out.
    pub(super) fn sweep(&self) {
        let text = Arc::new(String::from(": still here\n\n"));
        self.state().clients.retain(|client| client.try_send(text.clone()).is_ok());
    }

    /// Returns the data of the page: all runs, without their details.
    pub(super) fn page(&self) -> String {
        let state = self.state();
        let patience = if state.runs.len() <= TOGETHER { FILLING } else { Duration::ZERO };
        let waited = self.filled.wait_timeout_while(state, patience, |state| !state.is_filled);
        let (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        let runs: Vec<&Value> = state.runs.values().map(|known| &known.light).collect();
        let live = json!({"server": self.server, "clock": state.clock});
        data::of_live(self.shown, live, &columns(&runs), &runs)
    }

    /// Returns the details of a run; `None` if it is not there.
    pub(super) fn details(&self, id: u64) -> Option<Arc<String>> {
        let (run, version, details, path) = {
            let state = self.state();
            let (path, known) = state.runs.iter().find(|(_, known)| known.id == id)?;
            (known.run.clone(), known.version, known.details.clone(), path.clone())
        };
        let json = details.lock().unwrap_or_else(PoisonError::into_inner).json(
            id,
            &run,
            version,
            self.options,
            self.rates,
        );
        if run.seen.status().has_ended() {
            self.keep(path);
        }
        Some(json)
    }

    /// Returns a picture of a run, with its type.
    pub(super) fn picture(&self, id: u64, number: u64) -> Option<(&'static str, Vec<u8>)> {
        let find = || {
            let state = self.state();
            let known = state.runs.values().find(|known| known.id == id)?;
            Some((known.run.seen.run.absolute(), known.details.clone()))
        };
        let (root, details) = find()?;
        let of = |number| details.lock().unwrap_or_else(PoisonError::into_inner).picture(number);
        let picture = of(number).or_else(|| {
            self.details(id)?; // they may have been forgotten
            of(number)
        })?;
        picture.read(&root)
    }

    /// Keeps the details of an ended run, and forgets those of the run whose turn it is.
    fn keep(&self, path: PathBuf) {
        let oldest = {
            let mut state = self.state();
            state.kept.retain(|known| *known != path);
            state.kept.push_back(path);
            let oldest = if state.kept.len() > KEPT { state.kept.pop_front() } else { None };
            oldest.and_then(|oldest| state.runs.get(&oldest).map(|known| known.details.clone()))
        };
        if let Some(oldest) = oldest {
            oldest.lock().unwrap_or_else(PoisonError::into_inner).forget();
        }
    }
}

/// Returns the columns of the table of all runs.
fn columns(runs: &[&Value]) -> Vec<Value> {
    let mut known = HashSet::new();
    let names = runs.iter().filter_map(|run| run["row"].as_object()).flat_map(Map::keys);
    let names = names.filter(|name| known.insert(name.as_str()));
    let is_main = |name: &str| {
        ["run", "status", "step", "duration_s"].contains(&name)
            || name.rsplit_once('.').is_some_and(|(_, figure)| ["last", "best"].contains(&figure))
    };
    names.map(|name| json!({"name": name, "extra": !is_main(name)})).collect()
}

/// Returns the row of a run in the table.
fn row_of(run: &Run, depth: Depth) -> Map<String, Value> {
    let runs = std::slice::from_ref(run);
    let figures = match depth {
        Depth::Record => vec![Figures::recorded(run)],
        Depth::Metrics => Figures::of_all(runs).0, // faults are no news of a live page
    };
    table::all_columns(runs, &figures).objects().next().unwrap_or_default()
}

/// Returns a run without its details.
fn light(run: &Run, depth: Depth) -> Value {
    let started = run.attempts.iter().next().map(|first| first.start.start_time.millis());
    let mut light = about(run, Map::new());
    light.insert("active".to_owned(), (!run.seen.status().has_ended()).into());
    light.insert("start".to_owned(), json!(started.map(in_seconds)));
    light.insert("row".to_owned(), row_of(run, depth).into());
    light.into()
}
