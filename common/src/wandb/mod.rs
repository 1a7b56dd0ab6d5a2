//! The datastore of a W&B run, `run-ID.wandb`, read without an account and without a network.
//!
//! A record is a message `Record` of `wandb/proto/wandb_internal.proto`, in a [`log`] of records. The numbers
//! of fields are those of this schema; values are JSON.

pub mod log;

use crate::protobuf::{Malformed, WireFields, WireValue};
use crate::time::Timestamp;
use log::{BLOCK, LogReader};
use serde_json::{Map, Value};
use std::fs::File;
use std::io;
use std::path::Path;

/// Number of bytes at the beginning of a datastore to search for the identity and the configuration of a run.
const HEAD: u64 = 1 << 20;

/// Number of blocks at the end of a datastore to search for the end of a run, and the maximum number if a large
/// record is there (16 MiB).
const LEAST_END: u64 = 4;
const MOST_END: u64 = 512;

/// Maximum number of settings of a run.
const SETTINGS: usize = 10_000;

/// Identity and configuration of a run, which precede the metrics in a datastore.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Head {
    /// The run's id.
    pub id: Option<String>,
    /// The name that people see.
    pub name: Option<String>,
    /// Its project.
    pub project: Option<String>,
    /// Its group.
    pub group: Option<String>,
    /// The notes of its user.
    pub notes: Option<String>,
    /// Its tags.
    pub tags: Vec<String>,
    /// The host's name.
    pub host: Option<String>,
    /// When it started.
    pub start_time: Option<Timestamp>,
    /// The configuration.
    pub config: Map<String, Value>,
    /// The environment of the run; versions before 0.20 write it only to `files/wandb-metadata.json`.
    pub environment: Environment,
}

/// The environment that a run is executed in.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Environment {
    /// The program, such as a script.
    pub program: Option<String>,
    /// Its arguments.
    pub args: Vec<String>,
    /// The interpreter.
    pub executable: Option<String>,
    /// The name and version of the interpreter.
    pub python: Option<String>,
    /// The directory it was executed in.
    pub root: Option<String>,
    /// The user.
    pub user: Option<String>,
    /// The model of its GPUs.
    pub gpu: Option<String>,
    /// The commit of its code.
    pub commit: Option<String>,
}

/// The end of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exit {
    /// Exit status of the program. W&B records 255 for a run that was interrupted.
    pub code: i32,
    /// Duration of the run over all resumptions, in seconds; 0 if unknown.
    pub runtime: i32,
}

/// Values that were logged together: names, with `/` between the parts of nested ones, and JSON.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Logged<'a> {
    /// The number of the row, if the record contains it besides the values.
    pub step: Option<u64>,
    /// The values.
    pub items: Vec<(String, &'a [u8])>,
}

impl Head {
    /// Reads the beginning of a datastore.
    pub fn read(file: &File) -> io::Result<Self> {
        let mut head = Self::default();
        let mut is_over = false;
        let read = LogReader::default().read(file, HEAD, &mut |_, record| {
            if let Some(Ok((number, message))) = record.and_then(payload) {
                is_over = number == HISTORY;
                let _damaged = match number {
                    CONFIG => head.configure(message),
                    RUN => head.identify(message),
                    ENVIRONMENT => head.environment.take(message, &mut head.host),
                    _ => Ok(()),
                };
            }
            if is_over { Err(io::ErrorKind::Interrupted.into()) } else { Ok(()) }
        });
        match read {
            Err(error) if !is_over => Err(error),
            _ => Ok(head),
        }
    }

    /// Reads the end of a datastore: late changes of settings, and the end of the run; `None` if the end is not
    /// recorded.
    pub fn read_end(&mut self, file: &File) -> io::Result<Option<Exit>> {
        let mut blocks = LEAST_END;
        loop {
            let mut reader = LogReader::at_end(file, blocks)?;
            let (start, mut exit, mut first) = (reader.position(), None, None);
            reader.read(file, u64::MAX, &mut |place, record| {
                first = first.or(Some(place));
                match record.and_then(payload) {
                    Some(Ok((EXIT, message))) => exit = Exit::parse(message).ok().or(exit),
                    Some(Ok((CONFIG, message))) => _ = self.configure(message),
                    _ => {}
                }
                Ok(())
            })?;
            // A summary or table larger than a block may follow the end of the run.
            let is_within_large = start > 0 && first.is_none_or(|first| first >= start + BLOCK as u64);
            if exit.is_some() || !is_within_large || blocks >= MOST_END {
                return Ok(exit);
            }
            blocks *= 2;
        }
    }

    /// Reads a `RunRecord`.
    fn identify(&mut self, message: &[u8]) -> Result<(), Malformed> {
        for field in WireFields(message) {
            let (number, WireValue::Bytes(bytes)) = field? else { continue };
            let text = || text(bytes);
            match number {
                1 => self.id = text(),
                3 => self.project = text(),
                4 => self.configure(bytes)?,
                6 => self.group = text(),
                8 => self.name = text(),
                9 => self.notes = text(),
                10 => self.tags.extend(text().filter(|_| self.tags.len() < SETTINGS)),
                13 => self.host = text(),
                17 => self.start_time = time(bytes)?,
                _ => {}
            }
        }
        Ok(())
    }

