//! The graphics processors of this host, found without asking a driver; and how a driver is asked who uses them.

use crate::fsio::read::read_kernel;
use std::fs;
use std::path::Path;

/// Returns the models of the NVIDIA processors, as the driver lists them below `/proc`.
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

/// Returns the device that `PyTorch` would choose here: `cuda` (also for AMD's processors) or `cpu`.
pub fn default_device() -> &'static str {
    let cuda = ["/dev/nvidia0", "/proc/driver/nvidia/gpus", "/dev/kfd"]
        .into_iter()
        .any(|path| Path::new(path).exists());
    if cuda { "cuda" } else { "cpu" }
}

/// A program that says which processes use which processors.
#[derive(Clone, Copy, Debug)]
pub struct UseQuery {
    /// Its name, to be looked for on the path.
    pub program: &'static str,
    /// Its arguments.
    pub arguments: &'static [&'static str],
    /// Understands what it prints, whole or not at all.
    pub parse: fn(&str) -> Option<Vec<DeviceUse>>,
}

/// A process that uses a processor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceUse {
    /// The process.
    pub pid: i32,
    /// The processor.
    pub device: String,
    /// Its memory that the process uses.
    pub memory_bytes: u64,
}

/// How NVIDIA's driver is asked.
pub const NVIDIA_SMI: UseQuery = UseQuery {
    program: "nvidia-smi",
    arguments: &["--query-compute-apps=pid,gpu_uuid,used_memory", "--format=csv,noheader,nounits"],
    parse,
};

/// Parses lines such as `1234, GPU-8a6b…, 512`: memory in MiB, or `[N/A]`.
fn parse(text: &str) -> Option<Vec<DeviceUse>> {
    let lines = text.lines().filter(|line| !line.trim().is_empty());
    let used = lines.map(|line| {
        let mut fields = line.split(',').map(str::trim);
        let pid = fields.next()?.parse().ok()?;
        let device = fields.next()?.to_owned();
        let mebibytes: u64 = fields.next()?.parse().unwrap_or(0);
        Some(DeviceUse { pid, device, memory_bytes: mebibytes << 20 })
    });
    used.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_understood_whole_or_not_at_all() {
        let used = |pid, device: &str, mebibytes: u64| DeviceUse {
            pid,
            device: device.to_owned(),
            memory_bytes: mebibytes << 20,
        };
        let answer = parse("7, GPU-a, 512\n8, GPU-b, [N/A]\n").unwrap();
        assert_eq!(answer, [used(7, "GPU-a", 512), used(8, "GPU-b", 0)]);
        assert_eq!(parse(""), Some(vec![]));
        assert_eq!(parse("NVIDIA-SMI has failed because it couldn't communicate with the driver.\n"), None);
    }
}
