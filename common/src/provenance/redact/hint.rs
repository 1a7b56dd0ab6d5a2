//! Quickly finds texts without secrets, because a listing shows thousands of commands.

use crate::provenance::secret::{NO_STEMS, SHAPES, STEMS, WEBHOOKS};

/// A bit set with the first three bytes of stems and shapes, ignoring case: each as a number of 15 bits.
static BEGINNINGS: [u64; 512] = beginnings();

/// Returns whether a text, which may be JSON, contains anything that may lead to a secret.
pub(super) fn may_hold_secret(text: &str) -> bool {
    let mut number = 0;
    text.bytes().chain([0]).enumerate().any(|(at, byte)| {
        number = next(number, byte);
        BEGINNINGS[number / 64] >> (number % 64) & 1 == 1 && at >= 2 && leads(&text.as_bytes()[at - 2..])
    })
}

fn leads(text: &[u8]) -> bool {
    let begins =
        |word: &str| text.get(..word.len()).is_some_and(|start| start.eq_ignore_ascii_case(word.as_bytes()));
    SHAPES.iter().any(|shape| begins(shape.start))
        || WEBHOOKS.iter().any(|hook| begins(hook))
        || STEMS.iter().any(|stem| begins(stem)) && !NO_STEMS.iter().any(|word| begins(word))
}

const fn next(number: usize, byte: u8) -> usize {
    (number << 5 ^ (byte | 0x20) as usize) & 0x7fff
}

const fn beginnings() -> [u64; 512] {
    let mut beginnings = [0; 512];
    let mut at = 0;
    while at < STEMS.len() {
        beginnings = with(beginnings, STEMS[at]);
        at += 1;
    }
    at = 0;
    while at < SHAPES.len() {
        beginnings = with(beginnings, SHAPES[at].start);
        at += 1;
    }
    at = 0;
    while at < WEBHOOKS.len() {
        beginnings = with(beginnings, WEBHOOKS[at]);
        at += 1;
    }
    beginnings
}

const fn with(mut beginnings: [u64; 512], word: &str) -> [u64; 512] {
    let bytes = word.as_bytes();
    let two = next(next(0, bytes[0]), bytes[1]);
    let mut third = 0;
    while third <= u8::MAX as usize {
        if bytes.len() == 2 || bytes[2] as usize == third {
            #[expect(clippy::cast_possible_truncation, reason = "it is a byte")]
            let number = next(two, third as u8);
            beginnings[number / 64] |= 1 << (number % 64);
        }
        third += 1;
    }
    beginnings
}
