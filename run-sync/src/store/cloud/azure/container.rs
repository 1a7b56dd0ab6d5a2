//! One container: signs the requests to it, and retries them.

use super::super::clock::Clock;
use super::super::failure::Failure;
use super::super::http::{Call, Http, accept};
use super::super::retry::Retry;
use super::super::text::{encode, query};
use super::credentials::{Proof, Settings, find};
use super::sign::{Signed, authorization};
use crate::store::access::Access;
use crate::store::environment::Environment;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;
use ureq::Body;
use ureq::http::Response;

/// Version of the protocol.
const VERSION: &str = "2021-12-02";
/// How often a request is repeated with another time or other credentials.
const TURNS: usize = 3;

/// One container.
#[derive(Debug)]
pub(super) struct Container {
    pub(super) http: Http,
    pub(super) retry: Retry,
    name: String,
    environment: Mutex<Environment>,
    who: RwLock<Arc<Settings>>,
    clock: Clock,
}

/// A request to a container. Headers are in lower case, pairs of the query sorted.
#[derive(Clone, Copy)]
pub(super) struct Ask<'a> {
    pub(super) method: &'a str,
    pub(super) key: &'a str,
    pub(super) query: &'a [(&'a str, &'a str)],
    pub(super) headers: &'a [(&'a str, &'a str)],
    pub(super) body: &'a [u8],
}

impl Container {
    /// Finds credentials and the address of a container.
    pub(super) fn new(name: &str, access: &Access) -> Result<Self, String> {
        let who = find(&access.environment)?;
        if !name
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-$".contains(&byte))
        {
            return Err(format!("'{name}' is no name of a container"));
        }
        let silence = access.patience.min(Duration::from_secs(60)) / 2;
        Ok(Self {
            http: Http::new(access, silence, None)?,
            retry: Retry::new(access.patience, who.server.clone()),
            name: name.to_owned(),
            environment: Mutex::new(access.environment.clone()),
            who: RwLock::new(Arc::new(who)),
            clock: Clock::default(),
        })
    }

    /// Returns the address of the container.
    pub(super) fn address(&self) -> String {
        format!("{}/{}", self.who().server, self.name)
    }

    /// Makes a request once, and returns a successful answer.
    pub(super) fn ask(&self, ask: &Ask<'_>) -> Result<Response<Body>, Failure> {
        let mut turns = 0;
        loop {
            let who = self.who();
            let failure = match self.send(ask, &who).and_then(accept) {
                Ok(answer) => return Ok(answer),
                Err(failure) => failure,
            };
            turns += 1;
            let is_other = match &failure {
                Failure::Answer(answer) if turns <= TURNS && matches!(answer.status, 401 | 403) => {
                    self.clock.learn(answer) || self.renew(&who)
                }
                failure => turns <= TURNS && failure.is_expired() && self.renew(&who),
            };
            if !is_other {
                return Err(failure.without(&who.proof.secrets()));
            }
        }
    }

    /// Makes a request as [`Container::ask`] does, and passes the answer to `read`. Retries both after
    /// transient failures.
    pub(super) fn run<T>(
        &self,
        ask: &Ask<'_>,
        mut read: impl FnMut(Response<Body>) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        self.retry.run(|| self.ask(ask).and_then(&mut read))
    }

    fn send(&self, ask: &Ask<'_>, who: &Settings) -> Result<Response<Body>, Failure> {
        let date = self.clock.now().format("%a, %d %b %Y %H:%M:%S GMT").to_string();
        let mut headers = vec![("x-ms-date", date.as_str()), ("x-ms-version", VERSION)];
        headers.extend_from_slice(ask.headers);
        headers.sort_unstable();
        let slash = if ask.key.is_empty() { "" } else { "/" };
        let mut url = format!("{}/{}{slash}{}", who.server, self.name, encode(ask.key, true));
        let path = url.splitn(4, '/').nth(3).map(|path| format!("/{path}")).unwrap_or_default();
        let mut query = query(ask.query);
        let proof = match &who.proof {
            Proof::Key(key, _) => {
                let length = ask.body.len();
                let (method, pairs) = (ask.method, ask.query);
                let signed = Signed { method, path: &path, query: pairs, headers: &headers, length };
                Some(authorization(&who.account, key, &signed))
            }
            Proof::Token(token) => {
                let and = if query.is_empty() { "" } else { "&" };
                query = format!("{query}{and}{token}");
                None
            }
        };
        headers.extend(proof.as_deref().map(|proof| ("authorization", proof)));
        if !query.is_empty() {
            url = format!("{url}?{query}");
        }
        let answer =
            self.http.send(&Call { method: ask.method, url: &url, headers: &headers, body: ask.body })?;
        self.retry.answered();
        Ok(answer)
    }

    /// Looks for newer credentials after the old ones have expired.
    fn renew(&self, old: &Settings) -> bool {
        if *self.who() != *old {
            return true; // another thread has found them
        }
        let mut environment = self.environment.lock().unwrap_or_else(PoisonError::into_inner);
        match environment.reload().ok().and_then(|()| find(&environment).ok()).filter(|who| who != old) {
            Some(who) => {
                *self.who.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(who);
                true
            }
            None => false,
        }
    }

    fn who(&self) -> Arc<Settings> {
        Arc::clone(&self.who.read().unwrap_or_else(PoisonError::into_inner))
    }
}
