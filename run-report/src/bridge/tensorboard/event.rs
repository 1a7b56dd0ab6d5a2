//! The events of an event file, as TensorFlow's `event.proto`, `summary.proto` and `tensor.proto` and TensorBoard's
//! `plugins/hparams/plugin_data.proto` define them, in the encoding of Protocol Buffers.

use crate::bridge::points::Point;
use run_common::time::Timestamp;
use run_metrics::tfrecord::write_record;
use serde_json::{Map, Value};
use std::io::{self, Write};

/// How a session of the plugin for hyperparameters ended.
#[derive(Clone, Copy, Debug)]
pub(super) enum Outcome {
    Unknown = 0,
    Success = 1,
    Failure = 2,
    Running = 3,
}

/// The types of a tensor.
const FLOAT: u64 = 1;
const STRING: u64 = 7;

/// The class of the data of a plugin: tensors.
const TENSOR: u64 = 2;

/// Writes events to a file.
pub(super) struct Writer<W> {
    out: W,
    /// When the run began, in seconds since 1970.
    start: f64,
}

impl<W: Write> Writer<W> {
    /// Starts a file.
    pub(super) fn new(out: W, start: Timestamp) -> io::Result<Self> {
        let mut writer = Self { out, start: seconds(start.millis()) };
        let version = Message::default().text(3, "brain.Event:2");
        writer.event(writer.start, 0, &version)?;
        Ok(writer)
    }

    /// Writes scalars that were logged together.
    pub(super) fn scalars(&mut self, point: &Point) -> io::Result<()> {
        let summary = point.values.iter().fold(Message::default(), |summary, (tag, value)| {
            #[expect(clippy::cast_possible_truncation, reason = "a scalar has single precision")]
            let value = Message::default().text(1, tag).float(2, *value as f32);
            summary.message(1, &value)
        });
        self.event(seconds(point.millis), point.step, &Message::default().message(5, &summary))
    }

    /// Writes a text, which may be Markdown.
    pub(super) fn text(&mut self, tag: &str, text: &str) -> io::Result<()> {
        let tensor = Message::default().number(1, STRING).message(2, &Message::default()).text(8, text);
        self.of_plugin(&format!("{tag}/text_summary"), "text", &Message::default(), &tensor)
    }

    /// Writes settings as hyperparameters.
    pub(super) fn settings(&mut self, settings: &Map<String, Value>) -> io::Result<()> {
        let start = settings.iter().fold(Message::default(), |start, (name, value)| {
            let value = match value {
                Value::Number(number) => Message::default().double(2, number.as_f64().unwrap_or(f64::NAN)),
                Value::Bool(is_true) => Message::default().number(4, u64::from(*is_true)),
                Value::String(text) => Message::default().text(3, text),
                other => Message::default().text(3, &other.to_string()),
            };
            start.message(1, &Message::default().text(1, name).message(2, &value))
        });
        let start = start.double(5, self.start);
        self.session("session_start_info", &Message::default().message(3, &start))
    }

    /// Describes the end of the run, or that it is running.
    pub(super) fn end(&mut self, outcome: Outcome, time: Option<Timestamp>) -> io::Result<()> {
        let end = Message::default().number(1, outcome as u64);
        let end = time.into_iter().fold(end, |end, time| end.double(2, seconds(time.millis())));
        self.session("session_end_info", &Message::default().message(4, &end))
    }

    fn session(&mut self, name: &str, content: &Message) -> io::Result<()> {
        let none = Message::default().message(2, &Message::default());
        let tensor = Message::default().number(1, FLOAT).message(2, &none); // a value is required, but without numbers
        self.of_plugin(&format!("_hparams_/{name}"), "hparams", content, &tensor)
    }

    fn of_plugin(&mut self, tag: &str, plugin: &str, content: &Message, tensor: &Message) -> io::Result<()> {
        let plugin = Message::default().text(1, plugin).message(2, content);
        let metadata = Message::default().message(1, &plugin).number(4, TENSOR);
        let value = Message::default().text(1, tag).message(8, tensor).message(9, &metadata);
        let summary = Message::default().message(1, &value);
        self.event(self.start, 0, &Message::default().message(5, &summary))
    }

    fn event(&mut self, time: f64, step: i64, what: &Message) -> io::Result<()> {
        let mut event = Message::default().double(1, time).number(2, step.cast_unsigned());
        event.0.extend_from_slice(&what.0);
        write_record(&mut self.out, &event.0)
    }
}

#[expect(clippy::cast_precision_loss, reason = "milliseconds of millennia fit a double")]
fn seconds(millis: i64) -> f64 {
    millis as f64 / 1000.0
}

/// A message of Protocol Buffers, to which fields are added by their numbers.
#[derive(Debug, Default)]
struct Message(Vec<u8>);

impl Message {
    fn number(mut self, field: u64, number: u64) -> Self {
        self.varint(field << 3);
        self.varint(number);
        self
    }

    fn double(mut self, field: u64, number: f64) -> Self {
        self.varint(field << 3 | 1);
        self.0.extend_from_slice(&number.to_le_bytes());
        self
    }

    fn float(mut self, field: u64, number: f32) -> Self {
        self.varint(field << 3 | 5);
        self.0.extend_from_slice(&number.to_le_bytes());
        self
    }

    fn text(self, field: u64, text: &str) -> Self {
        self.bytes(field, text.as_bytes())
    }

    fn message(self, field: u64, message: &Message) -> Self {
        self.bytes(field, &message.0)
    }

    fn bytes(mut self, field: u64, bytes: &[u8]) -> Self {
        self.varint(field << 3 | 2);
        self.varint(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
        self
    }

    fn varint(&mut self, mut number: u64) {
        while number > 0x7f {
            self.0.push((number & 0x7f) as u8 | 0x80);
            number >>= 7;
        }
        self.0.push((number & 0x7f) as u8);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the documentation of Protocol Buffers: field 1 is 150.
    #[test]
    fn numbers_have_variable_length() {
        assert_eq!(Message::default().number(1, 150).0, [0x08, 0x96, 0x01]);
        assert_eq!(Message::default().number(2, (-1_i64).cast_unsigned()).0.len(), 11);
        assert_eq!(Message::default().text(2, "testing").0, b"\x12\x07testing");
    }
}
