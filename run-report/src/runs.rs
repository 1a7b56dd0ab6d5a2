//! The runs of a report, and what is known of each.

use crate::cli::Args;
use run_common::cli::operands::open_runs;
use run_common::error::{Error, Exit};
use run_common::fsio::read_small;
use run_common::message::{complain, warn};
use run_common::pipeline::in_order;
use run_common::provenance::config;
use run_common::provenance::redact::redact_json;
use run_common::rundir::attempts::{AttemptStart, Attempts};
use run_common::rundir::batch::BatchDir;
use run_common::rundir::evaluations::{Evaluations, Finder};
use run_common::rundir::find::{Found, find};
use run_common::rundir::meta::Meta;
use run_common::rundir::observe::{Observed, Observer};
use run_common::rundir::open::RunDir;
use run_metrics::aggregate::{Aggregates, Room};
use run_metrics::of_run;
use run_metrics::read::RowCounts;
use run_metrics::row::STEP_KEYS;
use serde_json::{Map, Value};
use std::collections::{HashMap, HashSet};
use std::fs;
use std::io;
use std::path::Path;

/// What is wrong with the metrics of a run.
#[derive(Debug)]
pub(crate) enum Fault {
    /// They cannot be read.
    Unread(Error),
    /// Some lines are none, which is said.
    Damaged(String),
}

impl Fault {
    /// Makes one of how reading ended: with so many lines that were none.
    pub(crate) fn of(root: &Path, read: io::Result<u64>) -> Option<Self> {
        let root = root.display();
        match read {
            Ok(0) => None,
            Ok(1) => Some(Self::Damaged(format!("1 line of '{root}' cannot be read and is left out"))),
            Ok(many) => {
                Some(Self::Damaged(format!("{many} lines of '{root}' cannot be read and are left out")))
            }
            Err(error) => {
                let what = format!("cannot read the metrics of '{root}'");
                Some(Self::Unread(Error::new(Exit::BadRun, what).because(error)))
            }
        }
    }

    /// Says it, and returns the status that it leads to.
    pub(crate) fn say(&self) -> Exit {
        match self {
            Self::Unread(error) => {
                complain(error);
                error.exit()
            }
            Self::Damaged(what) => {
                warn(what);
                Exit::Ok
            }
        }
    }
}

/// The figures of the metrics of a run, and its last step.
pub(crate) type Figures = (Map<String, Value>, Option<f64>);

/// A run in a report.
#[derive(Debug)]
pub(crate) struct Run {
    /// Its name: that of its directory, with the batch before it; its path where two share that.
    pub(crate) name: String,
    pub(crate) seen: Observed,
    pub(crate) meta: Meta,
    /// What attempts.jsonl tells.
    pub(crate) attempts: Attempts,
    /// What its checkpoints were evaluated for.
    pub(crate) evaluations: Vec<Evaluations>,
}

/// The runs, and the worst that happened on the way to them.
pub(crate) struct Runs {
    pub(crate) all: Vec<Run>,
    pub(crate) exit: Exit,
}

impl Runs {
    /// Reads the records of the runs that the command line means. What is wrong with one is said,
    /// and the others are read.
    pub(crate) fn read(args: &Args) -> Result<Self, Error> {
        let runs_dir = args.runs_dir.path();
        let opened = open(args, &runs_dir)?;
        let observer = Observer::default();
        let mut runs = Self { all: Vec::new(), exit: Exit::Ok };
        let above = std::path::absolute(&runs_dir).unwrap_or_else(|_| runs_dir.clone());
        let finder = Finder::new(args.eval_dir.as_deref());
        let work = |run: Result<RunDir, Error>| Run::read(&run?, &observer, &finder, &above);
        in_order(opened, work, |run| match run {
            Ok(run) => {
                runs.all.push(run);
                Ok(())
            }
            Err(error) => {
                runs.exit = runs.exit.max(error.exit());
                complain(&error);
                Ok::<(), Error>(())
            }
        })?;
        if runs.all.is_empty() && runs.exit == Exit::Ok {
            warn(&if !args.runs.is_empty() {
                "no runs: the operands name none".to_owned()
            } else if runs_dir.exists() {
                format!("no runs in '{}'", runs_dir.display())
            } else {
                format!("no runs: there is no directory '{}'", runs_dir.display())
            });
        }
        runs.name_apart();
        Ok(runs)
    }

    /// Names runs by their paths where their names are the same.
    fn name_apart(&mut self) {
        let mut counts: HashMap<String, usize> = HashMap::new();
        for run in &self.all {
            *counts.entry(run.name.clone()).or_default() += 1;
        }
        for run in self.all.iter_mut().filter(|run| counts[&run.name] > 1) {
            run.name = run.path();
        }
    }
}

