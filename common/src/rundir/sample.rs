//! Resource usage of a run's processes at one time: a line of `resources.jsonl`.

use super::layout::Layout;
use crate::fsio::read::read_end;
use crate::provenance::device::DeviceState;
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};

/// Bytes at the end of the file to search for the last line: hosts have few devices.
const TAIL: u64 = 64 << 10;

/// A sample.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// Time of the sample.
    pub time: Timestamp,
    /// Number of living processes of the run.
    pub processes: usize,
    /// CPU time that the attempt had used so far, in seconds.
    pub cpu_seconds: f64,
    /// Resident memory of the processes, in bytes.
    pub rss_bytes: u64,
    /// Number of GPUs that the processes used; null if unknown.
    pub gpus: Option<u32>,
    /// GPU memory that the processes used, in bytes.
    pub gpu_mem_bytes: Option<u64>,
    /// The state of these GPUs; null if unknown.
    #[serde(default)]
    pub devices: Option<Vec<DeviceState>>,
}

impl Sample {
    /// Reads the last sample of a run, if there is one.
    pub fn last(layout: &Layout) -> Option<Self> {
        let end = read_end(&layout.resources(), 0, TAIL).ok()?;
        let mut lines = end.rsplit(|&byte| byte == b'\n').filter(|line| !line.is_empty());
        lines.find_map(|line| serde_json::from_slice(line).ok())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use tempfile::TempDir;

    #[test]
    fn the_last_whole_line_counts() {
        let dir = TempDir::new().unwrap();
        let layout = Layout::new(dir.path());
        assert_eq!(Sample::last(&layout), None);
        fs::create_dir(layout.record()).unwrap();
        let line = |second: u32| {
            format!(
                "{{\"time\":\"2026-01-29T12:00:0{second}.000Z\",\"processes\":1,\"cpu_seconds\":0.5,\
                 \"rss_bytes\":4096,\"gpus\":null,\"gpu_mem_bytes\":null}}\n"
            )
        };
        let time = |text: String| {
            fs::write(layout.resources(), text).unwrap();
            Sample::last(&layout).map(|sample| sample.time.to_string())
        };
        let second = |second: u32| Some(format!("2026-01-29T12:00:0{second}.000Z"));
        assert_eq!(time(line(1) + &line(2)), second(2));
        assert_eq!(time(line(1) + &line(2)[..30]), second(1));
        assert_eq!(time("x".repeat(1 << 20) + "\n" + &line(3)), second(3));
        assert_eq!(time(String::new()), None);
    }
}
