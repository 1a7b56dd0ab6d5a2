//! What run-eval adds to the end of an evaluation: the check of its metrics, and the cost.

use crate::measure::check;
use run_common::cost::of_ended_attempt;
use run_common::rundir::attempts::AttemptStart;
use run_common::rundir::layout::Layout;
use run_supervise::Additions;

/// The end of the evaluation in a directory.
#[derive(Debug)]
pub(crate) struct Ending(pub(crate) Layout);

impl run_supervise::Ending for Ending {
    fn fault(&self) -> Option<String> {
        check(&self.0)
    }

    fn additions(&self, start: &AttemptStart, duration_s: f64) -> Additions {
        Additions { final_checkpoint: None, cost_usd: of_ended_attempt(start, duration_s) }
    }
}
