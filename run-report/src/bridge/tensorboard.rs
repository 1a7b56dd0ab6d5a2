//! Event files for TensorBoard: a directory for each run, as TensorBoard names runs, with one file in it.

mod event;

use super::points::{Found, begun, points};
use super::target::Target;
use crate::curves::Options;
use crate::fault::Fault;
use crate::run::Run;
use crate::runs::Runs;
use crate::settings::{provenance, settings};
use event::{Outcome, Writer};
use run_common::error::{Error, Exit};
use run_common::fsio::write::create;
use run_common::pipeline::large_in_order;
use run_common::rundir::status::Status;
use std::collections::HashSet;
use std::fs;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

/// The file of a run. TensorBoard reads every file with `tfevents` in its name.
const FILE: &str = "events.out.tfevents.0.run-report";

/// Its name until it is complete.
const SCRATCH: &str = ".run-report.tmp";

/// Writes the runs.
pub(crate) fn write(runs: &Runs, options: &Options, directory: &Path) -> Result<Exit, Error> {
    let target = Target::open(directory, "tensorboard")?;
    let (mut exit, mut known) = (runs.exit, HashSet::new());
    let work = |(run, below): (&Run, PathBuf)| {
        of_run(run, options, &target.root().join(below)).map_err(|error| Error::io("write", directory, error))
    };
    let take = |found: Result<(HashSet<String>, Vec<Fault>), Error>| {
        let (metrics, faults) = found?;
        known.extend(metrics);
        exit = Fault::say_all(&faults, exit);
        Ok(())
    };
    large_in_order(runs.all.iter().zip(directories(runs)), work, take)?;
    target.finish()?;
    Ok(exit.max(options.say_missing(runs, |metric| known.contains(metric))))
}

/// Returns a directory for each run: its name, without parts that would lead elsewhere.
fn directories(runs: &Runs) -> Vec<PathBuf> {
    let mut taken = HashSet::new();
    let mut directory = |run: &Run| {
        let parts: PathBuf = run.name.split('/').filter(|part| !["", ".", ".."].contains(part)).collect();
        let mut path = parts.clone();
        for number in 2.. {
            if taken.insert(path.clone()) {
                break;
            }
            let mut name = parts.clone().into_os_string();
            name.push(format!("_{number}"));
            path = name.into();
        }
        path
    };
    runs.all.iter().map(&mut directory).collect()
}

fn of_run(run: &Run, options: &Options, directory: &Path) -> io::Result<(HashSet<String>, Vec<Fault>)> {
    fs::create_dir_all(directory)?;
    let scratch = directory.join(SCRATCH);
    let written = events(run, options, &scratch).and_then(|found| {
        fs::rename(&scratch, directory.join(FILE))?;
        Ok((found.metrics, found.faults))
    });
    if written.is_err() {
        let _ = fs::remove_file(&scratch); // best effort: the next export makes it anew
    }
    written
}

/// Writes an event file.
fn events(run: &Run, options: &Options, path: &Path) -> io::Result<Found> {
    let mut file = BufWriter::with_capacity(256 << 10, create(path)?);
    let start = begun(run);
    let mut writer = Writer::new(&mut file, start)?;
    writer.settings(&settings(run))?;
    writer.text("run", &about(run))?;
    let found = points(run, options, |point| writer.scalars(point))?;
    writer.end(outcome(run.seen.status()), run.seen.end_time())?;
    file.flush()?;
    Ok(found)
}

/// Returns the facts of a run as a Markdown table, which TensorBoard shows.
fn about(run: &Run) -> String {
    let mut lines = vec!["| | |".to_owned(), "|---|---|".to_owned()];
    let mut line = |name: &str, value: &str| {
        let cell = |text: &str| text.replace('\\', r"\\").replace('|', r"\|").replace(['\n', '\r'], " ");
        lines.push(format!("| {} | {} |", cell(name), cell(value)));
    };
    line("status", &run.seen.status().to_string());
    line("reason", run.seen.reason().unwrap_or_default());
    line("path", &run.path());
    for (name, value) in provenance(run) {
        line(&name, &value.as_str().map_or_else(|| value.to_string(), str::to_owned));
    }
    lines.join("\n")
}

fn outcome(status: Status) -> Outcome {
    match status {
        Status::Completed => Outcome::Success,
        Status::Failed | Status::Stopped | Status::Dead => Outcome::Failure,
        Status::Running | Status::Stale => Outcome::Running,
        Status::Created | Status::Queued => Outcome::Unknown,
    }
}
