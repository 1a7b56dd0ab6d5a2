//! The Connect4 training pipeline: `meta.json`, `status.json`, `pid`, `config.yaml`, `metrics.csv`, `checkpoints/`
//! and `stop`, all written by the trainer itself.

use super::pid_file::{Named, PidFile, SLACK};
use super::{Account, Claim, Fields, ForeignLayout, Listing, MetricFile, MetricFiles, MetricFormat, StopWay};
use crate::process::identity::ProcessId;
use crate::process::stat::Stat;
use crate::time::Timestamp;
use std::path::{Path, PathBuf};

/// The layout.
#[derive(Debug)]
pub(super) struct Connect4;

/// Keys of its `meta.json`, at least one of which is there.
const META: [&str; 3] = ["start_time_iso", "git_commit", "torch_version"];

impl ForeignLayout for Connect4 {
    fn name(&self) -> &'static str {
        "the Connect4 pipeline"
    }

    fn is_run(&self, listing: &Listing) -> bool {
        let has = |name| listing.has_file(name);
        let [has_config, has_pid, has_status, has_meta] =
            ["config.yaml", "pid", "status.json", "meta.json"].map(has);
        if has_config && (has_pid || has_status && has_meta) {
            return true;
        }
        // Services and data sets have such documents, too. A damaged one may be that of a training.
        let status = || listing.document("status.json").map(|status| is_of_training(&status));
        let is_key_in = |meta: &Fields| META.iter().any(|key| meta.value(key).is_some());
        let meta = || listing.document("meta.json").map(|meta| is_key_in(&meta));
        match (has_status, has_meta) {
            (true, true) => meta() != Some(false) || status() != Some(false),
            (true, false) => (has_config || has_pid) && status() == Some(true),
            (false, true) => has_config && meta() == Some(true),
            (false, false) => false,
        }
    }

    fn account(&self, run: &Path) -> Account {
        let mut account = Account::default();
        let metadata = Fields::read(&run.join("meta.json"), &mut account.damage).unwrap_or_default();
        let faults = account.damage.len();
        let status = Fields::read(&run.join("status.json"), &mut account.damage);
        let is_damaged = status.is_none() && account.damage.len() > faults;
        let status = status.unwrap_or_default();
        account.start_time = metadata.time("start_time_iso").or_else(|| status.time("start_time"));
        account.last_heartbeat = status.time("last_heartbeat");
        account.step = status.number("step");
        let meta = &mut account.meta;
        meta.total_steps = status.whole("total_steps");
        meta.command = metadata.command("command");
        meta.config_path = metadata.text("config_path");
        meta.config_file = run.join("config.yaml").exists().then(|| "config.yaml".to_owned());
        meta.seed = metadata.value("seed").and_then(serde_json::Value::as_i64);
        meta.git_commit = metadata.text("git_commit");
        meta.git_dirty = metadata.flag("git_dirty");
        meta.device = metadata.text("device").or_else(|| status.text("device"));
        meta.python_version = metadata.text("python_version");
        meta.torch_version = metadata.text("torch_version");
        let PidFile { named, .. } = pid_file(run);
        account.is_unseen = matches!(named, Named::Hidden(_) | Named::Unknown);
        if let Named::Alive(stat) = named {
            account.process = Some(ProcessId::here(stat.pid, stat.start));
        }
        let word = status.text("status");
        account.claim = match word.as_deref().map(Claim::of_word) {
            Some(ended @ Claim::Ended(_)) => ended,
            _ => match named {
                Named::Alive(_) | Named::Hidden(_) | Named::Unknown => Claim::Running,
                Named::Gone(pid) => Claim::Dead(format!("its process {pid} is gone")),
                Named::Nobody => Claim::Dead("its pid file names no process".to_owned()),
                Named::NoFile if is_damaged => Claim::Nothing,
                Named::NoFile if word.is_some() => {
                    Claim::Dead("its process has ended and did not say how".to_owned())
                }
                Named::NoFile => Claim::Dead("its process has ended before the first step".to_owned()),
            },
        };
        if let Claim::Ended(_) = account.claim {
            account.end_time = account.last_heartbeat; // the trainer writes the status last
        }
        account
    }

    fn stop(&self, run: &Path) -> Option<StopWay> {
        let file = run.join("stop");
        let PidFile { named, owner } = pid_file(run);
        let (process, unproven) = match named {
            Named::Alive(stat) => match why_not_its_trainer(&stat, owner, &run.join("meta.json")) {
                None => (Some(stat), None),
                Some(why) => (None, Some(format!("process {} {why}", stat.pid))),
            },
            Named::Hidden(pid) => (None, Some(format!("process {pid} cannot be seen"))),
            Named::Unknown => (None, Some("its pid file cannot be read, or is no file".to_owned())),
            Named::NoFile | Named::Nobody | Named::Gone(_) => {
                (None, Some("its pid file names no living process".to_owned()))
            }
        };
        Some(StopWay { process, unproven, file })
    }

    fn metrics(&self, run: &Path) -> MetricFiles {
        MetricFiles::Files(MetricFormat::Table, vec![MetricFile::new(run.join("metrics.csv"))])
    }

    fn present(&self, run: &Path) -> Option<PathBuf> {
        Some(run.join("status.json"))
    }
}

