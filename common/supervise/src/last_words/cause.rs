//! Chooses the error in a log that the program died of.

use super::lines::{
    Channel, Line, channels, closes_box, has_letter, indentation, inside, is_aside, is_of_status, opens_box,
    shape, warnings,
};
use super::others::{joined, others};
use super::python::tracebacks;
use super::report::{Report, Role};
use super::tasks::{FailedTask, first_failed};
use std::collections::{HashMap, HashSet};

/// After this many lines of usual output after an error, the program has survived the error.
const WORK: usize = 5;

/// The same for lines of any kind.
const MANY: usize = 200;

/// Number of last lines among which a line with `error` takes precedence over the last line.
const END: usize = 10;

/// Exceptions of launchers, which report the failure of the launched program.
const LAUNCHERS: [&str; 3] = ["ChildFailedError", "CalledProcessError", "ProcessExitedException"];

/// Words of an exception that was caused by the end of another process.
const OF_PEERS: [&str; 9] = [
    "NCCL",
    "Gloo",
    "gloo",
    "Connection closed by peer",
    "Connection reset by peer",
    "Broken pipe",
    "DistBackendError",
    "DistNetworkError",
    "remote process exited",
];

/// Endings of errors that only report another error: the interpreter's, when a library has called abort(3),
/// and Rust's of a thread whose panic was printed before.
const OF_LIBRARIES: [&str; 2] = ["Fatal Python error: Aborted", "on an `Err` value: Any { .. }"];

/// An error, and its position.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Cause {
    /// The error.
    pub(super) error: Option<String>,
    /// Line numbers of its traceback.
    pub(super) traceback: Vec<usize>,
    /// Whether it comes from a report.
    pub(super) is_reported: bool,
}

/// The end of a log with the errors found in it.
struct Log<'a> {
    channels: Vec<Channel<'a>>,
    reports: Vec<Report>,
    /// The task of srun that failed first, and the number of the line that reports it.
    task: Option<(FailedTask, usize)>,
    /// Number of lines of each shape outside reports.
    shapes: HashMap<String, usize>,
    /// Line numbers that belong to reports.
    taken: HashSet<usize>,
}

/// Facts about a program besides the log.
pub(super) struct Known<'a> {
    /// Whether it ended differently from Python after an uncaught exception.
    pub(super) has_own_status: bool,
    /// Returns whether the program continued its output on its other stream after it had written a line.
    pub(super) went_on: &'a dyn Fn(&str) -> bool,
}

impl Known<'_> {
    /// No facts.
    pub(super) const NOTHING: Known<'static> = Known { has_own_status: false, went_on: &|_| false };
}

/// Finds the error that a program died of.
pub(super) fn cause(lines: &[String], known: &Known) -> Cause {
    let log = Log::new(lines);
    let found = log.choose(known);
    match found {
        Some(report) => {
            let lines = &log.channels[report.channel].lines[report.first..=report.last];
            let traceback = lines.iter().map(|line| line.number).filter(|_| report.is_traceback);
            Cause { error: Some(report.error.clone()), traceback: traceback.collect(), is_reported: true }
        }
        None => Cause { error: log.words(lines.len()), ..Cause::default() },
    }
}

impl<'a> Log<'a> {
    fn new(lines: &'a [String]) -> Self {
        let channels = channels(lines);
        let mut reports = Vec::new();
        for (number, channel) in channels.iter().enumerate() {
            let found = tracebacks(number, &channel.lines);
            let is_within = |report: &Report| {
                found.iter().any(|outer| (outer.first..=outer.last).contains(&report.first))
            };
            reports.extend(others(number, &channel.lines).into_iter().filter(|report| !is_within(report)));
            reports.extend(found);
        }
        for report in &mut reports {
            let name = report.error.split(':').next().unwrap_or_default();
            if LAUNCHERS.iter().any(|launcher| name.ends_with(launcher)) {
                report.role = Role::Launcher;
            }
        }
        reports.sort_by_key(|report| channels[report.channel].lines[report.at].number);
        let numbers = |report: &Report| {
            let lines = &channels[report.channel].lines[report.first..=report.last];
            lines.iter().map(|line| line.number).collect::<Vec<_>>()
        };
        let warned = channels.iter().flat_map(|channel| warnings(&channel.lines));
        let taken: HashSet<usize> = reports.iter().flat_map(numbers).chain(warned).collect();
        let mut shapes = HashMap::new();
        for line in channels.iter().flat_map(|channel| &channel.lines) {
            if !taken.contains(&line.number) {
                *shapes.entry(shape(line.text)).or_default() += 1;
            }
        }
        Self { channels, reports, task: first_failed(lines), shapes, taken }
    }

