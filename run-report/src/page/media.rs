//! Pictures that rows of metrics name, such as `{"step": 40, "image": "samples/40.png"}`: files below the run.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use run_common::fsio::open_regular;
use run_metrics::row::{MetricRow, MetricValue};
use std::fs;
use std::io::Read;
use std::path::{Component, Path};

/// Ends of the names of pictures, and their types. What a browser could execute is not among them.
const KINDS: [(&str, &str); 6] = [
    ("png", "image/png"),
    ("jpg", "image/jpeg"),
    ("jpeg", "image/jpeg"),
    ("gif", "image/gif"),
    ("webp", "image/webp"),
    ("avif", "image/avif"),
];

/// Maximum number of pictures of a run, and size of each in bytes.
const MOST: usize = 200;
const SIZE: u64 = 1 << 20;

/// Bytes of all pictures that a page contains.
pub(super) const ROOM: usize = 12 << 20;

/// A picture.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Picture {
    /// Tells it from the others of its run, however many come and go.
    pub(crate) number: u64,
    /// The name of its field.
    pub(crate) name: String,
    pub(crate) step: f64,
    /// Its path below the run.
    path: String,
}

/// Adds the pictures that a row names; one of the same name and step replaces that of an earlier row.
pub(super) fn add(row: &MetricRow, row_number: f64, into: &mut Vec<Picture>) {
    for (name, value) in row.fields() {
        let MetricValue::Other(value) = value else { continue };
        let Some(path) = value.as_str().filter(|path| kind(path).is_some() && is_below(path)) else {
            continue;
        };
        let step = row.step().map_or(row_number, |(_, step)| step);
        let number = into.last().map_or(0, |last| last.number + 1);
        let is_same = |one: &Picture| one.name == name && one.step.total_cmp(&step).is_eq();
        into.retain(|one| !is_same(one));
        if into.len() == MOST {
            into.remove(0);
        }
        into.push(Picture { number, name: name.to_owned(), step, path: path.to_owned() });
    }
}

/// Returns the type of a picture by its name.
fn kind(path: &str) -> Option<&'static str> {
    let (_, end) = path.rsplit_once('.')?;
    KINDS.iter().find(|(known, _)| known.eq_ignore_ascii_case(end)).map(|(_, kind)| *kind)
}

fn is_below(path: &str) -> bool {
    Path::new(path).components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir))
}

impl Picture {
    /// Reads the picture, with its type; `None` if it is gone, too large, or leads out of the run.
    pub(crate) fn read(&self, root: &Path) -> Option<(&'static str, Vec<u8>)> {
        let path = fs::canonicalize(root.join(&self.path)).ok()?;
        if !path.starts_with(fs::canonicalize(root).ok()?) {
            return None;
        }
        let mut bytes = Vec::new();
        open_regular(&path).ok()??.take(SIZE + 1).read_to_end(&mut bytes).ok()?;
        let is_fit = bytes.len() as u64 <= SIZE && !bytes.is_empty();
        Some((kind(&self.path)?, bytes)).filter(|_| is_fit)
    }
}

/// Returns pictures as parts of a page, the latest first as long as there is room for this number of bytes.
pub(super) fn embedded(pictures: &[Picture], root: &Path, mut room: usize) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (place, picture) in pictures.iter().enumerate().rev() {
        let Some((kind, bytes)) = picture.read(root) else { continue };
        let Some(left) = room.checked_sub(bytes.len()) else { break };
        room = left;
        found.push((place, format!("data:{kind};base64,{}", STANDARD.encode(bytes))));
    }
    found.reverse();
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use tempfile::TempDir;

    #[test]
    fn pictures_lie_below_their_run() {
        let mut found = Vec::new();
        for line in [
            r#"{"step": 1, "image": "a.png", "note": "b.txt", "out": "../x.png", "abs": "/etc/x.png"}"#,
            r#"{"step": 1, "image": "b.PNG"}"#,
            r#"{"step": 2, "image": "link.png", "page": "x.html", "drawing": "x.svg"}"#,
        ] {
            add(&MetricRow::parse(line.as_bytes()).unwrap(), 9.0, &mut found);
        }
        let paths: Vec<&str> = found.iter().map(|one| one.path.as_str()).collect();
        assert_eq!(paths, ["b.PNG", "link.png"]);
        let (root, other) = (TempDir::new().unwrap(), TempDir::new().unwrap());
        fs::write(root.path().join("b.PNG"), "x").unwrap();
        fs::write(other.path().join("secret.png"), "x").unwrap();
        std::os::unix::fs::symlink(other.path().join("secret.png"), root.path().join("link.png")).unwrap();
        assert_eq!(found[0].read(root.path()), Some(("image/png", b"x".to_vec())));
        assert_eq!(found[1].read(root.path()), None);
        assert_eq!(embedded(&found, root.path(), 1), [(0, "data:image/png;base64,eA==".to_owned())]);
        assert_eq!(embedded(&found, root.path(), 0), []);
    }
}
