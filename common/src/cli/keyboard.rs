//! The keys behind the bytes of a terminal: sequences of xterm and of the Linux console.

/// A key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    /// A lower-case letter.
    Letter(char),
    /// The up arrow.
    Up,
    /// The down arrow.
    Down,
    /// A page up.
    PageUp,
    /// A page down.
    PageDown,
    /// To the first.
    Home,
    /// To the last.
    End,
    /// Enter.
    Enter,
    /// Escape, backspace or the left arrow.
    Back,
    /// `q`, or a control character that ends a program.
    Quit,
    /// Any other key.
    Other,
}

/// Bytes that are no whole key yet.
#[derive(Debug, Default)]
pub(super) struct Keyboard {
    bytes: Vec<u8>,
    /// A text is being pasted, which presses no keys.
    is_pasting: bool,
}

/// What marks the end of a pasted text, if the terminal was asked for marks.
const PASTED: &[u8] = b"\x1b[201~";

impl Keyboard {
    /// Takes bytes; returns the keys that are whole.
    pub(super) fn take(&mut self, bytes: &[u8]) -> Vec<Key> {
        self.bytes.extend_from_slice(bytes);
        let (mut rest, mut keys) = (self.bytes.as_slice(), Vec::new());
        loop {
            if self.is_pasting {
                let Some(end) = memchr::memmem::find(rest, PASTED) else {
                    rest = &rest[rest.len().saturating_sub(PASTED.len() - 1)..];
                    break;
                };
                rest = &rest[end + PASTED.len()..];
                self.is_pasting = false;
            }
            let Some((key, after)) = first(rest) else { break };
            rest = after;
            match key {
                Some(key) => keys.push(key),
                None => self.is_pasting = true,
            }
        }
        self.bytes = rest.to_vec();
        keys
    }

    /// Returns whether more bytes may belong to the last one, as after an escape.
    pub(super) fn is_unsure(&self) -> bool {
        !self.bytes.is_empty() && !self.is_pasting
    }

    /// Returns the key that the bytes are if no more come.
    pub(super) fn settle(&mut self) -> Key {
        match std::mem::take(&mut self.bytes).as_slice() {
            b"\x1b" => Key::Back,
            _ => Key::Other,
        }
    }
}

/// Returns the first key, `None` for the beginning of a pasted text, and the bytes after it; `None` if the key is not
/// whole.
fn first(bytes: &[u8]) -> Option<(Option<Key>, &[u8])> {
    let (&byte, after) = bytes.split_first()?;
    let key = match byte {
        b'q' | b'Q' | 3 | 4 => Key::Quit,
        b'\r' | b'\n' => Key::Enter,
        8 | 0x7f => Key::Back,
        b'a'..=b'z' => Key::Letter(byte.into()),
        0x1b => return escaped(after),
        _ => Key::Other,
    };
    Some((Some(key), after))
}

/// Returns what an escape and the bytes after it are.
fn escaped(bytes: &[u8]) -> Option<(Option<Key>, &[u8])> {
    let (&kind, sequence) = bytes.split_first()?;
    if !matches!(kind, b'[' | b'O') {
        return Some((Some(Key::Other), sequence)); // another key with Alt
    }
    let end = sequence.iter().position(|byte| (0x40..0x7f).contains(byte))?;
    let (sequence, after) = sequence.split_at(end + 1);
    let key = match sequence {
        b"A" => Key::Up,
        b"B" => Key::Down,
        b"D" => Key::Back,
        b"H" | b"1~" | b"7~" => Key::Home,
        b"F" | b"4~" | b"8~" => Key::End,
        b"5~" => Key::PageUp,
        b"6~" => Key::PageDown,
        b"200~" => return Some((None, after)),
        _ => Key::Other,
    };
    Some((Some(key), after))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn keys_of(bytes: &[u8]) -> Vec<Key> {
        let mut keyboard = Keyboard::default();
        let mut keys = keyboard.take(bytes);
        if keyboard.is_unsure() {
            keys.push(keyboard.settle());
        }
        keys
    }

    #[test]
    fn keys_are_told_apart_also_those_that_come_together() {
        let expected = [Key::Letter('n'), Key::Down, Key::Up, Key::PageDown, Key::Enter];
        assert_eq!(keys_of(b"n\x1b[B\x1bOA\x1b[6~\r"), expected);
        assert_eq!(keys_of(b"\x1b[1~\x1b[F\x7f"), [Key::Home, Key::End, Key::Back]);
        assert_eq!(keys_of(b"\x1b"), [Key::Back]);
        // A sequence that is not known is one key, with Alt, too.
        assert_eq!(
            keys_of(b"\x1b[1;5qN\x1bqj\x1b["),
            [Key::Other, Key::Other, Key::Other, Key::Letter('j'), Key::Other]
        );
        assert_eq!(keys_of(b"qQ\x03\x04"), [Key::Quit; 4]);
        // A pasted text is none.
        assert_eq!(keys_of(b"a\x1b[200~sy q\x1b[201\x1b[201~b"), [Key::Letter('a'), Key::Letter('b')]);
    }

    proptest! {
        #[test]
        fn keys_do_not_depend_on_how_bytes_come(
            parts in prop::collection::vec(prop::sample::select(vec![&b"n"[..], b"\x1b", b"[", b"B", b"200~", b"201~", b"\x1b[200~", b"\x1b[201~", b"5", b"~", b"q"]), 0..20),
            cuts in prop::collection::vec(any::<bool>(), 200),
        ) {
            let bytes = parts.concat();
            let (mut keyboard, mut keys, mut part) = (Keyboard::default(), Vec::new(), Vec::new());
            for (byte, cut) in bytes.iter().zip(cuts) {
                part.push(*byte);
                if cut {
                    keys.extend(keyboard.take(&std::mem::take(&mut part)));
                }
            }
            keys.extend(keyboard.take(&part));
            if keyboard.is_unsure() {
                keys.push(keyboard.settle());
            }
            prop_assert_eq!(keys, keys_of(&bytes));
        }
    }
}
