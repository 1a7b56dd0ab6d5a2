//! As much of HTTP/1.1 as the page needs: GET requests without a body, each on a connection of its own.

use httparse::{EMPTY_HEADER, Request as Head, Status};
use std::io::{self, Read, Write};
use std::net::{IpAddr, TcpStream};
use std::time::{Duration, Instant};

/// Maximum size of the head of a request, and maximum number of its fields.
const HEAD: usize = 16 << 10;
const FIELDS: usize = 100;

/// Time for the head of a request, and for each write of an answer: a client that stalls is left.
const PATIENCE: Duration = Duration::from_secs(10);

/// Time for a whole answer, or for an event: a client that takes a little now and then is left, too.
const WHOLE: Duration = Duration::from_secs(120);

/// Fields of every answer: nothing is kept, framed, sniffed or sent on.
const COMMON: &str = "Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\nReferrer-Policy: no-referrer\r\n\
    Cross-Origin-Resource-Policy: same-origin\r\nX-Frame-Options: DENY\r\nConnection: close\r\n";

/// A request.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Request {
    pub(super) method: String,
    /// The path without the query.
    pub(super) path: String,
    /// Names and values of the query, as they were sent; the page sends nothing that needs decoding.
    query: Vec<(String, String)>,
    /// The host that the client asked, without the port.
    pub(super) host: Option<String>,
}

impl Request {
    /// Reads a request; `None` if the client is too slow, too long, or speaks another protocol.
    pub(super) fn read(stream: &mut TcpStream) -> Option<Self> {
        stream.set_write_timeout(Some(PATIENCE)).ok()?;
        let until = Instant::now() + PATIENCE;
        let (mut bytes, mut block) = (Vec::new(), [0; 4096]);
        while bytes.len() < HEAD {
            let left = until.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())?;
            stream.set_read_timeout(Some(left)).ok()?;
            let length = stream.read(&mut block).ok().filter(|&length| length > 0)?;
            bytes.extend_from_slice(&block[..length]);
            if let Status::Complete(parsed) = Self::parse(&bytes) {
                return parsed;
            }
        }
        None
    }

    /// Parses a head, which may not be complete yet; `None` if it is no head.
    fn parse(bytes: &[u8]) -> Status<Option<Self>> {
        let mut fields = [EMPTY_HEADER; FIELDS];
        let mut head = Head::new(&mut fields);
        match head.parse(bytes) {
            Ok(Status::Partial) => return Status::Partial,
            Ok(Status::Complete(_)) => {}
            Err(_) => return Status::Complete(None),
        }
        let hosts: Vec<&[u8]> = head
            .headers
            .iter()
            .filter(|field| field.name.eq_ignore_ascii_case("host"))
            .map(|field| field.value)
            .collect();
        let host = match hosts.as_slice() {
            [host] => str::from_utf8(host).ok().map(|host| without_port(host).to_ascii_lowercase()),
            _ => None,
        };
        let target = head.path.unwrap_or_default();
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let pair = |pair: &str| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (name.to_owned(), value.to_owned())
        };
        Status::Complete(Some(Self {
            method: head.method.unwrap_or_default().to_owned(),
            path: path.to_owned(),
            query: query.split('&').filter(|text| !text.is_empty()).map(pair).collect(),
            host,
        }))
    }

    /// Returns a value of the query.
    pub(super) fn value(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// Returns whether the client asked this machine by a name that no other site can have: a page of another site may
    /// have its name lead here.
    pub(super) fn is_for_loopback(&self) -> bool {
        self.host.as_deref().is_some_and(|host| {
            let host = host.trim_start_matches('[').trim_end_matches(']');
            host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
        })
    }
}

/// Returns the host of a `Host` field, without its port.
fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) && !host.ends_with(':') => host,
        _ => host,
    }
}

/// Writes an answer. The client of a HEAD request gets no body.
pub(super) fn answer(
    stream: &mut TcpStream,
    request: &Request,
    status: &str,
    kind: &str,
    body: &[u8],
) -> io::Result<()> {
    let length = body.len();
    let head =
        format!("HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n{COMMON}\r\n");
    send(stream, head.as_bytes())?;
    if request.method == "HEAD" { Ok(()) } else { send(stream, body) }
}

/// Writes bytes, unless the client takes too long.
pub(super) fn send(stream: &mut TcpStream, mut bytes: &[u8]) -> io::Result<()> {
    let until = Instant::now() + WHOLE;
    while !bytes.is_empty() {
        match stream.write(bytes) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => bytes = &bytes[count..],
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
        if !bytes.is_empty() && Instant::now() >= until {
            return Err(io::ErrorKind::TimedOut.into());
        }
    }
    Ok(())
}

/// Begins a stream of events.
pub(super) fn begin_events(stream: &mut TcpStream) -> io::Result<()> {
    let head = format!("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n{COMMON}\r\nretry: 2000\n\n");
    send(stream, head.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(text: &str) -> Option<Request> {
        Request::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn a_request_has_a_path_a_query_and_one_host() {
        let request = parse("GET /run?id=3&token=a%20b HTTP/1.1\r\nhost: LocalHost:8000\r\n\r\n").unwrap();
        assert_eq!((request.method.as_str(), request.path.as_str()), ("GET", "/run"));
        assert_eq!(
            (request.value("id"), request.value("token"), request.value("x")),
            (Some("3"), Some("a%20b"), None)
        );
        assert!(request.is_for_loopback());
        for host in ["127.0.0.1", "127.0.0.1:80", "[::1]:8000", "localhost"] {
            assert!(
                parse(&format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n")).unwrap().is_for_loopback(),
                "{host}"
            );
        }
        for head in [
            "Host: evil.example:80",
            "Host: localhost.evil.example",
            "X: localhost",
            "Host: localhost\r\nHost: evil",
        ] {
            assert!(
                !parse(&format!("GET / HTTP/1.1\r\n{head}\r\n\r\n")).unwrap().is_for_loopback(),
                "{head}"
            );
        }
        assert_eq!(Request::parse(b"GET / HTTP/1.1\r\nHost:"), Status::Partial);
        assert_eq!(parse("\x16\x03\x01 hello\r\n\r\n"), None);
    }

    proptest! {
        #[test]
        fn no_bytes_cause_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = Request::parse(&bytes);
        }
    }
}
