//! The live page: an HTTP server that only reads, for the browsers of this machine, or for those that know a token.

mod details;
mod follow;
mod http;
mod stamp;
mod world;

use crate::curves::Options;
use crate::page;
use crate::page::data::read_options;
use crate::runs::{Selection, open, why_none};
use http::{Request, answer, begin_events, send};
use run_common::cli::out::Out;
use run_common::cost::Rates;
use run_common::error::{Error, Exit};
use run_common::message::{complain, warn};
use run_common::process::identity::Place;
use run_common::process::user::user_name;
use run_common::provenance::hash::sha256;
use rustix::process::setpriority_process;
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::RecvTimeoutError;
use std::thread;
use std::time::Duration;
use uuid::Uuid;
use world::World;

/// The default address.
pub(crate) const DEFAULT: &str = "127.0.0.1:7117";

/// Maximum number of connections at once.
const CONNECTIONS: usize = 200;

/// How often active runs are looked at while anybody follows, and every how many times all runs.
const PAUSE: Duration = Duration::from_secs(1);
const SCAN: u32 = 5;

/// How long a stream of events is silent at most.
const SILENCE: Duration = Duration::from_secs(15);

/// The priority, as of nice(1), of what reads the metrics of all runs.
const FILLING_NICE: i32 = 10;

/// Serves the page until the process is ended.
pub(crate) fn serve(
    at: &str,
    selection: &Selection,
    options: &Options,
    rates: Option<&Rates>,
    out: &mut Out,
) -> Result<Exit, Error> {
    let cannot = |why: String| Error::new(Exit::System, format!("cannot serve at '{at}'")).because(why);
    let addresses: Vec<SocketAddr> =
        address(at).to_socket_addrs().map_err(|error| cannot(error.to_string()))?.collect();
    let listener = TcpListener::bind(addresses.as_slice()).map_err(|error| match error.kind() {
        io::ErrorKind::AddrInUse => Error::new(Exit::Busy, format!("cannot serve at '{at}'"))
            .because("another program listens there")
            .hint("choose another port with --serve=PORT; 0 takes any that is free"),
        _ => cannot(error.to_string()),
    })?;
    let local = listener.local_addr().map_err(|error| cannot(error.to_string()))?;
    let token = (!local.ip().is_loopback()).then(|| Uuid::new_v4().simple().to_string());
    // What stdin names is read once.
    let names = named(selection)?;
    let selection = &Selection {
        names: names.as_deref().or(selection.names),
        runs_dir: selection.runs_dir.clone(),
        ..*selection
    };
    let drawn = read_options(options);
    let world = World::new(selection, &drawn, options, rates);
    let mut faults = 0;
    let runs = world.begin(&mut |error| {
        complain(&error);
        faults += 1;
    })?;
    if runs == 0 && faults == 0 {
        warn(&why_none(selection));
    }
    tell(local, token.as_deref(), out)?;
    let connections = AtomicUsize::new(0);
    thread::scope(|scope| {
        scope.spawn(|| {
            // Pages come first. On Linux a priority is that of a thread, and of those that it starts.
            let _ = setpriority_process(None, FILLING_NICE); // without, pages are slower meanwhile
            world.fill();
        });
        scope.spawn(|| look(&world));
        for stream in listener.incoming() {
            let Ok(stream) = stream else {
                thread::sleep(Duration::from_millis(50)); // too many open files, for the most part
                continue;
            };
            if connections.fetch_add(1, Ordering::Relaxed) >= CONNECTIONS {
                connections.fetch_sub(1, Ordering::Relaxed);
                continue; // the client tries again
            }
            let (world, token, connections) = (&world, token.as_deref(), &connections);
            let served = thread::Builder::new().stack_size(512 << 10).spawn_scoped(scope, move || {
                let _ = respond(stream, world, token); // the client has gone
                connections.fetch_sub(1, Ordering::Relaxed);
            });
            if let Err(error) = served {
                warn(&format!("cannot start a thread: {error}"));
                connections.fetch_sub(1, Ordering::Relaxed);
            }
        }
    });
    Ok(Exit::Ok)
}

