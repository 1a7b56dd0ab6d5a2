//! The graphics processors of this host, found without asking a driver.

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
