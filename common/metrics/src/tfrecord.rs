//! The framing of TFRecord files (`tensorflow/core/lib/io/record_writer.h`): the length as 64 bits, little
//! endian, its masked CRC-32C, the data, and the masked CRC-32C of the data. Used by the reader of event files,
//! and by run-report, which writes such files.

use run_common::checksum::crc32c;
use std::io::{self, Write};

/// Writes a record.
pub fn write_record(out: &mut impl Write, data: &[u8]) -> io::Result<()> {
    let length = (data.len() as u64).to_le_bytes();
    out.write_all(&length)?;
    out.write_all(&masked_crc(&length).to_le_bytes())?;
    out.write_all(data)?;
    out.write_all(&masked_crc(data).to_le_bytes())
}

/// Returns the masked checksum of a length or of data. Masking is needed because data may contain checksums.
pub(crate) fn masked_crc(bytes: &[u8]) -> u32 {
    crc32c(bytes).rotate_right(15).wrapping_add(0xa282_ead8)
}
