//! The command line of a job: the user's options, as far as they apply to an attempt.

use crate::cli::Args;
use clap::CommandFactory;
use std::env;
use std::ffi::OsString;

/// Options of the submitting process, which a job does not get.
const KEPT: [&str; 17] = [
    "runs-dir",
    "quiet",
    "detach",
    "resume",
    "unfinished",
    "take-over",
    "jobs",
    "gpus",
    "fail-fast",
    "null",
    "stdin",
    "slurm",
    "launch",
    "wait",
    "requeue",
    "restart-ok",
    "job",
];

/// Returns the options of this process's command line that a job gets as well, and its command.
pub(crate) fn passed_on() -> (Vec<String>, Vec<String>) {
    of(env::args_os())
}

fn of(line: impl IntoIterator<Item = OsString>) -> (Vec<String>, Vec<String>) {
    run_launch::passed::passed_on(&Args::command(), &KEPT, line)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passed(words: &[&str]) -> (Vec<String>, Vec<String>) {
        of(["run-exec"].iter().chain(words).map(OsString::from))
    }

    #[test]
    fn a_job_has_the_options_of_the_attempt_and_no_others() {
        let (options, command) = passed(&[
            "--slurm=-p gpu",
            "-j",
            "4",
            "-q",
            "--wait",
            "--unfinished",
            "-d",
            "runs",
            "--grace",
            "30s",
            "--scrape",
            "none",
            "--scrape",
            "a=(?<a>.)",
            "--merge",
            "--retries",
            "2",
            "--retry-on",
            "7,9",
            "r",
            "-",
            "--",
            "python",
            "-u",
            "train.py",
        ]);
        let expected =
            ["--merge", "--retries=2", "--retry-on=7", "--retry-on=9", "--grace=30s", "--scrape=none"];
        for option in expected.iter().chain(&["--scrape=a=(?<a>.)"]) {
            assert!(options.contains(&(*option).to_owned()), "{option}: {options:?}");
        }
        assert_eq!(options.len(), expected.len() + 1, "{options:?}");
        assert_eq!(command, ["python", "-u", "train.py"]);
    }

    #[test]
    fn what_is_kept_exists() {
        let command = Args::command();
        for kept in KEPT {
            assert!(command.get_arguments().any(|argument| argument.get_long() == Some(kept)), "{kept}");
        }
    }
}
