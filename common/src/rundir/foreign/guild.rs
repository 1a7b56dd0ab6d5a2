//! Runs of Guild AI, `.guild/runs/ID/`: the directory of the operation. Its `.guild/` has a file for each of
//! `attrs/`, `LOCK` with the pid while the run is active, `PENDING` or `STAGED` before, and `output` (guild,
//! `run.py`).

use super::pid_file::{Named, PidFile};
use super::traces::{event_files, written};
use super::{Account, Claim, ForeignLayout, Listing, Logs, MetricFile, MetricFiles, MetricFormat, settings};
use crate::fsio::read::read_end;
use crate::fsio::read_small;
use crate::process::identity::{Place, ProcessId};
use crate::provenance::config::parse;
use crate::rundir::status::Outcome;
use crate::time::Timestamp;
use serde_json::Value;
use std::path::Path;

/// The layout.
#[derive(Debug)]
pub(super) struct Guild;

/// File in the `.guild` of a run that another machine executes.
const REMOTE: &str = "LOCK.remote";

/// Exit status that Guild records for a run that was interrupted from the keyboard (`exit_code.py`).
const INTERRUPTED: i32 = -16;

/// Number of bytes at the end of the output to search for the last words, and size of an entry in its index.
const END: u64 = 64 << 10;
const ENTRY: usize = 9;

/// The directory in which Guild keeps the facts about a run, and in a project its runs.
pub(super) const HOME: &str = ".guild";

