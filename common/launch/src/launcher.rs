//! Finds the launcher for a name.

use crate::contract::{Launcher, SLURM};
use crate::executable::Executable;
use crate::slurm::Slurm;
use run_common::rundir::launch::Launch;

/// Returns the launcher of a name, with its arguments.
pub fn launcher(name: &str, args: &[String]) -> Box<dyn Launcher> {
    if name == SLURM {
        Box::new(Slurm::new(args.to_vec()))
    } else {
        Box::new(Executable::new(name, args.to_vec()))
    }
}

/// Returns the launcher that a run was handed to.
pub fn launcher_of(launch: &Launch) -> Box<dyn Launcher> {
    launcher(&launch.launcher, &launch.args)
}

/// Returns whether a launcher may have this name, which becomes a part of a program's name.
pub fn is_name(name: &str) -> bool {
    !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_')
}
