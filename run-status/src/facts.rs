//! The facts of a run, as names and values, and its cost.

use crate::entry::{Entry, text};
use run_checkpoint::save_times;
use run_common::cli::table::{Table, Tint};
use run_common::cost::{Rates, logged, spent};
use run_common::figures::{human_bytes, money};
use run_common::provenance::device::DeviceState;
use run_common::rundir::attempts::{Attempt, JobStart};
use run_common::rundir::meta::Meta;
use run_common::rundir::observe::Observed;
use run_common::rundir::sample::Sample;
use run_common::shell::shell_line;
use run_common::time::{Timestamp, human_seconds};
use serde_json::{Map, Value};

/// Maximum number of metric files to name.
const FILES_SHOWN: usize = 3;

/// How many facts to show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Extent {
    /// Facts that change, and what identifies the run.
    Short,
    /// All facts.
    Full,
}

/// Prints names and values, without unknown values.
pub(crate) fn facts(run: &Observed, meta: Option<&Meta>, extent: Extent) -> Table {
    let mut facts = Facts::default();
    of_record(&mut facts, run);
    if let Some(meta) = meta {
        facts.say("config", meta.config_path.clone());
        facts.say("overrides", Some(pairs(&meta.overrides)));
        facts.say("cost", cost(run, meta));
        if extent == Extent::Full {
            of_creation(&mut facts, run, meta);
        }
    }
    of_machine(&mut facts, run);
    of_devices(&mut facts, run);
    facts.0
}

/// Names and values.
#[derive(Default)]
struct Facts(Table);

impl Facts {
    fn say(&mut self, key: &str, value: Option<String>) {
        self.tinted(key, value, Tint::None);
    }

    fn tinted(&mut self, key: &str, value: Option<String>, tint: Tint) {
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            self.0.row(vec![(format!("{key}:"), Tint::Dim), (value, tint)]);
        }
    }
}

/// Adds identity and state of the run.
fn of_record(facts: &mut Facts, run: &Observed) {
    let entry = Entry::of(run);
    let [duration, eta] = entry.times();
    facts.say("run", Some(entry.name().to_owned()));
    facts.say("name", entry.title().map(str::to_owned));
    facts.say("path", Some(entry.path().to_owned()));
    facts.say("made by", entry.layout().map(str::to_owned));
    facts.tinted("status", Some(entry.status()), run.status().into());
    facts.say("reason", run.reason().map(str::to_owned));
    facts.say("step", Some(entry.progress(&run.recorded.metrics().figures())));
    facts.say(
        "metrics",
        run.recorded.attempt().and_then(|attempt| Some(names(attempt.metrics_from.as_ref()?))),
    );
    facts.say("started", run.started().map(Timestamp::local));
    let has_several = run.recorded.attempts() > 1;
    facts.say("restarted", run.start_time().filter(|_| has_several).map(Timestamp::local));
    facts.say("ended", run.end_time().map(Timestamp::local));
    facts.say("duration", duration.map(human_seconds));
    facts.say("eta", eta.map(human_seconds));
    facts.say("exit", run.recorded.exit_code().map(|code| code.to_string()));
    facts.say("signal", run.recorded.signal().map(|signal| signal.to_string()));
    facts.say("pid", entry.pid().map(|pid| pid.to_string()));
    facts.say("command", run.recorded.command.parse::<Option<Vec<String>>>().as_deref().map(shell_line));
}

/// Names the files that metrics are read from.
fn names(files: &[String]) -> String {
    let (shown, others) = files.split_at(files.len().min(FILES_SHOWN));
    let more = if others.is_empty() { String::new() } else { format!(" and {} more", others.len()) };
    format!("{}{more}", shown.join(", "))
}

/// Adds the circumstances of the run's creation.
fn of_creation(facts: &mut Facts, run: &Observed, meta: &Meta) {
    let attempts = run.attempts().unwrap_or_default();
    let last = attempts.last().map(|last| &last.start.cwd).filter(|directory| !directory.is_empty());
    facts.say("directory", Some(last.unwrap_or(&meta.cwd).clone())); // that of the command above
    facts.say("environment", Some(pairs(&meta.env)));
    let input = |(name, input): (&String, &Value)| format!("{name}={}", text(&input["path"]));
    facts.say("inputs", Some(meta.inputs.iter().map(input).collect::<Vec<_>>().join(" ")));
    facts.say("seed", meta.seed.map(|seed| seed.to_string()));
    facts.say("tags", Some(meta.tags.join(" ")));
    facts.say("note", meta.note.clone());
    facts.say("code", code(meta));
    facts.say("python", python(meta));
    facts.say("device", meta.device.clone());
    facts.say("gpus", Some(meta.gpus.join(", ")));
    facts.say("host", Some(run.recorded.host().unwrap_or(&meta.host).to_owned()));
    if run.run.layout().foreign().is_none() {
        facts.say("created", Some(format!("{} by {} on {}", meta.created.local(), meta.user, meta.host)));
    }
}

