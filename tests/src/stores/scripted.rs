//! A server in this process that speaks the protocols of S3, Google and Azure, and misbehaves at the requests that its script names.

use super::Server;
use super::answers::{Object, Objects, answer, error};
use super::blobs;
use super::wire::{self, Answer, Arrived};
use crate::process::Signal;
use crate::{Cmd, Done, await_end, signal, wait_for};
use run_common::time::Timestamp;
use std::collections::BTreeMap;
use std::fmt;
use std::io::{BufReader, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;

/// What the server does with a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Act {
    /// What is asked.
    Serve,
    /// Answers with an error, and does nothing.
    Fail(u16, &'static str),
    /// Does what is asked, and answers 503.
    Lose,
    /// Closes the connection before the request is read to its end, and does nothing.
    Reset,
    /// Does what is asked, and closes the connection.
    ResetAfter,
    /// Sends half of the answer, and closes the connection.
    Truncate,
    /// Changes a byte of what comes.
    CorruptUp,
    /// Changes a byte of what goes.
    CorruptDown,
    /// Does what is asked and sends half of the answer, then nothing more until the server ends.
    Stall,
    /// Leads elsewhere.
    Redirect(u16, String),
    /// Answers with this document, and does nothing.
    Reply(u16, &'static str),
    /// Answers that an object or part is stored, and does nothing.
    Pretend,
}

/// A request, as the script sees it.
#[derive(Clone, Debug)]
pub struct Request {
    /// From 0.
    pub index: u64,
    /// `GET`, `PUT`, …
    pub method: String,
    /// The key in the bucket; empty for the bucket itself.
    pub key: String,
    /// The pairs of the query.
    pub query: BTreeMap<String, String>,
    /// The headers, in lower case.
    pub headers: BTreeMap<String, String>,
    /// Bytes of the body.
    pub length: usize,
}

type Script = dyn Fn(&Request) -> Act + Send + Sync;

/// The server. It ends when it is dropped.
pub struct Scripted {
    port: u16,
    shared: Arc<Shared>,
}

struct Shared {
    objects: Mutex<Objects>,
    script: Mutex<Arc<Script>>,
    requests: Mutex<Vec<Request>>,
    count: AtomicU64,
    /// Open connections.
    connections: AtomicU64,
    /// Seconds that its clock is ahead.
    skew: AtomicI64,
    has_ended: AtomicBool,
    /// Wakes what is stalled.
    end: (Mutex<()>, Condvar),
}

impl Scripted {
    /// Starts a server that does what it is asked.
    pub fn new() -> Self {
        Self::with(|_| Act::Serve)
    }

    /// Starts a server with a script.
    pub fn with(script: impl Fn(&Request) -> Act + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::new(Shared {
            objects: Mutex::default(),
            script: Mutex::new(Arc::new(script)),
            requests: Mutex::default(),
            count: AtomicU64::new(0),
            connections: AtomicU64::new(0),
            skew: AtomicI64::new(0),
            has_ended: AtomicBool::new(false),
            end: Default::default(),
        });
        let serve = Arc::clone(&shared);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if serve.has_ended.load(Ordering::Relaxed) {
                    break;
                }
                serve.connections.fetch_add(1, Ordering::AcqRel);
                let serve = Arc::clone(&serve);
                thread::spawn(move || {
                    serve.converse(stream);
                    serve.connections.fetch_sub(1, Ordering::AcqRel);
                });
            }
        });
        Self { port, shared }
    }

    /// Gives it another script; its requests are counted from 0 again.
    pub fn follow(&self, script: impl Fn(&Request) -> Act + Send + Sync + 'static) {
        *lock(&self.shared.script) = Arc::new(script);
        lock(&self.shared.requests).clear();
        self.shared.count.store(0, Ordering::Relaxed);
    }

    /// Runs a command, and kills it when such a request has come, which is then dealt with by `act`.
    pub fn run_and_kill(
        &self,
        is_it: impl Fn(&Request) -> bool + Send + Sync + 'static,
        act: Act,
        command: Cmd,
    ) -> Done {
        let victim = Arc::new(AtomicI32::new(0));
        let pid = Arc::clone(&victim);
        self.follow(move |request| {
            if !is_it(request) {
                return Act::Serve;
            }
            wait_for("the pid", || pid.load(Ordering::Relaxed) != 0);
            signal(pid.load(Ordering::Relaxed), Signal::KILL);
            await_end(pid.load(Ordering::Relaxed));
            act.clone()
        });
        let running = command.spawn();
        victim.store(running.pid(), Ordering::Relaxed);
        let done = running.wait();
        wait_for("the requests that had come", || self.shared.connections.load(Ordering::Acquire) == 0);
        self.follow(|_| Act::Serve);
        done
    }

    /// Looks at its objects, or changes them, or what it honours.
    pub fn objects<T>(&self, look: impl FnOnce(&mut Objects) -> T) -> T {
        look(&mut lock(&self.shared.objects))
    }

    /// Stores an object, as if by another client.
    pub fn store(&self, key: &str, bytes: &[u8]) {
        let object = Object::new(bytes);
        self.objects(|objects| objects.whole.insert(key.to_owned(), object));
    }

    /// Returns the bytes of an object.
    pub fn object(&self, key: &str) -> Option<Vec<u8>> {
        self.objects(|objects| objects.whole.get(key).map(|object| object.bytes.to_vec()))
    }

    /// Returns all objects, to compare with what they are later.
    pub fn contents(&self) -> BTreeMap<String, Arc<Vec<u8>>> {
        self.objects(|objects| {
            objects.whole.iter().map(|(key, object)| (key.clone(), Arc::clone(&object.bytes))).collect()
        })
    }

    /// Returns all keys.
    pub fn keys(&self) -> Vec<String> {
        self.objects(|objects| objects.whole.keys().cloned().collect())
    }

    /// Returns the requests so far, in the order in which they came.
    pub fn requests(&self) -> Vec<Request> {
        lock(&self.shared.requests).clone()
    }

    /// Sets its clock ahead by this number of seconds.
    pub fn set_clock(&self, seconds: i64) {
        self.shared.skew.store(seconds, Ordering::Relaxed);
    }
}

