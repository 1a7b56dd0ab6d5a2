//! HTTP requests and answers, below the protocols of the stores.

use super::failure::{Answer, Failure};
use super::limit::{BLOCK, Limit};
use super::resolve::Names;
use super::xml;
use crate::bar::{Gauge, Moving};
use crate::store::Access;
use crate::store::environment::Environment;
use run_common::error::plain;
use run_common::fsio::read::read_text;
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use ureq::http::{HeaderMap, Request, Response};
use ureq::tls::{PemItem, RootCerts, TlsConfig, parse_pem};
use ureq::unversioned::transport::DefaultConnector;
use ureq::{Agent, Body, SendBody};

/// Bytes of the largest answer in memory: a page of 1,000 escaped keys is smaller.
const ANSWER: u64 = 16 << 20;
/// Bytes of an error's body to read.
const ERROR: u64 = 64 << 10;
/// A larger body is sent only after the store has asked for it, so that an error arrives as an error.
const ANNOUNCED: usize = 1 << 20;
/// How long a connection attempt may take.
const CONNECT: Duration = Duration::from_secs(10);
/// Files in which systems keep their trusted certificates.
const ROOTS: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// Sends requests over reused connections.
#[derive(Debug)]
pub(super) struct Http {
    agent: Agent,
    limit: Option<Limit>,
    gauge: Gauge,
}

/// A request. The names of headers are in lower case.
pub(super) struct Call<'a> {
    /// `GET`, `HEAD`, `PUT`, `POST` or `DELETE`.
    pub(super) method: &'a str,
    /// The whole address.
    pub(super) url: &'a str,
    /// Headers.
    pub(super) headers: &'a [(&'a str, &'a str)],
    /// The body of PUT and POST.
    pub(super) body: &'a [u8],
}

impl Http {
    /// Creates a pool of connections. A request ends after `silence` without a byte. A profile may name a file
    /// of certificates.
    pub(super) fn new(access: &Access, silence: Duration, of_profile: Option<&str>) -> Result<Self, String> {
        let Access { environment, rate, transfers, gauge, .. } = access;
        let transfers = *transfers;
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0) // the target of a redirect needs a new signature
            .max_redirects_will_error(false)
            .user_agent(concat!("run-sync/", env!("CARGO_PKG_VERSION")))
            .accept_encoding("") // some stores change it on the way, and break the signature
            .accept("")
            .max_idle_connections(transfers.max(4))
            .max_idle_connections_per_host(transfers.max(4))
            .tls_config(TlsConfig::builder().root_certs(roots(environment, of_profile)?).build())
            .timeout_connect(Some(silence.min(CONNECT)))
            .timeout_per_read(Some(silence))
            .timeout_per_write(Some(silence))
            .build();
        let agent = Agent::with_parts(config, DefaultConnector::default(), Names::default());
        Ok(Self { agent, limit: rate.map(|rate| Limit::new(rate, transfers)), gauge: gauge.clone() })
    }

    /// Sends a request and returns the answer, whatever its status.
    pub(super) fn send(&self, call: &Call<'_>) -> Result<Response<Body>, Failure> {
        let wrong =
            |error: ureq::http::Error| Failure::Unspeakable(format!("no request can be made: {error}"));
        let mut request = Request::builder().method(call.method).uri(call.url);
        for (name, value) in call.headers {
            request = request.header(*name, *value);
        }
        if !matches!(call.method, "PUT" | "POST") {
            return Ok(self.agent.run(request.body(()).map_err(wrong)?)?);
        }
        if call.body.len() > ANNOUNCED {
            request = request.header("expect", "100-continue");
        }
        let moving = self.gauge.moving();
        if self.limit.is_none() && moving.is_none() {
            return Ok(self.agent.run(request.body(call.body).map_err(wrong)?)?);
        }
        let mut body = Watched { limit: self.limit.as_ref(), moving, from: call.body };
        let request = request.header("content-length", call.body.len());
        let request = request.body(SendBody::from_reader(&mut body)).map_err(wrong)?;
        let answer = self.agent.run(request)?;
        if let Some(moving) = body.moving.filter(|_| answer.status().is_success()) {
            moving.succeed();
        }
        Ok(answer)
    }

    /// Passes on the bytes of an answer as they arrive.
    pub(super) fn receive(
        &self,
        answer: Response<Body>,
        mut sink: impl FnMut(&[u8]) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let mut body = answer.into_body().into_reader();
        let mut block = vec![0; self.limit.as_ref().map_or(4 * BLOCK, |limit| limit.block)];
        loop {
            match body.read(&mut block) {
                Ok(0) => return Ok(()),
                Ok(length) => {
                    if let Some(limit) = &self.limit {
                        limit.pass(length);
                    }
                    sink(&block[..length])?;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(ureq::Error::from(error).into()),
            }
        }
    }
}

