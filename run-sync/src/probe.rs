//! `run-sync probe`: finds out by experiment what a store can do, and records the result in the store.

use crate::address::{address, shown};
use crate::cli::Probe;
use crate::format::digest::Digest;
use crate::format::key::ABILITIES;
use crate::store::abilities::{Abilities, checks_hashes, probe_key};
use crate::store::fault::Fault;
use crate::store::{Access, Experiments, Store, open};
use run_common::cli::out::Out;
use run_common::error::{Error, Exit};
use std::io;
use std::thread;
use std::time::{Duration, Instant};

/// Writers in a race.
const WRITERS: u8 = 32;
/// Races of each kind.
const RACES: u8 = 3;
/// No race begins later after the first than this.
const PATIENCE: Duration = Duration::from_secs(3);
/// Bytes of the parts: stores take no smaller ones.
const PART: usize = 5 << 20;

/// Runs the experiments.
pub(crate) fn run(args: &Probe, out: &mut Out) -> Result<Exit, Error> {
    let access = Access::new(&args.reach)?;
    let url = address(args.url.as_ref(), "URL", &access)?;
    let name = shown(&url);
    let store = open(&url, &access)?;
    let experiments = store.experiments();
    let tested = experiments.map_or_else(|| name.clone(), Experiments::address);
    if args.dry_run {
        let known = Abilities::read(&*store, &tested);
        return show(known.map_err(|fault| fault.error("read", ABILITIES, &name))?.as_ref(), args, out);
    }
    store.prepare()?;
    let mut seen = Abilities::new(&tested);
    let failed = |fault: Fault| fault.error("probe", &probe_key(), &name);
    seen.create = Some(creates_once(&*store).map_err(failed)?);
    let parts = takes_parts(&*store).map_err(failed)?;
    (seen.parts, seen.unequal_parts) = (Some(parts.0), Some(parts.1));
    if let Some(experiments) = experiments {
        seen.checksums = Some(checks_hashes(&*store, experiments).map_err(failed)?);
        seen.replace = Some(replaces_once(&*store, experiments).map_err(failed)?);
        seen.redirects = Some(experiments.redirects());
    }
    seen.write(&*store).map_err(failed)?;
    show(Some(&seen), args, out)
}

/// Prints what is known of a store.
fn show(seen: Option<&Abilities>, args: &Probe, out: &mut Out) -> Result<Exit, Error> {
    match seen {
        seen if args.reach.json => out.json(&seen)?,
        Some(seen) => lines(seen).iter().try_for_each(|line| out.text(line))?,
        None => out.text("nothing is recorded of this store yet")?,
    }
    Ok(Exit::Ok)
}

