//! A run in a list: one struct, from which the table and the JSON come.

use crate::backup::BackupOut;
use crate::cli::Args;
use run_common::cli::table::Tint;
use run_common::cost::dollars;
use run_common::error::{Error, Exit};
use run_common::figures::money;
use run_common::rundir::meta::Meta;
use run_common::rundir::observe::Observed;
use run_common::rundir::record::document_in;
use run_common::rundir::status::Status;
use run_common::rundir::status_json::StatusOut;
use run_common::text::cut;
use run_common::time::{Timestamp, human_seconds};
use run_metrics::name_list::NameList;
use run_metrics::names::headline;
use serde::Serialize;
use serde_json::{Map, Value, json};

/// Seconds of silence after which the table shows `quiet`.
const QUIET_SHOWN: f64 = 60.0;

/// Maximum length of a reason in the table, in characters.
const REASON: usize = 60;

/// The heads of the table.
pub(crate) const HEADS: [&str; 9] =
    ["RUN", "STATUS", "STEP", "METRICS", "STARTED", "DURATION", "ETA", "PID", "REASON"];

/// How runs are printed.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Format<'a> {
    /// A table with these metrics, or with the default ones.
    Table { columns: &'a [String] },
    /// A line of JSON for each run, with or without the fields of meta.json.
    Json { full: bool },
}

impl<'a> Format<'a> {
    /// Returns the format that the arguments ask for.
    pub(crate) fn new(args: &'a Args) -> Self {
        match (args.full, args.json) {
            (false, false) => Self::Table { columns: &args.columns },
            (full, _) => Self::Json { full },
        }
    }
}

/// Returns what is wrong with the meta.json of a run. A list needs only status.json and should be fast:
/// unless the run `is_named`, it checks meta.json only for unfinished and dead runs, which may be executed
/// again. The damage of a run of another system was found when the run was observed.
pub(crate) fn damage_of(run: &Observed, is_named: bool) -> Option<Error> {
    if run.run.layout().foreign().is_some() {
        return run.damage();
    }
    let counts = is_named || !run.status().has_ended() || run.status() == Status::Dead;
    if counts { Meta::read(run.run.layout()).err() } else { None }
}

/// Creates the entry of a run, if `full` with the fields of meta.json; also returns what is wrong with
/// meta.json.
pub(crate) fn entry(run: &Observed, full: bool, is_named: bool) -> (Entry<'_>, Option<Error>) {
    let entry = Entry { backup: BackupOut::of(run), ..Entry::of(run) };
    if !full {
        return (entry, damage_of(run, is_named));
    }
    match run.meta() {
        Ok(meta) => (entry.with(&meta), run.damage()),
        Err(damage) => (entry, Some(damage)),
    }
}

/// The record of a run, with status and reason as determined now.
#[derive(Debug, Serialize)]
pub(crate) struct Entry<'a> {
    #[serde(flatten)]
    state: StatusOut<'a>,
    #[serde(skip)]
    run: &'a Observed,
    path: String,
    /// Which system made the run, where that is another.
    #[serde(skip_serializing_if = "Option::is_none")]
    layout: Option<&'static str>,
    quiet_s: Option<f64>,
    duration_s: Option<f64>,
    eta_s: Option<f64>,
    /// The last backup, if it was looked for.
    backup: Option<BackupOut>,
    /// The further fields of meta.json, for `--full`.
    #[serde(flatten)]
    meta: Option<Map<String, Value>>,
}

impl<'a> Entry<'a> {
    pub(crate) fn of(run: &'a Observed) -> Self {
        let path = run.run.absolute().into_os_string().into_string();
        let rounded = |seconds: Option<f64>| seconds.map(|seconds| (seconds * 1000.0).round() / 1000.0);
        Self {
            state: run.json(),
            run,
            layout: run.run.layout().foreign().map(|foreign| foreign.name()),
            path: path.unwrap_or_else(|path| path.to_string_lossy().into_owned()),
            quiet_s: rounded(run.quiet_s()),
            duration_s: rounded(run.total_duration_s()),
            eta_s: rounded(run.eta_s()),
            backup: None,
            meta: None,
        }
    }

    /// Adds the fields of meta.json that are not in the record.
    fn with(mut self, meta: &Meta) -> Self {
        if let (Value::Object(known), Value::Object(mut meta)) = (json!(self), json!(meta)) {
            meta.retain(|key, _| !known.contains_key(key));
            self.meta = Some(meta);
        }
        self
    }

    /// Returns the line of JSON.
    pub(crate) fn json(&self) -> Result<Vec<u8>, Error> {
        self.json_in(Vec::new())
    }

    /// Like [`Self::json`], but reuses a buffer.
    pub(crate) fn json_in(&self, memory: Vec<u8>) -> Result<Vec<u8>, Error> {
        let line = document_in(memory, self);
        line.map_err(|error| Error::new(Exit::System, "cannot write JSON").because(error))
    }

    /// Returns the cells of the table.
    pub(crate) fn cells(&self, columns: &[String]) -> Vec<(String, Tint)> {
        let plain = |text: String| (text, Tint::None);
        let figures = self.run.recorded.metrics().figures();
        let time = |seconds: Option<f64>| plain(seconds.map(human_seconds).unwrap_or_default());
        vec![
            plain(match self.title() {
                Some(title) => format!("{} ({title})", self.name()),
                None => self.name().to_owned(),
            }),
            (self.status(), self.run.status().into()),
            plain(self.progress(&figures)),
            plain(last_values(&figures, columns)),
            plain(self.run.started().map(Timestamp::local).unwrap_or_default()),
            time(self.duration_s),
            time(self.eta_s),
            plain(self.pid().map(|pid| pid.to_string()).unwrap_or_default()),
            (cut(self.run.reason().unwrap_or_default(), REASON).into_owned(), Tint::Dim),
        ]
    }

