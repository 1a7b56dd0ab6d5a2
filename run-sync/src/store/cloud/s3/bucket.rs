//! One bucket: signs the requests to it, follows it to its region, and retries.

use super::super::clock::Clock;
use super::super::failure::{Answer, Failure};
use super::super::http::{Call, Http, accept, header};
use super::super::retry::Retry;
use super::super::text::{encode, query};
use super::address::BucketAddress;
use super::credentials;
use super::dialect::Dialect;
use super::google;
use super::sign::{Credentials, Signed, authorization};
use crate::format::digest::Digest;
use crate::store::access::Access;
use crate::store::environment::Environment;
use run_common::fsio::read::read_text;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;
use ureq::Body;
use ureq::http::Response;

/// How often a request is repeated at another address, with another time or other credentials.
const TURNS: usize = 4;

/// One bucket.
#[derive(Debug)]
pub(crate) struct Bucket {
    pub(super) http: Http,
    pub(super) retry: Retry,
    pub(super) dialect: Dialect,
    name: String,
    environment: Mutex<Environment>,
    address: RwLock<Arc<BucketAddress>>,
    who: RwLock<Arc<Credentials>>,
    clock: Clock,
    /// Whether an answer has led to another server.
    redirects: AtomicBool,
}

/// A request to a bucket. Headers are in lower case, the pairs of the query sorted.
#[derive(Clone, Copy)]
pub(super) struct Ask<'a> {
    pub(super) method: &'a str,
    pub(super) key: &'a str,
    pub(super) query: &'a [(&'a str, &'a str)],
    pub(super) headers: &'a [(&'a str, &'a str)],
    pub(super) body: &'a [u8],
    pub(super) sha256: &'a Digest,
}

enum Turn {
    Again,
    Follow(String),
    End,
}

fn find(dialect: Dialect, environment: &Environment) -> Result<credentials::Settings, String> {
    let read = |path: &Path| read_text(path).ok();
    match dialect {
        Dialect::Amazon => credentials::find(environment, &read),
        Dialect::Google => google::find(environment, &read),
    }
}

impl Bucket {
    /// Finds credentials and the address of a bucket.
    pub(super) fn new(dialect: Dialect, name: &str, access: &Access) -> Result<Self, String> {
        let found = find(dialect, &access.environment)?;
        let address = BucketAddress::new(dialect, found.endpoint.as_deref(), name, &found.region)?;
        let silence = access.patience.min(Duration::from_secs(60)) / 2;
        Ok(Self {
            http: Http::new(access, silence, found.certificates.as_deref())?,
            retry: Retry::new(access.patience, address.origin.clone()),
            dialect,
            name: name.to_owned(),
            environment: Mutex::new(access.environment.clone()),
            address: RwLock::new(Arc::new(address)),
            who: RwLock::new(Arc::new(found.who)),
            clock: Clock::default(),
            redirects: AtomicBool::new(false),
        })
    }

    /// Returns whether an answer has led to another server so far.
    pub(super) fn redirects(&self) -> bool {
        self.redirects.load(Ordering::Relaxed)
    }

    /// Returns the address of the bucket.
    pub(super) fn address(&self) -> String {
        let address = self.present_address();
        format!("{}{}", address.origin, address.base)
    }

    /// Makes a request once, at the address that the store wants, and returns a successful answer.
    pub(super) fn ask(&self, ask: &Ask<'_>) -> Result<Response<Body>, Failure> {
        let mut turns = 0;
        loop {
            let (address, who) = (self.present_address(), self.who());
            let failure = match self.send(ask, &address, &who).and_then(accept) {
                Ok(answer) => return Ok(answer),
                Err(failure) => failure,
            };
            turns += 1;
            let turn = if turns > TURNS { Turn::End } else { self.turn(ask, &failure, &address, &who) };
            match turn {
                Turn::Again => {}
                Turn::Follow(url) => return self.follow(ask, &url),
                Turn::End => {
                    let token = who.token.as_deref().unwrap_or_default();
                    return Err(failure.without(&[&who.secret, token]));
                }
            }
        }
    }

    /// Makes a request as [`Bucket::ask`] does, and passes the answer to `read`. Retries both after transient
    /// failures.
    pub(super) fn run<T>(
        &self,
        ask: &Ask<'_>,
        mut read: impl FnMut(Response<Body>) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        self.retry.run(|| self.ask(ask).and_then(&mut read))
    }