/// Reads no faster than the limit allows, and shows the progress.
struct Watched<'a> {
    limit: Option<&'a Limit>,
    moving: Option<Moving>,
    from: &'a [u8],
}

impl Read for Watched<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let most = self.limit.map_or(4 * BLOCK, |limit| limit.block);
        let length = into.len().min(most).min(self.from.len());
        if let Some(limit) = self.limit {
            limit.pass(length);
        }
        let (now, later) = self.from.split_at(length);
        into[..length].copy_from_slice(now);
        self.from = later;
        if let Some(moving) = &mut self.moving {
            moving.add(length as u64);
        }
        Ok(length)
    }
}

/// Returns the certificates that the machine trusts, because private stores often have private certificates;
/// else the compiled-in certificates of Mozilla. A file that the user names must contain certificates.
fn roots(environment: &Environment, of_profile: Option<&str>) -> Result<RootCerts, String> {
    let of_variable = |name: &'static str| environment.get(name).map(|path| (name, path));
    let named = of_variable("AWS_CA_BUNDLE")
        .or_else(|| of_profile.map(|path| ("ca_bundle", path.to_owned())))
        .or_else(|| of_variable("SSL_CERT_FILE"));
    let pem = match &named {
        Some((name, path)) => {
            let read = read_text(Path::new(path));
            Some(
                read.map_err(|error| format!("cannot read '{path}', which {name} names: {}", plain(&error)))?,
            )
        }
        None => ROOTS.into_iter().find_map(|path| read_text(Path::new(path)).ok()),
    };
    let found = pem.iter().flat_map(|pem| parse_pem(pem.as_bytes())).filter_map(|item| match item {
        Ok(PemItem::Certificate(certificate)) => Some(certificate),
        _ => None,
    });
    let found: Vec<_> = found.collect();
    match named {
        Some((name, path)) if found.is_empty() => {
            Err(format!("'{path}', which {name} names, has no certificates"))
        }
        None if found.is_empty() => Ok(RootCerts::WebPki),
        _ => Ok(RootCerts::Specific(Arc::new(found))),
    }
}

/// Returns a header of an answer.
pub(super) fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

/// Reads a small answer to its end, so that the connection can be reused.
pub(super) fn text(answer: Response<Body>) -> Result<String, Failure> {
    let bytes = answer.into_body().into_with_config().limit(ANSWER).read_to_vec()?;
    String::from_utf8(bytes).map_err(|_| Failure::Malformed("no UTF-8".to_owned()))
}

/// Reads an answer without content to its end, and returns its headers.
pub(super) fn headers(answer: Response<Body>) -> Result<HeaderMap, Failure> {
    let (parts, body) = answer.into_parts();
    body.into_with_config().limit(ANSWER).read_to_vec()?;
    Ok(parts.headers)
}

/// Returns a successful answer, else its error.
pub(super) fn accept(answer: Response<Body>) -> Result<Response<Body>, Failure> {
    let status = answer.status().as_u16();
    if (200..300).contains(&status) {
        return Ok(answer);
    }
    let (parts, body) = answer.into_parts();
    let of = |name: &str| header(&parts.headers, name).map(ToOwned::to_owned);
    let mut error = Answer {
        status,
        code: of("x-ms-error-code").unwrap_or_default(),
        request: ["x-amz-request-id", "x-ms-request-id", "x-guploader-uploadid"]
            .into_iter()
            .find_map(of)
            .unwrap_or_default(),
        retry_after: of("retry-after").and_then(|seconds| seconds.parse().ok()).map(Duration::from_secs),
        region: of("x-amz-bucket-region"),
        location: of("location"),
        date: of("date"),
        ..Answer::default()
    };
    let document = body.into_with_config().limit(ERROR).read_to_string().unwrap_or_default();
    xml::error(&document, &mut error);
    Err(Failure::Answer(Box::new(error)))
}