    fn line_of(&self, report: &Report) -> Line<'a> {
        self.channels[report.channel].lines[report.at]
    }

    /// Returns the reports of the task of srun that failed first, if srun labels the lines of tasks; else the
    /// reports before srun reported the failure. Without srun, or without such reports, returns all.
    fn of_first_task(&self) -> Vec<&Report> {
        let all: Vec<&Report> = self.reports.iter().collect();
        let Some((task, at)) = &self.task else { return all };
        let is_its = |report: &&&Report| self.channels[report.channel].task() == Some(task.number);
        let is_before = |report: &&&Report| self.line_of(report).number < *at;
        let its: Vec<&Report> = all.iter().filter(is_its).copied().collect();
        let before: Vec<&Report> = all.iter().filter(is_before).copied().collect();
        [its, before].into_iter().find(|found| !found.is_empty()).unwrap_or(all)
    }

    /// Returns the report of the error that the program died of.
    fn choose(&self, known: &Known) -> Option<Report> {
        let reports = self.of_first_task();
        let of = |role: Role| reports.iter().copied().filter(move |report| report.role == role);
        let launcher = of(Role::Launcher).next_back();
        let number = |report: &Report| self.line_of(report).number;
        let has_last_word = launcher.filter(|launcher| {
            of(Role::Main).all(|report| number(report) < number(launcher) || self.is_below(report, launcher))
        });
        let Some(launcher) = has_last_word else {
            let own: Vec<&Report> =
                of(Role::Main).filter(|report| !self.was_survived(report, known)).collect();
            let side = of(Role::Side).rfind(|report| !self.was_survived(report, known));
            let picked = pick(&own, &self.channels, None);
            return picked.filter(|report| says_more(report)).or(side).or(picked).cloned();
        };
        let root = self.root(launcher);
        if let Some(signal) = root.as_ref().and_then(|root| root.signal.clone()) {
            let crash = of(Role::Main).rfind(|report| !report.is_traceback);
            return Some(crash.cloned().unwrap_or_else(|| Report {
                error: signal,
                is_traceback: false,
                ..launcher.clone()
            }));
        }
        let rank = root.as_ref().and_then(|root| root.rank);
        let before: Vec<&Report> =
            of(Role::Main).filter(|report| number(report) < number(launcher)).collect();
        let own: Vec<&Report> =
            before.iter().copied().filter(|report| !self.was_survived(report, &Known::NOTHING)).collect();
        let last_words = || {
            let error = self.words_before(number(launcher), true)?;
            Some(Report { error, is_traceback: false, ..launcher.clone() })
        };
        let in_table = || of(Role::Main).rfind(|report| self.is_below(report, launcher));
        pick(&own, &self.channels, rank)
            .or_else(in_table)
            .or_else(|| of(Role::Side).rfind(|report| number(report) < number(launcher)))
            .cloned()
            .or_else(last_words)
            .or_else(|| before.last().copied().cloned())
            .or_else(|| {
                let error = root.map_or(launcher.error.clone(), |root| root.words(&launcher.error));
                Some(Report { error, ..launcher.clone() })
            })
    }

    /// Returns whether a report is in the table of a launcher, which repeats the program's output.
    fn is_below(&self, report: &Report, launcher: &Report) -> bool {
        let line = self.line_of(report);
        report.is_traceback
            && report.channel == launcher.channel
            && self.channels[report.channel].lines[report.first].text.trim_start().starts_with("traceback :")
            && line.number > self.line_of(launcher).number
    }

    /// Returns whether the program has survived an error: it continued its usual output, on either stream, or
    /// printed another line with an error last, or ended with a status of its own.
    fn was_survived(&self, report: &Report, known: &Known) -> bool {
        let channel = &self.channels[report.channel];
        if channel.is_of_dead() {
            return false;
        }
        let after = &channel.lines[report.last + 1..];
        let (mut work, mut all, mut last) = (0, 0, "");
        for (place, line) in after.iter().enumerate() {
            // A line with indented lines below it is a part of a long message.
            let has_lines_below = after.get(place + 1).is_some_and(|next| indentation(next.text) > 0);
            if self.is_work(line) && indentation(line.text) == 0 && !has_lines_below {
                all += 1;
                last = if is_of_status(line.text) { last } else { line.text };
                work += usize::from(self.shapes.get(&shape(line.text)).is_some_and(|&count| count > 2));
            }
        }
        let has_other_words = report.is_traceback && has_letter(last);
        work >= WORK
            || all >= MANY
            || has_other_words && (known.has_own_status || says_error(last))
            || (known.went_on)(channel.lines[report.at].text)
    }

    /// Returns whether a line is the program's own, outside reports; lines of numbers count, too.
    fn is_work(&self, line: &Line) -> bool {
        line.text.contains(char::is_alphanumeric)
            && !self.taken.contains(&line.number)
            && !is_aside(line.text)
    }

    /// Returns whether a line is the program's own, outside reports.
    fn is_ordinary(&self, line: &Line) -> bool {
        has_letter(line.text) && self.is_work(line)
    }

    /// Returns a launcher's words about the process that failed first.
    fn root(&self, launcher: &Report) -> Option<Root> {
        if let Some((_, signal)) = launcher.error.split_once("died with <") {
            let signal = signal.split_once('>').map_or(signal, |(signal, _)| signal);
            return Some(Root { signal: Some(format!("died with {signal}")), ..Root::default() });
        }
        if launcher.error.contains("terminated with signal ") {
            return Some(Root { signal: Some(launcher.error.clone()), ..Root::default() });
        }
        let after = &self.channels[launcher.channel].lines[launcher.at..];
        let table =
            after.iter().map(|line| line.text.trim()).skip_while(|line| !line.starts_with("Root Cause"));
        let mut root = None;
        for line in table.take(10) {
            let root = root.get_or_insert_with(Root::default);
            match line.split_once(':').map(|(key, value)| (key.trim(), value.trim())) {
                Some(("rank", value)) => {
                    root.rank = value.split(' ').next().and_then(|rank| rank.parse().ok());
                }
                Some(("exitcode", value)) => root.exit_code = value.split(' ').next().map(str::to_owned),
                Some(("traceback", value)) if value.starts_with("Signal ") => {
                    root.signal = Some(value.to_owned());
                }
                _ => {}
            }
        }
        root
    }

    /// Returns the last words of a program that has reported no error.
    fn words(&self, count: usize) -> Option<String> {
        let ignored = || self.reports.iter().rfind(|report| report.role == Role::Ignored);
        let asides = || {
            let lines = self.channels.iter().flat_map(|channel| &channel.lines);
            let last = lines.filter(|line| !self.taken.contains(&line.number) && says_error(line.text));
            last.max_by_key(|line| line.number).map(|line| line.text.trim().to_owned())
        };
        self.words_before(count, false)
            .or_else(asides)
            .or_else(|| ignored().map(|report| report.error.clone()))
    }

    /// Returns the last words before a line; if only a `rare` line counts, not one of the usual output.
    fn words_before(&self, end: usize, rare: bool) -> Option<String> {
        let mut lines: Vec<Line> =
            self.channels.iter().flat_map(|channel| channel.lines.iter().copied()).collect();
        lines.sort_by_key(|line| line.number);
        lines.retain(|line| line.number < end);
        if let Some(words) = in_box(&lines) {
            return Some(words);
        }
        let is_rare =
            |line: &Line| !rare || self.shapes.get(&shape(line.text)).is_none_or(|&count| count <= 2);
        let own: Vec<usize> = (0..lines.len())
            .filter(|&place| self.is_ordinary(&lines[place]) && is_rare(&lines[place]))
            .collect();
        let last = own.iter().rev().take(END);
        let place = *last.clone().find(|&&place| says_error(lines[place].text)).or(last.clone().next())?;
        let text = inside(lines[place].text).unwrap_or(lines[place].text).trim();
        Some(joined(text, lines.get(place + 1).map(|line| line.text)))
    }
}

