//! Saves small source files that git does not track as a patch, which `git apply` restores. Files that git
//! ignores, data, large files and files whose names indicate secrets are left out.

use super::git::{git, in_repository};
use crate::fsio::read::open_no_link;
use crate::process::answer::answer;
use std::fmt::Write;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Time limit for git: directories of data may hold millions of files.
const PATIENCE: Duration = Duration::from_secs(10);

/// Maximum size of a file, and of all files, in bytes; maximum number of files.
const FILE_LIMIT: u64 = 256 << 10;
const TOTAL_LIMIT: u64 = 4 << 20;
const FILES: usize = 500;

/// Extensions of source files, and whole names.
const ENDS: &str = "bash c cc cfg conf cpp cu cuh cxx f90 fish go h hpp hxx ini ipynb java jinja jinja2 jl js json \
    kt lua m mk mojo nix pl proto pxd py pyi pyx r rb rs scala sh slurm sql swift template tf toml triton ts yaml yml zig";
const NAMES: &str =
    "Dockerfile Makefile Justfile CMakeLists.txt Pipfile requirements.txt environment.yml .python-version";

/// Words in the names of files that may hold secrets.
const SECRETS: &str = "secret credential token passw private apikey api_key";

/// Source files that git does not track.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Untracked {
    /// A patch that creates them.
    pub patch: String,
    /// Their names, relative to the top of the repository.
    pub saved: Vec<String>,
    /// Number of source files that were left out because there are too many or they are too large.
    pub left_out: usize,
}

impl Untracked {
    /// Finds these files in the repository of a directory, except below the absolute directories `without`.
    pub fn at(directory: &Path, without: &[PathBuf]) -> Self {
        if !in_repository(directory) {
            return Self::default();
        }
        let Some(top) = answer(git(directory).args(["rev-parse", "--show-toplevel"]), PATIENCE) else {
            return Self::default();
        };
        let top = PathBuf::from(std::ffi::OsStr::from_bytes(top.trim_ascii_end()));
        let mut list = git(&top);
        list.args(["ls-files", "--others", "--exclude-standard", "-z"]);
        let names = answer(&mut list, PATIENCE).unwrap_or_default();
        let mut found = Self::default();
        let mut total = 0;
        for name in String::from_utf8_lossy(&names).split('\0').filter(|name| is_source(name)) {
            let path = top.join(name);
            // Files of runs are not source files.
            if without.iter().any(|without| path.starts_with(without)) || is_of_run(&top, Path::new(name)) {
                continue;
            }
            match contents(&path, TOTAL_LIMIT - total) {
                Some(Contents { text, mode }) if found.saved.len() < FILES => {
                    total += text.len() as u64;
                    found.add(name, &text, mode);
                }
                _ => found.left_out += 1,
            }
        }
        found
    }

    /// Appends a file to the patch.
    fn add(&mut self, name: &str, text: &str, mode: &str) {
        let (from, to) = (quoted(&format!("a/{name}")), quoted(&format!("b/{name}")));
        let _ = writeln!(self.patch, "diff --git {from} {to}\nnew file mode {mode}"); // writing to a String cannot fail
        if text.is_empty() {
            self.patch.push_str(
                "index 0000000000000000000000000000000000000000..e69de29bb2d1d6434b8b29ae775ad8c2e48c5391\n",
            );
        } else {
            let _ = writeln!(
                self.patch,
                "--- /dev/null\n+++ {to}\n@@ -0,0 +1,{} @@",
                text.split_inclusive('\n').count()
            );
            for line in text.split_inclusive('\n') {
                self.patch.push('+');
                self.patch.push_str(line);
            }
            if !text.ends_with('\n') {
                self.patch.push_str("\n\\ No newline at end of file\n");
            }
        }
        self.saved.push(name.to_owned());
    }
}

/// A source file.
struct Contents {
    text: String,
    mode: &'static str,
}

/// Reads a source file of at most this length; `None` if it is larger, or not a text, or not a regular file.
fn contents(path: &Path, room: u64) -> Option<Contents> {
    let file = open_no_link(path).ok()?;
    let found = file.metadata().ok()?;
    let most = FILE_LIMIT.min(room);
    if found.len() > most {
        return None;
    }
    let mut bytes = Vec::new();
    file.take(most + 1).read_to_end(&mut bytes).ok()?;
    let text =
        String::from_utf8(bytes).ok().filter(|text| !text.contains('\0') && text.len() as u64 <= most)?;
    let mode = if found.permissions().mode() & 0o100 == 0 { "100644" } else { "100755" };
    Some(Contents { text, mode })
}

/// Returns whether a file name is that of a source file, and does not indicate secrets.
fn is_source(name: &str) -> bool {
    let file = name.rsplit('/').next().unwrap_or(name);
    let lower = name.to_lowercase();
    let end = file.rsplit_once('.').map(|(_, end)| end.to_lowercase());
    let is_known = end.is_some_and(|end| ENDS.split_whitespace().any(|known| known == end))
        || NAMES.split_whitespace().any(|known| known == file);
    is_known && !SECRETS.split(' ').any(|word| lower.contains(word)) && !name.contains('\u{fffd}')
}

/// Returns whether a file is inside a run or a batch.
fn is_of_run(top: &Path, name: &Path) -> bool {
    let above = name.ancestors().skip(1).map(|above| top.join(above));
    above.into_iter().any(|above| above.join(".run").is_dir() || above.join(".batch").is_dir())
        || name
            .components()
            .any(|part| [".run", ".batch", ".eval"].iter().any(|known| part.as_os_str() == *known))
}

/// Quotes a name as git does, if it contains unusual characters.
fn quoted(name: &str) -> String {
    if name.bytes().all(|byte| (b' '..0x7f).contains(&byte) && !b"\"\\".contains(&byte)) {
        // Git ends a name with blanks by a tab, except in the first line of a patch, where its end is clear.
        return name.to_owned();
    }
    let mut quoted = String::from("\"");
    for byte in name.bytes() {
        match byte {
            b'"' | b'\\' => quoted.extend(['\\', char::from(byte)]),
            b' '..0x7f => quoted.push(char::from(byte)),
            _ => {
                let _ = write!(quoted, "\\{byte:03o}"); // writing to a String cannot fail
            }
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_are_told_by_their_names() {
        for name in ["a.py", "src/b.CU", "Makefile", "deep/config.yaml", "requirements.txt"] {
            assert!(is_source(name), "{name}");
        }
        for name in ["a.bin", ".env", "secrets.yaml", "my_api_token.json", "data.csv", "notes", "x.pt"] {
            assert!(!is_source(name), "{name}");
        }
    }

    #[test]
    fn a_patch_creates_files() {
        let mut found = Untracked::default();
        found.add("a b.py", "one\ntwo", "100755");
        found.add("é.sh", "", "100644");
        let expected = "diff --git a/a b.py b/a b.py\nnew file mode 100755\n--- /dev/null\n+++ b/a b.py\n\
            @@ -0,0 +1,2 @@\n+one\n+two\n\\ No newline at end of file\n\
            diff --git \"a/\\303\\251.sh\" \"b/\\303\\251.sh\"\nnew file mode 100644\n\
            index 0000000000000000000000000000000000000000..e69de29bb2d1d6434b8b29ae775ad8c2e48c5391\n";
        assert_eq!(found.patch, expected);
        assert_eq!(found.saved, ["a b.py", "é.sh"]);
    }
}
