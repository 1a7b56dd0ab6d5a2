//! Pipelines that a shell waits for, as in `train | tee log`.

use run_common::process::foreground::executes;
use run_common::process::stat::Stat;
use std::fs;
use std::path::PathBuf;

/// Programs that pass on what others print, and end when these have ended.
const FILTERS: [&str; 22] = [
    "awk",
    "cat",
    "column",
    "cut",
    "gawk",
    "grep",
    "gzip",
    "head",
    "logger",
    "mawk",
    "multilog",
    "pv",
    "rotatelogs",
    "sed",
    "sort",
    "tail",
    "tee",
    "tr",
    "ts",
    "uniq",
    "xz",
    "zstd",
];

/// The ends of the pipes of a process.
struct Ends {
    input: Option<PathBuf>,
    outputs: Vec<PathBuf>,
}

impl Ends {
    fn of(pid: i32) -> Self {
        let pipe = |number: u32| {
            let file = fs::read_link(format!("/proc/{pid}/fd/{number}")).ok()?;
            file.to_str().is_some_and(|name| name.starts_with("pipe:")).then_some(file)
        };
        Self { input: pipe(0), outputs: [1, 2].into_iter().filter_map(pipe).collect() }
    }

    fn feeds(&self, other: &Self) -> bool {
        other.input.as_ref().is_some_and(|input| self.outputs.contains(input))
    }
}

/// The parts of a pipeline that do not only pass on what others print.
pub(super) struct Parts {
    /// Those that others feed at most by way of such programs: a request to end is for them.
    pub(super) first: Vec<Stat>,
    /// The others, whose input ends with these.
    pub(super) fed: Vec<Stat>,
}

/// Divides the processes of pipelines. Returns `None` if they are not all parts of some: one may be in the background.
pub(super) fn parts(processes: &[Stat]) -> Option<Parts> {
    let ends: Vec<Ends> = processes.iter().map(|process| Ends::of(process.pid)).collect();
    let feeds = |one: usize, other: usize| ends[one].feeds(&ends[other]);
    let all = 0..processes.len();
    let is_part = |one: usize| all.clone().any(|other| feeds(one, other) || feeds(other, one));
    if !all.clone().all(is_part) {
        return None;
    }
    let filters: Vec<bool> = processes.iter().map(|process| executes(process.pid, &FILTERS)).collect();
    let mut is_fed = vec![false; processes.len()];
    for _ in processes {
        for one in all.clone() {
            is_fed[one] |= all.clone().any(|other| feeds(other, one) && (!filters[other] || is_fed[other]));
        }
    }
    let some = |is_wanted: &dyn Fn(usize) -> bool| -> Vec<Stat> {
        all.clone().filter(|&one| is_wanted(one)).map(|one| processes[one]).collect()
    };
    if filters.iter().all(|is_filter| *is_filter) {
        let is_first = |one: usize| !all.clone().any(|other| feeds(other, one));
        return Some(Parts { first: some(&is_first), fed: Vec::new() });
    }
    Some(Parts {
        first: some(&|one| !filters[one] && !is_fed[one]),
        fed: some(&|one| !filters[one] && is_fed[one]),
    })
}
