//! The state of the code, as reported by git(1).

use crate::process::answer::answer;
use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

/// Maximum size of a patch, in bytes.
pub(crate) const PATCH_LIMIT: usize = 16 << 20;

/// Time limit for git: a large repository on a slow disk takes its time.
const PATIENCE: Duration = Duration::from_secs(60);

/// Maximum number of names of untracked files.
const UNTRACKED_LIMIT: usize = 1000;

/// The state of a working tree.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Code {
    /// The commit; null outside a repository and before the first commit.
    pub commit: Option<String>,
    /// The branch; null when detached.
    pub branch: Option<String>,
    /// Whether tracked files differ from the commit; null outside a repository.
    pub dirty: Option<bool>,
    /// Files that git does not track, relative to the top of the repository.
    pub untracked: Vec<String>,
}

impl Code {
    /// Looks at the repository of a directory. Untracked files are listed on demand, because that can take
    /// long. Without a repository or git, nothing is known and nothing is executed.
    pub fn at(directory: &Path, untracked: bool) -> Self {
        if !in_repository(directory) {
            return Self::default();
        }
        let mut command = git(directory);
        command.args(["status", "--porcelain=v2", "--branch", "-z"]);
        command.arg(if untracked { "--untracked-files=normal" } else { "--untracked-files=no" });
        answer(&mut command, PATIENCE)
            .map(|output| Self::parse(&String::from_utf8_lossy(&output)))
            .unwrap_or_default()
    }

    /// Parses the NUL-separated output of `git status --porcelain=v2 --branch -z`.
    fn parse(output: &str) -> Self {
        let mut code = Self { dirty: Some(false), ..Self::default() };
        let mut entries = output.split('\0');
        while let Some(entry) = entries.next() {
            match entry.split_once(' ') {
                Some(("#", header)) => match header.split_once(' ') {
                    Some(("branch.oid", oid)) if oid != "(initial)" => code.commit = Some(oid.to_owned()),
                    Some(("branch.head", head)) if head != "(detached)" => {
                        code.branch = Some(head.to_owned());
                    }
                    _ => {}
                },
                Some(("?", name)) if code.untracked.len() < UNTRACKED_LIMIT => {
                    code.untracked.push(name.to_owned());
                }
                Some(("1" | "u", _)) => code.dirty = Some(true),
                Some(("2", _)) => {
                    code.dirty = Some(true);
                    entries.next(); // the name before a rename
                }
                _ => {}
            }
        }
        code
    }
}

/// The difference between the tracked files and their commit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Patch {
    /// The patch for `git apply`, unless it was cut.
    pub bytes: Vec<u8>,
    /// Number of bytes cut off.
    pub cut: u64,
}

/// Returns the difference between the tracked files and their commit, up to a limit.
pub fn patch(directory: &Path) -> std::io::Result<Patch> {
    let mut child = git(directory)
        .args(["diff", "--binary", "--no-color", "--no-ext-diff", "--no-textconv", "--no-relative"])
        .args(["--src-prefix=a/", "--dst-prefix=b/", "HEAD"])
        .stdout(Stdio::piped())
        .spawn()?;
    let mut patch = Patch::default();
    if let Some(mut stdout) = child.stdout.take() {
        (&mut stdout).take(PATCH_LIMIT as u64).read_to_end(&mut patch.bytes)?;
        patch.cut = std::io::copy(&mut stdout, &mut std::io::sink())?;
    }
    child.wait()?;
    Ok(patch)
}

pub(super) fn git(directory: &Path) -> Command {
    let mut command = Command::new("git");
    // Reading must neither wait for nor take a lock that the user's own git needs, nor execute what a
    // repository names.
    command.args(["--no-optional-locks", "-c", "core.fsmonitor=false", "-C"]).arg(directory);
    command.stdin(Stdio::null()).stderr(Stdio::null());
    command
}

pub(super) fn in_repository(directory: &Path) -> bool {
    std::env::var_os("GIT_DIR").is_some() || directory.ancestors().any(|parent| parent.join(".git").exists())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_state_of_a_repository_is_understood() {
        let output = "# branch.oid 1234\0# branch.head main\x001 .M N... 1 2 3 a b file\x002 R. N... 1 2 3 a b R100 new name\0? not this\0? un tracked\0";
        let code = Code::parse(output);
        assert_eq!(
            (code.commit.as_deref(), code.branch.as_deref(), code.dirty),
            (Some("1234"), Some("main"), Some(true))
        );
        assert_eq!(code.untracked, ["un tracked"]);
        let fresh = Code::parse("# branch.oid (initial)\0# branch.head (detached)\0? x\0");
        assert_eq!((fresh.commit, fresh.branch, fresh.dirty), (None, None, Some(false)));
    }
}
