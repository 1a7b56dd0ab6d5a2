//! `--adopt`: gives runs that other systems made a record of their own, as if they had been executed here once. Their
//! files are not touched; without `.run` they are what they were.

use crate::cli::Args;
use crate::guard::SCRATCH;
use crate::print::print_run;
use crate::staged::{is_taken, remove_dir};
use crate::unknown;
use run_common::cli::out::Out;
use run_common::error::{Error, Exit};
use run_common::fsio::atomic::{Durability, sync_parent, write_whole};
use run_common::fsio::rename::rename_new;
use run_common::fsio::write::create_with_mode;
use run_common::message::complain;
use run_common::process::identity::Place;
use run_common::process::user::user_name;
use run_common::provenance::hash::sha256_of;
use run_common::provenance::params::params;
use run_common::provenance::python::{find_program, named_interpreter};
use run_common::rundir::attempts::{Attempt, AttemptEnd, AttemptStart};
use run_common::rundir::foreign::Foreign;
use run_common::rundir::layout::Layout;
use run_common::rundir::logs::EarlierLogs;
use run_common::rundir::meta::Meta;
use run_common::rundir::observe::{Observed, Observer};
use run_common::rundir::open::RunDir;
use run_common::rundir::options::AttemptOptions;
use run_common::rundir::raw::{Metrics, Raw, Recent};
use run_common::rundir::record::document;
use run_common::rundir::recorded::{AttemptState, Recorded};
use run_common::rundir::status::{Outcome, Status};
use run_common::time::Timestamp;
use run_metrics::foreign::{self, figures, source_by};
use run_metrics::read;
use run_metrics::resumptions::Resumptions;
use run_metrics::source::{MetricSource, SourceFormat};
use std::env;
use std::ffi::OsStr;
use std::fs;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use uuid::Uuid;

/// How many directories above one are asked whether they are runs.
const LEVELS: usize = 4;

/// Adopts the named directories; reports errors and continues with the others.
pub(crate) fn run(args: &Args, out: &mut Out) -> Result<Exit, Error> {
    if args.configs.is_empty() {
        return Err(Error::usage("--adopt takes the directories of runs"));
    }
    let mut exit = Exit::Ok;
    for directory in &args.configs {
        match adopt(args, directory) {
            Ok(()) => print_run(args, directory, directory, out)?,
            Err(error) => {
                complain(&error);
                exit = exit.max(error.exit());
            }
        }
    }
    Ok(exit)
}

/// What is recorded of a run.
struct Adopted {
    meta: Meta,
    recorded: Recorded,
    /// The attempt that the run was, if it has started.
    attempt: Option<(AttemptStart, AttemptEnd)>,
    /// Its metrics are in a format that records do not name, and are copied as JSON lines.
    rows: Option<MetricSource>,
}

fn adopt(args: &Args, directory: &Path) -> Result<(), Error> {
    let what = || format!("cannot adopt '{}'", directory.display());
    let found = RunDir::at(directory);
    if found.as_ref().is_ok_and(|run| run.layout().foreign().is_none()) {
        return Err(Error::new(Exit::No, what()).because("it already has a record of its own"));
    }
    if let Some(outer) = run_around(directory) {
        let is_adopted = outer.layout().foreign().is_none();
        let outer = outer.layout().root().display();
        let error = Error::new(Exit::BadRun, what()).because(format!("it is part of the run '{outer}'"));
        return Err(if is_adopted { error } else { error.hint(format!("adopt '{outer}' instead")) });
    }
    let run = match found {
        Err(_) if directory.is_dir() => unknown::run_in(directory, args)?,
        found => found?,
    };
    let record = Layout::new(run.layout().root()).record();
    if fs::symlink_metadata(&record).is_ok() {
        let why = format!("'{}' is there, without a meta.json", record.display());
        return Err(Error::new(Exit::BadRun, what())
            .because(why)
            .hint("remove it first, if nothing needs it"));
    }
    let observed = Observer::of_many(None).with_figures(figures).observe(&run)?;
    let foreign = run.layout().foreign();
    let is_at_work = match observed.status() {
        Status::Running if foreign.is_some_and(Foreign::is_unknown) => Some("its files have just changed"),
        Status::Running => Some("it is running"),
        Status::Queued => Some("it is queued"),
        Status::Stale if observed.account.as_ref().is_some_and(|account| account.may_live()) => {
            Some("its process may still live")
        }
        _ => None,
    };
    if let Some(why) = is_at_work {
        return Err(Error::new(Exit::Busy, what()).because(why).hint("adopt it after it has ended"));
    }
    let adopted = Adopted::of(args, &run, observed)?;
    let scratch = run.layout().root().join(format!("{SCRATCH}{}", Uuid::now_v7()));
    let written = adopted.write(&scratch).and_then(|()| {
        rename_new(&Layout::new(&scratch).record(), &record)?;
        sync_parent(&record)
    });
    remove_dir(&scratch);
    written.map_err(|error| match error {
        error if is_taken(&error) => Error::new(Exit::No, what()).because("it has just been given a record"),
        error => Error::io("write to", directory, error),
    })
}

