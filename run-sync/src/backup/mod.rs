//! `run-sync backup`: stores the new files of runs, verifies them, and records the backups.

mod assemble;
mod batch;
mod budget;
mod commit;
mod follow;
mod journal;
mod large;
mod listed;
mod mend;
mod objects;
mod one;
mod plan;
mod report;
mod room;
mod send;
mod session;
pub(crate) mod writer;

use crate::address::{address, shown};
use crate::clean::Cleaner;
use crate::cli::Backup as Args;
use crate::set::SetName;
use crate::store;
use crate::store::Access;
use crate::store::url::StoreUrl;
use batch::Batches;
use one::Options;
use room::Rooms;
use run_common::cli::mistakes::check_value_joined;
use run_common::cli::names::Names;
use run_common::cli::operands::{Operand, open_all};
use run_common::cli::out::Out;
use run_common::error::{Error, Exit};
use run_common::rundir::evaluations::Finder;
use run_common::rundir::find::{Found, find};
use session::Session;
use std::collections::HashSet;

/// Backs up the runs that the command line names.
pub(crate) fn run(args: &Args, out: &mut Out) -> Result<Exit, Error> {
    out.outlive_reader();
    if args.name.is_some() && (args.runs.all || args.runs.runs.len() > 1) {
        return Err(Error::usage("--as names one run"));
    }
    if let Some(reserved) = args.name.as_deref().and_then(SetName::parse).as_ref().and_then(SetName::reserved)
    {
        let error = Error::usage(format!("--as cannot use the name '{reserved}'"));
        return Err(error.because("a store has files of its own under this name"));
    }
    if args.cleanup.is_some() {
        let has_name = |word: &str| Names::below(args.runs.runs_dir.path()).open(word).is_ok();
        check_value_joined("--cleanup", |word| word == "all" || word == "checkpoints", has_name)?;
    }
    let access = Access::new(&args.reach)?;
    let url = address(args.to.to.as_ref(), "--to", &access)?;
    let cleaner = Cleaner::of_backup(args, &access, &shown(&url))?;
    let store = store::open(&url, &access)?;
    let options = Options {
        url: shown(&url),
        transfers: args.reach.transfers.into(),
        dry_run: args.dry_run,
        read_back: args.read_back,
        follow: args.follow,
        evaluations: !args.no_eval,
        gauge: access.gauge.clone(),
    };
    let finder = Finder::new(None);
    let mut session = Session {
        args,
        store: &*store,
        options: &options,
        directory: match &url {
            StoreUrl::Directory(root) => Some(root),
            StoreUrl::Cloud { .. } | StoreUrl::Rclone(_) => None,
        },
        finder: (!args.no_eval).then_some(&finder),
        seen: HashSet::new(),
        batches: Vec::new(),
        others: Batches::default(),
        rooms: Rooms::default(),
        followed: Vec::new(),
        cleaner,
        is_prepared: false,
        exit: Exit::Ok,
    };
    let runs_dir = args.runs.runs_dir.path();
    if args.runs.all {
        for found in find(&runs_dir) {
            match found {
                Found::Run(run, ()) => session.run(&run, out)?,
                found => session.note(found.fault(&runs_dir)),
            }
        }
    }
    for operand in open_all(&args.runs.runs, &runs_dir, args.runs.null) {
        match operand {
            Ok(Operand::Run(run)) => session.run(&run, out)?,
            Ok(Operand::Batch(batch)) => session.batch(batch, out)?,
            Ok(Operand::Others(_, runs)) => runs.iter().try_for_each(|run| session.run(run, out))?,
            Err(error) => session.note(Some(error)),
        }
    }
    session.follow(out)?;
    session.batches(out)?;
    Ok(session.exit)
}
