//! Slurm (22.05 and later), by its commands: sbatch, squeue, scancel and scontrol.

pub(crate) mod control;
mod partition;
mod query;
pub mod step;
pub(crate) mod submit;
mod time;

use crate::call::{Answered, call, call_until};
use crate::contract::{Answer, Job, Launcher, Limits, Submitted};
use run_common::error::{Error, Exit};
use run_common::time::Timestamp;
use std::cell::OnceCell;
use std::collections::BTreeSet;
use std::env;
use std::process::Command;
use std::time::Duration;

/// Time limit for sbatch, which a busy controller lets wait.
const SUBMISSION: Duration = Duration::from_secs(120);

/// Time limit for other answers that are not urgent.
const ANSWER: Duration = Duration::from_secs(30);

/// A message of sbatch: Slurm takes no more jobs now (`MaxJobCount`, or for a moment), and sbatch retries for
/// two minutes.
const IS_FULL: &str = "sleeping and retrying";

/// Time limit of these retries for a single job. For an array, a smaller array is tried instead.
const AGAIN: Duration = Duration::from_secs(10);

/// Messages of sbatch about too many jobs: in total, or of a user, an account or a quality of service.
const LIMITS: [&str; 3] = [IS_FULL, "MaxSubmitJob", "GrpSubmitJob"];

/// Number of ids in one call of scancel.
const IDS_A_CALL: usize = 500;

/// The variables of Slurm that select a cluster. All others describe a job to itself.
const OF_CLUSTER: [&str; 2] = ["SLURM_CONF", "SLURM_CLUSTERS"];

/// Variables that give options to sbatch.
const TIME_LIMIT: &str = "SBATCH_TIMELIMIT";
const PARTITION: &str = "SBATCH_PARTITION";

/// Variables that give devices to a job.
const DEVICES: [&str; 4] =
    ["CUDA_VISIBLE_DEVICES", "GPU_DEVICE_ORDINAL", "ROCR_VISIBLE_DEVICES", "ZE_AFFINITY_MASK"];

/// Slurm, as selected by the environment.
#[derive(Debug)]
pub struct Slurm {
    /// Options of sbatch.
    args: Vec<String>,
    /// The user whose jobs may be cancelled; `None` for jobs of any user.
    user: Option<u32>,
    /// The time limit of a job, cached once Slurm was asked.
    limit: OnceCell<Option<Duration>>,
}

impl Slurm {
    /// Takes options of sbatch. The other commands use only the option that names a cluster.
    pub fn new(args: Vec<String>) -> Self {
        Self::of_user(args, None)
    }

    /// Takes options of sbatch, and the user whose jobs may be cancelled.
    pub(crate) fn of_user(args: Vec<String>, user: Option<u32>) -> Self {
        Self { args, user, limit: OnceCell::new() }
    }

    /// Returns the option that names the cluster, if there is one.
    pub(crate) fn cluster(&self) -> Option<String> {
        submit::value(&self.args, "-M", "--clusters").map(|name| format!("--clusters={name}"))
    }

    /// Returns the time limit of a job, if there is one and Slurm reports it.
    fn time_limit(&self) -> Option<Duration> {
        *self.limit.get_or_init(|| self.find_time_limit())
    }

    fn find_time_limit(&self) -> Option<Duration> {
        let set = |name: &str| env::var(name).ok().filter(|value| !value.is_empty());
        if let Some(limit) = submit::value(&self.args, "-t", "--time").map(str::to_owned).or(set(TIME_LIMIT))
        {
            return time::limit(&limit);
        }
        let words = ["show", "partition", "--oneliner"].map(str::to_owned);
        let answered = self.call("scontrol", &words, Vec::new(), ANSWER).ok().filter(|told| told.is_ok)?;
        partition::limit(&self.args, set(PARTITION).as_deref(), &answered.stdout)
    }

    /// Returns what squeue prints of jobs.
    fn look(&self, jobs: &[String], limit: Duration) -> Result<String, Error> {
        let answered = self.call("squeue", &query::options(jobs), Vec::new(), limit)?;
        // For several ids, squeue skips unknown ones; for a single one it fails with this message.
        if answered.is_ok || answered.says("Invalid job id specified") {
            Ok(answered.stdout)
        } else {
            Err(refused("Slurm does not answer", &answered))
        }
    }

    /// Finds the id of a list that was accepted after a point in time, if it is unambiguous.
    fn accepted_since(&self, list: &[Job], since: Timestamp) -> Option<String> {
        let words = ["--noheader", "--me", "--states=all", "--format=%F|%V|%k"].map(str::to_owned);
        let answered = self.call("squeue", &words, Vec::new(), ANSWER).ok().filter(|told| told.is_ok)?;
        let comment = submit::comment(list)?;
        // The array that this process is a task of has the same comment, and may be as young.
        let own = ["SLURM_ARRAY_JOB_ID", "SLURM_JOB_ID"].map(|name| env::var(name).unwrap_or_default());
        let accepted = query::accepted(&answered.stdout, &comment, since);
        let ids: BTreeSet<&str> = accepted.filter(|id| own.iter().all(|own| own != id)).collect();
        ids.first().filter(|_| ids.len() == 1).map(|&id| id.to_owned())
    }

    /// Executes one of Slurm's commands.
    fn call(
        &self,
        program: &str,
        args: &[String],
        input: Vec<u8>,
        limit: Duration,
    ) -> Result<Answered, Error> {
        call(&mut self.command(program, args), input, limit)
    }

