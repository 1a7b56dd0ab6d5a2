//! `meta.json`: who the run is, and what was so when it was created. Written once by run-new.

use super::foreign::Account;
use super::layout::Layout;
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
    /// `UUIDv7`: unique, and in the order of creation.
    pub run_id: String,
    /// The name the run was created under.
    pub run_name: String,
    /// When the run was created.
    pub created: Timestamp,
    /// The command with its placeholders, secrets redacted.
    pub command: Option<Vec<String>>,
    /// Where the command's program was found at creation (absolute).
    #[serde(default)]
    pub executable: Option<String>,
    /// Arguments that stand for `{resume}` on an attempt that resumes.
    pub resume_args: Option<Vec<String>>,
    /// The config as given, made absolute.
    pub config_path: Option<String>,
    /// Name of its copy inside the run.
    pub config_file: Option<String>,
    /// SHA-256 of the config, in hexadecimal.
    pub config_sha256: Option<String>,
    /// Overrides as typed.
    pub overrides: Map<String, Value>,
    /// Options of the command line, read as key and value.
    pub params: Map<String, Value>,
    /// Named input files: path, size and mtime.
    pub inputs: Map<String, Value>,
    /// Words to select runs by.
    pub tags: Vec<String>,
    /// A sentence for people.
    pub note: Option<String>,
    /// Random seed.
    pub seed: Option<i64>,
    /// Number of steps that the training is to take.
    pub total_steps: Option<u64>,
    /// Which files are checkpoints, where the patterns that are known do not say so.
    pub checkpoint: Option<Checkpoint>,
    /// The program reads the overrides from its environment.
    #[serde(default)]
    pub set_by_env: bool,
    /// Options of run-exec that run-new was given: those of the first attempt.
    #[serde(default)]
    pub options: AttemptOptions,
    /// Name of the batch, for a run of one.
    pub batch: Option<String>,
    /// Host of the creation.
    pub host: String,
    /// User who created the run.
    pub user: String,
    /// Directory the command is executed in (absolute).
    pub cwd: String,
    /// Environment set by `--env`, secrets redacted.
    pub env: Map<String, Value>,
    /// Commit that was checked out.
    pub git_commit: Option<String>,
    /// Branch that was checked out; null when detached.
    pub git_branch: Option<String>,
    /// Whether tracked files differed from the commit; null outside a repository.
    pub git_dirty: Option<bool>,
    /// Bytes of the patch that were left out because it was too large.
    pub git_patch_cut: u64,
    /// Files that git does not track, by name, a bounded number of them.
    pub untracked: Vec<String>,
    /// Those of them whose contents are in untracked.patch.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub untracked_saved: Vec<String>,
    /// Number of source files among them that were too large, or too many, for untracked.patch.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub untracked_left_out: usize,
    /// Device, such as `cuda` or `cpu`.
    pub device: Option<String>,
    /// Graphics processors of the host.
    pub gpus: Vec<String>,
    /// Interpreter that the command or the environment names.
    pub python_executable: Option<String>,
    /// Its version.
    pub python_version: Option<String>,
    /// Version of torch installed for it.
    pub torch_version: Option<String>,
    /// Version of the suite.
    pub tool_version: String,
    /// The system that made the run, where that was another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub system: Option<String>,
}

/// What a checkpoint of this run looks like.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Checkpoint {
    /// Pattern of its path below the run.
    pub pattern: Option<String>,
    /// Files that a complete one holds.
    pub requires: Vec<String>,
}

impl Checkpoint {
    /// Returns what was `recorded`, with another pattern.
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
    /// Reads the meta.json of a run, or makes that which a run of another system would have.
    pub fn read(layout: &Layout) -> Result<Self, Error> {
        if let Some(foreign) = layout.foreign() {
            return Ok(Account::of(foreign, layout.root()).meta);
        }
        read_document(&layout.meta())
    }

    /// Reads the meta.json of a run as it may be shown: with the note and the tags that it has now, and without
    /// the secrets that an older version recorded.
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
        // It took more for params. What of these holds a secret is not in the command any more.
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
            // What another system recorded is in no command.
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

/// Returns whether a count is zero, and need not be written.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn is_zero(count: &usize) -> bool {
    *count == 0
}