fn open(args: &Args, runs_dir: &Path) -> Result<Vec<Result<RunDir, Error>>, Error> {
    if !args.runs.is_empty() {
        let mut known = HashSet::new(); // a run that was named twice counts once
        let mut is_new = |run: &RunDir| {
            let root = run.layout().root();
            known.insert(fs::canonicalize(root).unwrap_or_else(|_| root.to_owned()))
        };
        let runs = open_runs(&args.runs, runs_dir, args.null);
        return Ok(runs.filter(|run| run.as_ref().map_or(true, &mut is_new)).collect());
    }
    let unreadable = |exit, path: &Path, cause: String| {
        Error::new(exit, format!("cannot read '{}'", path.display())).because(cause)
    };
    let mut runs = Vec::new();
    for found in find(runs_dir) {
        match found {
            Found::Run(path, ()) => runs.push(Ok(RunDir::seen(path))),
            Found::Other(_) => {}
            Found::NotUtf8(path) => {
                runs.push(Err(unreadable(Exit::BadRun, &path, "its name is not UTF-8".to_owned())));
            }
            Found::Unreadable(path, cause) if path == runs_dir => {
                return Err(unreadable(Exit::System, &path, cause));
            }
            Found::Unreadable(path, cause) => runs.push(Err(unreadable(Exit::BadRun, &path, cause))),
        }
    }
    Ok(runs)
}

/// Returns what a run is called: its path below the runs directory (absolute), however it was named; elsewhere
/// the name of its directory, in a batch after that of the batch.
fn name_of(run: &RunDir, runs_dir: &Path) -> String {
    let path = run.absolute();
    let above = match path.parent() {
        _ if path.starts_with(runs_dir) && path != runs_dir => Some(runs_dir),
        Some(parent) if matches!(BatchDir::at(parent), Ok(Some(_))) => parent.parent(),
        parent => parent,
    };
    let name = above.and_then(|above| path.strip_prefix(above).ok()).unwrap_or(&path);
    name.to_string_lossy().into_owned()
}

impl Run {
    fn read(run: &RunDir, observer: &Observer, finder: &Finder, runs_dir: &Path) -> Result<Self, Error> {
        let layout = run.layout();
        let meta = Meta::shown(layout)?;
        let attempts =
            Attempts::shown(layout).map_err(|error| Error::io("read", &layout.attempts(), error))?;
        Ok(Self {
            name: name_of(run, runs_dir),
            seen: observer.observe(run)?,
            evaluations: finder.of_run(run, &meta.run_id),
            meta,
            attempts,
        })
    }

    /// Hands out what was measured of its checkpoints, by label and in the order of their steps, as if they
    /// were metrics of the run: a name such as `gsm8k/accuracy`, the step, and the mean over the rows.
    pub(crate) fn measured(&self, each: &mut dyn FnMut(&str, f64, f64)) {
        for evaluations in &self.evaluations {
            for (step, measured) in evaluations.measured() {
                for (name, mean) in measured.means().filter(|(name, _)| is_measured(name)) {
                    #[expect(clippy::cast_precision_loss, reason = "steps are far below 2^53")]
                    each(&format!("{}/{name}", evaluations.label()), step as f64, mean);
                }
            }
        }
    }

    /// Returns its absolute path.
    pub(crate) fn path(&self) -> String {
        self.seen.run.absolute().to_string_lossy().into_owned()
    }

    /// Returns the figures of every metric, as status.json holds them, and the last step; then those of
    /// what was evaluated, over the checkpoints. A metric of the same name comes first, and alone. A fault
    /// says why they are not all.
    pub(crate) fn figures(&self) -> (Figures, Option<Fault>) {
        let ((mut figures, step), fault) = self.own_figures();
        let mut measured = Aggregates::default();
        self.measured(&mut |name, _, mean| measured.add(name, mean));
        for (name, aggregate) in measured.iter() {
            figures.entry(name).or_insert_with(|| aggregate.to_json());
        }
        ((figures, step), fault)
    }

    /// Returns the figures of its own metrics. The rows are read only when the record does not have all
    /// figures.
    fn own_figures(&self) -> (Figures, Option<Fault>) {
        let recorded = (self.seen.recorded.metrics().figures(), self.seen.recorded.step());
        if !recorded.0.is_empty() && !Room::is_filled_by(recorded.0.keys()) {
            return (recorded, None);
        }
        let mut figures = Aggregates::default();
        let (mut step, mut number) = (None, 0.0);
        let read = of_run::rows(self.seen.run.layout(), &mut |row, _| {
            number += 1.0;
            step = Some(row.step().map_or(number, |(_, step)| step));
            for (name, value) in row.numbers() {
                figures.add(name, value);
            }
        });
        if step.is_none() {
            return (recorded, self.fault(read));
        }
        let figures = figures.iter().map(|(name, figures)| (name.to_owned(), figures.to_json())).collect();
        ((figures, step), self.fault(read))
    }

    /// Returns what was wrong with the metrics of the run.
    pub(crate) fn fault(&self, read: io::Result<RowCounts>) -> Option<Fault> {
        Fault::of(self.seen.run.layout().root(), read.map(|counts| counts.skipped))
    }