/// Returns the text of a box at the end of the lines: up to the first rule, blank line or indented line; an
/// indented line counts if the text above ends in a colon.
fn in_box(lines: &[Line]) -> Option<String> {
    let bottom = lines.iter().rposition(|line| has_letter(line.text) || closes_box(line.text))?;
    closes_box(lines[bottom].text).then_some(())?;
    let top = lines[..bottom].iter().rposition(|line| opens_box(line.text))?;
    let within = lines[top + 1..bottom].iter().filter_map(|line| inside(line.text));
    let said = within.skip_while(|line| !has_letter(line)).take_while(|line| has_letter(line));
    let mut words = String::new();
    for line in said {
        let is_below = !words.is_empty() && indentation(line) > 1;
        if is_below && !words.ends_with(':') {
            break;
        }
        words.push_str(if words.is_empty() { "" } else { " " });
        words.push_str(line.trim());
        if is_below {
            break;
        }
    }
    (!words.is_empty()).then_some(words)
}

/// Returns whether a line calls itself an error.
pub(super) fn says_error(line: &str) -> bool {
    let lower = line.to_lowercase();
    lower.contains("error:")
        || lower.starts_with("fatal")
        || ["ERROR", "Error ", "exits with return code"].iter().any(|word| line.contains(word))
}