    /// Returns the name of the run's directory, whatever operand named the run.
    pub(crate) fn name(&self) -> &str {
        self.path.rsplit('/').find(|part| !part.is_empty()).unwrap_or(&self.path)
    }

    /// Returns what another system calls the run, where its directory has another name.
    pub(crate) fn title(&self) -> Option<&str> {
        let title = self.run.recorded.run_name.as_str();
        (self.layout.is_some() && title != self.name()).then_some(title)
    }

    /// Returns the absolute path of the run.
    pub(crate) fn path(&self) -> &str {
        &self.path
    }

    /// Returns the system that made the run, if another did.
    pub(crate) fn layout(&self) -> Option<&'static str> {
        self.layout
    }

    /// Returns the duration of all attempts and the remaining time, in seconds.
    pub(crate) fn times(&self) -> [Option<f64>; 2] {
        [self.duration_s, self.eta_s]
    }

    /// Returns the pid of the supervisor, unless the run has ended.
    pub(crate) fn pid(&self) -> Option<i32> {
        let supervisor = self.run.recorded.attempt()?.supervisor.as_ref()?;
        Some(supervisor.pid).filter(|_| !self.run.status().has_ended())
    }

    /// Returns the status, with the time since the last sign of life of a running program.
    pub(crate) fn status(&self) -> String {
        let status = self.run.status();
        match self.quiet_s {
            Some(quiet) if quiet >= QUIET_SHOWN && status == Status::Running => {
                format!("{status} (quiet {})", human_seconds(quiet))
            }
            _ => status.to_string(),
        }
    }

    /// Returns the step, the number of steps, and the percentage; and the episode and epsilon, where logged.
    pub(crate) fn progress(&self, figures: &Map<String, Value>) -> String {
        #[expect(clippy::cast_precision_loss, reason = "steps are far below 2^53")]
        let total = self.run.recorded.total_steps.map(|total| total as f64);
        let step = self.run.recorded.step();
        let mut words: Vec<String> = Vec::new();
        words.extend(step.map(|step| match total {
            Some(total) if total > 0.0 => format!("{step}/{total} ({:.1}%)", step / total * 100.0),
            _ => step.to_string(),
        }));
        // Unless the episode is the step.
        let episode = last_of(figures, EPISODE).filter(|episode| episode.as_f64() != step);
        words.extend(episode.map(|episode| format!("ep={}", text(episode))));
        words.extend(last_of(figures, EPSILON).map(|epsilon| format!("ε={}", figure(epsilon))));
        words.join(" ")
    }
}

/// Names of metrics that stand beside the step, by their last parts.
const EPISODE: &str = "episode";
const EPSILON: &str = "epsilon";

/// Returns whether the last part of a name is this word, in any case.
fn is_called(name: &str, word: &str) -> bool {
    name.rsplit('/').next().is_some_and(|last| last.eq_ignore_ascii_case(word))
}

/// Returns the last value of the first metric whose last part is this word.
fn last_of<'a>(figures: &'a Map<String, Value>, word: &str) -> Option<&'a Value> {
    figures.iter().find(|(name, _)| is_called(name, word)).map(|(_, of)| &of["last"])
}

/// Returns the last values of the requested or default metrics.
fn last_values(figures: &Map<String, Value>, columns: &[String]) -> String {
    let names = shown_metrics(figures, columns, 3);
    let shown = names.iter().map(|name| format!("{name}={}", figure_of(name, &figures[name]["last"])));
    shown.collect::<Vec<_>>().join(" ")
}

/// Returns a value of a metric in few digits, an amount of dollars as money.
pub(crate) fn figure_of(name: &str, value: &Value) -> String {
    let may_be_money = name.as_bytes().windows(3).any(|part| part.eq_ignore_ascii_case(b"usd"));
    match value.as_f64() {
        Some(usd) if may_be_money && dollars(name).is_some() => money(usd),
        _ => figure(value),
    }
}

/// Returns the names of the metrics to show: the requested ones, else at most `most` that tell most.
pub(crate) fn shown_metrics(metrics: &Map<String, Value>, asked: &[String], most: usize) -> Vec<String> {
    if asked.is_empty() {
        // Epsilon stands beside the step.
        let names = metrics.keys().filter(|name| !is_called(name, EPSILON)).map(|name| (name.as_str(), 1));
        return headline(names, most).into_iter().map(str::to_owned).collect();
    }
    let mut names = NameList::of(asked).names(|name| metrics.contains_key(name));
    names.retain(|name| metrics.contains_key(name));
    names
}

/// Returns a value as a text.
pub(crate) fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// Returns a number in few digits; null stands for a value that is not finite.
pub(crate) fn figure(value: &Value) -> String {
    run_common::figures::figure(value.as_f64().unwrap_or(f64::NAN))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_short() {
        let shown = [0.0, 3.0, 0.123_456, 12.345_67, 1234.56, 1e-5, 123_456_789.5, -0.5]
            .map(|number| figure(&json!(number)));
        assert_eq!(shown, ["0", "3", "0.1235", "12.346", "1234.6", "1.000e-5", "1.235e8", "-0.5000"]);
        assert_eq!(figure(&Value::Null), "NaN");
    }
}
