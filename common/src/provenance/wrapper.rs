//! Finds the Python interpreter of a command through launchers and shell scripts. Nothing is executed: if the
//! words do not determine the interpreter, it is unknown.

use super::python::{find_program, interpreter_of, is_python, named_interpreter};
use super::script::{Word, commands};
use crate::fsio::read::read_start;
use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

/// Maximum number of bytes to read of a script.
const LONGEST: u64 = 64 << 10;

/// Maximum depth of scripts that call each other.
const DEPTH: usize = 4;

/// Shells.
const SHELLS: [&str; 6] = ["sh", "bash", "dash", "zsh", "ksh", "ash"];

/// Programs that execute another program elsewhere, or in an environment of their own.
const OPAQUE: [&str; 27] = [
    "docker",
    "podman",
    "nerdctl",
    "singularity",
    "apptainer",
    "enroot",
    "kubectl",
    "ssh",
    "conda",
    "mamba",
    "micromamba",
    "uv",
    "uvx",
    "poetry",
    "pipenv",
    "pdm",
    "hatch",
    "pixi",
    "rye",
    "nix",
    "nix-shell",
    "make",
    "sbatch",
    "ray",
    "sky",
    "modal",
    "chroot",
];

/// Programs that execute the program in their arguments.
const LAUNCHERS: [&str; 24] = [
    "exec", "env", "nohup", "nice", "ionice", "time", "timeout", "srun", "mpirun", "mpiexec", "numactl",
    "taskset", "stdbuf", "setsid", "sudo", "xvfb-run", "chrt", "nsys", "ncu", "perf", "strace", "prlimit",
    "flock", "unbuffer",
];

/// Shell commands that change the meaning of names in a way that is not followed.
const CHANGES: [&str; 5] = ["module", "ml", "eval", "workon", "spack"];

/// Returns the interpreter of a command: of its program, else of the program that this one executes.
/// `executable` is the path of its program.
pub fn interpreter_of_command(command: &[String], executable: Option<&Path>, cwd: &Path) -> Option<PathBuf> {
    if let Some(own) = executable.and_then(interpreter_of) {
        return Some(own);
    }
    let mut shell = Shell { cwd: Some(cwd.to_owned()), ..Shell::default() };
    shell.command(command, 0);
    shell.interpreter()
}

/// Returns whether a command with these arguments changes the meaning of names, such as `conda activate x`
/// and `pyenv shell 3.12`.
fn activates(arguments: &[String]) -> bool {
    arguments
        .first()
        .is_some_and(|first| ["activate", "deactivate", "shell", "local"].contains(&first.as_str()))
}

/// How a command is executed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Executed {
    /// The shell waits for it and continues.
    Aside,
    /// It replaces the shell (`exec`).
    Instead,
}

/// The state of a shell and of the commands in it.
#[derive(Debug, Default)]
struct Shell {
    /// The current directory, if known.
    cwd: Option<PathBuf>,
    /// The program directory of an activated virtual environment.
    activated: Option<PathBuf>,
    /// Whether names of programs may have any meaning.
    is_changed: bool,
    variables: HashMap<String, String>,
    /// The current script and its arguments.
    script: Option<PathBuf>,
    arguments: Vec<String>,
    /// The executed interpreters; `None` for an unknown one.
    found: Vec<(Option<PathBuf>, Executed)>,
}

impl Shell {
    /// Returns the interpreter, if there is no doubt. Commands before one that replaces the shell only
    /// prepare for it.
    fn interpreter(&self) -> Option<PathBuf> {
        let first = self.found.iter().position(|(_, how)| *how == Executed::Instead).unwrap_or_default();
        let ((found, _), others) = self.found.get(first..)?.split_first()?;
        let found = found.as_ref()?;
        let is_same = |other: &PathBuf| {
            other.parent() == found.parent() && fs::canonicalize(other).ok() == fs::canonicalize(found).ok()
        };
        others.iter().all(|(other, _)| other.as_ref().is_some_and(is_same)).then(|| found.clone())
    }

