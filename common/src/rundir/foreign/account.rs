//! The facts in the files of a run of another system, and their conversion into a record of the suite.

use super::Foreign;
use super::change::{born, newest_change, oldest_change};
use crate::process::identity::ProcessId;
use crate::provenance::hash::sha256;
use crate::rundir::SCHEMA;
use crate::rundir::attempts::{Attempt, AttemptEnd, AttemptStart, StartEvent};
use crate::rundir::meta::Meta;
use crate::rundir::observe::Verdict;
use crate::rundir::options::AttemptOptions;
use crate::rundir::recorded::{AttemptState, Ended, Queued, Recorded, Running, State};
use crate::rundir::status::Outcome;
use crate::time::{Timestamp, human_seconds};
use serde_json::Map;
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

/// The facts in the files of a run. Unknown facts keep their values from [`Account::default`].
#[derive(Clone, Debug, Default)]
pub struct Account {
    /// Identity, settings and provenance. Unless set, `run_name` is the name of the directory, `run_id` is
    /// derived from the system, the name and the start, and `created` is the start. An adopted run keeps its
    /// `run_id`.
    pub meta: Meta,
    /// The state that the run claims.
    pub claim: Claim,
    /// The reason of its end, in one line.
    pub reason: Option<String>,
    /// Time of its start.
    pub start_time: Option<Timestamp>,
    /// Time of its end.
    pub end_time: Option<Timestamp>,
    /// The last heartbeat that the trainer recorded; without one, the last change of its files.
    pub last_heartbeat: Option<Timestamp>,
    /// The living process that its files name.
    pub process: Option<ProcessId>,
    /// Whether its files name, or may name, a process that is not visible here.
    pub is_unseen: bool,
    /// Its current step, unless the metrics contain it.
    pub step: Option<f64>,
    /// The step at which it was resumed, if `start_time` is the time of the resumption.
    pub start_step: Option<f64>,
    /// Exit status of the command.
    pub exit_code: Option<i32>,
    /// Signal that ended it.
    pub signal: Option<i32>,
    /// Damage of its files, a line each: what cannot be done, and why.
    pub damage: Vec<String>,
}

/// The state that a run claims.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Claim {
    /// None: it counts as running while its files change, and is in doubt later.
    #[default]
    Nothing,
    /// It has not started.
    Created,
    /// It waits for a scheduler.
    Queued,
    /// It is running; in doubt after too long without a heartbeat or change.
    Running,
    /// It claims to run, or claims nothing, but is known not to run, for this reason.
    Dead(String),
    /// It has ended.
    Ended(Outcome),
}

impl Claim {
    /// Returns whether a run that claims this has started.
    fn has_started(&self) -> bool {
        !matches!(self, Self::Created | Self::Queued)
    }

    /// Parses a system's word for the state of a run; an unknown word claims nothing.
    pub fn of_word(word: &str) -> Self {
        match word.to_lowercase().as_str() {
            "running" | "started" | "in_progress" => Self::Running,
            "created" | "pending" => Self::Created,
            "queued" | "scheduled" => Self::Queued,
            "completed" | "complete" | "finished" | "succeeded" | "success" | "done" => {
                Self::Ended(Outcome::Completed)
            }
            "failed" | "error" | "errored" | "crashed" => Self::Ended(Outcome::Failed),
            "stopped" | "killed" | "interrupted" | "cancelled" | "canceled" | "terminated" => {
                Self::Ended(Outcome::Stopped)
            }
            _ => Self::Nothing,
        }
    }
}

impl Account {
    /// Returns whether a process named by the run's files lives, or may live.
    pub fn may_live(&self) -> bool {
        self.process.is_some() || self.is_unseen
    }

    /// Estimates an unknown start of a run that has started: the oldest change of its files, but no later than
    /// its known end. An unknown heartbeat becomes the newest change.
    pub fn estimate_start(&mut self, run: &Path) {
        if !self.claim.has_started() || self.start_time.is_some() {
            return;
        }
        self.last_heartbeat = self.last_heartbeat.or_else(|| newest_change(run));
        let latest = self.end_time.or(self.last_heartbeat).unwrap_or_else(Timestamp::now);
        let start = oldest_change(run).map_or(latest, |oldest| oldest.min(latest));
        self.start_time = Some(start);
        self.meta.created = start;
    }

    /// Reads the account of a run, and adds the facts that all layouts have.
    pub(in crate::rundir) fn of(foreign: Foreign, run: &Path) -> Self {
        let mut account = foreign.account(run);
        let name = || run.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let meta = &mut account.meta;
        meta.system = Some(foreign.name().to_owned());
        if meta.run_name.is_empty() {
            meta.run_name = name();
        }
        if account.claim.has_started() {
            account.start_time = account.start_time.or_else(|| born(run));
        }
        if let Some(start) = account.start_time {
            meta.created = start;
        }
        if !is_plain(&meta.run_id) {
            // Without a recorded start, names such as `out` are shared by many runs.
            let place = match account.start_time {
                Some(start) => start.to_string(),
                None => std::path::absolute(run).unwrap_or_default().to_string_lossy().into_owned(),
            };
            meta.run_id = id_of(&format!("{}\0{}\0{place}", foreign.name(), meta.run_name));
        }
        if account.last_heartbeat.is_none()
            && account.claim.has_started()
            && !matches!(account.claim, Claim::Ended(_))
        {
            account.last_heartbeat = newest_change(run);
        }
        account
    }

