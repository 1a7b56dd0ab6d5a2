//! The GPUs of this host, found without a driver; and the programs that report their usage.

use crate::fsio::read::read_kernel;
use serde::{Deserialize, Serialize};
use std::fs;
use std::path::Path;

/// Returns the models of the NVIDIA GPUs, as the driver lists them below `/proc`.
pub fn gpus() -> Vec<String> {
    let Ok(entries) = fs::read_dir("/proc/driver/nvidia/gpus") else {
        return Vec::new();
    };
    let mut directories: Vec<_> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    directories.sort();
    directories.iter().map(|directory| model(&directory.join("information"))).collect()
}

fn model(file: &Path) -> String {
    let text = read_kernel(file).unwrap_or_default();
    let model = text.lines().find_map(|line| line.strip_prefix("Model:"));
    model.map_or_else(|| "unknown".to_owned(), |model| model.trim().to_owned())
}

/// Returns the device that `PyTorch` would choose here: `cuda` (also for AMD GPUs) or `cpu`.
pub fn default_device() -> &'static str {
    let cuda = ["/dev/nvidia0", "/proc/driver/nvidia/gpus", "/dev/kfd"]
        .into_iter()
        .any(|path| Path::new(path).exists());
    if cuda { "cuda" } else { "cpu" }
}

/// A program that repeatedly reports the state of GPUs, and the processes that use them: a line for each.
#[derive(Clone, Copy, Debug)]
pub struct UseQuery {
    /// Its name, to find on the path.
    pub program: &'static str,
    /// Its arguments for the state of each GPU.
    pub of_states: &'static [&'static str],
    /// Its arguments for the processes that use each GPU.
    pub of_uses: &'static [&'static str],
    /// Prefix of the argument for the interval, in seconds.
    pub every: &'static str,
    /// Parses a line about a GPU.
    pub parse_state: fn(&str) -> Option<DeviceState>,
    /// Parses a line about a process.
    pub parse_use: fn(&str) -> Option<DeviceUse>,
}

/// A process that uses a GPU.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceUse {
    /// The process.
    pub pid: i32,
    /// The GPU's UUID.
    pub device: String,
    /// GPU memory that the process uses, in bytes.
    pub memory_bytes: u64,
}

/// The state of a GPU.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DeviceState {
    /// Its UUID.
    pub uuid: String,
    /// Its number on the host.
    pub index: Option<u32>,
    /// Utilization: percent of the time in which it worked.
    pub utilization: Option<f64>,
    /// Memory in use by all processes, in bytes.
    pub memory_bytes: Option<u64>,
    /// Total memory, in bytes.
    pub memory_total_bytes: Option<u64>,
    /// Power draw, in watts.
    pub power_w: Option<f64>,
    /// Its temperature, in degrees Celsius.
    pub temperature_c: Option<f64>,
}

impl DeviceState {
    /// Returns whether a value of `CUDA_VISIBLE_DEVICES` names the GPU, by its number or the beginning of its UUID.
    pub fn is_in(&self, visible: &str) -> bool {
        let is_named = |name: &str| match name.parse::<u32>() {
            Ok(number) => self.index == Some(number),
            Err(_) => name.len() > "GPU-".len() && self.uuid.starts_with(name),
        };
        visible.split(',').any(|name| is_named(name.trim()))
    }
}

/// The program of NVIDIA's driver (nvidia-smi(1)).
pub const NVIDIA_SMI: UseQuery = UseQuery {
    program: "nvidia-smi",
    of_states: &[
        "--query-gpu=uuid,index,utilization.gpu,memory.used,memory.total,power.draw,temperature.gpu",
        "--format=csv,noheader,nounits",
    ],
    of_uses: &["--query-compute-apps=pid,gpu_uuid,used_memory", "--format=csv,noheader,nounits"],
    every: "--loop=",
    parse_state,
    parse_use,
};

/// Parses a line such as `1234, GPU-8a6b…, 512`: memory in MiB, or `[N/A]`.
fn parse_use(line: &str) -> Option<DeviceUse> {
    let [pid, device, memory] = fields(line)?;
    Some(DeviceUse {
        pid: pid.parse().ok()?,
        device: device.to_owned(),
        memory_bytes: mebibytes(memory).unwrap_or(0),
    })
}

/// Parses a line such as `GPU-8a6b…, 0, 87, 20480, 24564, 312.45, 65`, any number of which may be `[N/A]`.
fn parse_state(line: &str) -> Option<DeviceState> {
    let [uuid, index, utilization, memory, total, power, temperature] = fields(line)?;
    Some(DeviceState {
        uuid: uuid.to_owned(),
        index: index.parse().ok(),
        utilization: figure(utilization),
        memory_bytes: mebibytes(memory),
        memory_total_bytes: mebibytes(total),
        power_w: figure(power),
        temperature_c: figure(temperature),
    })
}

/// Splits a line into this number of fields, the first of which is not empty.
fn fields<const COUNT: usize>(line: &str) -> Option<[&str; COUNT]> {
    let fields: Vec<&str> = line.split(',').map(str::trim).collect();
    fields.try_into().ok().filter(|fields: &[&str; COUNT]| !fields[0].is_empty())
}

fn figure(field: &str) -> Option<f64> {
    field.parse().ok().filter(|figure: &f64| figure.is_finite())
}

fn mebibytes(field: &str) -> Option<u64> {
    field.parse::<u64>().ok()?.checked_mul(1 << 20)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_understood_whole_or_not_at_all() {
        let used = |pid, device: &str, mebibytes: u64| DeviceUse {
            pid,
            device: device.to_owned(),
            memory_bytes: mebibytes << 20,
        };
        assert_eq!(parse_use("7, GPU-a, 512"), Some(used(7, "GPU-a", 512)));
        assert_eq!(parse_use("8, GPU-b, [N/A]"), Some(used(8, "GPU-b", 0)));
        let failure = "NVIDIA-SMI has failed because it couldn't communicate with the driver.";
        assert_eq!((parse_use(failure), parse_state(failure), parse_use("")), (None, None, None));
        let state = parse_state("GPU-a, 1, 87, 20480, 24564, 312.45, 65").unwrap();
        assert_eq!((state.uuid.as_str(), state.index, state.utilization), ("GPU-a", Some(1), Some(87.0)));
        assert_eq!((state.memory_bytes, state.memory_total_bytes), (Some(20480 << 20), Some(24564 << 20)));
        assert_eq!((state.power_w, state.temperature_c), (Some(312.45), Some(65.0)));
        let state = parse_state("GPU-a, 0, [N/A], [Not Supported], 24564, [N/A], N/A").unwrap();
        assert_eq!((state.utilization, state.memory_bytes, state.power_w), (None, None, None));
    }
}
