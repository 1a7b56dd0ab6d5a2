//! Finds the launcher for a name.

use crate::contract::{Launcher, SLURM};
use crate::executable::Executable;
use crate::slurm::Slurm;
use crate::used::directory_of_use;
use run_common::error::{Error, Exit};

/// Returns the launcher of a name, with its arguments: both come from the calling user.
pub fn launcher(name: &str, args: &[String]) -> Box<dyn Launcher> {
    if name == SLURM {
        Box::new(Slurm::new(args.to_vec()))
    } else {
        Box::new(Executable::new(name, args.to_vec(), None))
    }
}

/// Returns the arguments that make a difference to the answers of a launcher. Runs whose arguments differ otherwise
/// are asked about together.
pub(crate) fn of_query(name: &str, args: &[String]) -> Vec<String> {
    if name == SLURM { Slurm::new(args.to_vec()).cluster().into_iter().collect() } else { args.to_vec() }
}

/// Returns a launcher that the record of a run names. Records can be forged, and an executable is a program: it is
/// returned only if the calling user has used it before, with these arguments. Of Slurm's jobs only those of the `user`
/// are cancelled who wrote the record, if one is given.
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
