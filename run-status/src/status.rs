//! Chooses between list, details, log, watch and wait.

use crate::cli::{Args, Log, TextFormat};
use crate::entry::Format;
use crate::select::Scope;
use crate::{annotate, detail, list, log, prometheus, wait, watch};
use clap::ValueEnum;
use run_common::cli::mistakes::check_value_joined;
use run_common::cli::names::Names;
use run_common::cli::operands::Operand;
use run_common::cli::out::Out;
use run_common::error::{Error, Exit};
use run_common::rundir::notes::Change;
use run_common::rundir::observe::Observer;
use run_common::rundir::open::RunDir;
use run_common::time::parse_duration;
use run_launch::settle::settle;
use run_metrics::foreign::figures;

/// Prints the requested output.
pub(crate) fn run(args: &Args, out: &mut Out) -> Result<Exit, Error> {
    check_values(args)?;
    let mut observer = Observer::of_many(Some(args.stale_after)).with_figures(figures);
    let scope = Scope::new(args);
    let format = Format::new(args);
    let changes = changes(args);
    if !changes.is_empty() {
        return Ok(annotate::run(&scope, &changes));
    }
    if !args.tag.is_empty() || matches!(format, Format::Json { .. }) {
        observer = observer.with_notes();
    }
    if let Some(which) = args.log {
        let run = one_run(args)?.ok_or_else(|| Error::usage("--log takes one run"))?;
        return log::print(&run, which, args.follow, &observer, out);
    }
    if let Some(TextFormat::Prometheus) = args.format {
        return prometheus::print(&scope, &args.columns, &observer, out);
    }
    if let Some(period) = args.watch {
        let one = one_run(args)?.map(|run| run.layout().root().to_owned());
        return watch::run(&scope, one, format, period, observer, out);
    }
    if args.wait {
        return wait::run(&scope, format, args.timeout, &observer, out);
    }
    if let Format::Table { .. } = format
        && let Some(run) = one_run(args)?
    {
        let mut run = observer.observe(&run)?;
        settle(&observer, [&mut run]);
        return if scope.wants(&run) {
            detail::print(&run, args.checkpoint.as_deref(), out)
        } else {
            Ok(Exit::No)
        };
    }
    if args.checkpoint.is_some() {
        return Err(Error::usage("--checkpoint is for the details of one run"));
    }
    list::print(&scope, format, &observer, out)
}

/// Returns the changes of notes and tags that the arguments ask for.
fn changes(args: &Args) -> Vec<Change> {
    let note = args.note.iter().map(|text| Change::Note { text: text.clone() });
    let added = args.add_tag.iter().map(|tag| Change::Tag { tag: tag.clone() });
    let removed = args.remove_tag.iter().map(|tag| Change::Untag { tag: tag.clone() });
    note.chain(added).chain(removed).collect()
}

/// Refuses the value of an option that was not joined with the option.
fn check_values(args: &Args) -> Result<(), Error> {
    let has_name = |word: &str| Names::below(args.runs_dir.path()).open(word).is_ok();
    if args.watch.is_some() {
        check_value_joined("--watch", |word| parse_duration(word).is_ok(), has_name)?;
    }
    if args.log.is_some() {
        check_value_joined("--log", |word| Log::from_str(word, false).is_ok(), has_name)?;
    }
    Ok(())
}

/// Opens the run, if a single run was named.
fn one_run(args: &Args) -> Result<Option<RunDir>, Error> {
    let [name] = args.runs.as_slice() else { return Ok(None) };
    if name == "-" {
        return Ok(None);
    }
    match Names::below(args.runs_dir.path()).open(name)? {
        Operand::Run(run) => Ok(Some(run)),
        Operand::Batch(_) | Operand::Others(..) => Ok(None),
    }
}