    /// Follows the words of one command.
    fn command(&mut self, words: &[String], depth: usize) {
        let is_set = |word: &&String| word.split_once('=').is_some_and(|(name, _)| is_variable(name));
        let mut at = words.iter().take_while(is_set).count();
        for (name, value) in words[..at].iter().filter_map(|word| word.split_once('=')) {
            self.set(name, value);
        }
        let Some(first) = words.get(at) else { return };
        let name = base_name(first);
        match name {
            "export" | "declare" | "readonly" | "local" => {
                for (name, value) in words[at + 1..].iter().filter_map(|word| word.split_once('=')) {
                    self.set(name, value);
                }
                return;
            }
            "cd" | "pushd" => {
                let to = words.get(at + 1).filter(|to| !to.contains('$'));
                self.cwd = self.cwd.take().zip(to).map(|(cwd, to)| cwd.join(to));
                return;
            }
            "source" | "." => return self.source(words.get(at + 1)),
            "echo" | "printf" | "which" | "command"
                if words.get(at + 1).is_none_or(|word| word != "exec") =>
            {
                return;
            }
            name if CHANGES.contains(&name) || activates(&words[at + 1..]) => {
                (self.is_changed, self.activated) = (true, None);
                return;
            }
            _ => {}
        }
        let how = if name == "exec" { Executed::Instead } else { Executed::Aside };
        // A launcher has its own options before the program. In a script, any other command may only mention an
        // interpreter.
        let may_launch = depth == 0 || LAUNCHERS.contains(&name);
        let most = if may_launch { words.len() } else { at + 1 };
        while let Some(word) = words[..most].get(at) {
            let name = base_name(word);
            if OPAQUE.contains(&name) {
                // A command without any mention of Python is probably something else, such as a build.
                let hides = ["python", "torchrun", "accelerate"];
                if words[at..].iter().any(|word| hides.iter().any(|hidden| word.contains(hidden)))
                    || depth == 0
                {
                    self.is_changed = true;
                    self.find(None, how);
                }
                return;
            }
            if is_python(Path::new(name)) {
                let found = self.program(word).map(named_interpreter);
                return self.find(found, how);
            }
            if SHELLS.contains(&name) {
                return self.shell(&words[at + 1..], depth);
            }
            if let Some(program) = self.program(word) {
                if let Some(found) = interpreter_of(&program) {
                    return self.find(Some(found), how);
                }
                if is_shell_script(&program) {
                    return self.file(&program, &words[at + 1..], depth);
                }
            } else if word.contains("python") && word.contains('$') {
                return self.find(None, how);
            }
            at += 1;
        }
    }

    /// Records an interpreter.
    fn find(&mut self, found: Option<PathBuf>, how: Executed) {
        self.found.push((found, how));
    }

    /// Follows the arguments of a shell.
    fn shell(&mut self, words: &[String], depth: usize) {
        let mut words = words.iter();
        while let Some(word) = words.next() {
            // The profile of a login shell may set any search path.
            let is_login = word.starts_with('-') && !word.starts_with("--") && word.contains('l');
            self.is_changed |= is_login || word == "--login";
            if word.starts_with('-') && word.ends_with('c') && !word.starts_with("--") {
                if let Some(text) = words.next() {
                    let arguments: Vec<String> = words.skip(1).cloned().collect();
                    self.text(text, None, &arguments, depth);
                }
                return;
            }
            if word == "-o" {
                words.next();
            } else if !word.starts_with('-') {
                let arguments: Vec<String> = words.cloned().collect();
                if let Some(program) = self.cwd.as_ref().map(|cwd| cwd.join(word)) {
                    self.file(&program, &arguments, depth);
                }
                return;
            }
        }
    }

    /// Follows a script that runs in a shell of its own.
    fn file(&mut self, program: &Path, arguments: &[String], depth: usize) {
        if let Ok(bytes) = read_start(program, LONGEST) {
            self.text(&String::from_utf8_lossy(&bytes), Some(program), arguments, depth);
        }
    }

    fn text(&mut self, text: &str, script: Option<&Path>, arguments: &[String], depth: usize) {
        if depth == DEPTH {
            self.find(None, Executed::Aside);
            return;
        }
        let mut inner = Self {
            cwd: self.cwd.clone(),
            activated: self.activated.clone(),
            is_changed: self.is_changed,
            variables: self.variables.clone(),
            script: script.map(Path::to_owned),
            arguments: arguments.to_vec(),
            found: Vec::new(),
        };
        for words in commands(text) {
            let words: Vec<String> = words.iter().flat_map(|word| inner.expand(word)).collect();
            inner.command(&words, depth + 1);
        }
        self.found.extend(inner.found);
    }

    /// Follows a file that the shell sources.
    fn source(&mut self, file: Option<&String>) {
        let bin = file.and_then(|file| {
            let file = self.cwd.as_ref()?.join(file);
            let is_activation = file.file_name() == Some(OsStr::new("activate"));
            file.parent().filter(|bin| is_activation && bin.join("python").exists()).map(Path::to_owned)
        });
        self.is_changed = bin.is_none();
        self.activated = bin;
    }

