//! Configs: copied unchanged, and read for the few values that run-new uses.

use glob::{MatchOptions, glob_with};
use run_common::error::{Error, Exit};
use run_common::fsio::atomic::{Durability, write_with_mode};
use run_common::fsio::read::{open_file, read_argument};
use run_common::fsio::write::create_with_mode;
use run_common::message::warn;
use run_common::provenance::config::{self, get, parse};
use run_common::provenance::hash::{copy_hashed, sha256, sha256_of};
use run_common::provenance::redact::{redact_json, redact_text};
use serde_json::Value;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// A config file.
#[derive(Debug)]
pub(crate) struct Config {
    /// Its absolute path.
    pub(crate) path: PathBuf,
    /// The file that holds it: another one if it is the copy of an earlier run.
    source: PathBuf,
    content: Content,
    /// The mode of the copy: others may read the copy only if they may read the config and it holds no secret.
    mode: u32,
    /// The SHA-256 of its bytes, in hexadecimal.
    pub(crate) sha256: String,
    /// Its values; null if it cannot be parsed.
    pub(crate) values: Value,
}

/// The bytes of a config.
#[derive(Debug)]
enum Content {
    Read(Vec<u8>),
    /// Too large to parse; copied from the original file.
    Large,
}

/// Returns the files that operands name. An operand with `*`, `?` or `[` that is not a file is a pattern: it
/// stands for the matching files, sorted. A pattern without a match is an error.
pub(crate) fn expand(operands: &[PathBuf]) -> Result<Vec<PathBuf>, Error> {
    let mut files = Vec::new();
    for operand in operands {
        match operand.to_str().filter(|text| text.contains(['*', '?', '[']) && !operand.exists()) {
            None => files.push(operand.clone()),
            Some(pattern) => files.extend(matching(pattern)?),
        }
    }
    Ok(files)
}

fn matching(pattern: &str) -> Result<Vec<PathBuf>, Error> {
    let as_in_a_shell = MatchOptions {
        case_sensitive: true,
        require_literal_separator: true,
        require_literal_leading_dot: true,
    };
    let paths = glob_with(pattern, as_in_a_shell)
        .map_err(|error| Error::usage(format!("cannot use the pattern '{pattern}'")).because(error.msg))?;
    let mut files = Vec::new();
    for path in paths {
        let path = path.map_err(|error| {
            let directory = error.path().to_owned();
            Error::io("read", &directory, error.into())
        })?;
        if path.is_file() {
            files.push(path);
        }
    }
    files.sort();
    if files.is_empty() {
        return Err(Error::new(Exit::System, format!("cannot read '{pattern}'")).because("no file matches"));
    }
    Ok(files)
}

impl Config {
    /// Reads a config. A config that does not parse, or is too large to parse, is accepted with a warning.
    pub(crate) fn read(path: &Path) -> Result<Self, Error> {
        let failed = |error| Error::io("read", path, error);
        let absolute = std::path::absolute(path).map_err(|error| Error::io("find", path, error))?;
        if absolute.to_str().is_none() {
            return Err(
                Error::usage(format!("cannot use '{}'", path.display())).because("its path is not UTF-8")
            );
        }
        let found = fs::metadata(path).map_err(failed)?;
        let is_large = found.is_file() && found.len() > config::LIMIT;
        let (content, sha256, parsed) = if is_large {
            (Content::Large, sha256_of(path).map_err(failed)?, Err("it is too large".to_owned()))
        } else {
            let bytes = read_argument(path).map_err(failed)?;
            let (sha256, parsed) = (sha256(&bytes), parse(&absolute, &bytes));
            (Content::Read(bytes), sha256, parsed)
        };
        let values = parsed.unwrap_or_else(|cause| {
            warn(&format!("cannot parse '{}', so nothing is read from it: {cause}", path.display()));
            Value::Null
        });
        let mode = if may_hold_secret(&content, &values) { 0o600 } else { found.mode() & 0o066 | 0o600 };
        Ok(Self { source: absolute.clone(), path: absolute, content, mode, sha256, values })
    }

    /// Names a copy after its original.
    pub(crate) fn name_after(&mut self, original: &Path) {
        original.clone_into(&mut self.path);
    }

    /// Writes the copy into a run.
    pub(crate) fn write(&self, run: &Path, durability: Durability) -> io::Result<()> {
        let target = run.join(self.copy_name());
        let Content::Read(bytes) = &self.content else { return self.copy(&target, durability) };
        write_with_mode(&target, bytes, self.mode, durability)
    }

    fn copy(&self, target: &Path, durability: Durability) -> io::Result<()> {
        let mut file = create_with_mode(target, self.mode)?;
        if copy_hashed(&mut open_file(&self.source)?, &mut file)? != self.sha256 {
            return Err(io::Error::other(format!("'{}' has just been changed", self.path.display())));
        }
        match durability {
            Durability::Process => Ok(()),
            Durability::Power => file.sync_all(),
        }
    }

    /// Returns the name of the copy: `config` and the extension of the original.
    pub(crate) fn copy_name(&self) -> String {
        match self.path.extension() {
            Some(extension) => format!("config.{}", extension.to_string_lossy()),
            None => "config".to_owned(),
        }
    }

    /// Refuses a config that lacks a key.
    pub(crate) fn require(&self, keys: &[String]) -> Result<(), Error> {
        match keys.iter().find(|key| get(&self.values, key).is_none()) {
            None => Ok(()),
            Some(key) => Err(Error::new(Exit::Usage, format!("'{}' has no '{key}'", self.path.display()))),
        }
    }
}

/// Returns whether a config has a secret in it, which its copy holds in clear; one that is not looked at may.
fn may_hold_secret(content: &Content, values: &Value) -> bool {
    let Content::Read(bytes) = content else { return true };
    let text = String::from_utf8_lossy(bytes);
    redact_text(&text) != text || redact_json("", &mut values.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_config_is_too_strange() {
        for bomb in ["[".repeat(100_000), "- ".repeat(100_000), "{a: ".repeat(100_000), "? ".repeat(50_000)] {
            assert!(parse(Path::new("a.yaml"), bomb.as_bytes()).is_err());
        }
        assert!(parse(Path::new("a.json"), "[".repeat(100_000).as_bytes()).is_err());
        assert!(parse(Path::new("a.toml"), format!("a = {}", "[".repeat(100_000)).as_bytes()).is_err());
        assert!(parse(Path::new("a.yaml"), b"a: [1\nb: \xff").is_err());
        assert_eq!(parse(Path::new("a.py"), b"=\n==\nx=\ny = '\nz = \"a\n"), Ok(serde_json::json!({})));
    }
}