/// Returns whether an error does more than report another one.
fn says_more(report: &Report) -> bool {
    !OF_LIBRARIES.iter().any(|words| report.error.ends_with(words))
}

/// Picks the error of the process that failed `first`; else among the errors of ranks the first that is not
/// caused by the end of another rank, and otherwise the last such.
fn pick<'a>(own: &[&'a Report], channels: &[Channel], first: Option<u32>) -> Option<&'a Report> {
    let is_own =
        |report: &&&Report| !OF_PEERS.iter().any(|words| report.error.contains(words)) && says_more(report);
    let of_ranks: Vec<&&Report> = own.iter().filter(|report| channels[report.channel].is_of_dead()).collect();
    let of_first = of_ranks.iter().find(|report| first.is_some() && channels[report.channel].rank() == first);
    of_first
        .copied()
        .or_else(|| of_ranks.iter().copied().find(is_own))
        .or_else(|| own.iter().rfind(is_own))
        .or_else(|| own.last())
        .copied()
}

/// A launcher's words about the process that failed first.
#[derive(Debug, Default)]
struct Root {
    rank: Option<u32>,
    exit_code: Option<String>,
    /// The signal that ended it, in the launcher's words.
    signal: Option<String>,
}

impl Root {
    /// Returns which process failed, if the launcher's error does not contain this.
    fn words(&self, error: &str) -> String {
        match (self.rank, &self.exit_code) {
            (Some(rank), Some(code)) => {
                format!("{}: rank {rank}, exit code {code}", error.trim_end_matches([':', ' ']))
            }
            _ => error.to_owned(),
        }
    }
}

/// Returns whether a program continued its usual output on one stream after it had written a line to the
/// other, according to this end of combined.log, `is_cut` at its beginning.
pub(super) fn went_on(combined: &str, is_cut: bool, stream: &str, line: &str) -> bool {
    let mut shapes: HashMap<String, usize> = HashMap::new();
    let mut after = None;
    for entry in combined.lines() {
        // The time, the stream, a tag, and the text.
        let mut fields = entry.splitn(4, ' ').skip(1);
        let (Some(from), Some(_), Some(text)) = (fields.next(), fields.next(), fields.next()) else {
            continue;
        };
        if from == stream {
            if text.trim_end().ends_with(line.trim()) {
                after = Some(Vec::new());
            }
        } else if text.contains(char::is_alphanumeric) && !is_aside(text) {
            let shape = shape(text);
            *shapes.entry(shape.clone()).or_default() += 1;
            if let Some(after) = &mut after {
                after.push(shape);
            }
        }
    }
    match after {
        None => is_cut,
        Some(after) => {
            after.iter().filter(|shape| shapes.get(*shape).is_some_and(|&count| count > 2)).count() >= WORK
        }
    }
}
