//! The launcher that the command line names.

use crate::contract::{SLURM, is_name};
use crate::slurm::submit::value;
use std::env;

/// Options of sbatch that the tools set themselves. So is `-a`, with a value in the same word.
const OWN: [&str; 10] = [
    "--array",
    "--error",
    "--open-mode",
    "--output",
    "--parsable",
    "--quiet",
    "--test-only",
    "--wait",
    "--wrap",
    "-W",
];

/// The same options as letters, whose values may stand in the same word.
const OWN_LETTERS: [&str; 4] = ["-a", "-e", "-o", "-Q"];

/// The variables that name a cluster for sbatch. A run records the cluster, because other tools may run in
/// another environment.
const CLUSTERS: [&str; 2] = ["SBATCH_CLUSTERS", "SLURM_CLUSTERS"];

/// A launcher and its options.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    /// `slurm`, or the NAME of an executable `run-launch-NAME`.
    pub name: String,
    /// Its options.
    pub args: Vec<String>,
}

impl Choice {
    /// Reads the value of `--slurm`: options of sbatch.
    pub fn slurm(text: &str) -> Result<Self, String> {
        Self::of_sbatch(words(text)?, |name| env::var(name).ok().filter(|value| !value.is_empty()))
    }

    fn of_sbatch(mut args: Vec<String>, variable: impl Fn(&str) -> Option<String>) -> Result<Self, String> {
        let name = |word: &str| word.split('=').next().unwrap_or_default().to_owned();
        let is_own = |word: &&String| {
            OWN.contains(&name(word).as_str()) || OWN_LETTERS.iter().any(|own| word.starts_with(own))
        };
        if let Some(word) = args.iter().find(is_own) {
            return Err(format!("'{word}' is set by the tool itself"));
        }
        if value(&args, "-M", "--clusters").is_none()
            && let Some(clusters) = CLUSTERS.iter().find_map(|name| variable(name))
        {
            args.insert(0, format!("--clusters={clusters}"));
        }
        match value(&args, "-M", "--clusters") {
            Some(clusters) if clusters == "all" || clusters.contains(',') => {
                Err(format!("'{clusters}' are several clusters: name one with -M"))
            }
            _ => Ok(Self { name: SLURM.to_owned(), args }),
        }
    }

    /// Reads the value of `--launch`: `NAME` or `NAME=OPTIONS`.
    pub fn named(text: &str) -> Result<Self, String> {
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
    fn one_cluster_is_recorded() {
        let made = |words: &[&str], variable: Option<&str>| {
            let args = words.iter().map(|&word| word.to_owned()).collect();
            Choice::of_sbatch(args, |name| variable.filter(|_| name == CLUSTERS[0]).map(str::to_owned))
                .map(|choice| choice.args.join(" "))
        };
        assert_eq!(made(&["-p", "gpu"], None).unwrap(), "-p gpu");
        assert_eq!(made(&["-p", "gpu"], Some("one")).unwrap(), "--clusters=one -p gpu");
        assert_eq!(made(&["-M", "two"], Some("one")).unwrap(), "-M two");
        for (words, variable) in
            [(&["-Mone,two"][..], None), (&["--clusters=all"], None), (&[], Some("one,two"))]
        {
            assert!(made(words, variable).unwrap_err().contains("several clusters"), "{words:?}");
        }
    }

    #[test]
    fn options_are_split_as_a_shell_does() {
        let args = |choice: Choice| choice.args;
        assert_eq!(args(Choice::slurm("-p gpu --comment='a b'").unwrap()), ["-p", "gpu", "--comment=a b"]);
        assert_eq!(args(Choice::slurm("").unwrap()), [""; 0]);
        assert!(Choice::slurm("-J 'a").is_err());
        for own in [
            "--array=0-3",
            "-a0-3",
            "-a 0-3",
            "--wrap=true",
            "--wrap true",
            "-W",
            "--wait",
            "-ox.log",
            "--error=e",
        ] {
            let words = Choice::slurm(&format!("-p gpu {own}")).unwrap_err();
            assert!(words.ends_with("is set by the tool itself"), "{words}");
        }
        assert!(Choice::slurm("--wait-all-nodes=1 -w n1 --wckey=a").is_ok());
        let ssh = Choice::named("ssh=gpu1 gpu2 -o User=ann").unwrap();
        assert_eq!((ssh.name.as_str(), ssh.args.len()), ("ssh", 4));
        assert_eq!(args(Choice::named("ssh").unwrap()), [""; 0]);
        assert!(["", "=x", "../x", "a b", "a/b"].iter().all(|text| Choice::named(text).is_err()));
    }
}
