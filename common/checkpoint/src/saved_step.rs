//! Reads the step that is recorded in a file: a number at the top level of the output of `torch.save` or
//! `pickle.dump`, such as `iter_num`. Nothing in the file is executed: only numbers and the keys below are
//! kept, all other objects of a pickle are skipped (Python's pickletools describes the opcodes).

use crate::bytes::Bytes;
use crate::pickle::{self, Reader};
use crate::zip;
use std::collections::HashMap;
use std::io;
use std::path::Path;

/// Keys of a step, in order of preference.
const STEPS: [&str; 17] = [
    "global_step",
    "global_steps",
    "step",
    "iter_num",
    "iteration",
    "iter",
    "num_updates",
    "num_timesteps",
    "timestep",
    "timesteps",
    "current_step",
    "train_step",
    "step_num",
    "n_iter",
    "update",
    "env_step",
    "it",
];

/// Keys of an epoch.
const EPOCHS: [&str; 2] = ["epoch", "current_epoch"];

/// Maximum number of opcodes to read; beyond this, the step is unknown.
const MOST: usize = 2_000_000;

/// The recorded numbers of a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Saved {
    pub(crate) step: Option<u64>,
    pub(crate) epoch: Option<u64>,
}

/// Reads the recorded numbers of a file; none from an unreadable file.
pub(crate) fn saved(path: &Path) -> Saved {
    let read = || -> io::Result<Saved> {
        let Ok(file) = Bytes::open(path) else { return Ok(Saved::default()) };
        if file.read(0, zip::MAGIC.len())? == zip::MAGIC {
            let start = zip::stored(&file, "data.pkl")?;
            return start.map_or(Ok(Saved::default()), |start| of_pickle(&file, start));
        }
        match pickle::object_at(&file)? {
            Some(start) => of_pickle(&file, start),
            None => Ok(Saved::default()),
        }
    };
    read().unwrap_or_default()
}

fn of_pickle(file: &Bytes, start: u64) -> io::Result<Saved> {
    let mut machine = Machine {
        reader: Reader::new(file, start),
        stack: Vec::new(),
        memo: HashMap::new(),
        memoized: 0,
        found: HashMap::new(),
    };
    for _ in 0..MOST {
        match machine.next()? {
            Some(true) => {}
            // Numbers found in part of a file are as valid as those in the whole file.
            Some(false) | None => break,
        }
    }
    let first = |keys: &[&'static str]| keys.iter().find_map(|key| machine.found.get(key).copied());
    Ok(Saved { step: first(&STEPS), epoch: first(&EPOCHS) })
}

/// An entry of the machine's stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Item {
    Mark,
    Key(&'static str),
    Whole(u64),
    Other,
}

/// A machine that executes the stack operations of a pickle, and creates no objects.
struct Machine<'a> {
    reader: Reader<'a>,
    stack: Vec<Item>,
    memo: HashMap<u32, Item>,
    memoized: u32,
    /// Numbers in the first object.
    found: HashMap<&'static str, u64>,
}

