//! Finds the launcher for a name.

use crate::contract::{Launcher, SLURM};
use crate::executable::Executable;
use crate::slurm::Slurm;
use crate::used::directory_of_use;
use run_common::error::{Error, Exit};

/// Returns the launcher of this name, with arguments that the calling user gave.
pub fn launcher(name: &str, args: &[String]) -> Box<dyn Launcher> {
    if name == SLURM {
        Box::new(Slurm::new(args.to_vec()))
    } else {
        Box::new(Executable::new(name, args.to_vec(), None))
    }
}

/// Returns the arguments that may affect the answers of a launcher. Runs with equal such arguments are asked
/// about together.
pub(crate) fn of_query(name: &str, args: &[String]) -> Vec<String> {
    if name == SLURM { Slurm::new(args.to_vec()).cluster().into_iter().collect() } else { args.to_vec() }
}

/// Returns the launcher that the record of a run names. Records can be forged, and a launcher is a program: an
/// executable is returned only if the calling user has used it before, with these arguments. With a `user`, who
/// wrote the record, only jobs of this user are cancelled in Slurm.
pub fn used(name: &str, args: &[String], user: Option<u32>) -> Result<Box<dyn Launcher>, Error> {
    if name == SLURM {
        return Ok(Box::new(Slurm::of_user(args.to_vec(), user)));
    }
    match directory_of_use(name, args) {
        Some(directory) => Ok(Box::new(Executable::new(name, args.to_vec(), Some(directory)))),
        None => Err(Error::new(
            Exit::System,
            "launchers that you have not used, with their arguments, are not executed",
        )),
    }
}