    /// Reads a `ConfigRecord`, without W&B's internal keys.
    fn configure(&mut self, message: &[u8]) -> Result<(), Malformed> {
        for field in WireFields(message) {
            let (number, WireValue::Bytes(bytes)) = field? else { continue };
            let (name, json) = item(bytes)?;
            match (number, json) {
                _ if name == "_wandb" || name.starts_with("_wandb/") => {}
                (1, Some(json)) if self.config.len() < SETTINGS => {
                    let value = serde_json::from_slice(json);
                    let text = || Value::from(String::from_utf8_lossy(json)); // not JSON, such as NaN
                    self.config.insert(name, value.unwrap_or_else(|_| text()));
                }
                (2, _) => drop(self.config.shift_remove(&name)),
                _ => {}
            }
        }
        Ok(())
    }
}

impl Environment {
    /// Reads an `EnvironmentRecord`; several of them may each contain a part.
    fn take(&mut self, message: &[u8], host: &mut Option<String>) -> Result<(), Malformed> {
        for field in WireFields(message) {
            let (number, WireValue::Bytes(bytes)) = field? else { continue };
            let text = || text(bytes);
            match number {
                2 => self.python = text(),
                5 => self.args.extend(
                    Some(String::from_utf8_lossy(bytes).into_owned()).filter(|_| self.args.len() < SETTINGS),
                ),
                6 => self.program = text(),
                9 => {
                    for field in WireFields(bytes) {
                        if let (2, WireValue::Bytes(commit)) = field? {
                            self.commit = self::text(commit);
                        }
                    }
                }
                11 => self.root = text(),
                12 => *host = host.take().or_else(text),
                13 => self.user = text(),
                14 => self.executable = text(),
                18 => self.gpu = text(),
                _ => {}
            }
        }
        Ok(())
    }
}

impl Exit {
    fn parse(message: &[u8]) -> Result<Self, Malformed> {
        let mut exit = Self { code: 0, runtime: 0 };
        for field in WireFields(message) {
            #[expect(clippy::cast_possible_truncation, reason = "the schema has 32 bits, written as 64")]
            match field? {
                (1, WireValue::Varint(number)) => exit.code = number as i32,
                (2, WireValue::Varint(number)) => exit.runtime = number as i32,
                _ => {}
            }
        }
        Ok(exit)
    }
}

impl<'a> Logged<'a> {
    /// Reads the logged values in a record; `None` for a record of another kind.
    pub fn parse(record: &'a [u8]) -> Result<Option<Self>, Malformed> {
        let message = match payload(record) {
            Some(Ok((HISTORY, message))) => message,
            Some(Err(malformed)) => return Err(malformed),
            _ => return Ok(None),
        };
        let mut logged = Self::default();
        for field in WireFields(message) {
            match field? {
                (1, WireValue::Bytes(bytes)) => {
                    if let (name, Some(json)) = item(bytes)? {
                        logged.items.push((name, json));
                    }
                }
                (2, WireValue::Bytes(step)) => {
                    logged.step = Some(0); // 0 is not written
                    for field in WireFields(step) {
                        if let (1, WireValue::Varint(number)) = field? {
                            logged.step = Some(number);
                        }
                    }
                }
                _ => {}
            }
        }
        Ok(Some(logged))
    }
}

/// Returns whether a name is that of a datastore.
pub fn is_datastore(name: &str) -> bool {
    Path::new(name).extension().is_some_and(|end| end == "wandb")
}

/// Numbers of the relevant kinds of records.
const HISTORY: u64 = 2;
const CONFIG: u64 = 5;
const RUN: u64 = 17;
const EXIT: u64 = 18;
const ENVIRONMENT: u64 = 26;

/// Finds the kind and the message in a `Record`; `None` for other kinds.
fn payload(record: &[u8]) -> Option<Result<(u64, &[u8]), Malformed>> {
    WireFields(record).find_map(|field| match field {
        Ok((number @ (HISTORY | CONFIG | RUN | EXIT | ENVIRONMENT), WireValue::Bytes(message))) => {
            Some(Ok((number, message)))
        }
        Ok(_) => None,
        Err(malformed) => Some(Err(malformed)),
    })
}

/// Returns a text, unless it is empty.
fn text(bytes: &[u8]) -> Option<String> {
    Some(String::from_utf8_lossy(bytes).into_owned()).filter(|text| !text.is_empty())
}

/// Reads a `HistoryItem`, `SummaryItem` or `ConfigItem`: a name, and a value.
fn item(message: &[u8]) -> Result<(String, Option<&[u8]>), Malformed> {
    let (mut name, mut json) = (String::new(), None);
    for field in WireFields(message) {
        match field? {
            (1 | 2, WireValue::Bytes(bytes)) if !bytes.is_empty() => {
                if !name.is_empty() {
                    name.push('/');
                }
                name.push_str(&String::from_utf8_lossy(bytes));
            }
            (16, WireValue::Bytes(bytes)) => json = Some(bytes),
            _ => {}
        }
    }
    Ok((name, json))
}

/// Reads a `google.protobuf.Timestamp`.
fn time(message: &[u8]) -> Result<Option<Timestamp>, Malformed> {
    let (mut seconds, mut nanos) = (0_i64, 0_i64);
    for field in WireFields(message) {
        match field? {
            (1, WireValue::Varint(number)) => seconds = number.cast_signed(),
            (2, WireValue::Varint(number)) => nanos = number.cast_signed(),
            _ => {}
        }
    }
    let millis = seconds.checked_mul(1000).and_then(|millis| millis.checked_add(nanos / 1_000_000));
    Ok(millis.and_then(Timestamp::from_millis))
}

#[cfg(test)]
mod tests;
