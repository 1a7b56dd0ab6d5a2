//! Which launcher the command line names.

use run_launch::contract::{SLURM, is_name};

/// Options of sbatch that run-exec needs for itself. So is `-a`, with a value in the same word.
const OWN: [&str; 6] = ["--array", "--parsable", "--test-only", "--wait", "--wrap", "-W"];

/// A launcher and its options.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Choice {
    pub(crate) name: String,
    pub(crate) args: Vec<String>,
}

impl Choice {
    /// Reads the value of `--slurm`: options of sbatch.
    pub(crate) fn slurm(text: &str) -> Result<Self, String> {
        let args = words(text)?;
        let name = |word: &str| word.split('=').next().unwrap_or_default().to_owned();
        let is_own = |word: &&String| OWN.contains(&name(word).as_str()) || word.starts_with("-a");
        match args.iter().find(is_own) {
            Some(word) => Err(format!("'{word}' is decided by run-exec")),
            None => Ok(Self { name: SLURM.to_owned(), args }),
        }
    }

    /// Reads the value of `--launch`: `NAME` or `NAME=OPTIONS`.
    pub(crate) fn named(text: &str) -> Result<Self, String> {
        let (name, rest) = text.split_once('=').unwrap_or((text, ""));
        if is_name(name) {
            Ok(Self { name: name.to_owned(), args: words(rest)? })
        } else {
            Err("a launcher is called by letters, digits, - and _".to_owned())
        }
    }
}

/// Splits options as a shell does.
fn words(text: &str) -> Result<Vec<String>, String> {
    shlex::split(text).ok_or_else(|| "its quotes do not match".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_split_as_a_shell_does() {
        let args = |choice: Choice| choice.args;
        assert_eq!(args(Choice::slurm("-p gpu --comment='a b'").unwrap()), ["-p", "gpu", "--comment=a b"]);
        assert_eq!(args(Choice::slurm("").unwrap()), [""; 0]);
        assert!(Choice::slurm("-J 'a").is_err());
        for own in
            ["--array=0-3", "-a0-3", "-a 0-3", "--wrap=true", "--wrap true", "-W", "--wait", "--parsable"]
        {
            let words = Choice::slurm(&format!("-p gpu {own}")).unwrap_err();
            assert!(words.ends_with("is decided by run-exec"), "{words}");
        }
        assert!(Choice::slurm("--wait-all-nodes=1 -w n1 --wckey=a").is_ok());
        let ssh = Choice::named("ssh=gpu1 gpu2 -o User=ann").unwrap();
        assert_eq!((ssh.name.as_str(), ssh.args.len()), ("ssh", 4));
        assert_eq!(args(Choice::named("ssh").unwrap()), [""; 0]);
        assert!(["", "=x", "../x", "a b", "a/b"].iter().all(|text| Choice::named(text).is_err()));
    }
}