    fn send(
        &self,
        ask: &Ask<'_>,
        address: &BucketAddress,
        who: &Credentials,
    ) -> Result<Response<Body>, Failure> {
        let (now, names) = (self.clock.now(), self.dialect.names());
        let date = now.format("%Y%m%dT%H%M%SZ").to_string();
        let path = match ask.key {
            "" if address.base.is_empty() => "/".to_owned(),
            "" => address.base.clone(),
            key => format!("{}/{}", address.base, encode(key, true)),
        };
        let query = query(ask.query);
        let digest = ask.sha256.to_string();
        let mut headers = vec![("host", address.host()), (names.hash, digest.as_str()), (names.date, &date)];
        headers.extend(who.token.as_deref().map(|token| ("x-amz-security-token", token)));
        headers.extend_from_slice(ask.headers);
        headers.sort_unstable();
        let signed =
            Signed { method: ask.method, path: &path, query: &query, headers: &headers, body: ask.sha256 };
        let authorization = authorization(who, self.dialect, &address.region, now, &signed);
        headers.push(("authorization", &authorization));
        let mark = if query.is_empty() { "" } else { "?" };
        let url = format!("{}{path}{mark}{query}", address.origin);
        let answer =
            self.http.send(&Call { method: ask.method, url: &url, headers: &headers, body: ask.body })?;
        self.retry.answered();
        Ok(answer)
    }

    /// Follows a redirect of a read. The new address is signed in itself, so no credentials are sent there.
    fn follow(&self, ask: &Ask<'_>, url: &str) -> Result<Response<Body>, Failure> {
        let headers: Vec<_> = ask.headers.iter().filter(|(name, _)| *name == "range").copied().collect();
        let mut url = url.to_owned();
        for _ in 0..TURNS {
            let query = url.split_once('?').map(|(_, query)| query.to_owned()).unwrap_or_default();
            let proof =
                query.split('&').filter_map(|pair| Some(pair.split_once('=')?.1)).chain([query.as_str()]);
            let proof: Vec<_> = proof.collect();
            let call = Call { method: ask.method, url: &url, headers: &headers, body: &[] };
            let answer = self.http.send(&call).map_err(|failure| failure.without(&proof))?;
            match header(answer.headers(), "location") {
                Some(next) if answer.status().is_redirection() && is_address(next) => {
                    next.clone_into(&mut url);
                }
                _ => return accept(answer).map_err(|failure| failure.without(&proof)),
            }
        }
        Err(Failure::Malformed("it leads from place to place".to_owned()))
    }

    /// Decides what to do after a failure.
    fn turn(&self, ask: &Ask<'_>, failure: &Failure, address: &BucketAddress, who: &Credentials) -> Turn {
        let Failure::Answer(answer) = failure else { return Turn::End };
        if let Some(region) = &answer.region
            && matches!(answer.status, 301 | 307 | 400 | 403)
            && let Some(there) = address.in_region(region, &self.name)
        {
            *self.address.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(there);
            return Turn::Again;
        }
        if matches!(answer.status, 301 | 302 | 303 | 307 | 308) {
            return self.turn_to(ask, answer, address);
        }
        if answer.is(403) && self.clock.learn(answer) {
            return Turn::Again;
        }
        if failure.is_expired() && self.renew(who) {
            return Turn::Again;
        }
        Turn::End
    }

    fn turn_to(&self, ask: &Ask<'_>, answer: &Answer, address: &BucketAddress) -> Turn {
        self.redirects.store(true, Ordering::Relaxed);
        let Some(location) = answer.location.as_deref().filter(|location| is_address(location)) else {
            return Turn::End;
        };
        let host =
            location.split("://").nth(1).and_then(|rest| rest.split(['/', '?']).next()).unwrap_or_default();
        let is_signed = location.contains("X-Amz-Signature=") || location.contains("Signature=");
        let scheme = location.split("://").next().unwrap_or("https");
        let there = if is_signed {
            None
        } else if host != address.host() && address.trusts(host) {
            Some(address.at(format!("{scheme}://{host}"), &self.name))
        } else {
            address.over_tls(scheme, host)
        };
        if let Some(there) = there {
            *self.address.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(there);
            return Turn::Again;
        }
        match ask.method {
            "GET" | "HEAD" => Turn::Follow(location.to_owned()),
            _ => Turn::End,
        }
    }

    /// Looks for newer credentials after the old ones have expired.
    fn renew(&self, old: &Credentials) -> bool {
        if *self.who() != *old {
            return true; // another thread has found them
        }
        let mut environment = self.environment.lock().unwrap_or_else(PoisonError::into_inner);
        let found = environment
            .reload()
            .ok()
            .and_then(|()| find(self.dialect, &environment).ok())
            .map(|found| found.who);
        match found.filter(|who| who != old) {
            Some(who) => {
                *self.who.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(who);
                true
            }
            None => false,
        }
    }

    fn present_address(&self) -> Arc<BucketAddress> {
        Arc::clone(&self.address.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn who(&self) -> Arc<Credentials> {
        Arc::clone(&self.who.read().unwrap_or_else(PoisonError::into_inner))
    }
}

fn is_address(text: &str) -> bool {
    text.starts_with("https://") || text.starts_with("http://")
}
