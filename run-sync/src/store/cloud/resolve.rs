//! Finds the addresses of hosts by getent(1). A statically linked program must not load modules of the name
//! service (nsswitch.conf(5)): those of another version of the C library, or of systemd, crash in it.

use std::net::{IpAddr, SocketAddr};
use std::process::{Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use ureq::Error;
use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::NextTimeout;

/// Maximum number of addresses to try.
const ADDRESSES: usize = 16;

/// Exit status of getent if there is no such name.
const UNKNOWN: i32 = 2;

/// Resolves the names of hosts, without the name service of this process if it is linked statically.
#[derive(Debug, Default)]
pub(super) struct Names(DefaultResolver);

impl Resolver for Names {
    fn resolve(
        &self,
        uri: &Uri,
        config: &Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, Error> {
        let host = uri.host().unwrap_or_default();
        let is_address = host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok();
        let port = uri.port_u16().or(match uri.scheme_str() {
            Some("https") => Some(443),
            Some("http") => Some(80),
            _ => None,
        });
        let (false, true, Some(port)) = (is_address, cfg!(target_feature = "crt-static"), port) else {
            return self.0.resolve(uri, config, timeout);
        };
        let (name, (sender, receiver)) = (host.to_owned(), channel());
        thread::spawn(move || sender.send(addresses(&name)));
        let found = match receiver.recv_timeout(*timeout.after) {
            Ok(found) => found,
            Err(RecvTimeoutError::Timeout) => return Err(Error::Timeout(timeout.reason)),
            Err(RecvTimeoutError::Disconnected) => None,
        };
        let Some(found) = found else { return self.0.resolve(uri, config, timeout) };
        let family = config.ip_family();
        let wanted = family.keep_wanted(found.into_iter().map(|ip| SocketAddr::new(ip, port)));
        let mut result = self.empty();
        wanted.take(ADDRESSES).for_each(|address| result.push(address));
        if result.is_empty() { Err(Error::HostNotFound) } else { Ok(result) }
    }
}

/// Asks getent for the addresses of a host; `None` if there is no getent.
fn addresses(host: &str) -> Option<Vec<IpAddr>> {
    let mut command = Command::new("getent");
    let done =
        command.args(["ahosts", "--", host]).stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    match done.status.code() {
        Some(0 | UNKNOWN) => {}
        _ => return None,
    }
    let mut found = Vec::new();
    for line in String::from_utf8_lossy(&done.stdout).lines() {
        // A line for each kind of socket.
        let ip = line.split_whitespace().next().and_then(|word| word.parse().ok());
        found.extend(ip.filter(|ip| !found.contains(ip)));
    }
    Some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_addresses_once_each_and_unknown_ones_none() {
        let found = addresses("localhost").unwrap();
        assert!(!found.is_empty() && found.iter().all(IpAddr::is_loopback), "{found:?}");
        assert!((1..found.len()).all(|at| !found[..at].contains(&found[at])));
        for unknown in ["nowhere.invalid", "-V"] {
            assert!(addresses(unknown).unwrap().is_empty(), "{unknown}");
        }
    }
}