impl Default for Scripted {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Scripted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scripted").field("port", &self.port).finish_non_exhaustive()
    }
}

impl Server for Scripted {
    fn address(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }
}

impl Drop for Scripted {
    fn drop(&mut self) {
        self.shared.has_ended.store(true, Ordering::Relaxed);
        self.shared.end.1.notify_all();
        let _ = TcpStream::connect(("127.0.0.1", self.port)); // so that accept(2) returns
    }
}

fn lock<T: ?Sized>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    fn converse(&self, stream: TcpStream) {
        let Ok(mut to) = stream.try_clone() else { return };
        let _ = stream.set_nodelay(true);
        let mut from = BufReader::new(stream);
        while let Some(arrived) = wire::read(&mut from) {
            if self.has_ended.load(Ordering::Relaxed) || !self.exchange(arrived, &mut to) {
                let _ = to.shutdown(Shutdown::Both);
                return;
            }
        }
    }

    /// Answers one request; false ends the connection.
    fn exchange(&self, mut arrived: Arrived, to: &mut TcpStream) -> bool {
        let key = arrived.path.strip_prefix(&format!("/{}", super::BUCKET));
        let key = key.unwrap_or_default().trim_start_matches('/').to_owned();
        let request = Request {
            index: self.count.fetch_add(1, Ordering::Relaxed),
            method: arrived.method.clone(),
            key: key.clone(),
            query: arrived.query.clone(),
            headers: arrived.headers.clone(),
            length: arrived.body.len(),
        };
        lock(&self.requests).push(request.clone());
        let script = Arc::clone(&lock(&self.script));
        let act = script(&request);
        let skew = self.skew.load(Ordering::Relaxed);
        let middle = arrived.body.len() / 2;
        if act == Act::CorruptUp && !arrived.body.is_empty() {
            arrived.body[middle] ^= 0x20;
        }
        let reply = match act {
            Act::Reset => return false,
            Act::Fail(status, code) => error(status, code),
            Act::Reply(status, document) => Answer::new(status).body(document),
            Act::Pretend if arrived.method == "PUT" => Answer::new(200).with("etag", "\"0123\""),
            Act::Redirect(status, ref location) => Answer::new(status).with("location", location),
            _ if arrived.headers.contains_key("x-ms-version") => {
                blobs::answer(&mut lock(&self.objects), &arrived, &key, skew)
            }
            _ => answer(&mut lock(&self.objects), &arrived, &key, skew),
        };
        let reply = match act {
            Act::Lose => error(503, "SlowDown"),
            Act::ResetAfter => return false,
            _ => reply,
        };
        let is_head = arrived.method == "HEAD";
        let mut bytes = reply.head(&date(skew));
        let head = bytes.len();
        if !is_head {
            bytes.extend_from_slice(&reply.body);
        }
        let half = head + (bytes.len() - head) / 2;
        match act {
            Act::CorruptDown if bytes.len() > head => bytes[half] ^= 0x20,
            Act::Truncate | Act::Stall => {
                // Of an answer without a body half of the head.
                let half = if half == head { head / 2 } else { half };
                let _ = to.write_all(&bytes[..half]);
                if act == Act::Stall {
                    let mut guard = lock(&self.end.0);
                    while !self.has_ended.load(Ordering::Relaxed) {
                        guard = self.end.1.wait(guard).unwrap_or_else(PoisonError::into_inner);
                    }
                }
                return false;
            }
            _ => {}
        }
        to.write_all(&bytes).is_ok()
    }
}

/// The time by the server's clock, as HTTP has it.
fn date(skew: i64) -> String {
    let now = Timestamp::now().millis() + 1000 * skew;
    Timestamp::from_millis(now).unwrap().utc("%a, %d %b %Y %H:%M:%S GMT")
}
