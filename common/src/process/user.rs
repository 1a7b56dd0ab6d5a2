//! Who the user is.

use std::fs;

/// Returns the name of the user: of `/etc/passwd`, else what the environment says, else the number.
/// Name services are not asked: that takes shared libraries, and a network that may be down.
pub fn user_name() -> String {
    let id = nix::unistd::getuid().to_string();
    let passwd = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let known = passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)? == id).then(|| name.to_owned())
    });
    let from_environment = || ["USER", "LOGNAME"].into_iter().find_map(|name| std::env::var(name).ok());
    known.or_else(from_environment).filter(|name| !name.is_empty()).unwrap_or(id)
}
