//! Executes a command in a run and keeps its record. A monitor belongs to the caller, and a supervisor to the
//! run; each survives the death of the other. The supervisor tees output, ends processes, determines the
//! outcome and records it. A [`Task`] adds the decisions of a tool. Used by run-exec and run-eval.

mod clock;
mod combine;
mod combined;
mod conclusion;
mod detach;
mod devices;
mod end;
mod ending;
mod feed;
mod forced;
mod last_words;
mod log;
mod machine;
mod main_process;
mod monitor;
mod oom;
mod outcome;
mod pipeline;
pub mod pool;
mod records;
mod requirements;
mod resources;
mod run;
mod scraped;
mod script;
mod signals;
mod start;
mod streams;
mod supervisor;
mod task;
mod tee;
mod terminal;
mod to_caller;
mod watch;

pub use ending::{Additions, Asked, Ending, Noticed, Script};
pub use run::run;
pub use signals::catch;
pub use task::{Beside, Limits, Output, Retry, Sources, Task};
