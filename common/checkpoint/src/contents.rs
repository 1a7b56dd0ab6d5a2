//! The contents of a checkpoint: its files, by name and length, and their total size and age.

use crate::bytes::Bytes;
use crate::checkpoint::Size;
use crate::integrity::holds_state;
use crate::name::ends_in;
use crate::words::is_of_results;
use run_common::error::plain;
use run_common::text::printable;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use walkdir::WalkDir;

/// A file in a checkpoint.
#[derive(Debug)]
pub(crate) struct Item {
    /// Its path below the checkpoint, as text.
    pub(crate) name: String,
    pub(crate) path: PathBuf,
    pub(crate) len: u64,
}

/// The contents of a checkpoint.
#[derive(Debug, Default)]
pub(crate) struct Contents {
    pub(crate) size: Size,
    pub(crate) items: Vec<Item>,
    pub(crate) directories: Vec<String>,
    /// A link that leads nowhere.
    pub(crate) broken: Option<String>,
}

/// Returns the modification time of a file, in nanoseconds since 1970.
pub(crate) fn modified_ns(file: &Metadata) -> i128 {
    i128::from(file.mtime()) * 1_000_000_000 + i128::from(file.mtime_nsec())
}

impl Contents {
    fn add(&mut self, name: String, path: &Path, meta: &Metadata) {
        self.size.bytes = self.size.bytes.saturating_add(meta.len());
        self.size.files += 1;
        let modified = modified_ns(meta);
        self.size.modified_ns =
            if self.size.files == 1 { modified } else { self.size.modified_ns.max(modified) };
        self.items.push(Item { name, path: path.to_owned(), len: meta.len() });
    }

    /// Adds companion files.
    pub(crate) fn add_files(&mut self, paths: &[PathBuf]) -> Result<(), String> {
        for path in paths {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let meta = fs::metadata(path)
                .map_err(|error| format!("{} cannot be read: {}", quoted(&name), plain(&error)))?;
            self.add(name, path, &meta);
        }
        Ok(())
    }

    /// Returns the contents of a checkpoint that is one open file.
    pub(crate) fn of(file: &Bytes) -> Self {
        let mut found = Self::default();
        found.add(String::new(), Path::new(""), file.meta());
        found
    }

    /// Reads the file or directory at `top`, or the `shards` of a checkpoint of several files. Links to files
    /// count as the files, links to directories as directories.
    pub(crate) fn read(top: &Path, shards: Option<&[PathBuf]>) -> Result<Self, (io::ErrorKind, String)> {
        let failed = |path: &Path, error: &io::Error| {
            let name = path.strip_prefix(top).unwrap_or(path);
            let why = plain(error);
            let why = if name.as_os_str().is_empty() {
                format!("cannot be read: {why}")
            } else {
                format!("{} cannot be read: {why}", quoted(&name.to_string_lossy()))
            };
            (error.kind(), why)
        };
        let mut found = Self::default();
        if let Some(shards) = shards {
            for path in shards {
                let meta = fs::metadata(path).map_err(|error| failed(path, &error))?;
                found.add(path.file_name().unwrap_or_default().to_string_lossy().into_owned(), path, &meta);
            }
            return Ok(found);
        }
        let meta = fs::metadata(top).map_err(|error| failed(top, &error))?;
        if !meta.is_dir() {
            found.add(String::new(), top, &meta);
            return Ok(found);
        }
        let modified = modified_ns(&meta);
        for entry in WalkDir::new(top).min_depth(1).sort_by_file_name() {
            let entry = match entry {
                Ok(entry) => entry,
                Err(error) => {
                    let path = error.path().unwrap_or(top).to_owned();
                    let error = error.into_io_error().unwrap_or_else(|| io::ErrorKind::Other.into());
                    return Err(failed(&path, &error));
                }
            };
            let path = entry.path();
            let name = path.strip_prefix(top).unwrap_or(path).to_string_lossy().into_owned();
            if entry.file_type().is_dir() {
                found.directories.push(name);
                continue;
            }
            match fs::metadata(path) {
                Ok(meta) if meta.is_dir() => found.directories.push(name),
                Ok(meta) => found.add(name, path, &meta),
                Err(_) if entry.path_is_symlink() => {
                    found.broken.get_or_insert(name);
                }
                Err(error) => return Err(failed(path, &error)),
            }
        }
        if found.items.is_empty() {
            found.size.modified_ns = modified;
        }
        Ok(found)
    }

    /// Returns whether there is a file of this name, not empty, or any file below a directory of this name.
    pub(crate) fn holds(&self, name: &str) -> bool {
        let is_it = |item: &Item| match item.name.strip_prefix(name) {
            Some(rest) => rest.is_empty() || rest.starts_with('/'),
            None => false,
        };
        self.items.iter().any(|item| item.len > 0 && is_it(item))
    }

    pub(crate) fn item(&self, name: &str) -> Option<&Item> {
        self.items.iter().find(|item| item.name == name)
    }

    /// Returns whether a training can be resumed from the contents.
    pub(crate) fn holds_state(&self) -> bool {
        self.items.iter().any(|item| holds_state(&item.name.to_ascii_lowercase()))
            || self.item("_CHECKPOINT_METADATA").is_some()
    }

    /// Returns whether all files are pictures, texts and the like: samples taken at a step, not a checkpoint.
    pub(crate) fn is_of_results(&self) -> bool {
        const MEDIA: [&str; 15] = [
            ".png", ".jpg", ".jpeg", ".gif", ".webp", ".svg", ".mp4", ".webm", ".avi", ".wav", ".mp3",
            ".flac", ".html", ".pdf", ".csv",
        ];
        const TEXTS: [&str; 6] = [".jsonl", ".txt", ".md", ".log", ".tsv", ".parquet"];
        const OF_MODELS: [&str; 9] =
            ["model", "state", "param", "weight", "config", "tokenizer", "info", "args", "meta"];
        let is_of_results = |item: &Item| {
            let name = item.name.to_ascii_lowercase();
            // A JSON document may be a model, as with XGBoost, or a table of values.
            let is_text = ends_in(&name, &TEXTS) || ends_in(&name, &[".json"]) && is_of_results(&name);
            ends_in(&name, &MEDIA) || is_text && !OF_MODELS.iter().any(|word| name.contains(word))
        };
        !self.items.is_empty() && self.items.iter().all(is_of_results)
    }
}

/// Quotes a name, made safe for a line of text.
pub(crate) fn quoted(name: &str) -> String {
    format!("'{}'", printable(name))
}
