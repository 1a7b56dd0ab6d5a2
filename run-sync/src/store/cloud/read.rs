//! Reads that continue where they were cut off.

use super::failure::Failure;
use super::http::{Http, header};
use super::retry::Retry;
use crate::store::Sink;
use std::ops::Range;
use ureq::Body;
use ureq::http::Response;

/// Requests an object once, whole or the range in a header.
type Ask<'a> = dyn Fn(Option<&str>) -> Result<Response<Body>, Failure> + 'a;

/// Passes on the bytes of a non-empty range as they arrive. A range up to [`u64::MAX`] has no end.
pub(super) fn read(
    http: &Http,
    retry: &Retry,
    range: Range<u64>,
    ask: &Ask<'_>,
    sink: &mut Sink<'_>,
) -> Result<(), Failure> {
    let (mut at, mut attempts) = (range.start, retry.begin());
    loop {
        let before = at;
        match read_on(http, &mut at, range.end, ask, sink) {
            Ok(()) => {
                retry.passed();
                return Ok(());
            }
            Err(failure) => {
                if at > before {
                    attempts.progressed();
                }
                attempts.failed(failure)?;
            }
        }
    }
}

/// Continues a read at `at`, after the bytes already passed on, up to `end`.
fn read_on(http: &Http, at: &mut u64, end: u64, ask: &Ask<'_>, sink: &mut Sink<'_>) -> Result<(), Failure> {
    let range = match end {
        u64::MAX => format!("bytes={at}-"),
        end => format!("bytes={at}-{}", end - 1),
    };
    let is_whole = *at == 0 && end == u64::MAX;
    let answer = match ask(if is_whole { None } else { Some(&range) }) {
        Err(failure) if failure.status() == 416 => return Ok(()), // the range begins behind the last byte
        answer => answer?,
    };
    let length = header(answer.headers(), "content-length").and_then(|length| length.parse::<u64>().ok());
    // A store without ranges sends the whole object.
    let mut skip = if answer.status() == 206 { 0 } else { *at };
    if answer.status() == 206 {
        let told = header(answer.headers(), "content-range").unwrap_or_default();
        if !told.starts_with(&format!("bytes {at}-")) {
            return Err(Failure::Malformed(format!("'{told}' in place of '{range}'")));
        }
    }
    let mut received = 0;
    http.receive(answer, |bytes| {
        received += bytes.len() as u64;
        let skipped = usize::try_from(skip).unwrap_or(usize::MAX).min(bytes.len());
        skip -= skipped as u64;
        let most = usize::try_from(end - *at).unwrap_or(usize::MAX);
        let bytes = &bytes[skipped..];
        let bytes = &bytes[..bytes.len().min(most)];
        if !bytes.is_empty() {
            sink(bytes).map_err(Failure::Sink)?;
            *at += bytes.len() as u64;
        }
        Ok(())
    })?;
    match length {
        Some(length) if length != received => Err(Failure::Transport("the connection was cut".to_owned())),
        _ => Ok(()),
    }
}
