//! The runs directory: `-d`, else `$RUNS_DIR`, else `runs`.

use clap::Args;
use std::env;
use std::path::PathBuf;

/// The option for the directory that holds the runs.
#[derive(Args, Clone, Debug)]
pub struct RunsDir {
    /// The directory as given.
    #[arg(
        id = "runs_dir",
        short = 'd',
        long = "runs-dir",
        value_name = "DIR",
        help = "Directory that holds the runs [default: $RUNS_DIR, else runs]"
    )]
    given: Option<PathBuf>,
}

impl RunsDir {
    /// Returns the directory; it need not exist.
    pub fn path(&self) -> PathBuf {
        let from_environment = || env::var_os("RUNS_DIR").filter(|dir| !dir.is_empty()).map(PathBuf::from);
        self.given.clone().or_else(from_environment).unwrap_or_else(|| PathBuf::from("runs"))
    }
}
