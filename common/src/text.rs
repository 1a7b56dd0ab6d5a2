//! Text for people: made safe for a terminal, and cut to size. Used by every tool.

use std::borrow::Cow;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// Replaces control characters, which could redraw a terminal or forge a line, by `?`.
pub fn printable(text: &str) -> Cow<'_, str> {
    if text.chars().any(is_harmful) {
        text.chars().map(|c| if is_harmful(c) { '?' } else { c }).collect()
    } else {
        Cow::Borrowed(text)
    }
}

/// Control characters (C0, DEL, C1), line separators, and the marks that reorder text.
fn is_harmful(c: char) -> bool {
    c.is_control() || matches!(c, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Cuts `text` to at most `limit` characters, the last of them an ellipsis when it was cut.
pub fn cut(text: &str, limit: usize) -> Cow<'_, str> {
    match text.char_indices().nth(limit) {
        None => Cow::Borrowed(text),
        Some(_) => {
            let kept: String = text.chars().take(limit.saturating_sub(1)).collect();
            Cow::Owned(kept + "…")
        }
    }
}

/// Cuts `text`, made safe, to so many columns of a terminal, the last of them an ellipsis when it was
/// cut.
pub fn fit(text: &str, columns: usize) -> String {
    let text = printable(text);
    if text.width() <= columns {
        return text.into_owned();
    }
    let mut kept = String::new();
    let mut used = 1; // the ellipsis
    for c in text.chars() {
        used += c.width().unwrap_or(0);
        if used > columns {
            break;
        }
        kept.push(c);
    }
    if columns > 0 {
        kept.push('…');
    }
    kept
}

/// Removes terminal control sequences (`ESC [ … letter`, `ESC ] … BEL`, other two-byte escapes).
pub fn without_escapes(text: &str) -> String {
    let mut kept = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        if c != '\u{1b}' {
            kept.push(c);
            continue;
        }
        match chars.next() {
            Some('[') => {
                for c in chars.by_ref() {
                    if ('\u{40}'..='\u{7e}').contains(&c) {
                        break;
                    }
                }
            }
            Some(']') => {
                while let Some(c) = chars.next() {
                    if c == '\u{7}' {
                        break;
                    }
                    if c == '\u{1b}' {
                        chars.next();
                        break;
                    }
                }
            }
            _ => {}
        }
    }
    kept
}

/// Formats a size for people: `512`, `1.5K`, `64M`, `2.0G`.
pub fn human_bytes(bytes: u64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
    let mut size = bytes as f64;
    let mut units = ["", "K", "M", "G", "T", "P"].iter();
    let mut unit = units.next().unwrap_or(&"");
    while size >= 1023.5
        && let Some(next) = units.next()
    {
        size /= 1024.0;
        unit = next;
    }
    if unit.is_empty() || size >= 9.95 { format!("{size:.0}{unit}") } else { format!("{size:.1}{unit}") }
}

/// Formats a number for people, in few digits.
pub fn figure(number: f64) -> String {
    let magnitude = number.abs();
    if number == 0.0 || (number.fract() == 0.0 && magnitude < 1e6) || !number.is_finite() {
        return format!("{number}");
    }
    let digits = match magnitude {
        m if !(1e-3..1e5).contains(&m) => return format!("{number:.3e}"),
        m if m < 1.0 => 4,
        m if m < 100.0 => 3,
        _ => 1,
    };
    format!("{number:.digits$}")
}

/// Formats a sum of money for people: with cents, and below one in few digits.
pub fn money(sum: f64) -> String {
    if sum.abs() < 0.01 { figure(sum) } else { format!("{sum:.2}") }
}

/// Quotes a word for a POSIX shell where it needs it.
pub fn shell_word(word: &str) -> Cow<'_, str> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,+@%^".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        Cow::Borrowed(word)
    } else {
        Cow::Owned(format!("'{}'", word.replace('\'', r"'\''")))
    }
}

/// Joins words as a shell would need them typed.
pub fn shell_line(words: &[String]) -> String {
    words.iter().map(|word| shell_word(word)).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_do_not_reach_a_terminal() {
        assert_eq!(printable("a\u{1b}[31mb\nc"), "a?[31mb?c");
        assert_eq!(printable("ünï 🚀"), "ünï 🚀");
        assert_eq!(without_escapes("\u{1b}[1;31mred\u{1b}[0m \u{1b}]0;title\u{7}x"), "red x");
    }

    #[test]
    fn words_come_through_a_shell() {
        assert_eq!(shell_word("a b"), "'a b'");
        assert_eq!(shell_word("it's"), r"'it'\''s'");
        assert_eq!(shell_word("--lr=1e-3"), "--lr=1e-3");
        assert_eq!(shell_word(""), "''");
    }

    #[test]
    fn sizes_have_two_or_three_digits() {
        let shown = [0, 1023, 1024, 1536, 10_239, 67_108_864, 2 << 30, u64::MAX].map(human_bytes);
        assert_eq!(shown, ["0", "1023", "1.0K", "1.5K", "10K", "64M", "2.0G", "16384P"]);
    }

    #[test]
    fn small_sums_are_not_nothing() {
        assert_eq!([12.345, 0.01, 0.004, 0.0].map(money), ["12.35", "0.01", "0.0040", "0"]);
    }

    #[test]
    fn cutting_counts_characters() {
        assert_eq!(cut("äöü", 3), "äöü");
        assert_eq!(cut("äöüß", 3), "äö…");
        assert_eq!(fit("語語語", 6), "語語語");
        assert_eq!(fit("語語語", 5), "語語…");
        assert_eq!(fit("語語語", 4), "語…");
        assert_eq!(fit("abc", 0), "");
    }
}
