//! What the processes of a run use: CPU time, memory, graphics processors.

use super::devices::Devices;
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeVal;
use nix::sys::wait::waitpid;
use nix::unistd::{Pid, SysconfVar, sysconf};
use run_common::process::stat::Stat;
use run_common::rundir::attempts::Resources;
use run_common::rundir::sample::Sample;
use run_common::time::Timestamp;
use std::time::Instant;

/// Adds up what a run uses, from samples of its processes and from what the kernel tells of those
/// that have ended.
#[derive(Debug)]
pub(super) struct Meter {
    used: Resources,
    ticks_per_second: f64,
    page: u64,
    last: Option<Instant>,
    /// What the kernel counts among the children of this process and is none of the run's.
    foreign: Foreign,
    /// What the graphics processors do.
    pub(super) devices: Devices,
}

/// What children have used that are none of the run's.
#[derive(Debug, Default)]
struct Foreign {
    cpu_seconds: f64,
    /// The largest child, after which one was waited for that was larger still, and that one.
    shadowed: Option<(u64, u64)>,
}

impl Foreign {
    /// Waits for a child that has ended and is none of the run's.
    fn wait_for(&mut self, pid: i32) {
        let before = children();
        let _ = waitpid(Pid::from_raw(pid), None); // it is there, and has ended
        let after = children();
        self.cpu_seconds += after.0 - before.0;
        if after.1 > before.1 {
            self.shadowed = Some((self.largest(before.1), after.1));
        }
    }

    /// Returns the largest child of the run, as far as is known, where the largest of all was so large.
    fn largest(&self, of_all: u64) -> u64 {
        match self.shadowed {
            Some((largest, shadow)) if shadow == of_all => largest,
            _ => of_all,
        }
    }
}

impl Meter {
    /// Makes a meter.
    pub(super) fn new(devices: Devices) -> Self {
        let figure = |variable| sysconf(variable).ok().flatten().and_then(|value| u32::try_from(value).ok());
        Self {
            used: Resources::default(),
            ticks_per_second: figure(SysconfVar::CLK_TCK).unwrap_or(100).into(),
            page: figure(SysconfVar::PAGE_SIZE).unwrap_or(4096).into(),
            last: None,
            foreign: Foreign::default(),
            devices,
        }
    }

    /// Takes a sample of the run's living processes; returns it as a line of resources.jsonl.
    pub(super) fn sample(&mut self, processes: &[Stat]) -> Sample {
        let rss = processes.iter().map(|process| process.rss_pages).sum::<u64>() * self.page;
        let ticks: u64 = processes.iter().map(|process| process.cpu_ticks).sum();
        #[expect(clippy::cast_precision_loss, reason = "ticks of centuries fit a double")]
        let living = ticks as f64 / self.ticks_per_second;
        self.used.cpu_seconds = rounded(self.ended().0 + living);
        self.used.max_rss_bytes = self.used.max_rss_bytes.max(rss);
        let elapsed = self.last.replace(Instant::now()).map_or(0.0, |last| last.elapsed().as_secs_f64());
        let gpu = self.devices.usage(processes);
        if let Some(usage) = &gpu {
            let seconds = self.used.gpu_seconds.get_or_insert(0.0);
            *seconds = rounded(*seconds + elapsed * f64::from(usage.devices));
            self.used.gpu_mem_max_bytes = self.used.gpu_mem_max_bytes.max(Some(usage.memory_bytes));
        }
        Sample {
            time: Timestamp::now(),
            processes: processes.len(),
            cpu_seconds: self.used.cpu_seconds,
            rss_bytes: rss,
            gpus: gpu.map(|usage| usage.devices),
            gpu_mem_bytes: gpu.map(|usage| usage.memory_bytes),
            devices: self.devices.states(processes),
        }
    }

    /// Returns the sums as of the last sample.
    pub(super) fn used(&self) -> Resources {
        self.used
    }

    /// Returns the sums when every process of the run has been waited for.
    pub(super) fn total(&mut self) -> Resources {
        let (cpu, rss) = self.ended();
        self.used.cpu_seconds = rounded(cpu);
        self.used.max_rss_bytes = self.used.max_rss_bytes.max(rss);
        self.used
    }

    /// Waits for a child that has ended, unless it is the run's; says whether it was not.
    pub(super) fn wait_for_foreign(&mut self, pid: i32) -> bool {
        let is_foreign = self.devices.owns(pid);
        if is_foreign {
            self.foreign.wait_for(pid);
        }
        is_foreign
    }

    /// Returns the CPU seconds of all processes of the run that were waited for, and the memory of the largest of
    /// them.
    fn ended(&self) -> (f64, u64) {
        let (cpu, largest) = children();
        (cpu - self.foreign.cpu_seconds, self.foreign.largest(largest))
    }
}

/// CPU seconds of all descendants that were waited for, and the memory of the largest of them.
fn children() -> (f64, u64) {
    let Ok(usage) = getrusage(UsageWho::RUSAGE_CHILDREN) else {
        return (0.0, 0);
    };
    #[expect(clippy::cast_precision_loss, reason = "microseconds are below a million")]
    let seconds = |time: TimeVal| time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6;
    let rss = u64::try_from(usage.max_rss()).unwrap_or_default() * 1024;
    (seconds(usage.user_time()) + seconds(usage.system_time()), rss)
}

/// Rounds to milliseconds, so that the record shows no false precision.
fn rounded(seconds: f64) -> f64 {
    (seconds * 1000.0).round() / 1000.0
}
