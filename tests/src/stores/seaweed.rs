//! A real server, `SeaweedFS`, which tests/setup has installed below target/.

use super::{BUCKET, KEY, SECRET, Server};
use crate::{DEADLINE, Lab, checkout, wait_for};
use rustix::process::{Pid, Signal, kill_process_group};
use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::channel;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::thread;
use std::time::Instant;

/// Ports of one server, from its first.
const PORTS: u16 = 8;

/// A `SeaweedFS` of one's own. It ends when it is dropped, and when this process ends.
#[derive(Debug)]
pub struct Seaweed {
    port: u16,
    dir: PathBuf,
    server: Mutex<Child>,
    /// Holds its directory; that of the shared one is removed by the shell that it runs under.
    lab: Option<Lab>,
}

impl Seaweed {
    /// Returns the one that the tests of this process share. Tests keep apart by their prefixes.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<Seaweed> = OnceLock::new();
        SHARED.get_or_init(|| {
            let dir = std::env::temp_dir().join(format!("seaweed-{}", std::process::id()));
            Self::start(&dir, None)
        })
    }

    /// Starts one.
    pub fn new() -> Self {
        let lab = Lab::new();
        Self::start(&lab.path("seaweed"), Some(lab))
    }

    fn start(dir: &Path, lab: Option<Lab>) -> Self {
        for name in ["data", "filer"] {
            fs::create_dir_all(dir.join(name)).unwrap();
        }
        let identity = format!(
            r#"{{"identities":[{{"name":"test","credentials":[{{"accessKey":"{KEY}","secretKey":"{SECRET}"}}],"actions":["Admin"]}}]}}"#
        );
        fs::write(dir.join("s3.json"), identity).unwrap();
        let filer = format!("[leveldb2]\nenabled = true\ndir = \"{}\"\n", dir.join("filer").display());
        fs::write(dir.join("filer.toml"), filer).unwrap();
        for _ in 0..5 {
            let port = free_ports();
            let mut server =
                Self { port, dir: dir.to_owned(), server: Mutex::new(launch(dir, port)), lab: None };
            if server.await_ready() {
                server.lab = lab;
                return server;
            }
        }
        let log = fs::read_to_string(dir.join("log")).unwrap_or_default();
        panic!("SeaweedFS does not start:\n{}", log.lines().rev().take(20).collect::<Vec<_>>().join("\n"));
    }

    /// Kills it, as a power cut would.
    pub fn kill(&self) {
        let mut server = self.server.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = kill_process_group(Pid::from_child(&server), Signal::KILL);
        let _ = server.wait();
    }

    /// Starts it again after [`Seaweed::kill`], with what it had.
    pub fn restart(&self) {
        *self.server.lock().unwrap_or_else(PoisonError::into_inner) = launch(&self.dir, self.port);
        assert!(self.await_ready(), "SeaweedFS does not start again");
    }

    /// Waits until it serves its bucket; false if it has ended.
    fn await_ready(&self) -> bool {
        let start = Instant::now();
        let has_ended = || self.server.lock().unwrap().try_wait().unwrap().is_some();
        let served = |port, request: &str| {
            let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)) else { return false };
            stream.set_read_timeout(Some(DEADLINE / 12)).unwrap();
            let mut status = [0; 12];
            stream.write_all(request.as_bytes()).is_ok()
                && stream.read_exact(&mut status).is_ok()
                && status.starts_with(b"HTTP/1.1 ")
                && status[9] != b'5'
        };
        // The bucket is a directory of the filer; the server of S3 sees it soon after.
        let rest = "HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
        let make = format!("POST /buckets/{BUCKET}/ {rest}");
        let mut is_made = false;
        while !has_ended() && start.elapsed() < DEADLINE {
            is_made = is_made || served(self.port + 5, &make);
            if is_made && served(self.port, &format!("GET /{BUCKET} {rest}")) {
                return true;
            }
            thread::sleep(std::time::Duration::from_millis(20));
        }
        false
    }
}

impl Default for Seaweed {
    fn default() -> Self {
        Self::new()
    }
}

impl Server for Seaweed {
    fn address(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }
}

impl Drop for Seaweed {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Finds ports that are free, one after the other.
fn free_ports() -> u16 {
    let mut found = 0;
    wait_for("free ports", || {
        let first = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        found = first;
        first < u16::MAX - PORTS
            && (first..first + PORTS).all(|port| TcpListener::bind(("127.0.0.1", port)).is_ok())
    });
    found
}

/// Starts the server from a thread that lives as long as this process: the kernel tells a child when the thread that
/// started it has ended.
fn launch(dir: &Path, port: u16) -> Child {
    let weed = checkout().join("target/peers/bin/weed");
    assert!(weed.exists(), "SeaweedFS is not installed: 'make test' does that first");
    let log = fs::File::create(dir.join("log")).unwrap();
    // The shell removes the directory of the shared server when this process has ended.
    let guard = "trap 'kill -KILL $pid; rm -rf \"$dir\"; exit' TERM; \"$@\" & pid=$!; wait $pid";
    let mut command = Command::new("setpriv");
    command
        .args(["--pdeathsig", "TERM", "sh", "-c", guard, "sh"])
        .arg(weed)
        .args(["-logtostderr=true", "server", "-ip=127.0.0.1", "-ip.bind=127.0.0.1"])
        .arg(format!("-dir={}/data", dir.display()))
        .args(["-master.telemetry=false", "-master.volumeSizeLimitMB=1024", "-master.electionTimeout=1s"])
        .args(["-volume.max=0", "-volume.preStopSeconds=1", "-filer", "-s3", "-s3.autoCreateBucket=false"])
        .args(["-s3.port.iceberg=0", "-s3.port.lance=0"])
        .arg(format!("-s3.config={}/s3.json", dir.display()))
        .arg(format!("-filer.localSocket={}/filer.sock", dir.display()))
        .arg(format!("-s3.localSocket={}/s3.sock", dir.display()))
        .args(
            [
                "-s3.port",
                "-master.port",
                "-master.port.grpc",
                "-volume.port",
                "-volume.port.grpc",
                "-filer.port",
                "-filer.port.grpc",
                "-s3.port.grpc",
            ]
            .iter()
            .zip(port..)
            .map(|(option, port)| format!("{option}={port}")),
        )
        .env_clear()
        .env("PATH", "/usr/local/bin:/usr/bin:/bin")
        .env("HOME", dir)
        .env("GOMEMLIMIT", "1GiB")
        .env("dir", dir)
        .current_dir(dir) // where it looks for filer.toml
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(log.try_clone().unwrap())
        .stderr(log);
    let (to, from) = channel();
    thread::spawn(move || {
        let _ = to.send(command.spawn());
        loop {
            thread::park();
        }
    });
    from.recv().unwrap().unwrap()
}
