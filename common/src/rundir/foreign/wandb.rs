//! Runs of W&B, `wandb/run-DATE-ID/` and `wandb/offline-run-DATE-ID/`: the datastore `run-ID.wandb`, and
//! `files/` with `wandb-metadata.json` and `output.log`. Needs neither an account nor a network.

use super::traces::{last_words, names, written};
use super::{
    Account, Claim, Fields, ForeignLayout, Listing, Logs, MetricFile, MetricFiles, MetricFormat, settings,
};
use crate::error::plain;
use crate::fsio::open_regular;
use crate::rundir::status::Outcome;
use crate::time::Timestamp;
use crate::wandb::{Exit, Head, is_datastore};
use serde_json::Value;
use std::io;
use std::path::{Path, PathBuf};

/// The layout.
#[derive(Debug)]
pub(super) struct Wandb;

/// The output of the program.
const OUTPUT: &str = "files/output.log";

/// The exit status that W&B records for a run that was interrupted.
const INTERRUPTED: i32 = 255;

impl ForeignLayout for Wandb {
    fn name(&self) -> &'static str {
        "W&B"
    }

    fn is_run(&self, listing: &Listing) -> bool {
        let name = listing.name().to_string_lossy();
        let is_named = name.starts_with("run-") || name.starts_with("offline-run-");
        (is_named || listing.has_dir("files")) && listing.any_file(is_datastore)
    }

    fn is_holder(&self, listing: &Listing) -> bool {
        listing.name() == "wandb"
    }

    fn account(&self, run: &Path) -> Account {
        let mut account = Account::default();
        let path = datastore(run);
        let (head, exit) = match read(&path) {
            Ok(read) => read,
            Err(error) => {
                account.damage.push(format!("cannot read '{}': {}", path.display(), plain(&error)));
                Default::default()
            }
        };
        let metadata = Fields::read(&run.join("files/wandb-metadata.json"), &mut account.damage);
        let metadata = metadata.unwrap_or_default();
        account.start_time = head.start_time.or_else(|| metadata.time("startedAt"));
        account.claim = match exit {
            Some(Exit { code: 0, .. }) => Claim::Ended(Outcome::Completed),
            Some(Exit { code: INTERRUPTED, .. }) => Claim::Ended(Outcome::Stopped),
            Some(_) => Claim::Ended(Outcome::Failed),
            None => Claim::Running,
        };
        if let Some(Exit { code, runtime }) = exit {
            account.exit_code = Some(code);
            account.reason = match code {
                0 => None,
                INTERRUPTED => Some("interrupted".to_owned()),
                code => Some(match last_words(&run.join(OUTPUT)) {
                    Some(words) => format!("exit {code}: {words}"),
                    None => format!("exit {code}"),
                }),
            };
            let runtime = Some(i64::from(runtime)).filter(|runtime| *runtime > 0);
            let counted = || Timestamp::from_millis(account.start_time?.millis() + 1000 * runtime?);
            account.end_time = counted().or_else(|| written(&path));
        }
        let meta = &mut account.meta;
        let environment = head.environment;
        meta.run_id = head.id.unwrap_or_default();
        meta.run_name = head.name.unwrap_or_default();
        meta.note = head.notes;
        meta.tags = head.tags;
        meta.host = head.host.or_else(|| metadata.text("host")).unwrap_or_default();
        meta.user = environment.user.unwrap_or_default();
        meta.cwd = environment.root.or_else(|| metadata.text("root")).unwrap_or_default();
        meta.git_commit = environment.commit.or_else(|| settings::text_at(&metadata, &["git", "commit"]));
        let python = environment.python.or_else(|| metadata.text("python"));
        meta.python_version = python.map(|version| version.trim_start_matches("CPython ").to_owned());
        meta.python_executable = environment.executable.or_else(|| metadata.text("executable"));
        meta.gpus = environment.gpu.or_else(|| metadata.text("gpu")).into_iter().collect();
        let (program, words) = match environment.program {
            Some(program) => (Some(program), environment.args),
            None => (metadata.text("program"), metadata.command("args").unwrap_or_default()),
        };
        meta.command = program.map(|program| {
            meta.python_executable.clone().into_iter().chain([program]).chain(words).collect()
        });
        settings::params(meta, &Value::Object(head.config));
        account
    }

    fn metrics(&self, run: &Path) -> MetricFiles {
        MetricFiles::Files(MetricFormat::Wandb, vec![MetricFile::new(datastore(run))])
    }

    fn logs(&self, run: &Path) -> Logs {
        let output = run.join(OUTPUT);
        Logs { combined: output.exists().then_some(output), ..Logs::default() }
    }
}

/// Returns the path of the datastore of a run.
fn datastore(run: &Path) -> PathBuf {
    let name = names(run).into_iter().find(|name| is_datastore(name));
    run.join(name.unwrap_or_else(|| "run.wandb".to_owned()))
}

fn read(path: &Path) -> io::Result<(Head, Option<Exit>)> {
    let Some(file) = open_regular(path)? else { return Ok(Default::default()) };
    let mut head = Head::read(&file)?;
    let exit = head.read_end(&file)?;
    Ok((head, exit))
}
