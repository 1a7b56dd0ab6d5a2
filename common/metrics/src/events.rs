//! TensorBoard event files, `events.out.tfevents.*`. Reads scalars, both as `simple_value` and as the tensors
//! of the newer scalar plugin, and nothing else.
//!
//! Framing: TFRecord. Data: `Event`, `Summary` and `TensorProto` of TensorFlow (`event.proto`, `summary.proto`,
//! `tensor.proto`) in the encoding of Protocol Buffers.

use super::row::{MetricRow, MetricValue};
use super::tfrecord::masked_crc;
use run_common::protobuf::{Malformed, WireFields, WireValue, varint};
use std::collections::{BTreeSet, HashSet};
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};

/// Maximum size of a record; larger ones are images and histograms, and are skipped.
const RECORD: u64 = 1 << 20;

/// Maximum number of tags that are remembered as scalars.
const TAGS: usize = 10_000;

/// The position of a reader in an event file, and the tags that are known to be scalars.
#[derive(Clone, Debug, Default)]
pub(super) struct EventReader {
    /// Offset of the next record.
    position: u64,
    scalars: BTreeSet<String>,
    /// Whether a record has an impossible length, so that the next record cannot be found.
    is_lost: bool,
}

impl EventReader {
    /// Returns the offset up to which the file was read. An unfinished record is read again.
    pub(super) fn position(&self) -> u64 {
        self.position
    }

    /// Reads the records that begin before `end`. Consecutive scalars of one step form a row; `prefix` is
    /// prepended to their names. `act` gets the time of each row, in seconds since 1970; a row of `None` is a
    /// record that cannot be read.
    pub(super) fn read(
        &mut self,
        mut file: &File,
        prefix: &str,
        end: u64,
        act: &mut dyn FnMut(f64, Option<MetricRow>),
    ) -> io::Result<()> {
        let whole = file.metadata()?.len();
        file.seek(SeekFrom::Start(self.position))?;
        let mut reader = BufReader::with_capacity(64 << 10, file);
        let mut rows = ScalarRows { prefix, scalars: &mut self.scalars, open: None, act };
        let mut data = Vec::new();
        while !self.is_lost && self.position < end {
            let mut head = [0; 12];
            if !fill(&mut reader, &mut head)? {
                break;
            }
            let (length, crc) = head.split_at(8);
            if u64::from(masked_crc(length)) != little(crc) {
                self.is_lost = true;
                rows.skip();
                break;
            }
            let length = little(length);
            let mut tail = [0; 4];
            let mut is_damaged = false;
            if length > RECORD {
                let rest = length.saturating_add(4);
                if self.position.saturating_add(12).saturating_add(rest) > whole {
                    break;
                }
                reader.seek_relative(i64::try_from(rest).unwrap_or(i64::MAX))?;
            } else {
                data.resize(usize::try_from(length).unwrap_or_default(), 0);
                if !fill(&mut reader, &mut data)? || !fill(&mut reader, &mut tail)? {
                    break;
                }
                is_damaged = u64::from(masked_crc(&data)) != little(&tail) || rows.event(&data).is_err();
            }
            self.position = self.position.saturating_add(length).saturating_add(16);
            if is_damaged {
                rows.skip();
            }
        }
        rows.close();
        Ok(())
    }
}

/// Fills a buffer; `false` if the file ends before.
fn fill(reader: &mut impl Read, buffer: &mut [u8]) -> io::Result<bool> {
    match reader.read_exact(buffer) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

fn little(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |number, &byte| number << 8 | u64::from(byte))
}

/// A row that more scalars may be added to.
struct OpenRow {
    time: f64,
    step: i64,
    tags: HashSet<String>,
    fields: Vec<(String, MetricValue)>,
}

/// Combines scalars into rows.
struct ScalarRows<'a> {
    prefix: &'a str,
    /// Tags of the scalar plugin, which only the first value of a tag names.
    scalars: &'a mut BTreeSet<String>,
    open: Option<OpenRow>,
    act: &'a mut dyn FnMut(f64, Option<MetricRow>),
}

