//! The report of a backup: a line for people, an object for programs.

use crate::format::manifest::Verified;
use run_checkpoint::listed;
use run_common::figures::human_bytes;
use run_common::message::warn;
use serde::Serialize;
use std::path::Path;

/// The outcome of a backup.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Report {
    /// The set.
    pub(crate) name: String,
    /// Directory of the run, absolute.
    pub(crate) path: String,
    /// The store.
    pub(crate) url: String,
    /// `stored`, `unchanged`, `incomplete` or, with `--dry-run`, `planned`.
    pub(crate) result: &'static str,
    /// Number of the manifest.
    pub(crate) number: Option<u64>,
    /// Hash of the manifest.
    pub(crate) manifest: Option<String>,
    /// Files of the manifest that are in the run.
    pub(crate) files: u64,
    /// Bytes of these files.
    pub(crate) bytes: u64,
    /// Files that were sent.
    pub(crate) sent_files: u64,
    /// Bytes of these files.
    pub(crate) sent_bytes: u64,
    /// With `--dry-run`: files that are new or may have changed, and their bytes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) would_send: Vec<(String, u64)>,
    /// The store has an earlier backup that this one does not continue.
    pub(crate) fork: bool,
    /// How the sent objects were verified.
    pub(crate) verified: Option<Verified>,
    /// Files that were growing, and are stored as of one moment.
    pub(crate) prefixes: Vec<String>,
    /// Files that were left for the next backup.
    pub(crate) left: Vec<String>,
    /// Items that are not stored, because they are no files, directories or links.
    pub(crate) others: Vec<String>,
    /// Files that could not be read.
    pub(crate) unreadable: Vec<String>,
    /// Everything in the backup was read back.
    pub(crate) read_back: bool,
    /// Files that the store had lost, and that were sent again.
    pub(crate) mended: Vec<String>,
    /// Files that the store has lost, and why; the run does not have them, either.
    pub(crate) damaged: Vec<String>,
}

impl Report {
    /// Returns whether the backup has everything: only then there is a receipt.
    pub(crate) fn is_whole(&self) -> bool {
        self.unreadable.is_empty() && self.damaged.is_empty()
    }

    /// Reports files that are stored differently from the run, or not at all.
    pub(crate) fn say(&self) {
        let name = &self.name;
        let say = |what: &str, all: &[String]| {
            if !all.is_empty() {
                warn(&format!("'{name}': {what}: {}", listed(all.iter().map(Path::new))));
            }
        };
        say("stored as at one moment, for it grows", &self.prefixes);
        say("left for the next backup, for it changes or is not complete", &self.left);
        say("not stored, for it is no file", &self.others);
        if self.fork {
            let number = self.number.unwrap_or_default();
            warn(&format!(
                "'{name}': backup {number} does not continue all earlier ones: a fork, as two copies of a run make it; \
                 'run-sync list --history' lists them"
            ));
        }
        say("damaged or missing in the store, and sent again", &self.mended);
        for damaged in &self.damaged {
            warn(&format!("'{name}': damaged in the store, and no longer in the run: {damaged}"));
        }
        for unreadable in &self.unreadable {
            warn(&format!("'{name}': cannot read {unreadable}"));
        }
    }

    /// Returns lines for people: with `--dry-run` a line for each file to send, and a summary.
    pub(crate) fn lines(&self) -> impl Iterator<Item = String> {
        let name = &self.name;
        let each = self
            .would_send
            .iter()
            .map(move |(file, bytes)| format!("{name}: would send {file} ({})", human_bytes(*bytes)));
        each.chain([self.line()])
    }

    fn line(&self) -> String {
        let number = self.number.unwrap_or_default();
        let amount = |files: u64, bytes| {
            let s = if files == 1 { "" } else { "s" };
            format!("{files} file{s} ({})", human_bytes(bytes))
        };
        let sent = amount(self.sent_files, self.sent_bytes);
        let name = &self.name;
        match self.result {
            "planned" if self.sent_files == 0 => format!("{name}: nothing to send"),
            "planned" => format!("{name}: would send {sent}, less what is stored already"),
            "unchanged" => {
                let read = if self.read_back { ", read back" } else { "" };
                let again = if self.sent_files > 0 { format!("; {sent} sent again") } else { String::new() };
                let all = amount(self.files, self.bytes);
                format!("{name}: backup {number} is up to date, {all}{read}{again}")
            }
            _ if !self.damaged.is_empty() => format!("{name}: backup {number} is damaged, {sent} sent"),
            _ if self.sent_files == 0 => format!("{name}: backup {number}, nothing to send"),
            _ => format!("{name}: backup {number}, {sent} sent, {}", checked(self.verified)),
        }
    }
}

fn checked(verified: Option<Verified>) -> &'static str {
    match verified {
        Some(Verified::Read) => "read back",
        Some(Verified::Checksum) => "checked by the store",
        Some(Verified::Length) | None => "checked by length",
    }
}
