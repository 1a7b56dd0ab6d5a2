//! From the arguments to the verb.

use crate::cli::Args;
use run_common::cli::out::Out;
use run_common::error::{Error, Exit};

/// Does what the command line asks for.
pub(crate) fn run(_args: &Args, _out: &mut Out) -> Result<Exit, Error> {
    Err(Error::usage("not built yet"))
}
