//! Hands any number of jobs to a launcher, in as many calls as the launcher needs.

use crate::contract::{Job, Launcher, Submitted};
use run_common::error::Error;

/// Names jobs by their ids: `job 7`, or `jobs 7 to 12`; empty for none.
pub fn named(ids: &[impl AsRef<str>]) -> String {
    match ids {
        [] => String::new(),
        [id] => format!("job {}", id.as_ref()),
        [first, .., last] => format!("jobs {} to {}", first.as_ref(), last.as_ref()),
    }
}

/// Submits jobs in calls of at most `together`; returns the outcome of each, in their order. If the number of
/// active jobs is limited, the jobs of a call start after those of the call before, or after the job `after`.
/// If the launcher has no room, the first call is halved and repeated; a later call ends the submission. An
/// error means that no job was submitted.
pub fn hand_over(
    launcher: &dyn Launcher,
    jobs: &[Job],
    together: usize,
    after: Option<String>,
) -> Result<Vec<Submitted>, Error> {
    let (mut told, mut size, mut after) = (Vec::<Submitted>::new(), together.max(1), after);
    while let Some(left) = jobs.get(told.len()..).filter(|left| !left.is_empty()) {
        let of_call =
            |job: &Job| Job { after: after.clone().filter(|_| job.at_once.is_some()), ..job.clone() };
        let call: Vec<Job> = left.iter().take(size).map(of_call).collect();
        let (why, is_full) = match launcher.submit(&call) {
            Ok(answers) => {
                let has_none = answers.iter().all(|answer| answer.full);
                let full = answers.iter().find(|answer| answer.full);
                let why = full.and_then(|answer| answer.error.clone());
                let is_full = full.is_some();
                if has_none && told.is_empty() && call.len() > 1 {
                    size = call.len() / 2;
                    continue;
                }
                after = answers.iter().rev().find_map(|answer| answer.job.clone()).or(after);
                told.extend(answers);
                (why, is_full)
            }
            Err(error) if told.is_empty() => return Err(error),
            Err(error) => (Some(error.to_string()), false),
        };
        let goes_on = why.is_none() && !is_full;
        if !goes_on {
            let why = why.unwrap_or_else(|| "the launcher takes no more jobs now".to_owned());
            let left = jobs.get(told.len()..).unwrap_or_default();
            told.extend(left.iter().map(|job| Submitted::refused(job, &why, is_full)));
        }
    }
    Ok(told)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::{Answer, Limits};
    use run_common::error::Exit;
    use std::cell::RefCell;
    use std::time::Duration;

    /// A launcher with room for a number of jobs, which records its calls: their lengths, and the jobs they
    /// start after.
    #[derive(Debug)]
    struct Bounded {
        room: usize,
        /// Number of calls before it fails.
        fails_after: usize,
        calls: RefCell<Vec<(usize, Option<String>)>>,
    }

    impl Launcher for Bounded {
        fn submit(&self, jobs: &[Job]) -> Result<Vec<Submitted>, Error> {
            let has: usize = self.calls.borrow().iter().map(|(count, _)| *count).sum();
            if self.calls.borrow().len() >= self.fails_after {
                return Err(Error::new(Exit::System, "no"));
            }
            if has + jobs.len() > self.room {
                return Ok(jobs.iter().map(|job| Submitted::refused(job, "full", true)).collect());
            }
            self.calls.borrow_mut().push((jobs.len(), jobs[0].after.clone()));
            let id = |job: &Job| Submitted {
                run_id: job.run_id.clone(),
                job: Some(format!("j{}", job.run_id)),
                error: None,
                full: false,
            };
            Ok(jobs.iter().map(id).collect())
        }

        fn limits(&self) -> Result<Limits, Error> {
            Ok(Limits::default())
        }

        fn check(&self, _: &[Job]) -> Result<(), Error> {
            Ok(())
        }

        fn query(&self, _: &[String], _: Duration) -> Result<Vec<Answer>, Error> {
            Ok(Vec::new())
        }

        fn cancel(&self, _: &[String]) -> Result<(), Error> {
            Ok(())
        }
    }

    fn jobs(count: usize) -> Vec<Job> {
        let job = |number: usize| Job {
            run_id: number.to_string(),
            name: String::new(),
            command: Vec::new(),
            cwd: String::new(),
            output: String::new(),
            grace_s: 0.0,
            requeue: false,
            list: String::new(),
            at_once: Some(1),
            list_output: None,
            after: None,
        };
        (0..count).map(job).collect()
    }

    #[test]
    fn calls_are_as_large_as_the_launcher_has_room() {
        for (room, together, expected) in [
            (100, 4, &[4, 4, 2][..]), // as many as fit together
            (100, usize::MAX, &[10]),
            (7, usize::MAX, &[5]), // half of the first call
            (9, 4, &[4, 4]),
            (1, 10, &[1]),
            (0, 10, &[]),
        ] {
            let launcher = Bounded { room, fails_after: usize::MAX, calls: RefCell::default() };
            let told = hand_over(&launcher, &jobs(10), together, None).unwrap();
            let calls: Vec<usize> = launcher.calls.borrow().iter().map(|(count, _)| *count).collect();
            assert_eq!(calls, expected, "{room} {together}");
            let accepted: usize = expected.iter().sum();
            assert!(told.iter().take(accepted).all(|one| one.job.is_some()));
            assert!(told.iter().skip(accepted).all(|one| one.full && one.job.is_none()));
            let ids: Vec<String> = told.into_iter().map(|one| one.run_id).collect();
            assert_eq!(ids, jobs(10).into_iter().map(|job| job.run_id).collect::<Vec<_>>());
        }
    }

    #[test]
    fn each_call_starts_after_the_one_before() {
        let launcher = Bounded { room: 10, fails_after: usize::MAX, calls: RefCell::default() };
        hand_over(&launcher, &jobs(5), 2, Some("old".to_owned())).unwrap();
        let after: Vec<String> = launcher.calls.take().into_iter().filter_map(|(_, after)| after).collect();
        assert_eq!(after, ["old", "j1", "j3"]);
    }

    #[test]
    fn a_failure_leaves_those_before_it() {
        let launcher = |fails_after| Bounded { room: 10, fails_after, calls: RefCell::default() };
        assert!(hand_over(&launcher(0), &jobs(5), 2, None).is_err());
        let told = hand_over(&launcher(1), &jobs(5), 2, None).unwrap();
        let accepted: Vec<bool> = told.iter().map(|one| one.job.is_some()).collect();
        assert_eq!(accepted, [true, true, false, false, false]);
        assert!(told.iter().all(|one| !one.full));
    }
}
