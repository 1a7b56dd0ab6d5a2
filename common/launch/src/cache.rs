//! The answers of launchers, shared by all tools of a user on this host. However many tools run, a launcher is
//! asked at most once in ten seconds.

use crate::contract::{Answer, Known, Launcher};
use crate::launcher::used;
use crate::own::make_own;
use nix::unistd::getuid;
use run_common::error::Error;
use run_common::fsio::atomic::{Durability, replace};
use run_common::fsio::lock::Lock;
use run_common::fsio::read_small;
use run_common::provenance::hash::sha256;
use run_common::rundir::record::document;
use run_common::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::env;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long an answer is valid, in seconds.
const FRESH: f64 = 10.0;

/// Longest wait for a launcher, and for another tool that asks the launcher.
const PATIENCE: Duration = Duration::from_millis(1800);

/// Seconds after which the launcher is not asked about a job any more, unless a tool needs the answer.
const FORGOTTEN: f64 = 600.0;

/// Seconds for which a job stays known to be gone: people may look once a day.
const REMEMBERED: f64 = 30.0 * 86400.0;

/// The last answers of a launcher.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Answers {
    /// When the launcher was asked.
    asked: Option<Timestamp>,
    /// Why the launcher did not answer then.
    failure: Option<String>,
    jobs: BTreeMap<String, Entry>,
}

/// What is known about a job.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Entry {
    /// When a tool last needed the answer.
    wanted: Timestamp,
    /// The answer; `None` until the launcher was asked.
    answer: Option<Answer>,
    /// When the job was first gone, if it is gone.
    gone_since: Option<Timestamp>,
}

/// An answer, and how long the job has been gone.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Told {
    pub(crate) answer: Answer,
    pub(crate) gone_s: f64,
}

/// What is known about jobs, and why this is old, if it is.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) told: BTreeMap<String, Told>,
    pub(crate) failure: Option<String>,
}

/// Returns what a launcher knows about jobs: a new answer, or one that is at most some seconds old.
pub(crate) fn ask(name: &str, args: &[String], jobs: &[String]) -> Asked {
    let launcher = match used(name, args, None) {
        Ok(launcher) => launcher,
        Err(error) => return Asked { told: BTreeMap::new(), failure: Some(error.to_string()) },
    };
    let kept = match Kept::open(name, args) {
        Ok(kept) => kept,
        // Another tool has already waited for an answer as long as this one would.
        Err(Closed::Busy(path)) => {
            let failure = Some(format!("'{name}' does not answer another tool that asks"));
            return Asked { failure, ..read(&path).told(jobs) };
        }
        Err(Closed::Unusable) => {
            let mut answers = Answers::default();
            answers.want(jobs);
            answers.renew(launcher.as_ref());
            return answers.told(jobs);
        }
    };
    let before = read(&kept.path);
    let mut answers = before.clone();
    answers.want(jobs);
    if !answers.is_fresh() {
        answers.renew(launcher.as_ref());
    }
    if answers.differs(&before) {
        kept.write(&answers);
    }
    answers.told(jobs)
}

impl Answers {
    fn is_fresh(&self) -> bool {
        let age = self.asked.map(|asked| Timestamp::now().seconds_since(asked));
        age.is_some_and(|age| (0.0..FRESH).contains(&age))
    }

    fn want(&mut self, jobs: &[String]) {
        let now = Timestamp::now();
        for job in jobs {
            self.jobs.entry(job.clone()).and_modify(|entry| entry.wanted = now).or_insert(Entry {
                wanted: now,
                answer: None,
                gone_since: None,
            });
        }
        let is_recent = |time: Timestamp, seconds| now.seconds_since(time) < seconds;
        self.jobs.retain(|_, entry| {
            is_recent(entry.wanted, FORGOTTEN)
                || entry.gone_since.is_some() && is_recent(entry.wanted, REMEMBERED)
        });
    }

    /// Returns whether the change is worth writing for other tools.
    fn differs(&self, before: &Self) -> bool {
        let is_newer = |(job, entry): (&String, &Entry)| {
            before.jobs.get(job).is_none_or(|old| entry.wanted.seconds_since(old.wanted) > FRESH)
        };
        self.asked != before.asked || self.jobs.iter().any(is_newer)
    }

    /// Asks the launcher about all jobs for which a tool needs the answer.
    fn renew(&mut self, launcher: &dyn Launcher) {
        let now = Timestamp::now();
        let is_wanted = |entry: &Entry| now.seconds_since(entry.wanted) < FORGOTTEN;
        let wanted = self.jobs.iter().filter(|(_, entry)| is_wanted(entry));
        let jobs: Vec<String> = wanted.map(|(job, _)| job.clone()).collect();
        let answered = launcher.query(&jobs, PATIENCE);
        let now = Timestamp::now();
        self.asked = Some(now);
        match answered {
            Ok(answers) => {
                self.failure = None;
                for answer in answers {
                    let Some(entry) = self.jobs.get_mut(&answer.job) else { continue };
                    entry.gone_since = (answer.state == Known::Gone).then(|| entry.gone_since.unwrap_or(now));
                    entry.answer = Some(answer);
                }
            }
            Err(error) => self.failure = Some(error.to_string()),
        }
    }

    fn told(&self, jobs: &[String]) -> Asked {
        let of = |job: &String| {
            let entry = self.jobs.get(job)?;
            let gone_s =
                entry.gone_since.zip(self.asked).map_or(0.0, |(since, now)| now.seconds_since(since));
            Some((job.clone(), Told { answer: entry.answer.clone()?, gone_s }))
        };
        Asked { told: jobs.iter().filter_map(of).collect(), failure: self.failure.clone() }
    }
}

/// The file of the answers, locked against other tools.
struct Kept {
    path: PathBuf,
    _lock: Lock,
}

/// Why the file of the answers cannot be used.
enum Closed {
    /// Another tool has locked this file.
    Busy(PathBuf),
    /// The file cannot be created. The launcher is asked each time.
    Unusable,
}

impl Kept {
    fn open(name: &str, args: &[String]) -> Result<Self, Closed> {
        let directory = directory().map_err(|_| Closed::Unusable)?;
        // Another environment may lead to another cluster.
        let cluster = ["SLURM_CONF", "SLURM_CLUSTERS"].map(|name| env::var(name).unwrap_or_default());
        let key = sha256(format!("{args:?} {cluster:?}").as_bytes());
        let path = directory.join(format!("{name}-{}.json", key.get(..16).unwrap_or_default()));
        let lock = path.with_extension("lock");
        match Lock::take_within(&lock, PATIENCE) {
            Ok(lock) => Ok(Self { path, _lock: lock }),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Err(Closed::Busy(path)),
            Err(_) => Err(Closed::Unusable),
        }
    }

    fn write(&self, answers: &Answers) {
        // If this fails, the launcher is asked again next time.
        let _ = document(answers).and_then(|bytes| replace(&self.path, &bytes, Durability::Process));
    }
}

fn read(path: &Path) -> Answers {
    let bytes = read_small(path).unwrap_or_default();
    serde_json::from_slice(&bytes).unwrap_or_default()
}

/// Returns a directory that only this user can write to.
fn directory() -> Result<PathBuf, Error> {
    let (parent, name) =
        match env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|dir| dir.is_absolute()) {
            Some(own) => (own, "run-tools".to_owned()),
            None => (env::temp_dir(), format!("run-tools-{}", getuid())),
        };
    make_own(parent.join(name))
}
