//! `.run/environment.json`: the packages, the driver, the container and the processor of the last attempt.
//! Written by run-exec while the command runs, compared by run-report.

use super::SCHEMA;
use super::layout::Layout;
use super::open::{Document, read_document};
use crate::fsio::atomic::{Durability, replace};
use crate::fsio::read::open_file;
use crate::fsio::write::check_dir;
use crate::provenance::hash::sha256_of;
use crate::provenance::machine::{Container, container, cpu, gpu_driver};
use crate::provenance::packages::{conda_packages, packages};
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::thread::available_parallelism;

/// Maximum size of a lock file to hash, in bytes.
const LOCK_LIMIT: u64 = 64 << 20;

/// The environment of an attempt.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Captured {
    /// Version of the record.
    pub schema: u32,
    /// The run's id.
    #[serde(default)]
    pub run_id: String,
    /// The attempt.
    pub attempt: u32,
    /// Time of the capture.
    #[serde(default)]
    pub time: Option<Timestamp>,
    /// The interpreter of the command.
    #[serde(default)]
    pub python_executable: Option<String>,
    /// Versions of its packages, by name.
    #[serde(default)]
    pub packages: BTreeMap<String, String>,
    /// Versions and builds of the packages of its conda environment, by name.
    #[serde(default)]
    pub conda: BTreeMap<String, String>,
    /// SHA-256 of `uv.lock` in the directory of the code or above it.
    #[serde(default)]
    pub uv_lock_sha256: Option<String>,
    /// The model of the processor.
    #[serde(default)]
    pub cpu: Option<String>,
    /// Number of processors available to the attempt.
    #[serde(default)]
    pub cpus: Option<usize>,
    /// The driver of the GPUs and its version.
    #[serde(default)]
    pub gpu_driver: Option<String>,
    /// The container, if there is one.
    #[serde(default)]
    pub container: Option<Container>,
}

impl Document for Captured {
    fn schema(&self) -> u32 {
        self.schema
    }
}

impl Captured {
    /// Captures the environment of an attempt: of an interpreter, if its command has one, and of the code in
    /// `cwd`.
    pub fn now(run_id: &str, attempt: u32, interpreter: Option<(&Path, &str)>, cwd: &Path) -> Self {
        Self {
            schema: SCHEMA,
            run_id: run_id.to_owned(),
            attempt,
            time: Some(Timestamp::now()),
            python_executable: interpreter.map(|(path, _)| path.to_string_lossy().into_owned()),
            packages: interpreter.map(|(path, version)| packages(path, version)).unwrap_or_default(),
            conda: interpreter.map(|(path, _)| conda_packages(path)).unwrap_or_default(),
            uv_lock_sha256: interpreter.and_then(|_| lock(cwd)),
            cpu: cpu(),
            cpus: available_parallelism().ok().map(usize::from),
            gpu_driver: gpu_driver(),
            container: container(),
        }
    }

    /// Reads the last captured environment; `None` if there is none or the file cannot be read, because an
    /// environment must not prevent a run from being shown.
    pub fn read(layout: &Layout) -> Option<Self> {
        if layout.foreign().is_some() {
            return None;
        }
        read_document(&layout.environment()).ok()
    }

    /// Writes it into the record.
    pub fn write(&self, layout: &Layout) -> io::Result<()> {
        check_dir(&layout.record())?;
        let mut bytes = serde_json::to_vec_pretty(self)?;
        bytes.push(b'\n');
        replace(&layout.environment(), &bytes, Durability::Process)
    }
}

/// Returns the hash of the lock file of the project that contains a directory.
fn lock(cwd: &Path) -> Option<String> {
    let file =
        cwd.ancestors().map(|directory| directory.join("uv.lock")).find(|file: &PathBuf| file.is_file())?;
    let length = open_file(&file).ok()?.metadata().ok()?.len();
    (length <= LOCK_LIMIT).then(|| sha256_of(&file).ok())?
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use tempfile::TempDir;

    #[test]
    fn what_was_captured_is_read_back_and_damage_is_nothing() {
        let dir = TempDir::new().unwrap();
        let layout = Layout::new(dir.path());
        fs::create_dir(layout.record()).unwrap();
        fs::write(dir.path().join("uv.lock"), "x").unwrap();
        let sub = dir.path().join("src");
        let python = Some((Path::new("/nowhere/bin/python"), "3.11.7"));
        let captured = Captured { time: None, ..Captured::now("r", 2, python, &sub) };
        assert!(captured.uv_lock_sha256.is_some());
        assert_eq!(Captured::read(&layout), None);
        captured.write(&layout).unwrap();
        assert_eq!(Captured::read(&layout), Some(captured));
        fs::write(layout.environment(), "{").unwrap();
        assert_eq!(Captured::read(&layout), None);
    }
}
