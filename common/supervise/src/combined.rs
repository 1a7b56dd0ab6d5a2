//! combined.log: both streams line by line in the container-log (CRI) format,
//! `2026-01-29T12:00:00.123456Z stdout F text`. Pure: bytes and times in, bytes out.

use chrono::{DateTime, Utc};
use memchr::{memchr, memchr_iter, memchr2, memchr2_iter};

/// Maximum size of a piece of a line; longer lines are cut into pieces marked `P`, the last one `F`.
pub(super) const PIECE: usize = 16 << 10;

/// How often to sample a line that is being redrawn, in microseconds.
const SAMPLE: i64 = 10_000_000;

/// Lines up to this size are copied with a constant size, which needs no call; excess bytes are overwritten
/// by the next copy.
const SHORT: usize = 32;

/// The same for longer lines.
const USUAL: usize = 128;

/// An output stream of the command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// Turns the bytes of the streams into lines of combined.log.
#[derive(Debug)]
pub(super) struct Combined {
    stamp: Stamp,
    stdout: Line,
    stderr: Line,
}

/// The unfinished line of a stream.
#[derive(Debug, Default)]
struct Line {
    /// Text since the line began or was last redrawn.
    text: Vec<u8>,
    /// Whether the last byte was a carriage return: with a newline it ends the line, else it redraws the
    /// line.
    returned: bool,
    /// Whether the cursor was moved up: this line redraws others.
    moved_up: bool,
    /// Whether pieces of the line have been written.
    cut: bool,
    /// Time at which the line began or was last sampled.
    since: Option<i64>,
    /// The last of several lines that each redraw the lines above; written when redrawing ends.
    held: Option<Vec<u8>>,
    /// Time since which lines are held back, or of the last written one.
    held_since: i64,
}

impl Default for Combined {
    fn default() -> Self {
        Self { stamp: Stamp::at(0), stdout: Line::default(), stderr: Line::default() }
    }
}

impl Combined {
    /// Adds bytes of a stream that arrived at `now` (microseconds since 1970), and appends the completed
    /// lines to `out`. Their size is bounded by that of `bytes` and 16 KiB, plus the 37 bytes before every
    /// line. `each` gets the whole lines that are not cut into pieces, without line ends and in their final
    /// state.
    pub(super) fn push(
        &mut self,
        stream: Stream,
        bytes: &[u8],
        now: i64,
        out: &mut Out,
        each: &mut impl FnMut(&[u8]),
    ) {
        self.stamp.set(now);
        let (line, name) = match stream {
            Stream::Stdout => (&mut self.stdout, b" stdout "),
            Stream::Stderr => (&mut self.stderr, b" stderr "),
        };
        let writer = Writer { head: self.stamp.head(*name), now };
        let mut rest = bytes;
        if line.is_plain() && memchr2(b'\r', b'\x1b', rest).is_none() {
            // Nearly all output consists of lines of plain text.
            if !line.text.is_empty() || line.cut {
                let end = memchr(b'\n', rest);
                line.add(&rest[..end.unwrap_or(rest.len())], &writer, out);
                let Some(end) = end else { return };
                line.show(each);
                line.finish(&writer, out);
                rest = &rest[end + 1..];
            }
            rest = writer.plain(rest, out, each);
        }
        let mut start = 0;
        for end in memchr2_iter(b'\n', b'\r', rest) {
            line.add(&rest[start..end], &writer, out);
            match rest[end] {
                b'\n' => {
                    line.show(each);
                    line.finish(&writer, out);
                }
                _ => line.returned = true,
            }
            start = end + 1;
        }
        line.add(&rest[start..], &writer, out);
    }

    /// Appends the rest after the streams have ended: a last line without newline.
    pub(super) fn finish(&mut self, now: i64, out: &mut Out) {
        self.stamp.set(now);
        for (line, name) in [(&mut self.stdout, b" stdout "), (&mut self.stderr, b" stderr ")] {
            let writer = Writer { head: self.stamp.head(*name), now };
            if !line.text.is_empty() || line.cut {
                line.moved_up = false;
                line.finish(&writer, out); // `each` gets no partial lines
            }
            line.release(&writer, out);
        }
    }
}

impl Line {
    fn is_plain(&self) -> bool {
        !self.returned && !self.moved_up && self.held.is_none()
    }