impl ScalarRows<'_> {
    /// Reads an `Event`.
    fn event(&mut self, data: &[u8]) -> Result<(), Malformed> {
        let (mut time, mut step, mut summary) = (0.0, 0, None);
        for field in WireFields(data) {
            match field? {
                (1, WireValue::Fixed(bytes)) => {
                    time = f64::from_le_bytes(bytes.try_into().map_err(|_| Malformed)?);
                }
                (2, WireValue::Varint(number)) => step = number.cast_signed(),
                (5, WireValue::Bytes(bytes)) => summary = Some(bytes),
                _ => {}
            }
        }
        for field in WireFields(summary.unwrap_or_default()) {
            if let (1, WireValue::Bytes(value)) = field?
                && let Some((tag, number)) = self.scalar(value)?
            {
                self.add(time, step, tag, number);
            }
        }
        Ok(())
    }

    /// Reads a `Summary.Value`; `None` if it is not a scalar.
    fn scalar<'a>(&mut self, data: &'a [u8]) -> Result<Option<(&'a str, f64)>, Malformed> {
        let (mut tag, mut plugin, mut number, mut tensor) = (None, None, None, None);
        for field in WireFields(data) {
            match field? {
                (1, WireValue::Bytes(bytes)) => {
                    tag = Some(std::str::from_utf8(bytes).map_err(|_| Malformed)?);
                }
                (2, WireValue::Fixed(bytes)) => number = Some(single(bytes).ok_or(Malformed)?),
                (8, WireValue::Bytes(bytes)) => tensor = Some(bytes),
                (9, WireValue::Bytes(bytes)) => plugin = plugin_name(bytes)?,
                _ => {}
            }
        }
        let Some(tag) = tag else { return Ok(None) };
        if plugin == Some(b"scalars") && self.scalars.len() < TAGS {
            self.scalars.insert(tag.to_owned());
        }
        if number.is_none()
            && let Some(tensor) = tensor
            && self.scalars.contains(tag)
        {
            number = Some(only_number(tensor).ok_or(Malformed)?);
        }
        Ok(number.map(|number| (tag, number)))
    }

    fn add(&mut self, time: f64, step: i64, tag: &str, number: f64) {
        let tag = format!("{}{tag}", self.prefix);
        let goes_on = self
            .open
            .as_ref()
            .is_some_and(|open| open.step == step && !open.tags.contains(&tag) && open.fields.len() < TAGS);
        if !goes_on {
            self.close();
        }
        let open = self.open.get_or_insert_with(|| {
            #[expect(clippy::cast_precision_loss, reason = "steps are below 2^53")]
            let number = MetricValue::Number(step as f64);
            let name = "step".to_owned();
            OpenRow { time, step, tags: HashSet::from([name.clone()]), fields: vec![(name, number)] }
        });
        open.tags.insert(tag.clone());
        open.fields.push((tag, MetricValue::Number(number)));
    }

    fn close(&mut self) {
        if let Some(open) = self.open.take() {
            (self.act)(open.time, Some(MetricRow::new(open.fields).logged_at(Some(open.time))));
        }
    }

    fn skip(&mut self) {
        (self.act)(0.0, None);
    }
}

/// Reads the name of the plugin in a `SummaryMetadata`.
fn plugin_name(data: &[u8]) -> Result<Option<&[u8]>, Malformed> {
    let mut name = None;
    for field in WireFields(data) {
        if let (1, WireValue::Bytes(plugin)) = field? {
            for field in WireFields(plugin) {
                if let (1, WireValue::Bytes(bytes)) = field? {
                    name = Some(bytes);
                }
            }
        }
    }
    Ok(name)
}

/// Reads the number in a `TensorProto` with one number, in any of its encodings.
fn only_number(data: &[u8]) -> Option<f64> {
    const FLOAT: u64 = 1;
    const DOUBLE: u64 = 2;
    const INT32: u64 = 3;
    const INT64: u64 = 9;
    let (mut kind, mut content, mut number) = (0, None, None);
    for field in WireFields(data) {
        number = match field.ok()? {
            (1, WireValue::Varint(value)) => {
                kind = value;
                continue;
            }
            (4, WireValue::Bytes(bytes)) => {
                content = Some(bytes);
                continue;
            }
            (5, WireValue::Fixed(bytes) | WireValue::Bytes(bytes)) => Some(single(bytes)?),
            (6, WireValue::Fixed(bytes) | WireValue::Bytes(bytes)) => {
                Some(f64::from_le_bytes(bytes.try_into().ok()?))
            }
            #[expect(clippy::cast_precision_loss, reason = "metrics are below 2^53")]
            (7 | 10, WireValue::Varint(value)) => Some(value.cast_signed() as f64),
            #[expect(clippy::cast_precision_loss, reason = "metrics are below 2^53")]
            (7 | 10, WireValue::Bytes(mut packed)) => Some(varint(&mut packed)?.cast_signed() as f64),
            _ => continue,
        };
    }
    #[expect(clippy::cast_precision_loss, reason = "metrics are below 2^53")]
    let of_content = |bytes: &[u8]| match kind {
        FLOAT => single(bytes),
        DOUBLE => Some(f64::from_le_bytes(bytes.try_into().ok()?)),
        INT32 => Some(i32::from_le_bytes(bytes.try_into().ok()?).into()),
        INT64 => Some(i64::from_le_bytes(bytes.try_into().ok()?) as f64),
        _ => None,
    };
    content.map_or(number, of_content)
}

/// Reads a single-precision number as the double with the same digits: 0.1 is not 0.10000000149.
fn single(bytes: &[u8]) -> Option<f64> {
    f32::from_le_bytes(bytes.try_into().ok()?).to_string().parse().ok()
}
