//! x
use crate::cli;
use run_common::cli::out::Out;
use run_common::error::{Error, Exit};
pub(crate) fn run(_args: &cli::Diff, _out: &mut Out) -> Result<Exit, Error> {
    Err(Error::usage("not built yet"))
}