/// Returns the run that a directory is part of: a record within it would hide the run that it is part of.
fn run_around(directory: &Path) -> Option<RunDir> {
    let path = fs::canonicalize(directory).ok()?;
    path.ancestors().skip(1).take(LEVELS).find_map(|outer| RunDir::at(outer).ok())
}

impl Adopted {
    fn of(args: &Args, run: &RunDir, mut observed: Observed) -> Result<Self, Error> {
        let layout = run.layout();
        let original = estimate_start(&mut observed).unwrap_or_default();
        let mut meta = meta(args, layout, original)?;
        let source = source_by(layout, &meta.options);
        if meta.options != AttemptOptions::default() {
            read_again(&mut observed, &meta.options, source.as_ref());
        }
        let (attempts, foreign) = (observed.attempts()?, layout.foreign());
        meta.logs = foreign
            .filter(|_| attempts.last().is_some())
            .and_then(|foreign| EarlierLogs::of(&foreign.logs(layout.root()), layout.root()));
        let attempt = attempts.last().map(|Attempt { start, end }| {
            let command = meta.command.clone().unwrap_or_default();
            let start = AttemptStart {
                run_id: meta.run_id.clone(),
                cwd: meta.cwd.clone(),
                command: command.clone(),
                template: command,             // what another attempt executes
                options: meta.options.clone(), // which it inherits
                ..start.clone()
            };
            let end = match end {
                Some(end) => AttemptEnd { run_id: meta.run_id.clone(), ..end.clone() },
                None => end_of(&meta, &observed, &start),
            };
            (start, end)
        });
        let mut recorded = Recorded {
            run_id: meta.run_id.clone(),
            run_name: meta.run_name.clone(),
            command: Raw::of(&meta.command),
            total_steps: meta.total_steps,
            ..observed.recorded
        };
        let rows = source.filter(|source| !is_known(source.format()));
        if let Some((_, end)) = &attempt {
            recorded.end(end);
        } else {
            recorded = Recorded::created(&meta);
        }
        if let Some(attempt) = recorded.attempt_mut() {
            attempt.supervisor = None; // it was none of ours
        }
        Ok(Self { meta, recorded, attempt, rows })
    }

    /// Writes the record of a run into a directory that no tool looks into.
    fn write(mut self, scratch: &Path) -> io::Result<()> {
        let layout = Layout::new(scratch);
        fs::create_dir(scratch)?;
        fs::create_dir(layout.record())?;
        write_whole(&layout.lock(), b"", Durability::Process)?;
        if let Some((start, end)) = &self.attempt {
            let lines = [document(start)?, document(end)?].concat();
            write_whole(&layout.attempts(), &lines, Durability::Power)?;
            write_whole(&layout.result(), &document(end)?, Durability::Power)?;
        }
        if let Some(rows) = &self.rows
            && copy_rows(rows, &layout.scraped())? > 0
            && let Some(attempt) = self.recorded.attempt_mut()
        {
            let scraped = layout.scraped();
            let name = scraped.strip_prefix(layout.root()).unwrap_or(&scraped);
            attempt.metrics_from = Some(vec![name.to_string_lossy().into_owned()]);
        }
        write_whole(&layout.meta(), &document(&self.meta)?, Durability::Power)?;
        write_whole(&layout.status(), &document(&self.recorded)?, Durability::Power)?;
        sync_parent(&layout.meta())
    }
}

/// Estimates the start of a run that has started, if nothing tells it: a run without a start would be one that was never
/// executed. Returns what its files say of it.
fn estimate_start(observed: &mut Observed) -> Option<Meta> {
    let account = observed.account.as_mut()?;
    account.estimate_start(observed.run.layout().root());
    if let Some(attempt) = observed.recorded.attempt_mut() {
        attempt.start_time = account.start_time;
        attempt.last_heartbeat = account.last_heartbeat;
    }
    Some(account.meta.clone())
}

