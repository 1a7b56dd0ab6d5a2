//! The buffer of printed rows, and functions that append values to it.

use run_metrics::csv::quote;
use run_metrics::value::{Kind, Span, WINDOW, window};

/// Rows as printed. The bytes after them are allocated already, so that a short text can be appended as a
/// block of fixed size, which is faster than copying its exact length. Excess bytes are overwritten by the
/// next copy.
#[derive(Default)]
pub(super) struct Rows {
    bytes: Vec<u8>,
    filled: usize,
}

impl Rows {
    pub(super) fn with_capacity(size: usize) -> Self {
        Self { bytes: vec![0; size], filled: 0 }
    }

    pub(super) fn len(&self) -> usize {
        self.filled
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes[..self.filled]
    }

    /// Empties the buffer and keeps its memory.
    pub(super) fn clear(&mut self) {
        self.filled = 0;
    }

    pub(super) fn append(&mut self, text: &[u8]) {
        self.reserve(text.len());
        self.bytes[self.filled..][..text.len()].copy_from_slice(text);
        self.filled += text.len();
    }

    pub(super) fn repeat(&mut self, byte: u8, count: usize) {
        self.reserve(count);
        self.bytes[self.filled..][..count].fill(byte);
        self.filled += count;
    }

    /// Reserves room for some bytes and a block.
    #[inline]
    fn reserve(&mut self, count: usize) {
        if self.bytes.len() - self.filled < count + WINDOW {
            self.grow(count + WINDOW);
        }
    }

    #[cold]
    #[inline(never)]
    fn grow(&mut self, count: usize) {
        self.bytes.resize((self.filled + count).max(2 * self.bytes.len()), 0);
    }

    /// Appends a comma and a part of a buffer.
    #[inline]
    fn copy(&mut self, span: &Span, buffer: &[u8]) {
        let length = span.end - span.start;
        let room = self.bytes.get_mut(self.filled..).and_then(<[u8]>::first_chunk_mut::<{ WINDOW + 1 }>);
        match (window::<WINDOW>(buffer, span.start), room) {
            (Some(block), Some(to)) if length <= WINDOW => {
                to[0] = b',';
                to[1..].copy_from_slice(block);
                self.filled += 1 + length;
            }
            _ => self.copy_long(&buffer[span.start..span.end]),
        }
    }

    #[cold]
    #[inline(never)]
    fn copy_long(&mut self, text: &[u8]) {
        self.append(b",");
        self.append(text);
    }
}

/// Appends a comma and a value.
#[inline]
pub(super) fn write_value(span: &Span, buffer: &[u8], into: &mut Rows) {
    match span.kind {
        Kind::Number | Kind::Bool => into.copy(span, buffer),
        _ => write_other_value(span, buffer, into),
    }
}

#[cold]
#[inline(never)]
fn write_other_value(span: &Span, buffer: &[u8], into: &mut Rows) {
    match span.kind {
        Kind::Number | Kind::Bool | Kind::Text => {
            let mut field = vec![b','];
            quote(&buffer[span.start..span.end], &mut field);
            into.append(&field);
        }
        Kind::Null => into.append(b","),
        Kind::NaN => into.append(b",NaN"),
        Kind::Infinity => into.append(b",inf"),
        Kind::MinusInfinity => into.append(b",-inf"),
    }
}