/// Returns whether a status is that of a training: it has a step, a heartbeat, or a known status with a start.
fn is_of_training(status: &Fields) -> bool {
    let has_word = || status.text("status").is_some_and(|word| Claim::of_word(&word) != Claim::Nothing);
    status.number("step").is_some()
        || status.time("last_heartbeat").is_some()
        || status.time("start_time").is_some() && has_word()
}

/// Reads the pid file of a run. In a container, the trainer may be the first process.
fn pid_file(run: &Path) -> PidFile {
    let is_its = |stat: &Stat, owner| why_not_its_trainer(stat, owner, &run.join("meta.json")).is_none();
    PidFile::read(&run.join("pid")).with_proven_first(is_its)
}

/// Returns why a living process may not be the trainer that wrote a pid file of this owner: it has another
/// owner, it started later than the run, or it executes a different command than the meta.json of this owner
/// records. Nothing else proves that it is the trainer, and an unproven process is never signalled.
fn why_not_its_trainer(stat: &Stat, owner: Option<u32>, meta: &Path) -> Option<&'static str> {
    let Some(owner) = owner.filter(|owner| stat.owner() == Some(*owner)) else {
        return Some("is of another user than its pid file");
    };
    let Some(metadata) = Fields::read_of(meta, owner) else {
        return Some("has no meta.json of its own user");
    };
    let is_later = |start: Timestamp| stat.started().is_none_or(|own| own.seconds_since(start) > SLACK);
    if metadata.time("start_time_iso").is_none_or(is_later) {
        return Some("did not start before the run, as its meta.json has it");
    }
    let is_its = stat
        .arguments()
        .zip(metadata.command("command"))
        .is_some_and(|(own, recorded)| is_same(&own, &recorded));
    (!is_its).then_some("does not execute the command of the run, as its meta.json has it")
}

/// Returns whether the arguments of a process are those of a recorded command. The recorded command may be
/// `sys.argv`, which lacks the interpreter and has the path of the program. Quotes are ignored.
fn is_same(own: &[String], recorded: &[String]) -> bool {
    let plain = |words: &[String]| words.join(" ").replace(['\'', '"', '\\'], "");
    let (own, Some((program, arguments))) = (plain(own), recorded.split_first()) else { return false };
    let stem = Path::new(program).file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let arguments = plain(arguments);
    !stem.is_empty() && own.contains(&stem) && own.ends_with(&arguments)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_known_by_its_program_and_all_its_arguments() {
        let same = |own: &str, recorded: &str| {
            let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
            is_same(&words(own), &words(recorded))
        };
        let own = "/usr/bin/python3 -m src.cli.train --config configs/a b.yaml";
        for recorded in [
            "python -m src.cli.train --config configs/a b.yaml",
            "python -m src.cli.train --config 'configs/a b.yaml'",
            "/home/me/src/cli/train.py --config configs/a b.yaml",
        ] {
            assert!(same(own, recorded), "{recorded}");
        }
        for other in
            ["python -m src.cli.train --config configs/b.yaml", "/home/me/serve.py --config configs/a b.yaml"]
        {
            assert!(!same(own, other), "{other}");
        }
        assert!(!same("sleep 100", "python -m src.cli.train"));
        assert!(same("python train.py", "train.py") && !same("python serve.py", "train.py"));
        assert!(!is_same(&[], &[]) && !is_same(&["a".to_owned()], &[]));
    }
}