fn lines(seen: &Abilities) -> Vec<String> {
    let line = |what: &str, is_so: Option<bool>, yes: &str, no: &str| {
        is_so.map(|is_so| format!("{what:<18} {}", if is_so { yes } else { no }))
    };
    [
        line(
            "checksums",
            seen.checksums,
            "checked by the store",
            "not checked: --read-back proves what was sent",
        ),
        line("create if absent", seen.create, "one of 32 writers wins", "not kept"),
        line("replace if same", seen.replace, "one of 32 writers wins", "not kept"),
        line("parts", seen.parts, "taken", "not taken"),
        line(
            "parts of any size",
            seen.unequal_parts,
            "taken",
            "not taken: parts must be equal, as run-sync's are",
        ),
        line("reads", seen.redirects, "come from another server", "come from the store"),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn get(store: &dyn Store, key: &str) -> Result<Vec<u8>, Fault> {
    let mut bytes = Vec::new();
    store.get(key, None, &mut |piece| {
        bytes.extend_from_slice(piece);
        if bytes.len() > 4096 { Err(io::Error::other("it is too large")) } else { Ok(()) }
    })?;
    Ok(bytes)
}

/// Lets all writers write one key at once. Returns whether at most one of them succeeded and its bytes are
/// there.
fn one_wins(
    store: &dyn Store,
    key: &str,
    write: impl Fn(&[u8], &Digest) -> Result<(), Fault> + Sync,
) -> Result<bool, Fault> {
    let results: Vec<(u8, Result<(), Fault>)> = thread::scope(|scope| {
        let start = |writer: u8| {
            let write = &write;
            scope.spawn(move || (writer, write(&[writer], &Digest::of(&[writer]))))
        };
        let writers: Vec<_> = (0..WRITERS).map(start).collect();
        writers.into_iter().filter_map(|writer| writer.join().ok()).collect()
    });
    let mut winners = Vec::new();
    for (writer, result) in results {
        match result {
            Ok(()) => winners.push(writer),
            // Some stores, such as rclone's directories, mistake the object of one writer for the failure of
            // another.
            Err(Fault::Exists | Fault::Unavailable(_) | Fault::NotFound) => {}
            Err(fault) => return Err(fault),
        }
    }
    let there = match get(store, key) {
        Err(Fault::NotFound) => Vec::new(),
        there => there?,
    };
    // If the winner's answer was lost, no writer knows of its success, but its byte is there.
    let is_of_one = matches!(there[..], [writer] if writer < WRITERS);
    Ok(is_of_one && (winners.is_empty() || there == winners))
}

/// Returns whether the store creates no object twice, and lets one of several writers create it.
fn creates_once(store: &dyn Store) -> Result<bool, Fault> {
    let start = Instant::now();
    for race in 0..RACES {
        if race > 0 && start.elapsed() > PATIENCE {
            break;
        }
        let key = probe_key();
        let is_one = one_wins(store, &key, |bytes, digest| store.create(&key, bytes, digest).map(drop));
        let again = store.create(&key, b"late", &Digest::of(b"late"));
        store.delete(&key)?;
        if !is_one? || again.is_ok() {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Returns whether the store replaces no object that has changed since, and lets one of several writers replace
/// it.
fn replaces_once(store: &dyn Store, experiments: &dyn Experiments) -> Result<bool, Fault> {
    let start = Instant::now();
    for race in 0..RACES {
        if race > 0 && start.elapsed() > PATIENCE {
            break;
        }
        let key = probe_key();
        let Some(tag) = store.put(&key, b"first", &Digest::of(b"first"))?.tag else { return Ok(false) };
        let replace =
            |bytes: &[u8], digest: &Digest| experiments.replace(&key, bytes, digest, &tag).map(drop);
        let is_one = one_wins(store, &key, replace);
        let again = experiments.replace(&key, b"late", &Digest::of(b"late"), &tag);
        store.delete(&key)?;
        match is_one {
            Ok(true) if again.is_err() => {}
            Ok(_) | Err(Fault::Refused(_)) => return Ok(false),
            Err(fault) => return Err(fault),
        }
    }
    Ok(true)
}

/// Returns whether the store takes parts of one size, and of several sizes.
fn takes_parts(store: &dyn Store) -> Result<(bool, bool), Fault> {
    let sent = |sizes: &[usize]| {
        let key = probe_key();
        let upload = store.begin(&key, PART as u64)?;
        let send = || {
            let mut parts = Vec::new();
            for (number, size) in (1..).zip(sizes) {
                let bytes = vec![b'x'; *size];
                parts.push(store.put_part(&upload, number, &bytes, &Digest::of(&bytes))?);
            }
            let size = sizes.iter().sum::<usize>() as u64;
            store.complete(&upload, &parts, size)?;
            Ok(store.head(&key)?.is_some_and(|object| object.size == size))
        };
        let is_taken: Result<bool, Fault> = send();
        if !matches!(is_taken, Ok(true)) {
            store.abort(&upload)?;
        }
        store.delete(&key)?;
        match is_taken {
            Err(Fault::Refused(_)) => Ok(false),
            is_taken => is_taken,
        }
    };
    Ok((sent(&[PART, PART, 1])?, sent(&[PART, PART + 1, 1])?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::conformance::access;
    use crate::store::{Access, open};
    use std::time::Duration;
    use testkit::stores::{Act, BUCKET, Scripted, Server};

    #[test]
    fn writers_who_are_all_left_without_an_answer_prove_nothing() {
        let server = Scripted::with(|request| match request.headers.get("if-match") {
            Some(_) => Act::Fail(500, "InternalError"),
            None => Act::Serve,
        });
        let access = Access { patience: Duration::from_millis(300), ..access(&server.variables()) };
        let store = open(&format!("s3://{BUCKET}/x").parse().unwrap(), &access).unwrap();
        assert!(!replaces_once(&*store, store.experiments().unwrap()).unwrap());
        assert!(creates_once(&*store).unwrap());
    }

    #[test]
    fn writers_whose_object_is_not_there_prove_nothing() {
        let server = Scripted::with(|request| match request.headers.get("if-none-match") {
            Some(_) => Act::Fail(404, "NoSuchKey"),
            None => Act::Serve,
        });
        let store = open(&format!("s3://{BUCKET}/x").parse().unwrap(), &access(&server.variables())).unwrap();
        assert!(!creates_once(&*store).unwrap());
    }
}
