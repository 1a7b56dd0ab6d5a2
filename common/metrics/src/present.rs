//! The current values of a run of another system, in the document that its trainer keeps rewriting beside the
//! metrics.

use crate::aggregate::Aggregate;
use crate::snapshot;
use run_common::fsio::open_regular;
use run_common::rundir::layout::Layout;
use serde_json::{Map, Value};
use std::path::{Path, PathBuf};

/// The current values of a run.
#[derive(Debug)]
pub(crate) struct Present {
    path: PathBuf,
    values: snapshot::Present,
}

impl Present {
    /// Reads the document of a run; `None` if its layout has none, or the document has no step.
    pub(crate) fn of(layout: &Layout) -> Option<Self> {
        let path = layout.foreign()?.present(layout.root())?;
        let values = snapshot::read(&open_regular(&path).ok()??, None).ok()??;
        Some(Self { path, values })
    }

    /// Returns the name of the document below a run.
    pub(crate) fn name(&self, root: &Path) -> String {
        self.path.strip_prefix(root).unwrap_or(&self.path).to_string_lossy().into_owned()
    }
}

/// Returns the figures of metrics as in status.json, with the current values like those of a further row: of
/// metrics that the rows lack, and of all metrics if the document is ahead of the last row, at `step`.
pub(crate) fn with_present<'a>(
    of_rows: impl Iterator<Item = (&'a str, Aggregate)>,
    step: Option<f64>,
    present: Option<&Present>,
) -> Map<String, Value> {
    let values = present.map(|present| &present.values);
    let is_ahead = values.is_some_and(|now| step.is_none_or(|step| now.step > step));
    let current = |name: &str| {
        let mut numbers = values?.row.numbers();
        numbers.find(|(known, _)| *known == name).map(|(_, value)| value)
    };
    let of_row = |(name, mut figures): (&str, Aggregate)| {
        if let Some(value) = current(name).filter(|_| is_ahead) {
            figures.add(value);
        }
        (name.to_owned(), figures.to_json())
    };
    let mut all: Map<String, Value> = of_rows.map(of_row).collect();
    for (name, value) in values.iter().flat_map(|now| now.row.numbers()) {
        if !all.contains_key(name) {
            let mut figures = Aggregate::default();
            figures.add(value);
            all.insert(name.to_owned(), figures.to_json());
        }
    }
    all
}
