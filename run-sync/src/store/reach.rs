//! The options for access to a store.

use clap::Args as ClapArgs;
use run_common::cli::number::within;
use std::path::PathBuf;

/// The options for access to a store.
#[derive(Debug, ClapArgs)]
pub(crate) struct Reach {
    /// File of KEY=VALUE lines: credentials of the store, and other variables
    #[arg(long, value_name = "FILE")]
    pub(crate) env_file: Option<PathBuf>,
    /// Run up to N requests at once
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = within(1_u16..=256))]
    pub(crate) transfers: u16,
    /// Send and receive at most this many bytes a second: 500K, 20M, 1G
    #[arg(long, value_name = "RATE")]
    pub(crate) limit: Option<String>,
    /// Print JSON, one line a run
    #[arg(long)]
    pub(crate) json: bool,
}
