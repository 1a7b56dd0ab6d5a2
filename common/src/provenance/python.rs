//! The Python interpreter of a command and its packages, found without importing anything.

use super::packages::places;
use crate::fsio::read::{read_start, read_text};
use crate::process::answer::answer;
use std::env;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// Time limit for an interpreter that is asked for its version.
const PATIENCE: Duration = Duration::from_secs(5);

/// An interpreter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Python {
    /// Its absolute path; links are kept, because a virtual environment is one.
    pub executable: Option<PathBuf>,
    /// Its version, such as `3.11.7`.
    pub version: Option<String>,
    /// Version of torch installed for it.
    pub torch: Option<String>,
}

/// Finds a program like execvp(3): a path relative to `cwd`, a name on the search path.
pub fn find_program(name: &OsStr, cwd: &Path) -> Option<PathBuf> {
    if name.as_encoded_bytes().contains(&b'/') {
        return Some(cwd.join(name)).filter(|file| is_executable(file));
    }
    let path = env::var_os("PATH")?;
    env::split_paths(&path).map(|directory| cwd.join(directory).join(name)).find(|file| is_executable(file))
}

fn is_executable(file: &Path) -> bool {
    fs::metadata(file).is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
}

/// Returns the interpreter of a program: the program itself, or the interpreter in its first line.
pub fn interpreter_of(program: &Path) -> Option<PathBuf> {
    if is_python(program) {
        return Some(without_shim(program));
    }
    let head = read_start(program, 256).ok()?;
    let line = head.strip_prefix(b"#!")?.split(|&byte| byte == b'\n').next()?;
    let line = String::from_utf8_lossy(line);
    let mut words = line.split_ascii_whitespace();
    let first = Path::new(words.next()?).to_owned();
    let named = if first.ends_with("env") {
        let name = words.find(|word| !word.starts_with('-') && !word.contains('='))?;
        find_program(OsStr::new(name), Path::new("/"))?
    } else {
        first
    };
    is_python(&named).then(|| without_shim(&named))
}

/// Returns a program for the record: the interpreter behind a shim, if the program is a shim.
pub fn named_interpreter(program: PathBuf) -> PathBuf {
    if is_python(&program) { without_shim(&program) } else { program }
}

/// Returns the interpreter of the environment: of the virtual environment, or on the path.
pub fn interpreter_of_environment() -> Option<PathBuf> {
    for variable in ["VIRTUAL_ENV", "CONDA_PREFIX"] {
        if let Some(python) = env::var_os(variable)
            .map(|prefix| Path::new(&prefix).join("bin/python"))
            .filter(|file| is_executable(file))
        {
            return Some(python);
        }
    }
    let root = Path::new("/");
    find_program(OsStr::new("python3"), root)
        .or_else(|| find_program(OsStr::new("python"), root))
        .map(|python| without_shim(&python))
}

/// Returns whether the name of a program is that of an interpreter.
pub(super) fn is_python(program: &Path) -> bool {
    let name = program.file_name().unwrap_or_default().to_string_lossy();
    name.strip_prefix("python")
        .or_else(|| name.strip_prefix("pypy"))
        .is_some_and(|rest| rest.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.'))
}

/// Finds the interpreter behind a shim of pyenv, a shell script that determines the interpreter at every
/// call: `$PYENV_VERSION`, `.python-version` here or above, or the root's `version` file name it.
fn without_shim(python: &Path) -> PathBuf {
    let behind = || {
        let shims = python.parent().filter(|parent| parent.ends_with("shims"))?;
        let root = shims.parent()?;
        let here = env::current_dir().unwrap_or_default();
        let local =
            || here.ancestors().find_map(|directory| read_text(&directory.join(".python-version")).ok());
        let chosen = env::var("PYENV_VERSION")
            .ok()
            .or_else(local)
            .or_else(|| read_text(&root.join("version")).ok())?;
        let version = chosen.split_whitespace().next()?.to_owned();
        Some(root.join("versions").join(version).join("bin").join(python.file_name()?))
            .filter(|file| is_executable(file))
    };
    behind().unwrap_or_else(|| python.to_owned())
}

impl Python {
    /// Determines the versions of an interpreter.
    pub fn at(executable: PathBuf) -> Self {
        let prefix = executable.parent().and_then(Path::parent).unwrap_or(Path::new("/")).to_owned();
        let virtual_env = read_text(&prefix.join("pyvenv.cfg")).ok();
        let from_config = virtual_env.as_deref().and_then(|config| {
            config.lines().find_map(|line| {
                let (key, value) = line.split_once('=')?;
                let value = value.trim().split(".final").next()?;
                (matches!(key.trim(), "version" | "version_info") && value.split('.').count() >= 3)
                    .then(|| value.to_owned())
            })
        });
        let version = from_config.or_else(|| ask_version(&executable));
        let torch = version.as_deref().and_then(|version| {
            let minor: Vec<&str> = version.split('.').take(2).collect();
            torch_in(&places(&executable, &minor.join(".")))
        });
        Self { executable: Some(executable), version, torch }
    }
}

/// Asks for the version in a way that does not start an interpreter.
fn ask_version(executable: &Path) -> Option<String> {
    let text = String::from_utf8(answer(Command::new(executable).arg("-V"), PATIENCE)?).ok()?;
    text.trim().strip_prefix("Python ").map(str::to_owned)
}

/// Finds torch by the directory that its installer created: `torch-2.3.1+cu121.dist-info`.
fn torch_in(places: &[PathBuf]) -> Option<String> {
    places.iter().flat_map(|place| fs::read_dir(place).into_iter().flatten()).find_map(|entry| {
        let name = entry.ok()?.file_name().into_string().ok()?;
        let version = name.strip_prefix("torch-")?;
        Some(version.strip_suffix(".dist-info").or_else(|| version.strip_suffix(".egg-info"))?.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use tempfile::TempDir;

    #[test]
    fn torch_and_version_are_found_without_importing() {
        let dir = TempDir::new().unwrap();
        let root = dir.path();
        let site = root.join("lib/python3.11/site-packages");
        fs::create_dir_all(root.join("bin")).unwrap();
        fs::create_dir_all(site.join("torch-2.3.1+cu121.dist-info")).unwrap();
        fs::create_dir_all(site.join("torchvision-0.18.1.dist-info")).unwrap();
        fs::write(root.join("pyvenv.cfg"), "home = /usr/bin\nversion = 3.11.7\n").unwrap();
        let python = Python::at(root.join("bin/python"));
        assert_eq!(
            (python.version.as_deref(), python.torch.as_deref()),
            (Some("3.11.7"), Some("2.3.1+cu121"))
        );
    }

    #[test]
    fn names_of_interpreters_are_known() {
        for (name, expected) in [
            ("python", true),
            ("python3.11", true),
            ("pypy3", true),
            ("python-config", false),
            ("ipython", false),
        ] {
            assert_eq!(is_python(Path::new(name)), expected, "{name}");
        }
    }
}