    /// Returns what the run was given, without secrets: its config, options of its command line, overrides, seed.
    pub(crate) fn settings(&self) -> Vec<(String, Value)> {
        let mut settings = Map::new(); // in the order first set
        let meta = &self.meta;
        if let Some(file) = &meta.config_file {
            let path = self.seen.run.layout().root().join(file);
            let values = read_small(&path).ok().and_then(|bytes| config::parse(&path, &bytes).ok());
            for (key, mut value) in config::flat(&values.unwrap_or_default()) {
                redact_json(&key, &mut value);
                settings.insert(key, value);
            }
        }
        for (key, value) in meta.params.iter().chain(&meta.overrides) {
            settings.insert(key.clone(), typed(value));
        }
        if let Some(seed) = meta.seed {
            settings.insert("seed".to_owned(), seed.into());
        }
        settings.into_iter().collect()
    }

    /// Returns what ran: code, versions and machine, of the last attempt where there was one.
    pub(crate) fn provenance(&self) -> Vec<(String, Value)> {
        let meta = &self.meta;
        let last = self.attempts.last().map(|last| &last.start);
        let ran = |of: fn(&AttemptStart) -> Value, created: Value| {
            last.map(of).filter(|value| !value.is_null()).unwrap_or(created)
        };
        let facts = [
            ("command", meta.command.as_ref().map(|command| run_common::shell::shell_line(command)).into()),
            ("config_path", meta.config_path.clone().into()),
            ("config_sha256", meta.config_sha256.clone().into()),
            ("git_commit", ran(|start| start.git_commit.clone().into(), meta.git_commit.clone().into())),
            ("git_branch", meta.git_branch.clone().into()),
            ("git_dirty", ran(|start| start.git_dirty.into(), meta.git_dirty.into())),
            (
                "python_version",
                ran(|start| start.python_version.clone().into(), meta.python_version.clone().into()),
            ),
            ("torch_version", meta.torch_version.clone().into()),
            ("device", ran(|start| start.device.clone().into(), meta.device.clone().into())),
            ("gpus", Value::from(list(&ran(|start| start.gpus.clone().into(), meta.gpus.clone().into())))),
            ("host", ran(|start| start.host.clone().into(), meta.host.clone().into())),
            ("user", meta.user.clone().into()),
            ("cwd", ran(|start| start.cwd.clone().into(), meta.cwd.clone().into())),
            ("tags", Value::from(meta.tags.join(", "))),
            ("note", meta.note.clone().into()),
            ("tool_version", meta.tool_version.clone().into()),
        ];
        let is_known = |value: &Value| !value.is_null() && value != "";
        facts.map(|(key, value)| (key.to_owned(), value)).into_iter().filter(|(_, v)| is_known(v)).collect()
    }
}

fn list(value: &Value) -> String {
    let words = value.as_array().into_iter().flatten().filter_map(Value::as_str);
    words.collect::<Vec<_>>().join(", ")
}

/// Takes a number that was typed for that number, so that `1e-3` is what a config calls `0.001`.
fn typed(value: &Value) -> Value {
    let Some(text) = value.as_str() else { return value.clone() };
    match serde_json::from_str::<Value>(text) {
        Ok(plain @ (Value::Number(_) | Value::Bool(_))) => plain,
        _ => value.clone(),
    }
}

/// Says whether a metric is one: neither a step nor a time.
pub(crate) fn is_measured(name: &str) -> bool {
    !STEP_KEYS.contains(&name) && !["time", "timestamp", "wall_time"].contains(&name)
}

/// Says whether more of a metric is better, by the words in its name; less is, unless they say so. A
/// loss of rewards is a loss.
pub(crate) fn more_is_better(name: &str) -> bool {
    const LESS: &str = "loss losses error err nll perplexity";
    const MORE: &str = "acc acc1 acc5 accuracies accuracy ap auc auprc auroc bleu corr correlation dice elo em \
                        exact f1 fps iou map mcc mfu miou mrr ndcg pass precision psnr r2 recall return returns \
                        rew reward rewards rouge score ssim success throughput top1 top5 win";
    let name = name.to_lowercase();
    let has = |list: &str| {
        let mut words = name.split(|c: char| !c.is_alphanumeric());
        words.any(|word| list.split(' ').any(|listed| listed == word))
    };
    has(MORE) && !has(LESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn which_way_is_better_is_in_the_name() {
        for name in [
            "acc",
            "val/accuracy",
            "env/all/reward/total",
            "rollout/ep_rew_mean",
            "episodic_return",
            "pass@1",
            "F1",
            "Acc@1",
        ] {
            assert!(more_is_better(name), "{name}");
        }
        for name in
            ["loss", "val_loss", "perplexity", "kl", "accumulated_error", "reward/loss", "score_error"]
        {
            assert!(!more_is_better(name), "{name}");
        }
    }

    #[test]
    fn what_was_typed_is_what_a_config_says() {
        assert_eq!(typed(&"1e-3".into()), serde_json::json!(0.001));
        assert_eq!(typed(&"true".into()), Value::Bool(true));
        assert_eq!(typed(&"[1]".into()), Value::from("[1]"));
    }
}
