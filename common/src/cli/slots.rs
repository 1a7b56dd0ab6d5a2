//! `-j` and `--gpus`: how much is at work at once, and what each has for its own. Used by run-exec and
//! run-eval.

use crate::error::Error;
use clap::Args;
use std::num::NonZeroUsize;

/// The places in which something can be at work.
#[derive(Args, Clone, Debug)]
pub struct Slots {
    /// Have so many at work at once
    #[arg(short, long, value_name = "N", value_parser = jobs)]
    jobs: Option<NonZeroUsize>,
    /// Give each at work one of these GPUs, or several joined by +, for its own
    #[arg(long, value_name = "GPU,...", value_delimiter = ',', value_parser = gpus)]
    gpus: Vec<String>,
}

impl Slots {
    /// Returns how many there are: as many as `--gpus` has, else one, unless `-j` wants otherwise.
    pub fn count(&self) -> Result<usize, Error> {
        match (self.jobs.map(NonZeroUsize::get), self.gpus.len()) {
            (Some(jobs), slots @ 1..) if jobs > slots => {
                Err(Error::usage(format!("-j {jobs} is more than the {slots} slots of --gpus")))
            }
            (jobs, slots) => Ok(jobs.unwrap_or(slots.max(1))),
        }
    }

    /// Returns the GPUs of a slot, as `CUDA_VISIBLE_DEVICES` has them, where they are given.
    pub fn gpu(&self, slot: usize) -> Option<&String> {
        self.gpus.get(slot)
    }
}

fn jobs(text: &str) -> Result<NonZeroUsize, String> {
    text.parse().map_err(|_| "it is a number, 1 or more".to_owned())
}

/// Checks one slot of `--gpus`.
fn gpus(text: &str) -> Result<String, String> {
    let is_name = |name: &str| !name.is_empty() && !name.contains(char::is_whitespace);
    if text.split('+').all(is_name) {
        Ok(text.replace('+', ","))
    } else {
        Err("write 0,1 or 0+1,2+3".to_owned())
    }
}
