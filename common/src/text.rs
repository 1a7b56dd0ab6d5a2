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

/// Cuts `text` to at most `limit` characters; if cut, the last one is an ellipsis.
pub fn cut(text: &str, limit: usize) -> Cow<'_, str> {
    match text.char_indices().nth(limit) {
        None => Cow::Borrowed(text),
        Some(_) => {
            let kept: String = text.chars().take(limit.saturating_sub(1)).collect();
            Cow::Owned(kept + "…")
        }
    }
}

/// Cuts `text`, made safe, to at most this width in columns of a terminal; if cut, the last one is an
/// ellipsis.
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

/// Cuts `text`, made safe, to at most this width in columns of a terminal; if cut, an ellipsis replaces its
/// middle.
pub fn fit_middle(text: &str, columns: usize) -> String {
    fit_around(text, columns, columns / 2 + columns % 2)
}

/// Like [`fit_middle`], but keeps more of the end, which distinguishes names such as `loss.last` and
/// `loss.best`.
pub fn fit_end(text: &str, columns: usize) -> String {
    fit_around(text, columns, columns.div_ceil(3))
}

/// Cuts a text; the part up to the ellipsis has at most `head` columns.
fn fit_around(text: &str, columns: usize, head: usize) -> String {
    let text = printable(text);
    if text.width() <= columns {
        return text.into_owned();
    }
    let head = fit(&text, head);
    let mut used = head.width();
    let mut tail: Vec<char> = Vec::new();
    for c in text.chars().rev() {
        used += c.width().unwrap_or(0);
        if used > columns {
            break;
        }
        tail.push(c);
    }
    head + &tail.into_iter().rev().collect::<String>()
}

/// Makes one line of a text: without terminal control sequences, and with a blank for each break or control character.
pub fn one_line(text: &str) -> String {
    let plain = without_escapes(text);
    let words = plain.split(|c: char| c.is_control() || c == '\u{2028}' || c == '\u{2029}');
    words.map(str::trim).filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
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
    fn cutting_counts_characters() {
        assert_eq!(cut("äöü", 3), "äöü");
        assert_eq!(cut("äöüß", 3), "äö…");
        assert_eq!(fit("語語語", 6), "語語語");
        assert_eq!(fit("語語語", 5), "語語…");
        assert_eq!(fit("語語語", 4), "語…");
        assert_eq!(fit("abc", 0), "");
        assert_eq!(fit_middle("abcdefgh", 8), "abcdefgh");
        assert_eq!(
            [7, 6, 2, 1, 0].map(|width| fit_middle("abcdefgh", width)),
            ["abc…fgh", "ab…fgh", "…h", "…", ""]
        );
        assert_eq!(fit_end("loss.last.mean", 13), "loss…ast.mean");
        assert_eq!([4, 1, 0].map(|width| fit_end("loss.last", width)), ["l…st", "…", ""]);
    }
}