    fn set(&mut self, name: &str, value: &str) {
        if name == "PATH" {
            // The first entry counts, if it is a known directory of programs.
            let first =
                value.split(':').next().map(PathBuf::from).filter(|bin| bin.is_absolute() && bin.is_dir());
            self.is_changed = first.is_none();
            self.activated = first;
        }
        self.variables.insert(name.to_owned(), value.to_owned());
    }

    /// Finds a program like this shell.
    fn program(&self, word: &str) -> Option<PathBuf> {
        let cwd = self.cwd.as_deref();
        if word.contains('$') || word.contains('`') {
            return None;
        }
        if word.contains('/') {
            let is_absolute = word.starts_with('/');
            return find_program(
                OsStr::new(word),
                cwd.filter(|_| !is_absolute).or(is_absolute.then(|| Path::new("/")))?,
            );
        }
        if let Some(found) = self.activated.as_ref().map(|bin| bin.join(word)).filter(|file| file.exists()) {
            return Some(found);
        }
        find_program(OsStr::new(word), cwd.unwrap_or(Path::new("/"))).filter(|_| !self.is_changed)
    }

    /// Returns the expansion of a word, as far as its variables are known.
    fn expand(&self, word: &Word) -> Vec<String> {
        if ["$@", "$*", "${@}"].contains(&word.text.as_str()) {
            return self.arguments.clone();
        }
        if word.is_literal || !word.text.contains('$') {
            return vec![word.text.clone()];
        }
        let mut text = word.text.clone();
        if let Some(script) = &self.script {
            let script = self.cwd.as_ref().map_or_else(|| script.clone(), |cwd| cwd.join(script));
            let directory = script.parent().unwrap_or(Path::new("/")).to_string_lossy().into_owned();
            let own = ["$0", "${0}", "${BASH_SOURCE[0]}", "$BASH_SOURCE"];
            let quoted = own.iter().flat_map(|name| [format!("\"{name}\""), (*name).to_owned()]);
            for name in quoted {
                for form in [
                    format!("$(cd \"$(dirname {name})\" && pwd)"),
                    format!("$(cd $(dirname {name}) && pwd)"),
                    format!("$(dirname {name})"),
                    format!("$(dirname $(readlink -f {name}))"),
                    format!("$(dirname -- {name})"),
                ] {
                    text = text.replace(&form, &directory);
                }
            }
        }
        let place =
            |number: &str| number.parse::<usize>().ok().and_then(|at| self.arguments.get(at.checked_sub(1)?));
        let mut expanded = String::new();
        let mut rest = text.as_str();
        while let Some((before, after)) = rest.split_once('$') {
            expanded.push_str(before);
            let is_braced = after.starts_with('{');
            let inner = after.strip_prefix('{').unwrap_or(after);
            let end = inner.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(inner.len());
            let name = &inner[..end];
            let value = self.variables.get(name).or_else(|| place(name)).cloned();
            let value = value.or_else(|| std::env::var(name).ok().filter(|_| is_variable(name)));
            let (value, after) = match (is_braced, inner[end..].split_once('}')) {
                (false, _) => (value, &inner[end..]),
                (true, Some(("", after))) => (value, after),
                (true, Some((other, after))) if other.starts_with(":-") => {
                    let known = value.filter(|value| !value.is_empty());
                    (known.or_else(|| Some(other[2..].to_owned())), after)
                }
                _ => (None, after),
            };
            match value {
                Some(value) => {
                    expanded.push_str(&value);
                    rest = after;
                }
                None => {
                    expanded.push('$');
                    rest = &rest[before.len() + 1..];
                }
            }
        }
        expanded.push_str(rest);
        vec![expanded]
    }
}

fn base_name(word: &str) -> &str {
    word.rsplit('/').next().unwrap_or(word)
}