    /// Adds text that contains neither newlines nor carriage returns.
    fn add(&mut self, mut text: &[u8], writer: &Writer, out: &mut Out) {
        if text.is_empty() {
            return;
        }
        let since = *self.since.get_or_insert(writer.now);
        if std::mem::take(&mut self.returned) {
            self.moved_up |= has_cursor_up(&self.text);
            if writer.now - since >= SAMPLE {
                writer.line(last_state(&self.text), out);
                self.since = Some(writer.now);
            }
            self.text.clear();
        }
        while self.text.len() + text.len() > PIECE {
            let (piece, rest) = text.split_at(PIECE - self.text.len());
            self.text.extend_from_slice(piece);
            writer.piece(&self.text, out);
            self.text.clear();
            self.cut = true;
            text = rest;
        }
        self.text.extend_from_slice(text);
    }

    /// Passes the line on if it is whole.
    fn show(&self, each: &mut impl FnMut(&[u8])) {
        if !self.cut {
            each(&self.text);
        }
    }

    /// Ends the line.
    fn finish(&mut self, writer: &Writer, out: &mut Out) {
        let moved_up = self.moved_up || has_cursor_up(&self.text);
        if moved_up && !self.cut {
            if self.held.is_none() {
                self.held_since = writer.now;
            }
            self.held = Some(last_state(&self.text).to_vec());
            if writer.now - self.held_since >= SAMPLE {
                self.release(writer, out);
            }
        } else {
            self.release(writer, out);
            writer.line(&self.text, out);
        }
        self.text.clear();
        (self.returned, self.moved_up, self.cut, self.since) = (false, false, false, None);
    }

    /// Writes the line that was held back, if any.
    fn release(&mut self, writer: &Writer, out: &mut Out) {
        if let Some(held) = self.held.take() {
            writer.line(&held, out);
        }
    }
}

/// Finds a cursor-up sequence, `ESC [ n A`; returns its start and end.
fn cursor_up(text: &[u8]) -> Option<(usize, usize)> {
    memchr_iter(b'\x1b', text).find_map(|start| {
        let parameters = text[start + 1..].strip_prefix(b"[")?;
        let digits = parameters.iter().take_while(|byte| byte.is_ascii_digit()).count();
        (parameters.get(digits) == Some(&b'A')).then_some((start, start + 3 + digits))
    })
}

fn has_cursor_up(text: &[u8]) -> bool {
    cursor_up(text).is_some()
}

/// Returns the last drawn part of a text that moves the cursor up: its last part that is not empty.
fn last_state(text: &[u8]) -> &[u8] {
    let (mut last, mut rest) = (text, text);
    while let Some((start, end)) = cursor_up(rest) {
        if start > 0 {
            last = &rest[..start];
        }
        rest = &rest[end..];
    }
    if rest.is_empty() { last } else { rest }
}

/// Length of `2026-01-29T12:00:00.123456Z`.
const STAMP: usize = 27;

/// Length of the stamp, ` stdout ` and `F `.
const HEAD: usize = STAMP + 10;

/// The same, rounded up to whole vectors: a copy of constant size needs no call.
const PADDED_HEAD: usize = 48;

/// Writes lines that arrived together on one stream.
struct Writer {
    head: [u8; PADDED_HEAD],
    now: i64,
}

impl Writer {
    /// Writes the whole lines of plain text; returns the rest.
    fn plain<'a>(&self, bytes: &'a [u8], out: &mut Out, each: &mut impl FnMut(&[u8])) -> &'a [u8] {
        let to = out.room(bytes.len() * (1 + HEAD) + PADDED_HEAD + USUAL);
        let (mut start, mut at) = (0, 0);
        for end in memchr_iter(b'\n', bytes) {
            each(&bytes[start..end]);
            to[at..at + PADDED_HEAD].copy_from_slice(&self.head);
            at += HEAD;
            let length = end + 1 - start;
            let (from, to) = (&bytes[start..], &mut to[at..]);
            if !copy_short::<SHORT>(from, to, length) && !copy_short::<USUAL>(from, to, length) {
                to[..length].copy_from_slice(&from[..length]);
            }
            at += length;
            start = end + 1;
        }
        out.length += at;
        &bytes[start..]
    }

    fn line(&self, text: &[u8], out: &mut Out) {
        out.append(&self.head[..HEAD]);
        out.append(text);
        out.append(b"\n");
    }

    fn piece(&self, text: &[u8], out: &mut Out) {
        let mut head = self.head;
        head[HEAD - 2] = b'P';
        Self { head, now: self.now }.line(text, out);
    }
}

