//! Figures of an evaluation: counts its rows and averages its columns after its command has succeeded.

use crate::metrics::{MetricsSource, find};
use run_common::error::Error;
use run_common::fsio::atomic::{Durability, replace};
use run_common::rundir::SCHEMA;
use run_common::rundir::evaluation::{Evaluation, Measured};
use run_common::rundir::layout::Layout;
use run_common::rundir::record::document;
use run_metrics::evaluated::measure;

/// Returns what is wrong with the metrics of an evaluation, or else records their figures. Called after the
/// command has succeeded.
pub(crate) fn check(layout: &Layout) -> Option<String> {
    match find(layout) {
        Ok(Some(source)) => {
            let name = match source {
                MetricsSource::Table(_) => "metrics.csv",
                MetricsSource::Row(_) => "summary.json",
            };
            match measure(source) {
                Ok((0, _)) => Some(format!("no metrics: {name} has no rows")),
                Ok((rows, metrics)) => {
                    let step = Evaluation::read(layout).ok().and_then(|evaluation| evaluation.step);
                    let measured = Measured { schema: SCHEMA, step, rows, metrics };
                    let path = layout.measured();
                    let written =
                        document(&measured).and_then(|bytes| replace(&path, &bytes, Durability::Process));
                    written.err().map(|error| Error::io("write", &path, error).to_string())
                }
                Err(damage) => Some(format!("{name} {damage}")),
            }
        }
        Ok(None) => Some("no metrics: neither metrics.csv nor summary.json, nor JSON on stdout".to_owned()),
        Err(wrong) => Some(wrong),
    }
}
