//! The options and the script for sbatch, of one job or of an array.

use crate::contract::{Job, Submitted};
use crate::slurm::control::NOTES;
use run_common::shell::shell_line;
use std::fmt::Write;
use std::time::Duration;

/// Additional seconds around the end of a program: for writing the record, and for the precision of Slurm's clock.
const MARGIN: u64 = 5;

/// The longest time before the time limit at which Slurm can signal a job, in seconds.
const LONGEST: u64 = 65535;

/// Returns the options of sbatch for a list of jobs; `limit` is their time limit. The user's own options come
/// last, and take precedence.
pub(super) fn options(jobs: &[Job], own: &[String], limit: Option<Duration>) -> Vec<String> {
    let Some(first) = jobs.first() else { return Vec::new() };
    let is_array = jobs.len() > 1;
    let mut options = vec![
        format!("--job-name={}", if is_array { &first.list } else { &first.name }),
        format!("--comment={}", comment(jobs).unwrap_or_default()),
        format!("--chdir={}", first.cwd),
        format!(
            "--output={}",
            notes(first, is_array, "%A_%a").replace('%', "%%").replace("%%A_%%a", "%A_%a")
        ),
        // Otherwise a job that is started again would truncate its file.
        "--open-mode=append".to_owned(),
        format!("--signal=B:TERM@{}", signal_time(jobs, limit)),
        if jobs.iter().all(|job| job.requeue) { "--requeue" } else { "--no-requeue" }.to_owned(),
    ];
    if is_array {
        let at_once = first.at_once.map(|most| format!("%{most}")).unwrap_or_default();
        options.push(format!("--array=0-{}{at_once}", jobs.len() - 1));
    }
    options.extend(own.iter().cloned());
    options.extend(first.after.as_ref().map(|job| dependency(job, own)));
    options
}

/// Returns the option that lets a list start after the array of a job, and as the user's own options say.
fn dependency(after: &str, own: &[String]) -> String {
    let array = after.split('_').next().unwrap_or_default();
    match value(own, "-d", "--dependency") {
        // Slurm has no syntax for "one of these, and that".
        Some(own) if own.contains('?') => format!("--dependency={own}"),
        Some(own) if !own.is_empty() => format!("--dependency={own},afterany:{array}"),
        _ => format!("--dependency=afterany:{array}"),
    }
}

/// Returns the last value of an option in options of sbatch.
pub(crate) fn value<'a>(own: &'a [String], short: &str, long: &str) -> Option<&'a str> {
    let mut words = own.iter();
    let mut found = None;
    while let Some(word) = words.next() {
        let told = match word.as_str() {
            word if word == short || word == long => words.next().map(String::as_str),
            word => word
                .strip_prefix(long)
                .and_then(|rest| rest.strip_prefix('='))
                .or_else(|| word.strip_prefix(short).filter(|_| !word.starts_with("--"))),
        };
        found = told.or(found);
    }
    found
}

/// Returns the comment of a list of jobs.
pub(super) fn comment(jobs: &[Job]) -> Option<String> {
    match jobs {
        [] => None,
        [one] => Some(one.run_id.clone()),
        [first, ..] => Some(first.list.clone()),
    }
}

/// Returns the file in which Slurm notes why it ends a job: the output of the job itself, or for a job of an array
/// the output of the list with `id` appended. Slurm does not start a job whose file it cannot open, so the
/// directory must last.
fn notes(first: &Job, is_array: bool, id: &str) -> String {
    if is_array {
        format!("{}.{id}", first.list_output.as_ref().unwrap_or(&first.output))
    } else {
        first.output.clone()
    }
}

/// Returns how many seconds before its time limit a job is asked to end: the time that the job may need, but at most
/// half of its limit.
fn signal_time(jobs: &[Job], limit: Option<Duration>) -> u64 {
    let longest = jobs.iter().map(|job| job.grace_s).fold(0.0, f64::max);
    let grace = Duration::try_from_secs_f64(longest.max(0.0)).unwrap_or_default().as_secs() + MARGIN;
    let half = limit.map_or(u64::MAX, |limit| limit.as_secs() / 2);
    grace.min(half).clamp(1, LONGEST)
}

/// Writes the script. The command replaces the shell, so that signals reach the command.
pub(super) fn script(jobs: &[Job]) -> String {
    let shared = shared(jobs);
    let mut script = "#!/bin/sh\ncase ${SLURM_ARRAY_TASK_ID-0} in\n".to_owned();
    for (number, job) in jobs.iter().enumerate() {
        let rest = shell_line(&job.command[shared..]);
        let output = shell_line(std::slice::from_ref(&job.output));
        let _ = writeln!(script, "{number}) set -- {rest}; output={output} ;;"); // writing to a string cannot fail
    }
    let Some(first) = jobs.first() else { return script };
    let notes = shell_line(&[notes(first, jobs.len() > 1, "")]);
    let id = if jobs.len() > 1 { "\"${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID\"" } else { "" };
    let command = shell_line(&first.command[..shared]);
    let _ = writeln!(script, "esac\nexport {NOTES}={notes}{id}\nexec {command} \"$@\" >>\"$output\" 2>&1");
    script
}

