//! `-j` and `--gpus`: how many commands run at once, and the GPUs of each. Used by run-exec and run-eval.

use crate::error::Error;
use clap::Args;
use std::num::NonZeroUsize;

/// The value of `--gpus` for GPUs that nothing else uses.
const FREE: &str = "free";

/// The slots for commands that run at once.
#[derive(Args, Clone, Debug)]
pub struct Slots {
    /// Run up to N at once [default: 1, or the number of GPU slots]
    #[arg(short, long, value_name = "N", value_parser = jobs)]
    jobs: Option<NonZeroUsize>,
    /// Assign each command one of these GPUs (or a group: 0+1), or free[:N] that nothing else uses
    #[arg(long, value_name = "GPU,...", value_delimiter = ',', value_parser = gpus)]
    gpus: Vec<String>,
}

impl Slots {
    /// Returns the value of `-j`, if given.
    pub fn given(&self) -> Option<usize> {
        self.jobs.map(NonZeroUsize::get)
    }

    /// Returns how many GPUs each command waits for until nothing else uses them, with `--gpus free[:N]`.
    pub fn free(&self) -> Result<Option<usize>, Error> {
        let count = |slot: &String| {
            let count = slot.strip_prefix(FREE)?;
            if count.is_empty() { Some(Some(1)) } else { Some(count.strip_prefix(':')?.parse().ok()) }
        };
        match (self.gpus.as_slice(), self.gpus.iter().find_map(count)) {
            (_, None) => Ok(None),
            ([_], Some(Some(count @ 1..))) => Ok(Some(count)),
            _ => Err(Error::usage("cannot read --gpus").because("write free or free:2, alone")),
        }
    }

    /// Returns the number of slots: that of `-j`, else that of `--gpus`, else 1.
    pub fn count(&self) -> Result<usize, Error> {
        let named = if self.free()?.is_some() { 0 } else { self.gpus.len() };
        match (self.jobs.map(NonZeroUsize::get), named) {
            (Some(jobs), slots @ 1..) if jobs > slots => {
                Err(Error::usage(format!("-j {jobs} exceeds the number of GPU slots ({slots})")))
            }
            (jobs, slots) => Ok(jobs.unwrap_or(slots.max(1))),
        }
    }

    /// Returns the GPUs of a slot, as a value of `CUDA_VISIBLE_DEVICES`; `None` without `--gpus`.
    pub fn gpu(&self, slot: usize) -> Option<&String> {
        self.gpus.get(slot)
    }
}

fn jobs(text: &str) -> Result<NonZeroUsize, String> {
    text.parse().map_err(|_| "must be a whole number above 0".to_owned())
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