/// Copies a text of a length up to `SIZE`, with excess bytes; returns whether there was room.
fn copy_short<const SIZE: usize>(from: &[u8], to: &mut [u8], length: usize) -> bool {
    match (from.first_chunk::<SIZE>(), to.first_chunk_mut::<SIZE>()) {
        (Some(from), Some(to)) if length <= SIZE => {
            *to = *from;
            true
        }
        _ => false,
    }
}

/// Buffered text of combined.log. Its memory is reused without being zeroed again.
#[derive(Debug, Default)]
pub(super) struct Out {
    bytes: Vec<u8>,
    length: usize,
}

impl Out {
    /// Returns the text.
    pub(super) fn text(&self) -> &[u8] {
        &self.bytes[..self.length]
    }

    /// Clears the written text.
    pub(super) fn clear(&mut self) {
        self.length = 0;
    }

    /// Returns the space after the text, of at least this many bytes.
    fn room(&mut self, size: usize) -> &mut [u8] {
        if self.bytes.len() < self.length + size {
            self.bytes.resize(self.length + size, 0);
        }
        &mut self.bytes[self.length..]
    }

    fn append(&mut self, text: &[u8]) {
        self.room(text.len())[..text.len()].copy_from_slice(text);
        self.length += text.len();
    }
}

/// A time as text; the seconds are formatted only when they change.
#[derive(Debug)]
struct Stamp {
    second: i64,
    text: [u8; STAMP],
}

impl Stamp {
    fn at(now: i64) -> Self {
        let mut stamp = Self { second: i64::MIN, text: [b'0'; STAMP] };
        stamp.set(now);
        stamp
    }

    fn set(&mut self, now: i64) {
        let second = now.div_euclid(1_000_000);
        if second != self.second {
            self.second = second;
            let time = DateTime::<Utc>::from_timestamp(second, 0).unwrap_or_default();
            let text = time.format("%Y-%m-%dT%H:%M:%S.000000Z").to_string();
            if text.len() == STAMP {
                self.text.copy_from_slice(text.as_bytes());
            }
        }
        let mut micros = now.rem_euclid(1_000_000);
        for digit in self.text[20..26].iter_mut().rev() {
            *digit = b'0' + u8::try_from(micros % 10).unwrap_or_default();
            micros /= 10;
        }
    }