/// Returns the number of words at the beginning that all commands have in common.
fn shared(jobs: &[Job]) -> usize {
    let Some((first, others)) = jobs.split_first() else { return 0 };
    let is_shared = |at: &usize| others.iter().all(|job| job.command.get(*at) == first.command.get(*at));
    (0..first.command.len().saturating_sub(1)).take_while(is_shared).count()
}

/// Returns the ids of the jobs of an accepted list.
pub(super) fn ids<'a>(jobs: &'a [Job], id: &'a str) -> impl Iterator<Item = Submitted> + 'a {
    jobs.iter().enumerate().map(move |(number, job)| Submitted {
        run_id: job.run_id.clone(),
        job: Some(if jobs.len() > 1 { format!("{id}_{number}") } else { id.to_owned() }),
        error: None,
        full: false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(name: &str) -> Job {
        Job {
            run_id: format!("id-{name}"),
            name: name.to_owned(),
            command: ["/opt/run-exec", "--job", "s", "-q", &format!("/runs/it's {name}")]
                .map(str::to_owned)
                .into(),
            cwd: "/home/a b".to_owned(),
            output: format!("/runs/{name}/.run/job.log"),
            grace_s: 130.0,
            requeue: false,
            list: "sweep".to_owned(),
            at_once: Some(4),
            list_output: None,
            after: None,
        }
    }

    fn own(words: &[&str]) -> Vec<String> {
        words.iter().map(|&word| word.to_owned()).collect()
    }

    #[test]
    fn the_script_is_replaced_by_the_command() {
        let expected = "#!/bin/sh\ncase ${SLURM_ARRAY_TASK_ID-0} in\n\
            0) set -- '/runs/it'\\''s a'; output=/runs/a/.run/job.log ;;\n\
            1) set -- '/runs/it'\\''s b'; output=/runs/b/.run/job.log ;;\n\
            esac\nexport RUN_JOB_NOTES=/runs/a/.run/job.log.\"${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID\"\n\
            exec /opt/run-exec --job s -q \"$@\" >>\"$output\" 2>&1\n";
        assert_eq!(script(&[job("a"), job("b")]), expected);
        assert!(script(&[job("a")]).contains("\n0) set -- '/runs/it'\\''s a'; "));
        let other = Job { command: vec!["true".to_owned()], ..job("b") };
        assert!(script(&[job("a"), other]).contains("\n1) set -- true; "));
    }

    #[test]
    fn one_run_is_a_job_and_several_are_an_array() {
        let one = options(&[job("a")], &[], None);
        assert!(
            one.contains(&"--job-name=a".to_owned()) && one.contains(&"--comment=id-a".to_owned()),
            "{one:?}"
        );
        assert!(!one.iter().any(|option| option.starts_with("--array")), "{one:?}");
        let two = options(&[job("a"), job("b")], &own(&["-p", "gpu"]), None);
        assert!(one.contains(&"--output=/runs/a/.run/job.log".to_owned()), "{one:?}");
        assert!(two.contains(&"--output=/runs/a/.run/job.log.%A_%a".to_owned()), "{two:?}");
        let batch = Job { list_output: Some("/runs/b/.batch/job.log".to_owned()), ..job("a") };
        let of_batch = options(&[batch.clone(), job("b")], &[], None);
        assert!(of_batch.contains(&"--output=/runs/b/.batch/job.log.%A_%a".to_owned()), "{of_batch:?}");
        assert!(script(&[batch, job("b")]).contains("\nexport RUN_JOB_NOTES=/runs/b/.batch/job.log.\""));
        assert!(two.contains(&"--array=0-1%4".to_owned()) && two.ends_with(&own(&["-p", "gpu"])), "{two:?}");
        for (words, expected) in [
            (&[][..], "afterany:7"),
            (&["-d", "afterok:9"], "afterok:9,afterany:7"),
            (&["--dependency=singleton"], "singleton,afterany:7"),
            (&["-dafterok:9?afterok:8"], "afterok:9?afterok:8"),
        ] {
            let after = Job { after: Some("7_3".to_owned()), ..job("a") };
            let last = options(&[after], &own(words), None).pop().unwrap();
            assert_eq!(last, format!("--dependency={expected}"));
        }
        let told: Vec<_> = ids(&[job("a"), job("b")], "7").map(|one| one.job.unwrap()).collect();
        assert_eq!(told, ["7_0", "7_1"]);
        assert_eq!(ids(&[job("a")], "7").next().unwrap().job.unwrap(), "7");
    }

    #[test]
    fn the_signal_comes_early_enough_and_not_at_once() {
        let time = |seconds: u64| signal_time(&[job("a")], Some(Duration::from_secs(seconds)));
        assert_eq!((signal_time(&[job("a")], None), time(14400)), (135, 135));
        assert_eq!((time(60), time(120)), (30, 60));
        let value = |words: &[&str]| value(&own(words), "-t", "--time").map(str::to_owned);
        assert_eq!(value(&["-t1", "--time", "2:00"]).as_deref(), Some("2:00"));
        assert_eq!(value(&["-p", "gpu", "--time=1", "--time-min=3"]).as_deref(), Some("1"));
        assert_eq!(value(&["-p", "gpu"]), None);
    }
}
