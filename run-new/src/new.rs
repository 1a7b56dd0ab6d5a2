//! Creates the runs that the arguments ask for: first plans all runs, then creates and prints them in blocks
//! that become durable together.

use crate::adopt;
use crate::batch::{self, Home};
use crate::cli::{Args, check_configs};
use crate::create::Maker;
use crate::like;
use crate::plan::Plan;
use crate::print::print_run;
use run_common::cli::out::Out;
use run_common::error::{Error, Exit};

/// Maximum number of runs that become durable together.
const BLOCK: usize = 1024;

/// Factor by which each block is larger than the block before. The first block is a single run, so that a
/// reader of the output can begin at once.
const GROWTH: usize = 4;

/// Creates a run for every config and every cell of the sweeps, and prints their paths.
pub(crate) fn run(args: &Args, out: &mut Out) -> Result<Exit, Error> {
    let mut args = args.settled();
    check_configs(&args)?;
    like::fill(&mut args)?;
    let args = &args;
    if args.adopt {
        return adopt::run(args, out);
    }
    let plan = Plan::make(args)?;
    let (home, mut planned) = batch::open(args, &plan)?;
    let mut maker = Maker::new(args, &plan, &home, planned.len())?;
    let missing = maker.missing(&mut planned)?;
    let (mut at, mut size) = (0, 1);
    while at < planned.len() {
        let end = planned.len().min(at + size);
        for name in maker.make(&planned[at..end], &missing[at..end])? {
            print(args, &home, &name, out)?;
        }
        out.flush()?;
        (at, size) = (end, BLOCK.min(size * GROWTH));
    }
    Ok(Exit::Ok)
}

fn print(args: &Args, home: &Home, name: &str, out: &mut Out) -> Result<(), Error> {
    print_run(args, &home.shown.join(name), &home.root.join(name), out)
}
