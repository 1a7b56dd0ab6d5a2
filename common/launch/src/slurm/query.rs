//! The options of squeue, and its output.

use super::time::point;
use crate::contract::{Answer, Known};
use run_common::time::Timestamp;
use std::collections::{BTreeSet, HashMap};

/// The columns: id, user, state, start, reason. The reason comes last, as it may hold anything.
const FORMAT: &str = "--format=%i|%U|%T|%S|%r";

/// Returns whether this is an id of a job or of a task of an array. Other ids come from forged records, and
/// Slurm's commands could take them for options, or for other jobs.
pub(super) fn is_id(job: &str) -> bool {
    let is_number =
        |part: &str| (1..=10).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_digit());
    job.split('_').count() <= 2 && job.split('_').all(is_number)
}

/// Returns the options that ask about jobs, including jobs that have ended. For an array, its own id is enough.
pub(super) fn options(jobs: &[String]) -> Vec<String> {
    let ids: BTreeSet<&str> = jobs.iter().map(|job| job.split('_').next().unwrap_or_default()).collect();
    let ids: Vec<&str> = ids.into_iter().collect();
    let asked = format!("--jobs={}", ids.join(","));
    ["--noheader", "--array", "--states=all", FORMAT, &asked].map(str::to_owned).into()
}

/// Why a job is gone that is missing in the answer: Slurm forgets jobs some minutes after their end.
const FORGOTTEN: &str = "Slurm does not know it any more";

/// Reads the answer. A job that is missing in the answer is gone.
pub(super) fn answers(jobs: &[String], text: &str) -> Vec<Answer> {
    let known: HashMap<&str, Answer> = text.lines().filter_map(answer).collect();
    let gone = |job: &String| Answer {
        state: Known::Gone,
        reason: Some(FORGOTTEN.to_owned()),
        ..Answer::unknown(job)
    };
    jobs.iter().map(|job| known.get(job.as_str()).cloned().unwrap_or_else(|| gone(job))).collect()
}

/// Returns those of the jobs that exist and belong to this user.
pub(super) fn of_user(jobs: &[String], text: &str, user: u32) -> Vec<String> {
    let users: HashMap<&str, &str> = text
        .lines()
        .filter_map(|line| {
            let mut cells = line.split('|').map(str::trim);
            Some((cells.next()?, cells.next()?))
        })
        .collect();
    let is_own = |job: &&String| users.get(job.as_str()).is_some_and(|&id| id == user.to_string());
    jobs.iter().filter(is_own).cloned().collect()
}

/// Returns the ids of jobs with this comment that were accepted after a point in time, from lines of id, time and
/// comment. Slurm counts whole seconds.
pub(super) fn accepted<'a>(
    text: &'a str,
    comment: &'a str,
    since: Timestamp,
) -> impl Iterator<Item = &'a str> + 'a {
    text.lines().filter_map(move |line| {
        let mut cells = line.splitn(3, '|').map(str::trim);
        let (id, time, found) = (cells.next()?, point(cells.next()?)?, cells.next()?);
        (found == comment && time.seconds_since(since) > -1.0).then_some(id)
    })
}

fn answer(line: &str) -> Option<(&str, Answer)> {
    let mut cells = line.splitn(5, '|');
    let mut cell = || cells.next().map(str::trim);
    let (job, _, word, start, why) = (cell()?, cell()?, cell()?, cell()?, cell()?);
    let state = state(word);
    let reason = match state {
        Known::Pending => Some(why).filter(|why| *why != "None"),
        Known::Started => None,
        Known::Gone | Known::Unknown => Some(word),
    };
    let start = point(start).filter(|_| state == Known::Pending);
    Some((job, Answer { job: job.to_owned(), state, reason: reason.map(str::to_owned), start }))
}

/// Returns the meaning of a job state in squeue(1).
pub(crate) fn state(word: &str) -> Known {
    match word {
        "PENDING" | "REQUEUED" | "REQUEUE_HOLD" | "REQUEUE_FED" | "RESV_DEL_HOLD" | "SPECIAL_EXIT" => {
            Known::Pending
        }
        "CONFIGURING" | "RUNNING" | "COMPLETING" | "SIGNALING" | "STAGE_OUT" | "STOPPED" | "SUSPENDED"
        | "RESIZING" => Known::Started,
        "BOOT_FAIL" | "CANCELLED" | "COMPLETED" | "DEADLINE" | "FAILED" | "NODE_FAIL" | "OUT_OF_MEMORY"
        | "PREEMPTED" | "REVOKED" | "TIMEOUT" => Known::Gone,
        _ => Known::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_id_is_told_from_ids() {
        assert!(["7", "12_3", "4294967295_0"].iter().all(|job| is_id(job)));
        let others =
            ["", "--me", "-u0", "7 8", "7,8", "7_", "_7", "7_1_2", "7_[0-5]", "7+1", "7\n8", "12345678901"];
        for job in others {
            assert!(!is_id(job), "{job}");
        }
    }

    #[test]
    fn each_job_is_asked_about_once_and_has_an_answer() {
        let jobs = ["7_0", "7_1", "9", "12"].map(str::to_owned);
        assert_eq!(options(&jobs).last().unwrap(), "--jobs=12,7,9");
        let text = "7_0|1000|RUNNING|1769688000|None\n7_1|1000|PENDING|1769688060|Resources\n9|1001|CANCELLED|N/A|None\nrubbish\n";
        assert_eq!(of_user(&jobs, text, 1000), ["7_0", "7_1"]);
        let told = answers(&jobs, text);
        let told: Vec<_> =
            told.iter().map(|one| (one.job.as_str(), one.state, one.reason.as_deref())).collect();
        assert_eq!(
            told,
            [
                ("7_0", Known::Started, None),
                ("7_1", Known::Pending, Some("Resources")),
                ("9", Known::Gone, Some("CANCELLED")),
                ("12", Known::Gone, Some(FORGOTTEN)),
            ]
        );
        let start = answers(&jobs, text)[1].start.map(Timestamp::millis);
        assert_eq!(start, Some(1_769_688_060_000));
    }
}