/// Reads the metrics of a run from the file that options name, instead of what its layout says.
fn read_again(observed: &mut Observed, options: &AttemptOptions, source: Option<&MetricSource>) {
    let step = observed.account.as_ref().and_then(|account| account.step);
    if let Some(attempt) = observed.recorded.attempt_mut() {
        *attempt = AttemptState {
            step,
            step_key: options.step_key.clone(),
            metrics: Metrics::default(),
            recent: Recent::default(),
            metrics_from: None,
            ..attempt.clone()
        };
    }
    if let Some(source) = source {
        foreign::add(source, observed.run.layout(), &mut observed.recorded);
    }
}

/// Copies the metrics of a run to a new file of JSON lines, as they are read. Returns how many rows there are.
fn copy_rows(rows: &MetricSource, to: &Path) -> io::Result<usize> {
    let mut file = BufWriter::new(create_with_mode(to, 0o644)?);
    let (mut count, mut line, mut written) = (0, Vec::new(), Ok(()));
    read::rows(rows, &Resumptions::default(), &mut |row, _| {
        line.clear();
        row.write_line(&mut line);
        if written.is_ok() {
            written = file.write_all(&line);
        }
        count += 1;
    })?;
    written?;
    file.into_inner()?.sync_all()?;
    Ok(count)
}

/// Returns whether a record can name files of a format: run-exec reads them from trainers of its own runs, too.
fn is_known(format: SourceFormat) -> bool {
    use SourceFormat::{Csv, Events, Lines, Snapshot, TrainerState};
    matches!(format, Lines | Csv | Events | TrainerState | Snapshot)
}

/// Makes the meta.json: what the run says of itself, and what the options say instead.
fn meta(args: &Args, layout: &Layout, original: Meta) -> Result<Meta, Error> {
    let here = env::current_dir().map_err(|error| Error::io("find", Path::new("."), error))?;
    let cwd = match &args.chdir {
        Some(directory) => here.join(directory),
        None if Path::new(&original.cwd).is_dir() => original.cwd.clone().into(),
        None => here,
    };
    let command = if args.command.is_empty() { original.command.clone() } else { Some(args.command.clone()) };
    let program = command.as_ref().and_then(|words| words.first());
    let executable =
        program.and_then(|program| find_program(OsStr::new(program), &cwd)).map(named_interpreter);
    let mut meta = Meta {
        created: if original.created.millis() == 0 { Timestamp::now() } else { original.created },
        executable: executable.and_then(|path| path.to_str().map(str::to_owned)),
        command,
        resume_args: Some(args.resume_args.clone()).filter(|words| !words.is_empty()),
        config_sha256: original
            .config_file
            .as_ref()
            .and_then(|file| sha256_of(&layout.root().join(file)).ok()),
        tags: original.tags.iter().chain(&args.tag).cloned().collect(),
        note: args.note.clone().or(original.note),
        seed: args.seed.or(original.seed),
        total_steps: args.total_steps.or(original.total_steps),
        checkpoint: args.checkpoints().or(original.checkpoint),
        options: args.attempt_options(),
        env: args.env.iter().map(|(name, value)| (name.clone(), value.clone().into())).collect(),
        host: if original.host.is_empty() { Place::here().host.clone() } else { original.host },
        user: if original.user.is_empty() { user_name() } else { original.user },
        cwd: cwd.to_string_lossy().into_owned(),
        tool_version: env!("CARGO_PKG_VERSION").to_owned(),
        ..original
    };
    meta.redact();
    if let (Some(command), false) = (&meta.command, args.command.is_empty()) {
        meta.params.extend(params(command)); // the options of another command outrank what was recorded
    }
    Ok(meta)
}

/// Makes the end of a run that did not say how it ended.
fn end_of(meta: &Meta, observed: &Observed, start: &AttemptStart) -> AttemptEnd {
    let recorded = &observed.recorded;
    let last_heartbeat = recorded.attempt().and_then(|attempt| attempt.last_heartbeat);
    let end_time = observed.end_time().or(last_heartbeat).unwrap_or(start.start_time);
    let is_unknown = observed.run.layout().foreign().is_some_and(Foreign::is_unknown);
    let (status, reason) = match observed.status() {
        Status::Completed => (Outcome::Completed, None),
        Status::Stopped => (Outcome::Stopped, observed.reason()),
        _ if is_unknown => (Outcome::Stopped, Some("it was adopted, and nothing says how it ended")),
        _ => (Outcome::Failed, observed.reason()),
    };
    AttemptEnd {
        reason: reason.map(str::to_owned),
        exit_code: recorded.exit_code(),
        signal: recorded.signal(),
        final_step: recorded.step(),
        ..AttemptEnd::of(&meta.run_id, start.attempt, status, start.start_time, end_time)
    }
}