/// Adds the resources that the last attempt has used.
fn of_machine(facts: &mut Facts, run: &Observed) {
    let Some(attempt) = run.recorded.attempt() else { return };
    let attempts = run.attempts().unwrap_or_default();
    facts.say("job", attempts.last().and_then(|last| last.start.job.as_ref()).map(job));
    let used = attempt.resources.map(|used| {
        let gpu = used.gpu_seconds.map(|seconds| format!(", gpu {}", human_seconds(seconds)));
        let (cpu, memory) = (human_seconds(used.cpu_seconds), used.max_rss_bytes >> 20);
        format!("cpu {cpu}, memory {memory} MiB{}", gpu.unwrap_or_default())
    });
    facts.say("resources", used);
    let lost = Some(attempt.lost_bytes).filter(|&lost| lost > 0);
    facts.say("lost output", lost.map(|lost| format!("{lost} bytes")));
}

/// Says which job has made an attempt.
fn job(job: &JobStart) -> String {
    let node = job.node.as_deref().map(|node| format!(" on {node}")).unwrap_or_default();
    let again = if job.restart > 0 { format!(", restart {}", job.restart) } else { String::new() };
    format!("{} {}{node}{again}", job.launcher, job.id)
}

/// Adds the state of the GPUs at the last sample, unless the run has ended.
fn of_devices(facts: &mut Facts, run: &Observed) {
    if run.status().has_ended() {
        return;
    }
    let Some(sample) = Sample::last(run.run.layout()) else { return };
    if run.start_time().is_none_or(|start| sample.time < start) {
        return; // from an earlier attempt
    }
    for device in sample.devices.unwrap_or_default() {
        let name = device.index.map_or_else(|| device.uuid.clone(), |index| format!("gpu {index}"));
        facts.say(&name, Some(figures(&device)));
    }
}

/// Returns the figures of a GPU that its driver provides.
fn figures(device: &DeviceState) -> String {
    let memory = match (device.memory_bytes, device.memory_total_bytes) {
        (Some(used), Some(all)) => Some(format!("memory {} of {}", human_bytes(used), human_bytes(all))),
        (used, _) => used.map(|used| format!("memory {}", human_bytes(used))),
    };
    let words = [
        device.utilization.map(|percent| format!("utilization {percent:.0}%")),
        memory,
        device.power_w.map(|watts| format!("power {watts:.0} W")),
        device.temperature_c.map(|degrees| format!("temperature {degrees:.0} C")),
    ];
    words.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

/// Adds the cost of all attempts so far, if a price is known, the part of it that was lost, and the money
/// that the program has logged as spent.
fn cost(run: &Observed, meta: &Meta) -> Option<String> {
    let rates = Rates::from_environment().ok().flatten(); // run-report reports errors in it
    let attempts = run.attempts().ok()?;
    let is_known = |one: &Attempt| one.end.as_ref().is_some_and(|end| end.cost_usd.is_some());
    let mut words = Vec::new();
    if rates.is_some() || attempts.iter().any(is_known) {
        let spent = spent(run, &attempts, rates.as_ref(), || save_times(run, meta));
        words.extend(spent.usd.map(|usd| format!("${}", money(usd))));
        words.extend(
            spent.wasted_usd.filter(|usd| *usd > 0.0).map(|usd| format!("${} of it wasted", money(usd))),
        );
    }
    words.extend(logged(&run.recorded.metrics().figures()).map(|usd| format!("${} logged", money(usd))));
    (!words.is_empty()).then(|| words.join(", "))
}

fn python(meta: &Meta) -> Option<String> {
    let version = meta.python_version.as_ref()?;
    let torch = meta.torch_version.as_ref().map(|torch| format!(", torch {torch}")).unwrap_or_default();
    Some(format!("{version}{torch} ({})", meta.python_executable.as_deref().unwrap_or("?")))
}

fn code(meta: &Meta) -> Option<String> {
    let commit = meta.git_commit.as_ref()?;
    let branch = meta.git_branch.as_ref().map(|branch| format!(" ({branch})")).unwrap_or_default();
    let dirty = if meta.git_dirty == Some(true) { ", with changes" } else { "" };
    Some(format!("{commit}{branch}{dirty}"))
}

fn pairs(values: &Map<String, Value>) -> String {
    let words: Vec<String> = values.iter().map(|(key, value)| format!("{key}={}", text(value))).collect();
    shell_line(&words)
}
