//! Any remote of an installed rclone(1) as a store, with one process for each request. An object is complete in
//! a temporary file before rclone begins, so that an interrupted process stores no part of it.

use super::access::Access;
use super::directory::{keeps_part, remove_forgotten, start, truncate};
use super::environment::Environment;
use super::fault::Fault;
use super::{Checks, Object, Part, Sink, Store, Stored, Upload};
use crate::format::digest::Digest;
use run_common::error::{Error, Exit, plain};
use run_common::fsio::write::{create_with_mode, open_existing};
use run_common::provenance::redact::redact_text;
use run_common::text::cut;
use serde::Deserialize;
use std::env::temp_dir;
use std::fs;
use std::io::{self, Read};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;
use uuid::Uuid;

/// Statuses of rclone for a missing directory or file.
const ABSENT: [i32; 2] = [3, 4];
/// Bytes per read.
const BLOCK: usize = 64 << 10;
/// Bytes of messages to keep.
const MESSAGES: u64 = 64 << 10;

/// A path of a remote.
#[derive(Debug)]
pub(crate) struct Rclone {
    /// `REMOTE:`, or `REMOTE:PATH/`.
    root: String,
    name: String,
    variables: Environment,
    /// Bytes a second for each process: the processes know nothing of each other.
    rate: Option<u64>,
}

/// An item in the list of rclone.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Listed {
    path: String,
    size: i64,
    is_dir: bool,
}

impl Rclone {
    /// Opens `REMOTE:PATH`, without a request.
    pub(crate) fn new(remote: &str, access: &Access) -> Self {
        let slash = if remote.ends_with([':', '/']) { "" } else { "/" };
        Self {
            root: format!("{remote}{slash}"),
            name: format!("rclone:{remote}"),
            variables: access.environment.clone(),
            rate: access.rate.map(|rate| (rate / access.transfers.max(1) as u64).max(1)),
        }
    }

    fn command(&self, words: &[&str], key: &str) -> Command {
        let mut command = Command::new("rclone");
        command.args(words).arg("--ask-password=false");
        if let Some(rate) = self.rate {
            command.arg(format!("--bwlimit={rate}B"));
        }
        command.arg(format!("{}{key}", self.root)).envs(self.variables.of_file());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Lists the items below a key; none if there is nothing.
    fn listed(&self, words: &[&str], key: &str) -> Result<Vec<Listed>, Fault> {
        let mut document = Vec::new();
        let mut take = |bytes: &[u8]| {
            document.extend_from_slice(bytes);
            Ok(())
        };
        let there = run(self.command(words, key), &mut take)?;
        let wrong = |error: serde_json::Error| Fault::Unavailable(format!("rclone's list: {error}"));
        match there {
            None => Ok(Vec::new()),
            Some(()) if words.contains(&"--stat") => {
                let found: Option<Listed> = serde_json::from_slice(&document).map_err(wrong)?;
                Ok(found.into_iter().collect())
            }
            Some(()) => serde_json::from_slice(&document).map_err(wrong),
        }
    }

    /// Sends a file.
    fn send(&self, file: &str, key: &str) -> Result<Stored, Fault> {
        // Replaces an existing object whatever its time and size.
        let command = self.command(&["copyto", "--ignore-times", "--no-traverse", file], key);
        match run(command, &mut |_| Ok(()))? {
            Some(()) => Ok(Stored::default()),
            None => Err(Fault::Refused("what was to be sent is gone".to_owned())),
        }
    }
}

/// Runs rclone and passes its output on. `None` if rclone reports that nothing is there.
fn run(mut command: Command, sink: &mut Sink<'_>) -> Result<Option<()>, Fault> {
    let mut child = command.spawn().map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => Fault::Refused("rclone is not installed".to_owned()),
        _ => error.into(),
    })?;
    let messages = child.stderr.take();
    let said = thread::spawn(move || {
        let mut text = Vec::new();
        if let Some(mut messages) = messages {
            let _ = messages.by_ref().take(MESSAGES).read_to_end(&mut text); // keeps what could be read
            let _ = io::copy(&mut messages, &mut io::sink());
        }
        String::from_utf8_lossy(&text).into_owned()
    });
    let taken = hand_on(&mut child, sink);
    if taken.is_err() {
        let _ = child.kill(); // the process may have ended
    }
    let status = child.wait()?;
    let said = said.join().unwrap_or_default();
    match status.code() {
        _ if taken.is_err() => taken.map(Some),
        Some(0) => Ok(Some(())),
        Some(code) if ABSENT.contains(&code) => Ok(None),
        code => Err(failed(code, &said)),
    }
}

