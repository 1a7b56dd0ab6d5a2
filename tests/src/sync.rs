//! Looks at stores of run-sync that are directories, by their format (run-store(5)) and without run-sync.

use crate::Lab;
use crate::checkpoints::torch_zip;
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// A set in a store.
#[derive(Debug)]
pub struct StoredSet {
    /// Its directory.
    pub path: PathBuf,
    /// The hashes of objects that stay as they are: a check after each of two hundred kills reads a gigabyte.
    known: RefCell<HashMap<Read, Hashes>>,
}

/// What was read: an object, its inode and the time of its last change, and how much of it in parts of which size.
type Read = (PathBuf, u64, (i64, i64), u64, Option<u64>);

/// The hash of a content, and those of its parts.
type Hashes = (String, Vec<String>);

impl StoredSet {
    /// Names a set in a lab: `store/trial`.
    pub fn new(lab: &Lab, path: &str) -> Self {
        Self { path: lab.path(path), known: RefCell::default() }
    }

    /// Returns the manifests by their file names, each of which must have the hash in its name.
    pub fn manifests(&self) -> BTreeMap<String, Value> {
        let mut manifests = BTreeMap::new();
        for entry in fs::read_dir(self.path.join(".backup")).into_iter().flatten().flatten() {
            let name = entry.file_name().into_string().unwrap();
            let Some(stem) = name.strip_suffix(".json") else { continue };
            let bytes = fs::read(entry.path()).unwrap();
            assert!(stem.ends_with(&sha256(&bytes)), "{name} is damaged");
            manifests.insert(stem.to_owned(), serde_json::from_slice(&bytes).unwrap());
        }
        manifests
    }

    /// Returns the newest manifest.
    pub fn newest(&self) -> Value {
        self.manifests().into_values().next_back().expect("there is a manifest")
    }

    /// Returns the entry of a path in the newest manifest.
    pub fn entry(&self, path: &str) -> Value {
        let newest = self.newest();
        let entries = newest["entries"].as_array().unwrap();
        entries.iter().find(|entry| entry["path"] == path).cloned().unwrap_or_default()
    }

    /// Returns the key of the object of an entry.
    pub fn key(entry: &Value) -> String {
        let path = entry["path"].as_str().unwrap_or_default();
        match (entry["key"].as_str(), entry["evaluation"].as_str()) {
            (Some(key), _) => key.to_owned(),
            (None, Some(label)) => format!(".eval/{label}/{path}"),
            (None, None) => path.to_owned(),
        }
    }

    /// Checks that each file of each manifest is in the store, with its size and hashes. Returns how many manifests
    /// there are.
    pub fn check(&self) -> usize {
        let manifests = self.manifests();
        for (name, manifest) in &manifests {
            for entry in
                manifest["entries"].as_array().unwrap().iter().filter(|entry| entry["type"] == "file")
            {
                let key = Self::key(entry);
                let path = if key.contains('%') || entry["path"].is_null() {
                    None
                } else {
                    Some(self.path.join(&key))
                };
                let Some(path) = path else { continue };
                let size = entry["size"].as_u64().unwrap();
                let part = entry["part_size"].as_u64();
                let (hash, parts) =
                    self.hashes(path, size, part).unwrap_or_else(|error| panic!("{name}: {key}: {error}"));
                assert_eq!(hash, entry["sha256"], "{name}: {key}");
                if part.is_some() {
                    assert_eq!(serde_json::to_value(parts).unwrap(), entry["parts"], "{name}: {key}");
                }
            }
        }
        manifests.len()
    }

