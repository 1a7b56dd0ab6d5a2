//! The command line of run-sync.

use crate::store::reach::Reach;
use crate::store::url::StoreUrl;
use clap::builder::TypedValueParser;
use clap::error::ErrorKind;
use clap::{Arg, Args as ClapArgs, Command, Parser, Subcommand};
use run_common::cli::number::within;
use run_common::cli::runs_dir::RunsDir;
use run_common::error::Error;
use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

const EXAMPLES: &str = "Examples:
  run-sync backup --to s3://bucket/runs trial
  run-status -a --json | jq -c 'select(.status == \"completed\")' | run-sync backup -
  run-sync restore --from s3://bucket/runs trial
  run-sync clean --keep latest,best:loss trial";

/// Back up, verify, restore and clean up runs.
#[derive(Debug, Parser)]
#[command(name = "run-sync", version, after_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

/// The verb, with its arguments.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Store new and changed files of runs, and verify them
    Backup(Backup),
    /// List the runs in a store, or the files of a backup
    List(List),
    /// Read stored files back and compare their hashes
    Verify(Verify),
    /// Bring runs back
    Restore(Restore),
    /// Remove local checkpoints after seeing them in the store
    Clean(Clean),
    /// Print a stored file
    Cat(Cat),
    /// Show what differs between a run and its backup, or between two backups
    Diff(Diff),
    /// Find out what a store can do
    Probe(Probe),
}

/// The store to write to.
#[derive(Debug, ClapArgs)]
pub(crate) struct To {
    /// The store.
    #[arg(
        long,
        value_name = "URL",
        value_parser = Address,
        help = "The store: s3://BUCKET/PREFIX, gs://…, az://…, rclone:REMOTE:PATH or a directory [default: $RUN_SYNC_URL]"
    )]
    pub(crate) to: Option<StoreUrl>,
}

/// The store to read from.
#[derive(Debug, ClapArgs)]
pub(crate) struct From {
    /// The store.
    #[arg(long, value_name = "URL", value_parser = Address, help = "The store [default: $RUN_SYNC_URL]")]
    pub(crate) from: Option<StoreUrl>,
}

/// Local runs.
#[derive(Debug, ClapArgs)]
pub(crate) struct Runs {
    #[command(flatten)]
    pub(crate) runs_dir: RunsDir,
    /// All runs below the runs directory
    #[arg(long, conflicts_with = "runs")]
    pub(crate) all: bool,
    /// Names on stdin end in NUL, not newline
    #[arg(short = '0', long)]
    pub(crate) null: bool,
    /// Runs and batches: paths, or names below the runs directory; - reads them from stdin
    #[arg(value_name = "RUN", required_unless_present = "all")]
    pub(crate) runs: Vec<String>,
}

/// What a cleanup keeps.
#[derive(Debug, ClapArgs)]
pub(crate) struct Keep {
    /// Checkpoints to keep: latest, best:METRIC[:min|max], N (the last N), every:K (steps), final
    #[arg(long, value_name = "LIST")]
    pub(crate) keep: Vec<String>,
    /// Same as --keep latest
    #[arg(long)]
    pub(crate) keep_latest: bool,
    /// Keep the weights of all checkpoints, and the optimizer state of those that --keep names
    #[arg(long)]
    pub(crate) keep_weights: bool,
    /// Remove only checkpoints that at least N stores have
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = within(1_u8..=9))]
    pub(crate) copies: u8,
}

/// Arguments of `backup`.
#[derive(Debug, ClapArgs)]
pub(crate) struct Backup {
    #[command(flatten)]
    pub(crate) to: To,
    #[command(flatten)]
    pub(crate) runs: Runs,
    #[command(flatten)]
    pub(crate) reach: Reach,
    #[command(flatten)]
    pub(crate) keep: Keep,
    /// Print what would be done, and do nothing
    #[arg(short = 'n', long)]
    pub(crate) dry_run: bool,
    /// Name in the store [default: the run's name]
    #[arg(long = "as", value_name = "NAME")]
    pub(crate) name: Option<String>,
    /// Leave out the results of evaluations
    #[arg(long)]
    pub(crate) no_eval: bool,
    /// Read all files of the backup back; send again what the store has lost
    #[arg(long)]
    pub(crate) read_back: bool,
    /// Continue until the runs have ended: back up each checkpoint once it is complete
    #[arg(long)]
    pub(crate) follow: bool,
    /// Afterwards remove local checkpoints, as clean does; all: the whole run except its record
    #[arg(long, value_name = "WHAT", num_args = 0..=1, require_equals = true, default_missing_value = "checkpoints", value_parser = ["checkpoints", "all"])]
    pub(crate) cleanup: Option<String>,
}

/// Arguments of `list`.
#[derive(Debug, ClapArgs)]
pub(crate) struct List {
    #[command(flatten)]
    pub(crate) from: From,
    #[command(flatten)]
    pub(crate) reach: Reach,
    /// List every backup of each run
    #[arg(long)]
    pub(crate) history: bool,
    /// List the files of the newest backup of each run
    #[arg(long, conflicts_with = "history")]
    pub(crate) files: bool,
    /// With --files, the backup: its number, the start of its hash, or a time
    #[arg(long, value_name = "WHEN", requires = "files")]
    pub(crate) at: Option<String>,
    /// Names in the store [default: all]
    #[arg(value_name = "NAME")]
    pub(crate) names: Vec<String>,
}

