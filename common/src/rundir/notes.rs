//! `.run/notes.jsonl`: the note and the tags that people gave a run after its creation. Appended to by run-status,
//! read by every tool that shows a run.

use super::layout::Layout;
use crate::error::Error;
use crate::fsio::append::{append_line, read_lines};
use crate::fsio::lock::Lock;
use crate::fsio::write::check_dir;
use crate::process::user::user_name;
use crate::provenance::redact::{redact_text, redact_value};
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Time limit for waiting for another writer.
const PATIENCE: Duration = Duration::from_secs(5);

/// A change of the note or the tags.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "lowercase")]
pub enum Change {
    /// Sets the note; an empty text removes it.
    Note {
        /// The text.
        text: String,
    },
    /// Adds a tag.
    Tag {
        /// The tag.
        tag: String,
    },
    /// Removes a tag.
    Untag {
        /// The tag.
        tag: String,
    },
}

/// A line of the file.
#[derive(Debug, Serialize)]
struct Line<'a> {
    time: Timestamp,
    user: &'a str,
    #[serde(flatten)]
    change: &'a Change,
}

impl Change {
    fn redact(&mut self) {
        match self {
            Self::Note { text } => *text = redact_text(text).into_owned(),
            Self::Tag { tag } | Self::Untag { tag } => *tag = redact_value("", tag).into_owned(),
        }
    }

    /// Applies the change to a note and tags.
    fn apply(self, note: &mut Option<String>, tags: &mut Vec<String>) {
        match self {
            Self::Note { text } => *note = Some(text).filter(|text| !text.is_empty()),
            Self::Tag { tag } => {
                if !tags.contains(&tag) {
                    tags.push(tag);
                }
            }
            Self::Untag { tag } => tags.retain(|known| *known != tag),
        }
    }
}

/// Applies the recorded changes to the note and the tags that a run was created with. Skips other lines, and an
/// unreadable file, because a note must not prevent a run from being shown.
pub(super) fn apply(layout: &Layout, note: &mut Option<String>, tags: &mut Vec<String>) {
    for line in read_lines(&layout.notes()).unwrap_or_default().records {
        if let Ok(mut change) = serde_json::from_value::<Change>(line) {
            change.redact();
            change.apply(note, tags);
        }
    }
}

/// Returns whether changes were recorded.
pub(super) fn exist(layout: &Layout) -> bool {
    layout.notes().symlink_metadata().is_ok()
}

/// Records changes to a run, secrets redacted.
///
/// Errors: the file cannot be written, or is not a regular file in a run of the suite.
pub fn record(layout: &Layout, changes: &[Change]) -> Result<(), Error> {
    let path = layout.notes();
    let user = user_name();
    let written = check_dir(&layout.record()).and_then(|()| {
        let _lock = Lock::take_within(&path, PATIENCE)?;
        changes.iter().try_for_each(|change| {
            let mut change = change.clone();
            change.redact();
            append_line(&path, &Line { time: Timestamp::now(), user: &user, change: &change })
        })
    });
    written.map_err(|error| Error::io("write", &path, error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_note_counts_and_tags_are_a_set() {
        let (mut note, mut tags) = (Some("first".to_owned()), vec!["a".to_owned(), "b".to_owned()]);
        let tag = |tag: &str| tag.to_owned();
        for change in [
            Change::Note { text: "second".to_owned() },
            Change::Tag { tag: tag("c") },
            Change::Tag { tag: tag("a") },
            Change::Untag { tag: tag("b") },
            Change::Untag { tag: tag("unknown") },
        ] {
            change.apply(&mut note, &mut tags);
        }
        assert_eq!((note.as_deref(), &tags), (Some("second"), &vec!["a".to_owned(), "c".to_owned()]));
        Change::Note { text: String::new() }.apply(&mut note, &mut tags);
        assert_eq!(note, None);
    }
}
