//! The installed packages of an interpreter, found without importing anything: by the directories that
//! installers create, such as `torch-2.3.1+cu121.dist-info`.

use super::redact::redact_text;
use crate::fsio::read::read_text;
use serde_json::Value;
use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};

/// Maximum number of packages; environments have hundreds.
const MOST: usize = 10_000;

/// Returns the directories in which an interpreter looks for packages, in its order. `minor` is a version such
/// as `3.11`.
pub(super) fn places(executable: &Path, minor: &str) -> Vec<PathBuf> {
    let prefix = executable.parent().and_then(Path::parent).unwrap_or(Path::new("/")).to_owned();
    let virtual_env = read_text(&prefix.join("pyvenv.cfg")).ok();
    let mut roots = vec![prefix.clone()];
    let base = fs::canonicalize(executable).ok().and_then(|real| Some(real.parent()?.parent()?.to_owned()));
    let isolated = virtual_env.as_deref().is_some_and(|config| {
        !config.lines().any(|line| line.replace(' ', "") == "include-system-site-packages=true")
    });
    if !isolated {
        roots.extend(env::var_os("HOME").map(|home| Path::new(&home).join(".local")));
        // Only Debian's own interpreter uses packages below /usr/local.
        let is_of_system = base.as_deref().unwrap_or(&prefix) == Path::new("/usr");
        roots.extend(is_of_system.then(|| PathBuf::from("/usr/local")));
        roots.extend(base.filter(|base| *base != prefix));
    }
    let python = format!("python{minor}");
    let below = |root: &PathBuf| {
        let lib = |lib: &str| {
            let lib = root.join(lib);
            let own = lib.join(&python);
            [own.join("site-packages"), own.join("dist-packages"), lib.join("python3/dist-packages")]
        };
        [lib("lib"), lib("lib64")].into_iter().flatten()
    };
    roots.iter().flat_map(below).collect()
}

/// Returns the packages of an interpreter of this version, by their normalized names. A version ends in
/// ` (editable)` for a package in a working tree, and in ` (COMMIT)` for a package that was installed from a
/// repository.
pub fn packages(executable: &Path, version: &str) -> BTreeMap<String, String> {
    let minor: Vec<&str> = version.split('.').take(2).collect();
    let mut found = BTreeMap::new();
    for place in places(executable, &minor.join(".")) {
        for entry in fs::read_dir(&place).into_iter().flatten().flatten() {
            let file = entry.file_name();
            let Some((name, version)) = file.to_str().and_then(named) else { continue };
            if found.len() < MOST {
                found.entry(normal(name)).or_insert_with(|| version.to_owned() + &origin(&entry.path()));
            }
        }
    }
    found
}

/// Returns all packages that conda has installed in the environment of an interpreter, with versions and
/// builds, from `conda-meta/NAME-VERSION-BUILD.json`.
pub fn conda_packages(executable: &Path) -> BTreeMap<String, String> {
    let Some(prefix) = executable.parent().and_then(Path::parent) else { return BTreeMap::new() };
    let entries = fs::read_dir(prefix.join("conda-meta")).into_iter().flatten().flatten().take(MOST);
    let package = |file: std::ffi::OsString| {
        let stem = file.to_str()?.strip_suffix(".json")?.to_owned();
        let (rest, build) = stem.rsplit_once('-')?;
        let (name, version) = rest.rsplit_once('-')?;
        Some((name.to_owned(), format!("{version} {build}")))
    };
    entries.filter_map(|entry| package(entry.file_name())).collect()
}

/// Returns the name and the version in the name of a directory or file that an installer created.
fn named(file: &str) -> Option<(&str, &str)> {
    let stem = file.strip_suffix(".dist-info").or_else(|| file.strip_suffix(".egg-info"))?;
    let (name, version) = stem.split_once('-').unwrap_or((stem, ""));
    let version = version.split_once("-py").map_or(version, |(version, _)| version);
    (!name.is_empty()).then_some((name, version))
}

/// Returns the normal form of a name: in lower case, with single hyphens (PEP 503).
fn normal(name: &str) -> String {
    let words = name.split(['-', '_', '.']).filter(|word| !word.is_empty());
    words.collect::<Vec<_>>().join("-").to_lowercase()
}

/// Returns the suffix for the origin of a package that was not installed from an index (PEP 610).
fn origin(directory: &Path) -> String {
    let read = || serde_json::from_str::<Value>(&read_text(&directory.join("direct_url.json")).ok()?).ok();
    let Some(origin) = read() else { return String::new() };
    if origin["dir_info"]["editable"] == true {
        return " (editable)".to_owned();
    }
    match origin["vcs_info"]["commit_id"].as_str() {
        Some(commit) => format!(" ({})", redact_text(commit)),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tempfile::TempDir;

    #[test]
    fn packages_are_named_by_their_directories() {
        let dir = TempDir::new().unwrap();
        let site = dir.path().join("lib/python3.11/site-packages");
        fs::write(dir.path().join("pyvenv.cfg"), "home = /usr/bin\n").unwrap_or_default();
        for name in [
            "torch-2.3.1+cu121.dist-info",
            "Foo_Bar.baz-1.0.dist-info",
            "old-2-py3.11.egg-info",
            "x-1.dist-info",
        ] {
            fs::create_dir_all(site.join(name)).unwrap();
        }
        fs::create_dir_all(site.join("torch")).unwrap();
        fs::write(site.join("x-1.dist-info/direct_url.json"), r#"{"dir_info": {"editable": true}}"#).unwrap();
        let commit = r#"{"url": "u", "vcs_info": {"vcs": "git", "commit_id": "12ab"}}"#;
        fs::write(site.join("Foo_Bar.baz-1.0.dist-info/direct_url.json"), commit).unwrap();
        fs::create_dir(dir.path().join("conda-meta")).unwrap();
        fs::write(dir.path().join("conda-meta/cuda-nvcc-12.4.131-0.json"), "{}").unwrap();
        let python = dir.path().join("bin/python");
        let found = packages(&python, "3.11.7");
        let found: Vec<(&str, &str)> =
            found.iter().map(|(name, version)| (name.as_str(), version.as_str())).collect();
        let expected =
            [("foo-bar-baz", "1.0 (12ab)"), ("old", "2"), ("torch", "2.3.1+cu121"), ("x", "1 (editable)")];
        assert_eq!(found, expected);
        assert_eq!(conda_packages(&python)["cuda-nvcc"], "12.4.131 0");
        assert!(!packages(Path::new("/nowhere/bin/python"), "3.11").contains_key("same"));
    }
}
