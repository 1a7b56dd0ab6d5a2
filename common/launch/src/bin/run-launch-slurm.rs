//! `run-launch-slurm`: Slurm by the contract of launchers, run-launch(7).

use clap::{Parser, Subcommand};
use run_common::cli::entry;
use run_common::cli::out::Out;
use run_common::error::{Error, Exit};
use run_launch::contract::{Job, Named, SLURM, lines, read_lines};
use run_launch::hand_over::hand_over;
use run_launch::launcher::launcher;
use std::io::{self, Read};
use std::time::Duration;

/// Time limit for squeue.
const ANSWER: Duration = Duration::from_secs(30);

/// Start, look at and end jobs of Slurm: JSON lines in and out.
#[derive(Debug, Parser)]
#[command(name = "run-launch-slurm", version)]
struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Submit the jobs that stdin describes
    Submit {
        /// Find out whether they would be accepted, and submit none
        #[arg(long)]
        check: bool,
        /// Options of sbatch
        #[arg(value_name = "OPTION", trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// Say what is known of the jobs that stdin names
    Query {
        /// Options of sbatch
        #[arg(value_name = "OPTION", trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// Cancel the jobs that stdin names
    Cancel {
        /// Options of sbatch
        #[arg(value_name = "OPTION", trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// Say how much Slurm can take
    Limits {
        /// Options of sbatch
        #[arg(value_name = "OPTION", trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
}

fn main() -> std::process::ExitCode {
    entry("run-launch-slurm", run)
}

fn run(args: &Args, out: &mut Out) -> Result<Exit, Error> {
    match &args.verb {
        Verb::Submit { check: true, args } => launcher(SLURM, args).check(&read::<Job>()?)?,
        Verb::Submit { check: false, args } => {
            let (slurm, jobs) = (launcher(SLURM, args), read::<Job>()?);
            let together = slurm.limits()?.array_max.unwrap_or(usize::MAX);
            out.bytes(&lines(&hand_over(slurm.as_ref(), &jobs, together, None)?)?)?;
        }
        Verb::Query { args } => {
            out.bytes(&lines(&launcher(SLURM, args).query(&named()?, ANSWER)?)?)?;
        }
        Verb::Cancel { args } => launcher(SLURM, args).cancel(&named()?)?,
        Verb::Limits { args } => out.bytes(&lines(&[launcher(SLURM, args).limits()?])?)?,
    }
    Ok(Exit::Ok)
}

fn named() -> Result<Vec<String>, Error> {
    Ok(read::<Named>()?.into_iter().map(|named| named.job).collect())
}

fn read<T: serde::de::DeserializeOwned>() -> Result<Vec<T>, Error> {
    let mut text = String::new();
    io::stdin()
        .read_to_string(&mut text)
        .map_err(|error| Error::new(Exit::System, "cannot read stdin").because(error))?;
    read_lines(&text).map_err(|why| Error::usage("cannot understand stdin").because(why))
}