    /// Returns the damage in one line.
    pub(in crate::rundir) fn damage_in_words(&self) -> Option<String> {
        let (first, others) = self.damage.split_first()?;
        Some(if others.is_empty() { first.clone() } else { format!("{first}; and {} more", others.len()) })
    }

    /// Judges the claim: a run that claims to be running, or claims nothing, counts as running while its files
    /// change.
    pub(in crate::rundir) fn verdict(&self, stale_after: Duration) -> Verdict {
        match &self.claim {
            Claim::Created | Claim::Queued | Claim::Ended(_) => Verdict::Holds,
            Claim::Dead(why) => Verdict::Dead(why.clone()),
            Claim::Running | Claim::Nothing => {
                let Some(last_change) = self.last_heartbeat else {
                    return Verdict::Stale("nothing tells whether it runs".to_owned());
                };
                let age = Timestamp::now().seconds_since(last_change);
                if age <= stale_after.as_secs_f64() {
                    return Verdict::Holds;
                }
                let age = human_seconds(age);
                Verdict::Stale(match self.claim {
                    Claim::Running => format!("nothing was written for {age}"),
                    _ => format!("nothing was written for {age}, and nothing says that it has ended"),
                })
            }
        }
    }

    /// Returns the record of the run.
    pub(in crate::rundir) fn recorded(&self) -> Recorded {
        let mut recorded = Recorded::created(&self.meta);
        let attempt = AttemptState {
            start_time: self.start_time,
            last_heartbeat: self.last_heartbeat,
            last_output: self.last_heartbeat, // for such runs, a change of its files
            supervisor: self.process.clone(),
            step: self.step,
            start_step: self.start_step,
            ..AttemptState::new(1)
        };
        recorded.state = match self.claim {
            Claim::Created => State::Created,
            Claim::Queued => State::Queued(Queued::default()),
            Claim::Nothing | Claim::Running | Claim::Dead(_) => {
                State::Running(Running { attempt, notice: self.reason.clone() })
            }
            Claim::Ended(outcome) => State::Ended(Ended {
                attempt: Some(attempt),
                outcome,
                reason: self.reason.clone(),
                time: self.end_time,
                exit_code: self.exit_code,
                signal: self.signal,
            }),
        };
        recorded
    }

    /// Returns the only attempt of the run; `None` if the run has not started, or the time of its start is
    /// unknown.
    pub(in crate::rundir) fn attempt(&self) -> Option<Attempt> {
        if !self.claim.has_started() {
            return None;
        }
        let meta = &self.meta;
        let start_time = self.start_time?;
        let start = AttemptStart {
            schema: SCHEMA,
            run_id: meta.run_id.clone(),
            event: StartEvent::Start,
            attempt: 1,
            start_time,
            command: meta.command.clone().unwrap_or_default(),
            template: meta.command.clone().unwrap_or_default(),
            executable: meta.executable.clone(),
            cwd: meta.cwd.clone(),
            host: meta.host.clone(),
            pid: self.process.as_ref().map_or(0, |process| process.pid),
            git_commit: meta.git_commit.clone(),
            git_dirty: meta.git_dirty,
            python_version: meta.python_version.clone(),
            device: meta.device.clone(),
            gpus: meta.gpus.clone(),
            cuda_visible_devices: None,
            resume_from: None,
            resume_step: None,
            total_steps: meta.total_steps,
            checkpoint_pattern: None,
            job: None,
            options: AttemptOptions::default(),
            offsets: BTreeMap::new(),
            fingerprints: BTreeMap::new(),
        };
        let end = match self.claim {
            Claim::Ended(status) => self.end_time.map(|end_time| AttemptEnd {
                reason: self.reason.clone(),
                exit_code: self.exit_code,
                signal: self.signal,
                final_step: self.step,
                ..AttemptEnd::of(&meta.run_id, start.attempt, status, start_time, end_time)
            }),
            _ => None,
        };
        Some(Attempt { start, end })
    }
}

/// Returns whether an id that a system recorded can be the id of a run, which commands get in their environment.
fn is_plain(id: &str) -> bool {
    let is_usual = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    (1..=128).contains(&id.len()) && id.bytes().all(is_usual)
}

/// Returns an id that is the same wherever the run is read: a UUID of version 8 from a hash (RFC 9562).
fn id_of(identity: &str) -> String {
    let hash = sha256(identity.as_bytes());
    format!("{}-{}-8{}-8{}-{}", &hash[..8], &hash[8..12], &hash[13..16], &hash[17..20], &hash[20..32])
}

impl Default for Meta {
    /// Creates the meta.json of a run without any known facts.
    fn default() -> Self {
        Self {
            schema: SCHEMA,
            run_id: String::new(),
            run_name: String::new(),
            created: Timestamp::EPOCH,
            command: None,
            executable: None,
            resume_args: None,
            config_path: None,
            config_file: None,
            config_sha256: None,
            overrides: Map::new(),
            params: Map::new(),
            inputs: Map::new(),
            tags: Vec::new(),
            note: None,
            seed: None,
            total_steps: None,
            checkpoint: None,
            set_by_env: false,
            options: AttemptOptions::default(),
            batch: None,
            host: String::new(),
            user: String::new(),
            cwd: String::new(),
            env: Map::new(),
            git_commit: None,
            git_branch: None,
            git_dirty: None,
            git_patch_cut: 0,
            untracked: Vec::new(),
            untracked_saved: Vec::new(),
            untracked_left_out: 0,
            device: None,
            gpus: Vec::new(),
            python_executable: None,
            python_version: None,
            torch_version: None,
            tool_version: String::new(),
            system: None,
            logs: None,
        }
    }
}