/// Returns a name for a temporary file.
fn spool() -> String {
    format!("run-sync-{}", Uuid::new_v4())
}

fn is_spool(id: &str) -> bool {
    id.strip_prefix("run-sync-").is_some_and(|rest| Uuid::parse_str(rest).is_ok())
}

fn path(id: &str) -> Result<PathBuf, Fault> {
    if is_spool(id) { Ok(temp_dir().join(id)) } else { Err(Fault::NotFound) }
}

/// Passes on the output of a process.
fn hand_on(child: &mut Child, sink: &mut Sink<'_>) -> Result<(), Fault> {
    let Some(mut from) = child.stdout.take() else { return Ok(()) };
    let mut block = vec![0; BLOCK];
    loop {
        match from.read(&mut block) {
            Ok(0) => return Ok(()),
            Ok(length) => sink(&block[..length]).map_err(Fault::Sink)?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Returns why rclone failed, from its last line.
fn failed(code: Option<i32>, said: &str) -> Fault {
    let last = said.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or_default();
    // The line begins with date and time.
    let last = last.splitn(3, ' ').nth(2).unwrap_or(last);
    let why = format!("rclone: {}", cut(&redact_text(last), 300));
    let has = |words: &[&str]| words.iter().any(|word| said.contains(word));
    match code {
        _ if has(&["didn't find section in config file", "didn't find backend"]) => Fault::NoStore(why),
        _ if has(&[
            "AccessDenied",
            "InvalidAccessKeyId",
            "SignatureDoesNotMatch",
            "permission denied",
            "401 ",
            "403 ",
        ]) =>
        {
            Fault::Denied(why)
        }
        _ if has(&["NoSuchBucket"]) => Fault::NoStore(why),
        _ if has(&["no space left", "quota exceeded", "storageQuotaExceeded", "insufficient_space"]) => {
            Fault::Full(why)
        }
        None => Fault::Unavailable("rclone was killed".to_owned()),
        _ => Fault::Unavailable(why),
    }
}

impl Store for Rclone {
    fn prepare(&self) -> Result<(), Error> {
        remove_forgotten(&temp_dir(), is_spool, |_| false);
        match Command::new("rclone").arg("version").stdin(Stdio::null()).output() {
            Ok(_) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let error = Error::new(Exit::System, format!("cannot use {}", self.name));
                Err(error.because("rclone is not installed"))
            }
            Err(error) => Err(Error::new(Exit::System, "cannot start rclone").because(error)),
        }
    }

    fn put(&self, key: &str, bytes: &[u8], sha256: &Digest) -> Result<Stored, Fault> {
        let upload = self.begin(key, bytes.len() as u64)?;
        let part = self.put_part(&upload, 1, bytes, sha256);
        let stored = part.and_then(|part| self.complete(&upload, &[part], bytes.len() as u64));
        if stored.is_err() {
            let _ = self.abort(&upload); // the file does no harm
        }
        stored
    }

    /// Not atomic: remotes have no operation for it.
    fn create(&self, key: &str, bytes: &[u8], sha256: &Digest) -> Result<Stored, Fault> {
        match self.head(key)? {
            Some(_) => Err(Fault::Exists),
            None => self.put(key, bytes, sha256),
        }
    }

    fn get(&self, key: &str, range: Option<Range<u64>>, sink: &mut Sink<'_>) -> Result<(), Fault> {
        // rclone would print a directory whole, and prints nothing behind the end.
        let size = self.head(key)?.ok_or(Fault::NotFound)?.size;
        let Range { start, end } = range.unwrap_or(0..u64::MAX);
        let end = end.min(size);
        if start >= end {
            return Ok(());
        }
        let (offset, count) = (format!("--offset={start}"), format!("--count={}", end - start));
        let mut left = end - start;
        let mut take = |bytes: &[u8]| {
            left = left.saturating_sub(bytes.len() as u64);
            sink(bytes)
        };
        match run(self.command(&["cat", &offset, &count], key), &mut take)? {
            Some(()) if left == 0 => Ok(()),
            Some(()) => Err(Fault::Unavailable("rclone printed less than it should".to_owned())),
            None => Err(Fault::NotFound),
        }
    }

    fn head(&self, key: &str) -> Result<Option<Object>, Fault> {
        let found = self.listed(&["lsjson", "--stat", "--no-modtime", "--no-mimetype"], key)?;
        let found = found.into_iter().find(|found| !found.is_dir);
        Ok(found.map(|found| Object {
            key: key.to_owned(),
            size: u64::try_from(found.size).unwrap_or(0),
            tag: None,
        }))
    }

    fn list(&self, prefix: &str, each: &mut dyn FnMut(Object)) -> Result<(), Fault> {
        let words = ["lsjson", "--recursive", "--files-only", "--no-modtime", "--no-mimetype"];
        let found = self.listed(&words, prefix.trim_end_matches('/'))?;
        let mut objects: Vec<_> = found
            .into_iter()
            .filter_map(|found| {
                let size = u64::try_from(found.size).ok()?;
                Some(Object { key: format!("{prefix}{}", found.path), size, tag: None })
            })
            .collect();
        objects.sort_unstable_by(|one, other| one.key.cmp(&other.key));
        objects.into_iter().for_each(each);
        Ok(())
    }

    fn list_directories(&self, prefix: &str) -> Result<Vec<String>, Fault> {
        let words = ["lsjson", "--dirs-only", "--no-modtime", "--no-mimetype"];
        let mut names: Vec<_> =
            self.listed(&words, prefix.trim_end_matches('/'))?.into_iter().map(|found| found.path).collect();
        names.sort_unstable();
        Ok(names)
    }

    fn delete(&self, key: &str) -> Result<(), Fault> {
        if self.head(key)?.is_some() {
            run(self.command(&["deletefile"], key), &mut |_| Ok(()))?;
        }
        Ok(())
    }

    fn begin(&self, key: &str, part_size: u64) -> Result<Upload, Fault> {
        let id = spool();
        create_with_mode(&path(&id)?, 0o600)?;
        Ok(Upload { key: key.to_owned(), id, part_size })
    }

    fn put_part(&self, upload: &Upload, number: u32, bytes: &[u8], sha256: &Digest) -> Result<Part, Fault> {
        let file = open_existing(&path(&upload.id)?)?;
        file.write_all_at(bytes, start(upload, number))?;
        Ok(Part { number, tag: String::new(), sha256: *sha256 })
    }

    fn keeps_part(&self, upload: &Upload, number: u32, bytes: &[u8]) -> bool {
        path(&upload.id).is_ok_and(|path| keeps_part(&path, upload, number, bytes))
    }

    fn complete(&self, upload: &Upload, _: &[Part], size: u64) -> Result<Stored, Fault> {
        let file = path(&upload.id)?;
        let name = file.to_str().ok_or_else(|| Fault::Refused("TMPDIR is no UTF-8".to_owned()))?;
        truncate(&open_existing(&file)?, size)?; // a missing file is our failure
        let stored = self.send(name, &upload.key)?;
        fs::remove_file(&file)?;
        Ok(stored)
    }

    fn abort(&self, upload: &Upload) -> Result<(), Fault> {
        match fs::remove_file(path(&upload.id)?) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Fault::Unavailable(plain(&error))),
            _ => Ok(()),
        }
    }

    fn sync(&self) -> Result<(), Fault> {
        Ok(()) // rclone ends when the object is safe
    }

    fn checks(&self) -> Checks {
        Checks::Nothing
    }
}

#[cfg(test)]
mod tests {
    use super::super::conformance::access;
    use super::*;

    #[test]
    fn processes_that_run_at_once_share_the_limit() {
        for (rate, transfers, expected) in [(16 << 20, 16, "1048576"), (1000, 1, "1000"), (3, 16, "1")] {
            let access = Access { rate: Some(rate), transfers, ..access(&[]) };
            let command = Rclone::new("x:", &access).command(&["cat"], "key");
            let limit = format!("--bwlimit={expected}B");
            assert!(command.get_args().any(|word| word.to_str() == Some(&limit)), "{command:?}");
        }
    }
}