    /// Returns the hashes of the beginning of an object, unless it is shorter.
    fn hashes(&self, path: PathBuf, size: u64, part: Option<u64>) -> io::Result<Hashes> {
        let file = File::open(&path)?;
        let found = file.metadata()?;
        let read = (path, found.ino(), (found.ctime(), found.ctime_nsec()), size, part);
        if let Some(known) = self.known.borrow().get(&read) {
            return Ok(known.clone());
        }
        let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap());
        file.take(size).read_to_end(&mut bytes)?;
        assert_eq!(bytes.len() as u64, size, "{}", read.0.display());
        let parts = part.map(|part| bytes.chunks(usize::try_from(part).unwrap()).map(sha256).collect());
        let hashes = (sha256(&bytes), parts.unwrap_or_default());
        self.known.borrow_mut().insert(read, hashes.clone());
        Ok(hashes)
    }

    /// Checks that the newest manifest has exactly what a run has, but for the files of run-sync.
    pub fn check_newest_is(&self, run: &Path) {
        self.check();
        let newest = self.newest();
        let mut expected = BTreeMap::new();
        walk(run, Path::new(""), &mut expected);
        let root = fs::metadata(run).unwrap();
        let mtime = time(root.mtime(), root.mtime_nsec());
        expected.insert(".".to_owned(), format!("{:04o} {mtime} ", root.mode() & 0o7777));
        let mut stored = BTreeMap::new();
        for entry in newest["entries"].as_array().unwrap() {
            if entry["absent"].is_null() && entry["evaluation"].is_null() {
                let path = entry["path"].as_str().unwrap_or_default();
                let content = match entry["type"].as_str() {
                    Some("file") => entry["sha256"].as_str().unwrap().to_owned(),
                    Some("link") => entry["target"].as_str().unwrap_or_default().to_owned(),
                    _ => String::new(),
                };
                let mode = entry["mode"].as_str().unwrap_or_default();
                let mtime = entry["mtime"].as_str().unwrap();
                stored.insert(path.to_owned(), format!("{mode} {mtime} {content}"));
            }
        }
        for (path, is) in &expected {
            assert_eq!(stored.get(path), Some(is), "{path}");
        }
        assert_eq!(stored.len(), expected.len(), "{:?}", stored.keys());
    }

    /// Returns the objects that were stored: key, size and what changes whenever they are stored again.
    pub fn objects(&self) -> BTreeMap<String, (u64, u64, i64)> {
        let mut objects = BTreeMap::new();
        let mut left = vec![self.path.clone()];
        while let Some(directory) = left.pop() {
            for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
                let found = entry.metadata().unwrap();
                if found.is_dir() {
                    left.push(entry.path());
                } else {
                    let key = entry.path().strip_prefix(&self.path).unwrap().to_str().unwrap().to_owned();
                    objects.insert(key, (found.len(), found.ino(), found.mtime_nsec()));
                }
            }
        }
        objects
    }
}

fn walk(root: &Path, below: &Path, all: &mut BTreeMap<String, String>) {
    for entry in fs::read_dir(root.join(below)).unwrap() {
        let entry = entry.unwrap();
        let path = below.join(entry.file_name());
        let text = path.to_str().unwrap().to_owned();
        if [".run/backup.jsonl", ".run/backup.journal"].contains(&text.as_str()) {
            continue;
        }
        let found = fs::symlink_metadata(entry.path()).unwrap();
        let content = if found.is_dir() {
            walk(root, &path, all);
            String::new()
        } else if found.is_symlink() {
            fs::read_link(entry.path()).unwrap().to_str().unwrap().to_owned()
        } else if found.is_file() {
            sha256(&fs::read(entry.path()).unwrap())
        } else {
            continue;
        };
        let mode = if found.is_symlink() { String::new() } else { format!("{:04o}", found.mode() & 0o7777) };
        all.insert(text, format!("{mode} {} {content}", time(found.mtime(), found.mtime_nsec())));
    }
}

fn time(seconds: i64, nanoseconds: i64) -> String {
    let time = chrono::DateTime::from_timestamp(seconds, u32::try_from(nanoseconds).unwrap()).unwrap();
    time.to_rfc3339_opts(chrono::SecondsFormat::Nanos, true)
}

/// Returns the SHA-256 of bytes in hexadecimal.
pub fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Returns a checkpoint as torch.save writes it, with this number of bytes of noise.
pub fn torch_noise(seed: u64, length: usize) -> Vec<u8> {
    torch_zip(
        &[("archive/data.pkl", b"\x80\x02}q\x00."), ("archive/data/0", &noise(seed, length))],
        false,
        b"",
    )
}

/// Returns bytes that look like noise and are the same for a seed.
pub fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}