impl ForeignLayout for Guild {
    fn name(&self) -> &'static str {
        "Guild AI"
    }

    fn is_run(&self, listing: &Listing) -> bool {
        let is_deleted = || listing.path().parent().is_some_and(|runs| runs.ends_with("trash/runs"));
        listing.has_dir(HOME) && listing.path().join(HOME).join("attrs").is_dir() && !is_deleted()
    }

    fn is_holder(&self, listing: &Listing) -> bool {
        listing.name() == HOME
    }

    fn account(&self, run: &Path) -> Account {
        let mut account = Account::default();
        let of_guild = |name: &str| run.join(HOME).join(name);
        let attribute = |name: &str| -> Option<Value> {
            let bytes = read_small(&of_guild("attrs").join(name)).ok()?;
            parse(Path::new("attribute.yaml"), &bytes).ok().filter(|value| !value.is_null())
        };
        let text = |name: &str| Some(attribute(name)?.as_str()?.to_owned()).filter(|text| !text.is_empty());
        let micros = |name: &str| Timestamp::from_millis(attribute(name)?.as_i64()? / 1000);
        account.start_time = micros("started").or_else(|| micros("initialized"));
        account.end_time = micros("stopped");
        // A run that is started again keeps its old exit status; its LOCK is newer.
        let is_past = || written(&of_guild("LOCK")) > written(&of_guild("attrs/exit_status"));
        let status = attribute("exit_status").filter(|_| !is_past());
        let status = status.and_then(|status| i32::try_from(status.as_i64()?).ok());
        account.exit_code = status.filter(|status| *status >= 0);
        let host = text("host").unwrap_or_default();
        let is_elsewhere = !host.is_empty() && host != Place::here().host;
        let named = PidFile::read(&of_guild("LOCK")).with_proven_first(|_, _| false).named;
        let is_remote = of_guild(REMOTE).exists();
        account.is_unseen = match named {
            Named::Hidden(_) | Named::Unknown => true,
            _ => is_remote || is_elsewhere && named != Named::NoFile,
        };
        account.claim = match (named, status) {
            _ if is_remote => Claim::Running,
            _ if of_guild("PENDING").exists() => Claim::Queued,
            _ if of_guild("STAGED").exists() => Claim::Created,
            _ if named != Named::NoFile && is_elsewhere => Claim::Running,
            (Named::Alive(stat), _) => {
                account.process = Some(ProcessId::here(stat.pid, stat.start));
                account.last_heartbeat = Some(Timestamp::now());
                Claim::Running
            }
            (Named::Hidden(_), _) => {
                account.last_heartbeat = Some(Timestamp::now());
                Claim::Running
            }
            (_, Some(0)) => Claim::Ended(Outcome::Completed),
            (_, Some(INTERRUPTED)) => {
                (account.exit_code, account.reason) = (None, Some("interrupted".to_owned()));
                Claim::Ended(Outcome::Stopped)
            }
            // Guild calls every signal `terminated`, even after a crash or an out-of-memory kill.
            (_, Some(status @ (-2 | -15 | 130 | 143))) => {
                account.reason =
                    Some(format!("stopped by signal {}", if status < 0 { -status } else { status - 128 }));
                Claim::Ended(Outcome::Stopped)
            }
            (_, Some(status)) => {
                let by_signal = format!("signal {}", -status);
                account.reason = Some(match last_error(run) {
                    _ if status < 0 => by_signal,
                    Some(words) => format!("exit {status}: {words}"),
                    None => format!("exit {status}"),
                });
                Claim::Ended(Outcome::Failed)
            }
            (Named::Gone(pid), None) => Claim::Dead(format!("its process {pid} is gone")),
            (Named::Nobody, None) => Claim::Dead("its LOCK names no process".to_owned()),
            (Named::Unknown, None) => Claim::Running,
            (Named::NoFile, None) => Claim::Nothing,
        };
        let meta = &mut account.meta;
        meta.run_name = text("label").unwrap_or_default();
        meta.run_id = text("id").unwrap_or_default();
        meta.host = host;
        meta.seed = attribute("random_seed").and_then(|seed| seed.as_i64());
        meta.user = text("user").unwrap_or_default();
        meta.note = text("comments");
        meta.git_commit = text("vcs_commit").map(|commit| commit.trim_start_matches("git:").to_owned());
        if let Some(Value::Array(words)) = attribute("cmd") {
            let word = |word: &Value| word.as_str().map_or_else(|| word.to_string(), str::to_owned);
            meta.command = Some(words.iter().map(word).collect());
        }
        if let Some(Value::Array(tags)) = attribute("tags") {
            meta.tags = tags.iter().filter_map(Value::as_str).map(str::to_owned).collect();
        }
        if let Some(flags) = attribute("flags") {
            settings::params(meta, &flags);
        }
        account
    }

    /// Guild itself logs the scalars in the output as event files.
    fn metrics(&self, run: &Path) -> MetricFiles {
        let files = event_files(&run.join(HOME));
        if files.is_empty() {
            return MetricFiles::Usual;
        }
        MetricFiles::Files(MetricFormat::Events, files.into_iter().map(MetricFile::new).collect())
    }

    fn logs(&self, run: &Path) -> Logs {
        let output = run.join(HOME).join("output");
        Logs { combined: output.exists().then_some(output), ..Logs::default() }
    }
}

/// Returns the last line on stderr if stderr ends with the traceback of an exception. `output` has both
/// streams; `output.index` has 9 bytes for each of its lines: milliseconds since 1970, and 1 for stderr (guild,
/// `op_util.py`).
fn last_error(run: &Path) -> Option<String> {
    let output = read_end(&run.join(HOME).join("output"), 0, END).ok()?;
    let lines: Vec<&[u8]> = output.trim_ascii_end().split(|&byte| byte == b'\n').collect();
    let bytes = lines.len().checked_mul(ENTRY)?.try_into().ok()?;
    let index = read_end(&run.join(HOME).join("output.index"), 0, bytes).ok()?;
    let pairs = lines.iter().rev().zip(index.rchunks_exact(ENTRY));
    let mut errors = pairs.filter(|(_, entry)| entry.last() == Some(&1)).map(|(line, _)| line.trim_ascii());
    let last = errors.next().filter(|line| !line.is_empty())?;
    errors
        .any(|line| line.starts_with(b"Traceback (most recent call last)"))
        .then(|| String::from_utf8_lossy(last).into_owned())
}
