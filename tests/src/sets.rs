//! Sets in a directory store (run-store(5)), made by the format alone: what run-sync has to read, damaged and hostile
//! ones among them.

use crate::Lab;
pub use crate::sync::sha256;
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};

/// The time of every file of a set, unless a test gives another.
pub const MTIME: &str = "2026-01-29T12:00:00.123456789Z";

/// A backup that is being made.
#[derive(Clone, Debug)]
pub struct Backup {
    set: PathBuf,
    head: Value,
    entries: Vec<Value>,
}

impl Backup {
    /// Begins the first backup of a run in the store at a path of a laboratory.
    pub fn first(lab: &Lab, store: &str, name: &str) -> Self {
        let run = Path::new(name).file_name().unwrap().to_str().unwrap();
        let batch = name.contains('/').then(|| name.split('/').next().unwrap());
        let head = json!({
            "schema": 1, "number": 1, "parent": null, "kind": "run", "run_id": format!("id of {run}"),
            "run_name": run, "batch": batch, "created": "2026-01-29T12:00:00.000Z", "host": "host",
            "writer": "0123456789abcdef0123456789abcdef", "tool_version": "0.1.0", "keys": "",
            "status": "completed", "verified": "read",
        });
        Self { set: lab.path(store).join(name), head, entries: Vec::new() }
    }

    /// Begins a backup that continues this one, with the same entries, an hour later.
    pub fn next(&self, parent: &str) -> Self {
        let number = self.head["number"].as_u64().unwrap() + 1;
        let created = format!("2026-01-29T{:02}:00:00.000Z", 11 + number);
        self.clone()
            .head("number", json!(number))
            .head("parent", json!(parent))
            .head("created", json!(created))
    }

    /// Sets a field of the head of the backup.
    pub fn head(mut self, key: &str, value: Value) -> Self {
        self.head[key] = value;
        self
    }

    /// Adds an entry as it stands, in place of one of the same path.
    pub fn entry(mut self, entry: Value) -> Self {
        let place = |entry: &Value| (entry["evaluation"].clone(), entry["path"].clone());
        self.entries.retain(|old| place(old) != place(&entry));
        self.entries.push(entry);
        self
    }

    /// Adds an entry as it stands.
    pub fn also(mut self, entry: Value) -> Self {
        self.entries.push(entry);
        self
    }

    /// Adds a file, and stores its content.
    pub fn file(self, path: &str, content: impl AsRef<[u8]>) -> Self {
        let entry = self.stored(path, path, content.as_ref());
        self.entry(entry)
    }

    /// Adds a file of an evaluation, and stores its content.
    pub fn evaluation(self, label: &str, path: &str, content: &str) -> Self {
        let mut entry = self.stored(path, &format!(".eval/{label}/{path}"), content.as_bytes());
        entry["evaluation"] = json!(label);
        self.entry(entry)
    }

    /// Stores a content under a key, and returns the entry of a file that has it.
    pub fn stored(&self, path: &str, key: &str, content: &[u8]) -> Value {
        let object = self.object(key);
        fs::create_dir_all(object.parent().unwrap()).unwrap();
        fs::write(object, content).unwrap();
        let mut entry = json!({
            "path": path, "type": "file", "mode": "0644", "mtime": MTIME, "size": content.len(), "sha256": sha256(content),
        });
        if key != path {
            entry["key"] = json!(key);
        }
        entry
    }

    /// Adds a directory.
    pub fn dir(self, path: &str) -> Self {
        self.entry(json!({"path": path, "type": "dir", "mode": "0755", "mtime": MTIME}))
    }

    /// Adds a link.
    pub fn link(self, path: &str, target: &str) -> Self {
        self.entry(json!({"path": path, "type": "link", "mtime": MTIME, "target": target}))
    }

    /// Removes what has a path from the backup, or says of it why it is not there.
    pub fn absent(mut self, path: &str, why: &str) -> Self {
        for entry in self.entries.iter_mut().filter(|entry| entry["path"] == path) {
            entry["absent"] = json!(why);
        }
        self
    }

    /// Returns the path of an object in the store.
    pub fn object(&self, key: &str) -> PathBuf {
        self.set.join(key)
    }

    /// Writes the manifest, and returns its hash.
    pub fn commit(&self) -> String {
        let mut document = serde_json::to_string(&self.head).unwrap();
        document.pop();
        document.push_str(",\"entries\":[\n");
        let entries: Vec<String> = self.entries.iter().map(Value::to_string).collect();
        document.push_str(&entries.join(",\n"));
        document.push_str("\n]}\n");
        self.commit_text(&document)
    }

    /// Writes any text as the manifest, and returns its hash.
    pub fn commit_text(&self, document: &str) -> String {
        let hash = sha256(document.as_bytes());
        let name = format!(".backup/{:06}-{hash}.json", self.head["number"].as_u64().unwrap());
        fs::create_dir_all(self.object(".backup")).unwrap();
        fs::write(self.object(&name), document).unwrap();
        hash
    }
}