fn is_variable(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

fn is_shell_script(program: &Path) -> bool {
    let Ok(head) = read_start(program, 256) else { return false };
    let line = head.split(|&byte| byte == b'\n').next().unwrap_or_default();
    let Some(line) = line.strip_prefix(b"#!") else {
        return program.extension() == Some(OsStr::new("sh"));
    };
    let line = String::from_utf8_lossy(line);
    line.split_ascii_whitespace().any(|word| SHELLS.contains(&base_name(word)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    /// Creates a directory with two interpreters, one of them in a virtual environment.
    fn place() -> tempfile::TempDir {
        let place = tempfile::tempdir().unwrap();
        for name in ["a/bin/python", "a/bin/python3", "venv/bin/python"] {
            write(place.path(), name, "\x7fELF");
        }
        write(place.path(), "venv/bin/activate", "");
        write(place.path(), "a/bin/torchrun", &format!("#!{}/a/bin/python\n", place.path().display()));
        symlink("/bin/true", place.path().join("a/bin/true")).unwrap();
        place
    }

    fn write(place: &Path, name: &str, text: &str) {
        let path = place.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
    }

    fn found(place: &Path, command: &[&str]) -> Option<String> {
        let command: Vec<String> = command.iter().map(|&word| word.to_owned()).collect();
        let executable = find_program(OsStr::new(&command[0]), place);
        let found = interpreter_of_command(&command, executable.as_deref(), place)?;
        Some(found.strip_prefix(place).unwrap_or(&found).to_string_lossy().into_owned())
    }

    #[test]
    fn an_interpreter_is_found_through_scripts() {
        let place = place();
        let here = place.path();
        for (script, expected) in [
            ("exec a/bin/python train.py \"$@\"", Some("a/bin/python")),
            ("cd .\nmkdir -p out && ./a/bin/python3 train.py", Some("a/bin/python3")),
            ("PY=a/bin/python\nexec \"$PY\" -u train.py", Some("a/bin/python")),
            ("exec \"$(dirname \"$0\")/a/bin/python\" train.py", Some("a/bin/python")),
            ("exec ${PY_OF_NOBODY:-a/bin/python} train.py", Some("a/bin/python")),
            ("source venv/bin/activate\npython train.py", Some("venv/bin/python")),
            (". venv/bin/activate; exec python train.py", Some("venv/bin/python")),
            ("nohup a/bin/torchrun train.py", Some("a/bin/python")),
            ("a/bin/python prepare.py\nexec venv/bin/python train.py", Some("venv/bin/python")),
            ("sh inner.sh", Some("a/bin/python3")),
            ("exec \"$1\" train.py", Some("venv/bin/python")),
            ("exec \"$@\"", Some("venv/bin/python")),
            ("a/bin/python prepare.py\na/bin/python train.py", Some("a/bin/python")),
            ("'''exec' a/bin/python \"$0\" \"$@\"\n' '''\nimport re", Some("a/bin/python")),
            // An unknown interpreter yields `None`.
            ("if true; then exec a/bin/python x; else exec venv/bin/python x; fi", None),
            ("[ -e x ] && exec a/bin/python x\nvenv/bin/python x", None),
            ("bash -lc 'python3 train.py'", None),
            ("a/bin/python prepare.py\nvenv/bin/python train.py", None),
            ("source setup.sh\npython3 train.py", None),
            ("conda activate x\nconda run -n x python train.py", None),
            ("module load cuda\npython3 train.py", None),
            ("conda activate x\npython train.py", None),
            ("micromamba activate x && python3 train.py", None),
            ("pyenv shell 3.12.1\npython train.py", None),
            ("conda activate x\na/bin/python train.py", Some("a/bin/python")),
            ("exec $SOME_UNKNOWN/bin/python train.py", None),
            ("docker run image python3 train.py", None),
            ("echo a/bin/python", None),
            ("# exec a/bin/python", None),
            ("grep python notes.txt", None),
            ("true", None),
            ("exec sh wrapper.sh", None),
        ] {
            write(here, "inner.sh", "exec a/bin/python3 train.py\n");
            write(here, "wrapper.sh", &format!("#!/bin/sh\nset -e\n{script}\n"));
            for command in [
                &["./wrapper.sh", "venv/bin/python", "x"][..],
                &["sh", "-e", "wrapper.sh", "venv/bin/python"],
            ] {
                assert_eq!(found(here, command).as_deref(), expected, "{script}");
            }
        }
    }

    #[test]
    fn an_interpreter_is_found_among_the_words_of_a_command() {
        let place = place();
        for (command, expected) in [
            (&["a/bin/python", "x"][..], Some("a/bin/python")),
            (&["env", "A=1", "a/bin/python", "x"], Some("a/bin/python")),
            (&["nice", "-n", "5", "sh", "-c", "exec a/bin/python3 x"], Some("a/bin/python3")),
            (&["sh", "-c", "exec \"$1\" x", "sh", "a/bin/python"], Some("a/bin/python")),
            (&["a/bin/torchrun", "x"], Some("a/bin/python")),
            (&["docker", "run", "a/bin/python"], None),
            (&["make", "train"], None),
            (&["sh", "-c", "exit 0"], None),
            (&["true"], None),
        ] {
            assert_eq!(found(place.path(), command).as_deref(), expected, "{command:?}");
        }
    }

    proptest! {
        #[test]
        fn any_script_is_read_to_its_end(script in "(\\PC|[$(){}\"'\\\\\n#;]|exec |sh -c |\\$0|python ){0,40}") {
            let command = ["sh".to_owned(), "-c".to_owned(), script];
            let _ = interpreter_of_command(&command, None, Path::new("/"));
        }
    }
}
