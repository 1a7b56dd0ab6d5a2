//! Resource usage of a run's processes: CPU time, memory, GPUs.

use super::devices::Devices;
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeVal;
use nix::sys::wait::waitpid;
use nix::unistd::{Pid, SysconfVar, sysconf};
use run_common::process::stat::Stat;
use run_common::rundir::attempts::Resources;
use run_common::rundir::sample::{Life, Sample};
use run_common::time::Timestamp;
use std::time::Instant;

/// Adds up the usage of a run, from samples of its processes and from the kernel's figures of ended ones.
#[derive(Debug)]
pub(super) struct Meter {
    used: Resources,
    ticks_per_second: f64,
    page: u64,
    last: Option<Instant>,
    /// Usage that the kernel counts for children of this process that do not belong to the run.
    foreign: Foreign,
    /// The state of the GPUs.
    pub(super) devices: Devices,
}

/// Usage of children that do not belong to the run.
#[derive(Debug, Default)]
struct Foreign {
    cpu_seconds: f64,
    /// The largest child before a larger one that does not belong to the run was waited for, and that larger
    /// one.
    shadowed: Option<(u64, u64)>,
}

impl Foreign {
    /// Waits for an ended child that does not belong to the run.
    fn wait_for(&mut self, pid: i32) {
        let before = children();
        let _ = waitpid(Pid::from_raw(pid), None); // it exists and has ended
        let after = children();
        self.cpu_seconds += after.0 - before.0;
        if after.1 > before.1 {
            self.shadowed = Some((self.largest(before.1), after.1));
        }
    }

    /// Returns the memory of the run's largest child, as far as known, given the largest of all children.
    fn largest(&self, of_all: u64) -> u64 {
        match self.shadowed {
            Some((largest, shadow)) if shadow == of_all => largest,
            _ => of_all,
        }
    }
}

impl Meter {
    /// Creates a meter.
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

    /// Takes a sample of the run's living processes; returns it as a line of resources.jsonl,
    /// without how far the program is.
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
            life: Life::default(),
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

    /// Waits for an ended child, unless it belongs to the run; returns whether it did not.
    pub(super) fn wait_for_foreign(&mut self, pid: i32) -> bool {
        let is_foreign = self.devices.owns(pid);
        if is_foreign {
            self.foreign.wait_for(pid);
        }
        is_foreign
    }

    /// Returns the CPU seconds of all waited-for processes of the run, and the memory of the largest one.
    fn ended(&self) -> (f64, u64) {
        let (cpu, largest) = children();
        (cpu - self.foreign.cpu_seconds, self.foreign.largest(largest))
    }
}

/// CPU seconds of all waited-for descendants, and the memory of the largest one.
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
