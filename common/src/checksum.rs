//! Checksums of 32 bits in the files of other programs.

/// CRC-32 of IEEE 802.3, as in zlib, of several pieces as if they were one text.
pub fn crc32(pieces: &[&[u8]]) -> u32 {
    const TABLE: [u32; 256] = table(0xedb8_8320);
    crc(&TABLE, pieces)
}

/// CRC-32C (Castagnoli).
pub fn crc32c(bytes: &[u8]) -> u32 {
    const TABLE: [u32; 256] = table(0x82f6_3b78);
    crc(&TABLE, &[bytes])
}

fn crc(table: &[u32; 256], pieces: &[&[u8]]) -> u32 {
    let bytes = pieces.iter().copied().flatten();
    !bytes.fold(!0, |crc, &byte| crc >> 8 ^ table[usize::from((crc & 0xff) as u8 ^ byte)])
}

/// Computes the checksums of all bytes for a reflected polynomial.
const fn table(polynomial: u32) -> [u32; 256] {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        #[expect(clippy::cast_possible_truncation, reason = "it is below 256")]
        let mut rest = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            rest = rest >> 1 ^ (if rest & 1 == 1 { polynomial } else { 0 });
            bit += 1;
        }
        table[byte] = rest;
        byte += 1;
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_check_values_of_both_are_those_of_the_catalogue() {
        assert_eq!(crc32(&[b"12345", b"6789"]), 0xcbf4_3926);
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
    }
}
