//! Resource usage of a run's processes at one time: a line of `resources.jsonl`.

use super::layout::Layout;
use crate::fsio::open_regular;
use crate::fsio::read::{LIMIT, read_end};
use crate::provenance::device::DeviceState;
use crate::time::Timestamp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::io::{self, BufRead, BufReader, Read};

/// Bytes at the end of the file to search for the last line: hosts have few devices.
const TAIL: u64 = 64 << 10;

/// Maximum number of bytes of the file to read: samples of years.
const MOST: u64 = 1 << 30;

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
    /// The progress of the program; older versions did not record it.
    #[serde(flatten)]
    pub life: Life,
}

/// The progress of a program at the time of a sample.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Life {
    /// Number of metric rows of all attempts so far, including superseded ones.
    #[serde(default)]
    pub rows: Option<u64>,
    /// Time of the last output, metric row or checkpoint of the attempt.
    #[serde(default)]
    pub last_output: Option<Timestamp>,
}

/// The progress in a sample, with its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub struct Beat {
    /// Time of the sample.
    pub time: Timestamp,
    /// The progress of the program.
    #[serde(flatten)]
    pub life: Life,
}

impl Beat {
    /// Reads all beats of a run, in the order of the file.
    pub fn all(layout: &Layout) -> io::Result<Vec<Self>> {
        let mut beats = Vec::new();
        each_line(layout, |beat| beats.push(beat))?;
        Ok(beats)
    }
}

/// Reads the lines of resources.jsonl, skipping lines that are not samples. A missing file has no lines; of a
/// file larger than 1 GiB, only the beginning is read.
fn each_line<T: DeserializeOwned>(layout: &Layout, mut each: impl FnMut(T)) -> io::Result<()> {
    let Some(file) = open_regular(&layout.resources())? else { return Ok(()) };
    let mut file = BufReader::new(file.take(MOST));
    let mut line = Vec::new();
    loop {
        line.clear();
        let length = file.by_ref().take(LIMIT).read_until(b'\n', &mut line)?;
        if length == 0 {
            return Ok(());
        }
        if !line.ends_with(b"\n") {
            file.skip_until(b'\n')?;
        } else if let Ok(found) = serde_json::from_slice(&line) {
            each(found);
        }
    }
}

impl Sample {
    /// Visits all samples of a run, in the order of the file.
    pub fn each(layout: &Layout, each: impl FnMut(Self)) -> io::Result<()> {
        each_line(layout, each)
    }

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
