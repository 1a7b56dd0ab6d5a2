//! Texts are plain, active English: the worst of the old habits do not return to manuals, help, messages, the README
//! or comments.

use std::fs;
use std::path::{Path, PathBuf};
use testkit::checkout;

/// Phrases that no text contains, and what to write instead.
const HABITS: [(&str, &str); 43] = [
    ("is said", "is reported, or an active verb"),
    ("are said", "are reported, or an active verb"),
    ("was said", "was reported, or was given"),
    ("be said", "be reported"),
    ("is told", "gets, learns, or knows"),
    ("are told", "get, learn, or know"),
    ("was told", "got, or was asked"),
    ("be told", "get, or know"),
    ("need an eye", "need attention"),
    ("needs an eye", "needs attention"),
    ("so many", "a number, with its noun"),
    ("at work", "active, or running"),
    ("of which the", "a sentence of its own"),
    ("where it was", "where it stopped"),
    ("what is so", "the state"),
    ("begin anew", "restart, or start over"),
    ("begins anew", "restarts, or starts over"),
    ("began anew", "restarted, or started over"),
    ("is made anew", "is recreated"),
    ("is given anew", "is given again"),
    ("for want of", "without, or out of"),
    ("in the place of", "instead of"),
    ("passed over", "skipped"),
    ("passes over", "skips"),
    ("passing over", "skipping"),
    ("counts by its", "its field names the run"),
    ("read off", "read from"),
    ("reads off", "reads from"),
    ("takes note", "records"),
    ("hands on", "passes on"),
    ("makes one of", "creates, with the noun"),
    ("whoever", "the reader, the caller, the user"),
    ("what became of", "the outcome of"),
    ("in a way that may pass", "after a transient failure"),
    ("would be another training", "would be a different training run"),
    ("needs no right but", "needs only the permission"),
    ("are none of", "are not, or do not belong to"),
    ("is none of the", "does not belong to the"),
    ("is nothing of", "does not belong to"),
    ("off the output", "from the output"),
    ("what was so", "the circumstances"),
    ("is seen to have", "has, with who checked it"),
    ("the three that tell most", "what they are"),
];

/// Directories without texts of ours, or that others maintain.
const SKIPPED: [&str; 5] = ["scratch", "target", "fixtures", "results", ".git"];

/// Returns all files with texts: sources, manuals, scripts and the README.
fn texts(below: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(below).unwrap().map(|entry| entry.unwrap().path()) {
        let name = entry.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let is_text = ["rs", "1", "5", "7", "js", "html"]
            .iter()
            .any(|ending| entry.extension().is_some_and(|extension| extension == *ending));
        if entry.is_dir() && !SKIPPED.contains(&name.as_str()) {
            found.extend(texts(&entry));
        } else if entry.is_file() && (is_text || name == "README.md") && name != "wording.rs" {
            found.push(entry);
        }
    }
    found
}

/// Returns a text as one line in lower case, without the marks of comments, of strings that continue, and of mdoc.
fn flowing(text: &str) -> String {
    let plain = |line: &str| {
        let line = line.trim().trim_end_matches('\\');
        let line = line.trim_start_matches("//").trim_start_matches(['/', '!', '#']);
        line.trim().to_lowercase()
    };
    text.lines().map(plain).collect::<Vec<_>>().join(" ")
}

/// Returns the positions of a phrase as whole words.
fn found(text: &str, phrase: &str) -> Vec<usize> {
    let is_word = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
    text.match_indices(phrase)
        .filter(|(at, _)| !is_word(text[..*at].chars().next_back()))
        .filter(|(at, _)| !is_word(text[at + phrase.len()..].chars().next()))
        .map(|(at, _)| at)
        .collect()
}

#[test]
fn no_text_has_the_old_habits() {
    let root = checkout();
    let mut faults = Vec::new();
    let files = texts(&root);
    assert!(files.len() > 300, "only {} files were found", files.len());
    for file in files {
        let text = flowing(&fs::read_to_string(&file).unwrap());
        for (phrase, better) in HABITS {
            for at in found(&text, phrase) {
                let from = text.floor_char_boundary(at.saturating_sub(60));
                let to = text.floor_char_boundary(at + phrase.len() + 40);
                let shown = file.strip_prefix(&root).unwrap().display();
                faults.push(format!("{shown}: write {better}: …{}…", &text[from..to]));
            }
        }
    }
    assert!(faults.is_empty(), "{} old habits:\n{}", faults.len(), faults.join("\n"));
}
