//! The name of the user.

use std::fs;

/// Returns the name of the user: from `/etc/passwd`, else from the environment, else the number. Name
/// services are not used: they need shared libraries, and a network that may be down.
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