    fn command(&self, program: &str, args: &[String]) -> Command {
        let mut command = Command::new(program);
        command.args(self.cluster()).args(args);
        // A job that is submitted from within a job must not inherit its variables.
        if env::var_os("SLURM_JOB_ID").is_some() {
            let is_of_job = |name: &str| {
                name.starts_with("SLURM_") && !OF_CLUSTER.contains(&name)
                    || DEVICES.contains(&name)
                    || name == control::NOTES
            };
            for (name, _) in env::vars_os() {
                if name.to_str().is_some_and(is_of_job) {
                    command.env_remove(name);
                }
            }
        }
        command.env("SLURM_TIME_FORMAT", "%s");
        command
    }
}

/// Creates the error of a command that failed.
fn refused(what: &str, answered: &Answered) -> Error {
    Error::new(Exit::System, what).because(answered.why().to_owned())
}

impl Launcher for Slurm {
    fn limits(&self) -> Result<Limits, Error> {
        let words = ["show".to_owned(), "config".to_owned()];
        let answered = self.call("scontrol", &words, Vec::new(), ANSWER)?;
        if !answered.is_ok {
            return Err(refused("cannot ask Slurm for its settings", &answered));
        }
        Ok(limits(&answered.stdout))
    }

    fn check(&self, jobs: &[Job]) -> Result<(), Error> {
        // Slurm checks only one job: it treats all alike, and several arrays may be needed.
        let Some(first) = jobs.first().map(std::slice::from_ref) else { return Ok(()) };
        let mut args = vec!["--test-only".to_owned()];
        args.extend(submit::options(first, &self.args, self.time_limit()));
        let answered = self.call("sbatch", &args, submit::script(first).into_bytes(), SUBMISSION)?;
        if answered.is_ok { Ok(()) } else { Err(refused("Slurm does not accept the job", &answered)) }
    }

    fn submit(&self, jobs: &[Job]) -> Result<Vec<Submitted>, Error> {
        let mut args = vec!["--parsable".to_owned()];
        args.extend(submit::options(jobs, &self.args, self.time_limit()));
        let script = submit::script(jobs).into_bytes();
        let since = Timestamp::now();
        let words = (IS_FULL, if jobs.len() > 1 { Duration::ZERO } else { AGAIN });
        let answered = call_until(&mut self.command("sbatch", &args), script, SUBMISSION, words);
        let told = match answered {
            Ok(answered) => {
                let id = answered.stdout.trim().split(';').next().unwrap_or_default().to_owned();
                let is_id = !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_digit());
                if answered.is_ok && is_id {
                    return Ok(submit::ids(jobs, &id).collect());
                }
                if let Some(why) = answered.line_with(&LIMITS) {
                    return Ok(jobs.iter().map(|job| Submitted::refused(job, why, true)).collect());
                }
                refused("Slurm does not accept the job", &answered)
            }
            Err(error) => error,
        };
        // A busy controller may accept a job although sbatch has given up.
        let id = self.accepted_since(jobs, since).ok_or(told)?;
        Ok(submit::ids(jobs, &id).collect())
    }

    fn query(&self, jobs: &[String], limit: Duration) -> Result<Vec<Answer>, Error> {
        let known: Vec<String> = jobs.iter().filter(|job| query::is_id(job)).cloned().collect();
        if known.is_empty() {
            return Ok(query::answers(jobs, ""));
        }
        Ok(query::answers(jobs, &self.look(&known, limit)?))
    }

    fn cancel(&self, jobs: &[String]) -> Result<(), Error> {
        let mut jobs: Vec<String> = jobs.iter().filter(|job| query::is_id(job)).cloned().collect();
        // With --user, scancel would take a task to mean its whole array.
        if let Some(user) = self.user
            && !jobs.is_empty()
        {
            jobs = query::of_user(&jobs, &self.look(&jobs, ANSWER)?, user);
        }
        for ids in jobs.chunks(IDS_A_CALL) {
            let answered = self.call("scancel", ids, Vec::new(), ANSWER)?;
            let is_gone = ["Invalid job id", "already completing or completed"];
            if !answered.is_ok && !is_gone.iter().any(|words| answered.says(words)) {
                return Err(refused("Slurm does not cancel the job", &answered));
            }
        }
        Ok(())
    }
}

/// Reads what `scontrol show config` prints.
fn limits(config: &str) -> Limits {
    let value = |key: &str| {
        config.lines().find_map(|line| {
            let (name, value) = line.split_once('=')?;
            (name.trim() == key).then(|| value.split_whitespace().next().unwrap_or_default().to_owned())
        })
    };
    let number = |key: &str| value(key).and_then(|value| value.parse::<u32>().ok());
    Limits {
        // The largest index is MaxArraySize - 1; indices begin with 0.
        array_max: number("MaxArraySize").map(|most| most as usize).filter(|&most| most > 0),
        submit_max: None,
        kill_wait_s: number("KillWait").map(f64::from),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_read_off_what_scontrol_prints() {
        let config = "Configuration data as of 2026-01-29T12:00:00\nKillWait                = 30 sec\n\
                      MaxArraySize            = 1001\nMaxJobCount             = 10000\n";
        let expected = Limits { array_max: Some(1001), submit_max: None, kill_wait_s: Some(30.0) };
        assert_eq!(limits(config), expected);
        assert_eq!(limits("slurm_load_ctl_conf error"), Limits::default());
    }

    #[test]
    fn the_cluster_is_the_last_that_is_named() {
        for (args, expected) in [
            (&["-p", "gpu"][..], None),
            (&["-M", "one", "--clusters=two"], Some("--clusters=two")),
            (&["-Mone"], Some("--clusters=one")),
            (&["--clusters", "one", "-t", "5"], Some("--clusters=one")),
        ] {
            let slurm = Slurm::new(args.iter().map(|&word| word.to_owned()).collect());
            assert_eq!(slurm.cluster().as_deref(), expected, "{args:?}");
        }
    }
}
