//! Messages in the encoding of Protocol Buffers, field by field, without their schema.

/// The error for bytes that are not a message, or not a value of their type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

/// The value of a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WireValue<'a> {
    /// An integer, a boolean or an enumeration.
    Varint(u64),
    /// A number of 4 or 8 bytes.
    Fixed(&'a [u8]),
    /// A text, bytes, a message, or several numbers.
    Bytes(&'a [u8]),
}

/// The fields of a message, by number. An unreadable field is the last one.
#[derive(Clone, Debug)]
pub struct WireFields<'a>(pub &'a [u8]);

impl<'a> Iterator for WireFields<'a> {
    type Item = Result<(u64, WireValue<'a>), Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_none() {
            self.0 = &[];
        }
        Some(field.ok_or(Malformed))
    }
}

impl<'a> WireFields<'a> {
    fn field(&mut self) -> Option<(u64, WireValue<'a>)> {
        let key = varint(&mut self.0)?;
        let value = match key & 7 {
            0 => WireValue::Varint(varint(&mut self.0)?),
            1 => WireValue::Fixed(self.take(8)?),
            5 => WireValue::Fixed(self.take(4)?),
            2 => {
                let length = varint(&mut self.0)?;
                WireValue::Bytes(self.take(length)?)
            }
            _ => return None,
        };
        Some((key >> 3, value))
    }

    fn take(&mut self, length: u64) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(usize::try_from(length).ok()?)?;
        self.0 = rest;
        Some(taken)
    }
}

/// Reads an integer of variable length.
pub fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        number |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(number);
        }
    }
    None
}

/// Appends a field to a message, for tests of readers.
#[cfg(test)]
pub(crate) fn put(message: &mut Vec<u8>, number: u64, value: WireValue) {
    let mut put_varint = |mut number: u64| {
        while number >= 0x80 {
            message.push((number & 0x7f) as u8 | 0x80);
            number >>= 7;
        }
        message.push(u8::try_from(number).unwrap());
    };
    match value {
        WireValue::Varint(value) => {
            put_varint(number << 3);
            put_varint(value);
        }
        WireValue::Fixed(bytes) => {
            put_varint(number << 3 | if bytes.len() == 8 { 1 } else { 5 });
            message.extend_from_slice(bytes);
        }
        WireValue::Bytes(bytes) => {
            put_varint(number << 3 | 2);
            put_varint(bytes.len() as u64);
            message.extend_from_slice(bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn value(kind: u8, bytes: &[u8; 8]) -> WireValue<'_> {
        match kind {
            0 => WireValue::Varint(u64::from_le_bytes(*bytes)),
            1 => WireValue::Fixed(bytes),
            _ => WireValue::Bytes(bytes),
        }
    }

    proptest! {
           #[test]
           fn what_is_put_is_read_back_and_what_is_cut_off_is_not(
               fields in prop::collection::vec((1..500_u64, 0..3_u8, any::<[u8; 8]>()), 0..9),
               cut in 0..200_usize,
           ) {
               let fields: Vec<_> =
                   fields.iter().map(|(number, kind, bytes)| (*number, value(*kind, bytes))).collect();
               let mut message = Vec::new();
               for (number, value) in &fields {
    put(&mut message, *number, *value);
    }
               let read: Result<Vec<_>, _> = WireFields(&message).collect();
               prop_assert_eq!(read.as_ref(), Ok(&fields));
               let cut = &message[..cut.min(message.len())];
               let whole: Vec<_> = WireFields(cut).map_while(Result::ok).collect();
               prop_assert!(fields.starts_with(&whole));
           }

           #[test]
           fn nothing_is_read_beyond_the_end(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
               prop_assert!(WireFields(&bytes).count() <= bytes.len());
           }
       }
}
