//! Finds the runs that the arguments name, asks them to stop, and reports how they ended.

use crate::ask::Asker;
use crate::batches::Batches;
use crate::checkpoint::after_checkpoint;
use crate::cli::Args;
use crate::finish::Finisher;
use run_common::cli::operands::open_all;
use run_common::cli::out::Out;
use run_common::error::{Error, Exit};
use run_common::message::complain;
use run_common::process::identity::Place;
use run_common::process::user::user_name;
use run_common::rundir::observe::{Observer, TAKE_OVER};
use run_common::rundir::open::RunDir;
use run_common::rundir::stop::StopRequest;
use run_common::time::Timestamp;
use std::cell::RefCell;
use std::time::Duration;

/// Default grace for processes of a dead run.
const GRACE: Duration = Duration::from_secs(120);

/// Stops runs: asks all of them first, then waits for all of them.
pub(crate) fn run(args: &Args, out: &mut Out) -> Result<Exit, Error> {
    let observer = Observer::default();
    let request = StopRequest {
        by: Some(format!("{}@{}", user_name(), Place::here().host)),
        why: args.why.clone(),
        time: Some(Timestamp::now()),
        grace_s: args.grace.map(|grace| grace.as_secs_f64()),
        kill: args.kill,
        leaves_running: false,
    };
    let finisher = Finisher {
        observer: &observer,
        grace: if args.kill { Duration::ZERO } else { args.grace.unwrap_or(GRACE) },
        kills: args.kill,
        waits: !args.no_wait,
    };
    let mut exit = Exit::Ok;
    let mut fail = |error: &Error| {
        exit = exit.max(error.exit());
        complain(error);
    };
    let asker = Asker { observer: &observer, request: &request, launches: RefCell::default() };
    let mut asked = Vec::new();
    let mut ask = |run: Result<RunDir, Error>| match run.and_then(|run| asker.ask(&run)) {
        Ok(one) => asked.push(one),
        Err(error) => fail(&error),
    };
    let runs = runs(args, &Observer::of_many(None), &request);
    if args.after_checkpoint {
        after_checkpoint(runs, &observer, &mut ask);
    } else {
        runs.into_iter().for_each(&mut ask);
    }
    asker.cancel_jobs().iter().for_each(&mut fail);
    for one in asked {
        let shown = one.run.layout().root().display().to_string();
        match finisher.finish(one) {
            Ok((observed, doubt)) => {
                out.text(&format!("{shown}: {}", observed.status()))?;
                out.flush()?;
                if let Some(why) = doubt {
                    let error = Error::new(Exit::No, format!("cannot tell whether '{shown}' has ended"));
                    let error = error.because(why);
                    fail(&if observed.is_elsewhere() { error.hint(TAKE_OVER) } else { error });
                }
            }
            Err(error) => fail(&error),
        }
    }
    Ok(exit)
}

/// Finds the runs to ask. Closes named batches and, with `--all`, the batches of these runs.
fn runs(args: &Args, observer: &Observer, request: &StopRequest) -> Vec<Result<RunDir, Error>> {
    let runs_dir = args.runs_dir.path();
    let batches = Batches {
        observer,
        request: StopRequest { leaves_running: args.after_checkpoint, ..request.clone() },
    };
    if args.all {
        return batches.active_below(&runs_dir);
    }
    let operands = open_all(&args.runs, &runs_dir, args.null);
    operands.flat_map(|operand| batches.expand(operand)).collect()
}
