//! `meta.json`: the identity of a run, and the circumstances of its creation. Written once by run-new.

use super::foreign::Account;
use super::layout::Layout;
use super::logs::EarlierLogs;
use super::notes;
use super::open::{Document, read_document};
use super::options::AttemptOptions;
use crate::error::Error;
use crate::provenance::params::params;
use crate::provenance::redact::{redact_command, redact_json, redact_text, redact_value};
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Identity and provenance of a run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Meta {
    /// Version of the record.
    pub schema: u32,
    /// `UUIDv7`: unique, and in the order of creation. An adopted run keeps the id under which it was read
    /// before.
    pub run_id: String,
    /// Name given at the creation.
    pub run_name: String,
    /// When the run was created.
    pub created: Timestamp,
    /// The command with its placeholders, secrets redacted.
    pub command: Option<Vec<String>>,
    /// Absolute path of the command's program at the creation.
    #[serde(default)]
    pub executable: Option<String>,
    /// Arguments that replace `{resume}` in an attempt that resumes.
    pub resume_args: Option<Vec<String>>,
    /// Absolute path of the config as given.
    pub config_path: Option<String>,
    /// Name of its copy inside the run.
    pub config_file: Option<String>,
    /// SHA-256 of the config, in hexadecimal.
    pub config_sha256: Option<String>,
    /// Overrides as typed.
    pub overrides: Map<String, Value>,
    /// Options of the command line, as keys and values.
    pub params: Map<String, Value>,
    /// Named input files: path, size and mtime.
    pub inputs: Map<String, Value>,
    /// Tags, to select runs.
    pub tags: Vec<String>,
    /// A free-text note.
    pub note: Option<String>,
    /// Random seed.
    pub seed: Option<i64>,
    /// Number of steps to train for.
    pub total_steps: Option<u64>,
    /// How to recognise checkpoints, if the known patterns are not enough.
    pub checkpoint: Option<Checkpoint>,
    /// Whether the program reads the overrides from its environment.
    #[serde(default)]
    pub set_by_env: bool,
    /// Options of run-exec that run-new was given, for the first attempt.
    #[serde(default)]
    pub options: AttemptOptions,
    /// Name of the batch, for a run in a batch.
    pub batch: Option<String>,
    /// Host of the creation.
    pub host: String,
    /// User who created the run.
    pub user: String,
    /// Absolute path of the directory in which the command is executed.
    pub cwd: String,
    /// Environment set by `--env`, secrets redacted.
    pub env: Map<String, Value>,
    /// Commit that was checked out.
    pub git_commit: Option<String>,
    /// Branch that was checked out; null when detached.
    pub git_branch: Option<String>,
    /// Whether tracked files differed from the commit; null outside a repository.
    pub git_dirty: Option<bool>,
    /// Number of bytes that were cut off the patch.
    pub git_patch_cut: u64,
    /// Names of files that git does not track, up to a limit.
    pub untracked: Vec<String>,
    /// Names of those files whose contents are in untracked.patch.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub untracked_saved: Vec<String>,
    /// Number of source files that untracked.patch lacks, because they were too large or too many.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub untracked_left_out: usize,
    /// Device, such as `cuda` or `cpu`.
    pub device: Option<String>,
    /// Models of the GPUs of the host.
    pub gpus: Vec<String>,
    /// Interpreter of the command or the environment.
    pub python_executable: Option<String>,
    /// Version of the interpreter.
    pub python_version: Option<String>,
    /// Version of torch installed for the interpreter.
    pub torch_version: Option<String>,
    /// Version of the suite.
    pub tool_version: String,
    /// The system that made the run; null for the suite.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub system: Option<String>,
    /// The logs that this system wrote.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub logs: Option<EarlierLogs>,
}

/// How to recognise a checkpoint of a run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Checkpoint {
    /// Pattern of its path below the run.
    pub pattern: Option<String>,
    /// Files that a complete checkpoint needs.
    pub requires: Vec<String>,
}

impl Checkpoint {
    /// Returns what was `recorded`, with this pattern.
    pub fn with_pattern(recorded: Option<Self>, pattern: &str) -> Self {
        let requires = recorded.map(|recorded| recorded.requires).unwrap_or_default();
        Self { pattern: Some(pattern.to_owned()), requires }
    }
}

impl Document for Meta {
    fn schema(&self) -> u32 {
        self.schema
    }
}

impl Meta {
    /// Reads the meta.json of a run, or derives it for a run of another system.
    pub fn read(layout: &Layout) -> Result<Self, Error> {
        if let Some(foreign) = layout.foreign() {
            return Ok(Account::of(foreign, layout.root()).meta);
        }
        read_document(&layout.meta())
    }

    /// Reads the meta.json of a run for display: with the current note and tags, and without secrets that an
    /// older version recorded.
    pub fn shown(layout: &Layout) -> Result<Self, Error> {
        let mut meta = Self::read(layout)?;
        if layout.foreign().is_none() {
            notes::apply(layout, &mut meta.note, &mut meta.tags);
        }
        if meta.system.is_some() {
            meta.redact();
            return Ok(meta);
        }
        let recorded = std::mem::take(&mut meta.params);
        meta.redact();
        // An older version recorded more words as params. Their secrets are no longer in the command.
        for (name, value) in recorded.into_iter().filter(|(name, _)| name == "c" || name == "m") {
            let words = meta.command.as_deref().unwrap_or_default();
            if value.as_str().is_some_and(|value| words.iter().any(|word| word == value)) {
                meta.params.entry(name).or_insert(value);
            }
        }
        Ok(meta)
    }

    /// Redacts the secrets in typed text.
    pub fn redact(&mut self) {
        for command in [&mut self.command, &mut self.resume_args].into_iter().flatten() {
            *command = redact_command(command);
        }
        if let Some(command) = &self.command {
            // Another system recorded settings that are in no command.
            let recorded = std::mem::replace(&mut self.params, params(command));
            self.params.extend(recorded.into_iter().filter(|_| self.system.is_some()));
        }
        if self.system.is_some() {
            self.params.iter_mut().for_each(|(name, value)| {
                redact_json(name, value);
            });
        }
        for values in [&mut self.overrides, &mut self.env] {
            for (name, value) in values.iter_mut() {
                redact_json(name, value);
            }
        }
        for input in self.inputs.values_mut() {
            redact_json("", input);
        }
        self.tags.iter_mut().for_each(|tag| *tag = redact_value("", tag).into_owned());
        for text in [&mut self.note, &mut self.config_path].into_iter().flatten() {
            *text = redact_text(text).into_owned();
        }
    }
}

/// Returns whether a count is zero, and is left out of the file.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn is_zero(count: &usize) -> bool {
    *count == 0
}