impl Machine<'_> {
    /// Executes an opcode; false at the end, `None` if the pickle is cut or unknown.
    fn next(&mut self) -> io::Result<Option<bool>> {
        let Some(opcode) = self.number(1)? else { return Ok(None) };
        let is_done = match u8::try_from(opcode).unwrap_or(b'.') {
            b'.' => return Ok(Some(false)),
            0x80 => self.reader.skip(1),
            0x95 => self.reader.skip(8),
            0x98 => true,
            b'(' => self.push(Item::Mark),
            b'K' => self.whole(1)?,
            b'M' => self.whole(2)?,
            b'J' => self.whole(4)?,
            0x8a => match self.number(1)? {
                Some(length @ 1..=8) => self.whole(usize::try_from(length).unwrap_or(8))?,
                Some(length) => self.reader.skip(length) && self.push(Item::Other),
                None => false,
            },
            b'G' => self.float()?,
            b'U' | 0x8c => self.text(1)?,
            b'T' | b'X' => self.text(4)?,
            0x8d => self.text(8)?,
            b'C' => self.passed(1)?,
            b'B' | 0x8b => self.passed(4)?,
            0x8e | 0x96 => self.passed(8)?,
            b'c' => self.reader.skip_line()? && self.reader.skip_line()? && self.push(Item::Other),
            b'N' | b')' | b']' | b'}' | 0x88 | 0x89 | 0x8f | 0x97 => self.push(Item::Other),
            0x82 => self.reader.skip(1) && self.push(Item::Other),
            0x83 => self.reader.skip(2) && self.push(Item::Other),
            0x84 => self.reader.skip(4) && self.push(Item::Other),
            b'2' => self.stack.last().copied().is_some_and(|top| self.push(top)),
            b'0' | b'a' | b'b' => self.pop(1),
            b'Q' | 0x85 => self.pop(1) && self.push(Item::Other),
            b'R' | 0x81 | 0x86 | 0x93 => self.pop(2) && self.push(Item::Other),
            0x87 | 0x92 => self.pop(3) && self.push(Item::Other),
            b't' | b'l' | b'd' | b'o' | 0x91 => self.pop_mark().is_some() && self.push(Item::Other),
            b'e' | b'1' | 0x90 => self.pop_mark().is_some(),
            b'u' => self.pop_mark().is_some_and(|items| self.note(&items)),
            b's' => match self.stack.len().checked_sub(2) {
                Some(from) => {
                    let items = self.stack.split_off(from);
                    self.note(&items)
                }
                None => false,
            },
            b'q' => self.number(1)?.is_some_and(|at| self.put(at)),
            b'r' => self.number(4)?.is_some_and(|at| self.put(at)),
            0x94 => {
                let at = self.memoized;
                self.put(at.into())
            }
            b'h' => self.number(1)?.is_some_and(|at| self.get(at)),
            b'j' => self.number(4)?.is_some_and(|at| self.get(at)),
            _ => false,
        };
        Ok(is_done.then_some(true))
    }

    fn push(&mut self, item: Item) -> bool {
        self.stack.push(item);
        true
    }

    fn pop(&mut self, count: usize) -> bool {
        let left = self.stack.len().checked_sub(count);
        self.stack.truncate(left.unwrap_or(0));
        left.is_some()
    }

    fn pop_mark(&mut self) -> Option<Vec<Item>> {
        let mark = self.stack.iter().rposition(|item| *item == Item::Mark)?;
        let items = self.stack.split_off(mark + 1);
        self.stack.pop();
        Some(items)
    }

    /// Takes the keys and values of a dictionary; only those of the first object on the stack count.
    fn note(&mut self, items: &[Item]) -> bool {
        if self.stack.len() == 1 {
            for pair in items.chunks_exact(2) {
                if let [Item::Key(key), Item::Whole(value)] = pair {
                    self.found.insert(key, *value);
                }
            }
        }
        !self.stack.is_empty()
    }

    fn put(&mut self, at: u64) -> bool {
        let (Some(top), Ok(at)) = (self.stack.last(), u32::try_from(at)) else { return false };
        self.memoized = self.memoized.saturating_add(1);
        match top {
            Item::Key(_) | Item::Whole(_) => _ = self.memo.insert(at, *top),
            _ => _ = self.memo.remove(&at),
        }
        true
    }

    fn get(&mut self, at: u64) -> bool {
        let item = u32::try_from(at).ok().and_then(|at| self.memo.get(&at)).copied();
        self.push(item.unwrap_or(Item::Other))
    }

    /// Reads an unsigned number of this many bytes.
    fn number(&mut self, length: usize) -> io::Result<Option<u64>> {
        let mut bytes = [0; 8];
        Ok(self.reader.take(length)?.map(|taken| {
            bytes[..length].copy_from_slice(taken);
            u64::from_le_bytes(bytes)
        }))
    }

    /// Pushes a whole number of this many bytes; with more than two bytes it is signed.
    fn whole(&mut self, length: usize) -> io::Result<bool> {
        let Some(number) = self.number(length)? else { return Ok(false) };
        let is_negative = length != 2 && length > 1 && number >> (8 * length - 1) == 1;
        Ok(self.push(if is_negative { Item::Other } else { Item::Whole(number) }))
    }

    fn float(&mut self) -> io::Result<bool> {
        let Some(bits) = self.number(8)? else { return Ok(false) };
        let number = f64::from_bits(bits.swap_bytes());
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "checked to be whole and small"
        )]
        let item = if number.fract() == 0.0 && (0.0..9e15).contains(&number) {
            Item::Whole(number as u64)
        } else {
            Item::Other
        };
        Ok(self.push(item))
    }

    /// Pushes a text whose length has this many bytes: as a known key, or as an unknown object.
    fn text(&mut self, length: usize) -> io::Result<bool> {
        let Some(count) = self.number(length)? else { return Ok(false) };
        let longest = STEPS.iter().chain(&EPOCHS).map(|key| key.len()).max().unwrap_or(0);
        match usize::try_from(count).ok().filter(|count| *count <= longest) {
            Some(count) => {
                let Some(text) = self.reader.take(count)? else { return Ok(false) };
                let key = STEPS.iter().chain(&EPOCHS).find(|key| key.as_bytes() == text);
                let item = key.map_or(Item::Other, |key| Item::Key(key));
                Ok(self.push(item))
            }
            None => Ok(self.reader.skip(count) && self.push(Item::Other)),
        }
    }

    /// Skips bytes whose length has this many bytes.
    fn passed(&mut self, length: usize) -> io::Result<bool> {
        let Some(count) = self.number(length)? else { return Ok(false) };
        Ok(self.reader.skip(count) && self.push(Item::Other))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::fs;

    fn said(pickle: &[u8]) -> Saved {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ckpt.pt");
        fs::write(&path, pickle).unwrap();
        saved(&path)
    }

    #[test]
    fn numbers_at_the_top_count_and_those_inside_do_not() {
        let of = |step: Option<u64>, epoch: Option<u64>| Saved { step, epoch };
        assert_eq!(said(b"\x80\x02}X\x04\0\0\0stepK\x07s."), of(Some(7), None));
        // A nested object may define a key earlier, and the memo then supplies it.
        let inside =
            b"\x80\x02}(X\x01\0\0\0o}X\x04\0\0\0stepq\x05K\x09sX\x05\0\0\0epochK\x02h\x05M\x2c\x01u.";
        assert_eq!(said(inside), of(Some(300), Some(2)));
        assert_eq!(said(b"\x80\x02]}X\x04\0\0\0stepK\x07sa."), of(None, None));
        assert_eq!(said(b"\x80\x02}X\x04\0\0\0stepJ\xff\xff\xff\xffs."), of(None, None));
        // Numbers read before the file ends are valid.
        assert_eq!(said(b"\x80\x02}X\x04\0\0\0stepK\x07s(((("), of(Some(7), None));
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn no_pickle_leads_to_a_panic(opcodes in prop::collection::vec(prop_oneof![
            prop::sample::select(b"(.0123NQRabdelosutqhrj}])KMJGXUTCBc\x80\x81\x85\x86\x87\x88\x8a\x8c\x8d\x91\x92\x93\x94\x95\x96\x97\x98".to_vec()),
            any::<u8>(),
        ], 0..200)) {
            said(&[b"\x80\x02", &opcodes[..]].concat());
        }
    }
}