/// Arguments of `verify`.
#[derive(Debug, ClapArgs)]
pub(crate) struct Verify {
    #[command(flatten)]
    pub(crate) from: From,
    #[command(flatten)]
    pub(crate) reach: Reach,
    /// Read this share of the bytes, chosen at random
    #[arg(long, value_name = "PERCENT")]
    pub(crate) sample: Option<String>,
    /// The backup: its number, the start of its hash, or a time
    #[arg(long, value_name = "WHEN")]
    pub(crate) at: Option<String>,
    /// All runs in the store
    #[arg(long, conflicts_with = "names")]
    pub(crate) all: bool,
    /// Names in the store
    #[arg(value_name = "NAME", required_unless_present = "all")]
    pub(crate) names: Vec<String>,
}

/// Arguments of `restore`.
#[derive(Debug, ClapArgs)]
pub(crate) struct Restore {
    #[command(flatten)]
    pub(crate) from: From,
    #[command(flatten)]
    pub(crate) runs_dir: RunsDir,
    #[command(flatten)]
    pub(crate) reach: Reach,
    /// Restore below this directory [default: the runs directory]
    #[arg(long, value_name = "DIR")]
    pub(crate) into: Option<PathBuf>,
    /// Restore only paths that match; may be given again
    #[arg(long, value_name = "GLOB")]
    pub(crate) only: Vec<String>,
    /// The backup: its number, the start of its hash, or a time
    #[arg(long, value_name = "WHEN")]
    pub(crate) at: Option<String>,
    /// Also restore files that the program itself had removed
    #[arg(long)]
    pub(crate) gone: bool,
    /// Leave out the results of evaluations
    #[arg(long)]
    pub(crate) no_eval: bool,
    /// Replace local files that are newer or different
    #[arg(long)]
    pub(crate) force: bool,
    /// Print what would be done, and do nothing
    #[arg(short = 'n', long)]
    pub(crate) dry_run: bool,
    /// All runs in the store
    #[arg(long, conflicts_with = "names")]
    pub(crate) all: bool,
    /// Names in the store
    #[arg(value_name = "NAME", required_unless_present = "all")]
    pub(crate) names: Vec<String>,
}

/// Arguments of `clean`.
#[derive(Debug, ClapArgs)]
pub(crate) struct Clean {
    #[command(flatten)]
    pub(crate) from: From,
    #[command(flatten)]
    pub(crate) runs: Runs,
    #[command(flatten)]
    pub(crate) reach: Reach,
    #[command(flatten)]
    pub(crate) keep: Keep,
    /// Print what would be done, and do nothing
    #[arg(short = 'n', long)]
    pub(crate) dry_run: bool,
}

/// Arguments of `cat`.
#[derive(Debug, ClapArgs)]
#[command(override_usage = "run-sync cat [OPTIONS] [--from <URL> | URL] NAME FILE")]
pub(crate) struct Cat {
    #[command(flatten)]
    pub(crate) from: From,
    #[command(flatten)]
    pub(crate) reach: Reach,
    /// The backup: its number, the start of its hash, or a time
    #[arg(long, value_name = "WHEN")]
    pub(crate) at: Option<String>,
    /// The store, unless --from names it; the name of a run in it; the path of a file below the run
    #[arg(value_name = "OPERAND", required = true)]
    pub(crate) operands: Vec<OsString>,
}

/// Arguments of `diff`.
#[derive(Debug, ClapArgs)]
pub(crate) struct Diff {
    #[command(flatten)]
    pub(crate) from: From,
    #[command(flatten)]
    pub(crate) runs_dir: RunsDir,
    #[command(flatten)]
    pub(crate) reach: Reach,
    /// A run, or its name in the store
    #[arg(value_name = "RUN")]
    pub(crate) name: String,
    /// The older backup [default: the newest]
    #[arg(value_name = "WHEN")]
    pub(crate) old: Option<String>,
    /// The newer backup [default: the run as it is]
    #[arg(value_name = "WHEN")]
    pub(crate) new: Option<String>,
}

/// Arguments of `probe`.
#[derive(Debug, ClapArgs)]
pub(crate) struct Probe {
    #[command(flatten)]
    pub(crate) reach: Reach,
    /// Print what was found out earlier, and do nothing
    #[arg(short = 'n', long)]
    pub(crate) dry_run: bool,
    /// The store.
    #[arg(value_name = "URL", value_parser = Address, help = "The store [default: $RUN_SYNC_URL]")]
    pub(crate) url: Option<StoreUrl>,
}

/// Reads the address of a store. Unlike clap's message, ours does not repeat an address with a secret in it.
#[derive(Clone)]
struct Address;

impl TypedValueParser for Address {
    type Value = StoreUrl;

    fn parse_ref(&self, _: &Command, _: Option<&Arg>, value: &OsStr) -> Result<StoreUrl, clap::Error> {
        let text = value
            .to_str()
            .ok_or_else(|| clap::Error::raw(ErrorKind::InvalidUtf8, "the address of a store is no UTF-8"))?;
        text.parse().map_err(|error: Error| {
            let advice = error.advice().map(|advice| format!("; {advice}")).unwrap_or_default();
            clap::Error::raw(ErrorKind::ValueValidation, format!("{error}{advice}"))
        })
    }
}