/// Returns the paths of the runs that stdin names, if it names any.
fn named(selection: &Selection) -> Result<Option<Vec<String>>, Error> {
    if !selection.names.is_some_and(|names| names.iter().any(|name| name == "-")) {
        return Ok(None);
    }
    let runs = open(selection)?.into_iter().filter_map(|run| run.map_err(|error| complain(&error)).ok());
    Ok(Some(runs.map(|run| run.absolute().to_string_lossy().into_owned()).collect()))
}

/// Returns the address to listen at: a port alone is one of loopback.
fn address(at: &str) -> String {
    if at.bytes().all(|byte| byte.is_ascii_digit()) { format!("127.0.0.1:{at}") } else { at.to_owned() }
}

/// Prints the address of the page, and how to reach it from elsewhere.
fn tell(local: SocketAddr, token: Option<&str>, out: &mut Out) -> Result<(), Error> {
    let host = &Place::here().host;
    match token {
        None => {
            out.line(&format!("http://{local}/"))?;
            let port = local.port();
            out.line(&format!("from another machine: ssh -N -L {port}:{local} {}@{host}", user_name()))?;
        }
        Some(token) => {
            let name = if local.ip().is_unspecified() { host.clone() } else { local.ip().to_string() };
            out.line(&format!("http://{name}:{}/?token={token}", local.port()))?;
        }
    }
    out.flush()
}

/// Looks at the runs again and again, while anybody follows.
fn look(world: &World) {
    for tick in 1_u32.. {
        thread::sleep(PAUSE);
        if !world.is_followed() {
            continue;
        }
        if tick % SCAN == 0 {
            world.scan();
            world.sweep();
        }
        world.look();
    }
}

fn respond(mut stream: TcpStream, world: &World, token: Option<&str>) -> io::Result<()> {
    let Some(request) = Request::read(&mut stream) else { return Ok(()) };
    let text = "text/plain; charset=utf-8";
    let stream = &mut stream;
    if !["GET", "HEAD"].contains(&request.method.as_str()) {
        return answer(stream, &request, "405 Method Not Allowed", text, b"this server only reads\n");
    }
    let is_welcome = match token {
        None => request.is_for_loopback(),
        // Hashes of equal length take equal time to compare, whatever they have in common with what is right.
        Some(token) => {
            request.value("token").is_some_and(|given| sha256(given.as_bytes()) == sha256(token.as_bytes()))
        }
    };
    if !is_welcome {
        let why =
            if token.is_some() { "the address lacks the token\n" } else { "the host is not this machine\n" };
        return answer(stream, &request, "403 Forbidden", text, why.as_bytes());
    }
    match request.path.as_str() {
        "/" => {
            world.refresh();
            let page = page::live(&world.page());
            answer(stream, &request, "200 OK", "text/html; charset=utf-8", page.as_bytes())
        }
        "/run" => {
            let details = request.value("id").and_then(|id| id.parse().ok()).and_then(|id| world.details(id));
            match details {
                Some(json) => answer(stream, &request, "200 OK", "application/json", json.as_bytes()),
                None => answer(stream, &request, "404 Not Found", text, b"no such run\n"),
            }
        }
        "/media" => {
            let value = |name| request.value(name).and_then(|text| text.parse::<u64>().ok());
            let picture = value("id").zip(value("number")).and_then(|(id, number)| world.picture(id, number));
            match picture {
                Some((kind, bytes)) => answer(stream, &request, "200 OK", kind, &bytes),
                None => answer(stream, &request, "404 Not Found", text, b"no such picture\n"),
            }
        }
        "/events" if request.method == "GET" => {
            begin_events(stream)?;
            let since = request.value("since").and_then(|since| since.parse().ok()).unwrap_or_default();
            let messages = world.follow(request.value("server").unwrap_or_default(), since);
            loop {
                match messages.recv_timeout(SILENCE) {
                    Ok(message) => send(stream, message.as_bytes())?,
                    Err(RecvTimeoutError::Timeout) => send(stream, b": still here\n\n")?,
                    Err(RecvTimeoutError::Disconnected) => return Ok(()),
                }
            }
        }
        _ => answer(stream, &request, "404 Not Found", text, b"no such page\n"),
    }
}