    fn head(&self, stream: [u8; 8]) -> [u8; PADDED_HEAD] {
        let mut head = [b' '; PADDED_HEAD];
        head[..STAMP].copy_from_slice(&self.text);
        head[STAMP..STAMP + 8].copy_from_slice(&stream);
        head[HEAD - 2] = b'F';
        head
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECOND: i64 = 1_000_000;
    const NOON: i64 = 1_769_688_000 * SECOND; // 2026-01-29 12:00:00

    /// Pushes pieces of stdout, `pause` apart, and returns tag and text of each line.
    fn lines(pieces: &[&[u8]], pause: i64) -> Vec<(char, Vec<u8>)> {
        let (mut combined, mut out, mut now) = (Combined::default(), Out::default(), NOON);
        for piece in pieces {
            combined.push(Stream::Stdout, piece, now, &mut out, &mut |_: &[u8]| {});
            now += pause;
        }
        combined.finish(now, &mut out);
        parse(out.text())
    }

    fn parse(out: &[u8]) -> Vec<(char, Vec<u8>)> {
        let mut lines: Vec<&[u8]> = out.split(|&byte| byte == b'\n').collect();
        assert_eq!(lines.pop(), Some(&b""[..]));
        lines
            .iter()
            .map(|line| {
                assert_eq!((line[4], line[10], line[26], line[HEAD - 1]), (b'-', b'T', b'Z', b' '));
                (line[HEAD - 2] as char, line[HEAD..].to_vec())
            })
            .collect()
    }

    fn full(texts: &[&str]) -> Vec<(char, Vec<u8>)> {
        texts.iter().map(|text| ('F', text.as_bytes().to_vec())).collect()
    }

    #[test]
    fn a_line_has_its_time_stream_and_tag() {
        let (mut combined, mut out) = (Combined::default(), Out::default());
        combined.push(Stream::Stdout, b"one\ntw", NOON + 123_456, &mut out, &mut |_: &[u8]| {});
        combined.push(Stream::Stderr, b"err\n", NOON + SECOND, &mut out, &mut |_: &[u8]| {});
        combined.push(Stream::Stdout, b"o\n\n", NOON + 61 * SECOND + 7, &mut out, &mut |_: &[u8]| {});
        assert_eq!(
            String::from_utf8(out.text().to_vec()).unwrap(),
            "2026-01-29T12:00:00.123456Z stdout F one\n2026-01-29T12:00:01.000000Z stderr F err\n\
             2026-01-29T12:01:01.000007Z stdout F two\n2026-01-29T12:01:01.000007Z stdout F \n"
        );
    }

    #[test]
    fn a_progress_bar_is_kept_in_its_final_state() {
        assert_eq!(lines(&[b"\r 10%", b"\r 20%", b"\r100%\n", b"done\r\n"], 1), full(&["100%", "done"]));
        assert_eq!(lines(&[b"a\rb\r", b"\nc\r\r\n"], 1), full(&["b", "c"]));
        assert_eq!(lines(&[b"a\rb"], 1), full(&["b"]));
    }

    #[test]
    fn whole_lines_are_shown_as_they_were_last_drawn() {
        let (mut combined, mut out, mut seen) = (Combined::default(), Out::default(), Vec::new());
        let long = vec![b'x'; PIECE + 1];
        for piece in [&b"pla"[..], b"in\n 10%\r100%\n", b"\x1b[Aup\r\n", &long, b"\nlast"] {
            let mut each = |line: &[u8]| seen.push(String::from_utf8(line.to_vec()).unwrap());
            combined.push(Stream::Stdout, piece, NOON, &mut out, &mut each);
        }
        combined.finish(NOON, &mut out);
        assert_eq!(seen, ["plain", "100%", "\x1b[Aup"]);
    }

    #[test]
    fn a_progress_bar_is_sampled_while_it_lasts() {
        let bar: Vec<Vec<u8>> = (0..40).map(|second| format!("\r{second}").into_bytes()).collect();
        let pieces: Vec<&[u8]> = bar.iter().map(Vec::as_slice).collect();
        assert_eq!(lines(&pieces, SECOND), full(&["9", "19", "29", "39"]));
    }

    #[test]
    fn lines_that_redraw_those_above_are_kept_in_their_final_state() {
        let mut pieces: Vec<&[u8]> = vec![b"start\n"];
        pieces.extend([&b"\rinner\x1b[A\router\n"[..]; 1000]);
        pieces.push(b"end\n");
        assert_eq!(lines(&pieces, 1), full(&["start", "outer", "end"]));
        assert_eq!(lines(&[b"\x1b[2Aone\n", b"\x1b[2Atwo\n"], 1), full(&["two"]));
    }

    #[test]
    fn a_long_line_is_cut_into_pieces() {
        let long = vec![b'x'; 2 * PIECE + 5];
        let text = |length| vec![b'x'; length];
        let cut = vec![('P', text(PIECE)), ('P', text(PIECE)), ('F', text(5))];
        assert_eq!(lines(&[&long, b"\n"], 1), cut);
        assert_eq!(lines(&[&long], 1), cut);
        assert_eq!(lines(&[&long[..PIECE], b"\n"], 1), vec![('F', text(PIECE))]);
    }

    proptest! {
        #[test]
        fn plain_text_comes_through_whole(text in "[a-z\n]{0,200}", cuts in prop::collection::vec(0usize..200, 0..6)) {
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(text.len())).collect();
            cuts.sort_unstable();
            let (mut pieces, mut start) = (Vec::new(), 0);
            for cut in cuts.into_iter().chain([text.len()]) {
                pieces.push(&text.as_bytes()[start..cut]);
                start = cut;
            }
            let expected: Vec<&str> = text.lines().collect();
            prop_assert_eq!(lines(&pieces, 1), full(&expected));
        }

        #[test]
        fn lines_of_any_length_come_through_whole(lengths in prop::collection::vec(0usize..600, 0..40)) {
            let texts: Vec<String> = lengths.iter().map(|&length| "x".repeat(length)).collect();
            let text: String = texts.iter().map(|text| format!("{text}\n")).collect();
            let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
            prop_assert_eq!(lines(&[text.as_bytes()], 1), full(&texts));
        }

        #[test]
        fn any_bytes_are_lines(pieces: Vec<Vec<u8>>) {
            let pieces: Vec<&[u8]> = pieces.iter().map(Vec::as_slice).collect();
            lines(&pieces, SECOND);
        }
    }
}
