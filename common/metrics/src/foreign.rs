//! The metrics of runs of other systems: the files that their layouts name, and figures, which such runs do not
//! record.

use crate::present::{Present, with_present};
use crate::row::MetricRow;
use crate::row_reader::SourceFormat;
use crate::source::{MetricSource, SourceFile};
use crate::summary::Summary;
use crate::supersede::RowOrigin;
use crate::trainer_files::candidates;
use run_common::error::{Exit, plain};
use run_common::rundir::foreign::{Foreign, MetricFiles, MetricFormat};
use run_common::rundir::layout::Layout;
use run_common::rundir::observe::Damage;
use run_common::rundir::options::AttemptOptions;
use run_common::rundir::raw::{Metrics, Recent};
use run_common::rundir::recorded::{Recorded, State};
use std::path::Path;

/// Finds the metrics of a run by the layout of its system. What cannot be read is reported by its reader.
pub(crate) fn source(layout: &Layout, foreign: Foreign) -> Option<MetricSource> {
    find(layout, foreign).map(MetricSource::strict)
}

fn find(layout: &Layout, foreign: Foreign) -> Option<MetricSource> {
    let usual = || Some(candidates(layout, true).into_iter().next()?.1);
    let (format, files) = match foreign.metrics(layout.root()) {
        MetricFiles::Usual => return usual(),
        MetricFiles::UsualOrPrinted(log) => {
            let printed = || MetricSource::of(SourceFormat::Printed, vec![SourceFile::new(log)]);
            return usual().or_else(|| Some(printed()));
        }
        MetricFiles::Files(format, files) => (format, files),
    };
    let format = match format {
        MetricFormat::Lines => SourceFormat::Lines,
        MetricFormat::Table => SourceFormat::Csv,
        MetricFormat::Printed => SourceFormat::Printed,
        MetricFormat::Events => SourceFormat::Events,
        MetricFormat::Mlflow => SourceFormat::Mlflow,
        MetricFormat::Sacred => SourceFormat::Sacred,
        MetricFormat::Wandb => SourceFormat::Wandb,
    };
    let files: Vec<SourceFile> = files
        .into_iter()
        .enumerate()
        .map(|(track, file)| SourceFile {
            prefix: file.prefix,
            origin: RowOrigin { track, ..RowOrigin::default() },
            ..SourceFile::new(file.path)
        })
        .collect();
    (!files.is_empty()).then(|| MetricSource::of(format, files))
}

/// Finds the metrics of a run by the options with which it is adopted.
pub fn source_by(layout: &Layout, options: &AttemptOptions) -> Option<MetricSource> {
    let source = match &options.metrics {
        Some(name) => MetricSource::named(layout.root(), name),
        None => source(layout, layout.foreign()?),
    };
    Some(source?.with_step_key(options.step_key.as_deref()))
}

/// Reads the metrics of a run, and adds their figures to its record: the current step, the last rows, and the
/// time of the last row as the end of a run that has none. Returns what cannot be read.
pub fn figures(layout: &Layout, recorded: &mut Recorded) -> Option<Damage> {
    add(&source(layout, layout.foreign()?)?, layout, recorded)
}

/// Like [`figures`], with the metrics of one source.
pub fn add(source: &MetricSource, layout: &Layout, recorded: &mut Recorded) -> Option<Damage> {
    let read = Summary::of(source);
    let summary = read.as_ref().ok().filter(|summary| summary.rows > 0);
    let last = summary
        .and_then(|summary| summary.recent.last())
        .and_then(|row| MetricRow::from(row.clone()).written());
    if let State::Ended(ended) = &mut recorded.state {
        ended.time = ended.time.or(last);
    }
    if let Some(attempt) = recorded.attempt_mut() {
        let present = Present::of(layout);
        if let Some(summary) = summary {
            attempt.step = attempt.step.or(summary.step);
            attempt.recent = Recent::new(&summary.recent);
            attempt.metrics_from = Some(source.names(layout.root()));
            attempt.last_output = attempt.last_output.or(last);
        } else if let Some(present) = &present {
            attempt.metrics_from = Some(vec![present.name(layout.root())]);
        }
        let of_rows = summary.into_iter().flat_map(|summary| summary.aggregates.iter());
        let step = summary.and_then(|summary| summary.step);
        attempt.metrics = Metrics::new(&with_present(of_rows, step, present.as_ref()));
    }
    let shown = layout.root().display();
    let left_out = |words| Some(Damage { exit: Exit::Ok, words });
    match read {
        Err(error) => {
            let is_closed = |path: &&Path| source.open(path).is_err();
            let path = source.paths().find(is_closed).or_else(|| source.paths().next());
            let path = path.unwrap_or(Path::new("")).display();
            let words = format!("cannot read '{path}': {}", plain(&error));
            Some(Damage { exit: Exit::BadRun, words })
        }
        Ok(Summary { skipped: 0, .. }) => None,
        Ok(Summary { skipped: 1, .. }) => {
            left_out(format!("1 line of the metrics of '{shown}' cannot be read and is left out"))
        }
        Ok(Summary { skipped, .. }) => {
            left_out(format!("{skipped} lines of the metrics of '{shown}' cannot be read and are left out"))
        }
    }
}
