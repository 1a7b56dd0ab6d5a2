//! Hosts that share a directory by a network file system: name spaces of this machine, each with a host name, a boot
//! and processes of its own. The file system is sshfs: no host sees the locks of another, and what is known of
//! directories and files is kept for twenty seconds.

use crate::{Cmd, Lab, Running, wait_for};
use rustix::process::{Signal, getuid};
use std::fs;

/// What a host does first. It lives until its first process is killed.
const BOOT: &str = r#"
hostname "$1" && mount --bind "$1.boot" /proc/sys/kernel/random/boot_id || exit 1
sshfs -o "ssh_command=$PWD/sftp" "host:$PWD/disk" "$PWD/shared" || exit 1
cd shared && touch "../$1.up" && exec sleep 10000
"#;

/// A host.
#[derive(Debug)]
pub struct Host {
    init: i32,
    running: Running,
}

impl Host {
    /// Boots a host. The shared directory is `shared` of the lab, and lies in `disk`.
    pub fn boot(lab: &Lab, name: &str) -> Self {
        for dir in ["disk", "shared"] {
            fs::create_dir_all(lab.path(dir)).unwrap();
        }
        lab.write("sftp", "#!/bin/sh\nexec /usr/lib/openssh/sftp-server\n");
        lab.set_mode("sftp", 0o755);
        lab.write(&format!("{name}.boot"), fs::read_to_string("/proc/sys/kernel/random/uuid").unwrap());
        let up = lab.path(format!("{name}.up"));
        let _ = fs::remove_file(&up); // of an earlier boot
        let user: &[&str] = if getuid().is_root() { &[] } else { &["--user", "--map-root-user"] };
        let spaces = ["--mount", "--uts", "--pid", "--fork", "--kill-child", "--mount-proc"];
        let host = lab.cmd("unshare").args(user).args(spaces).args(["sh", "-c", BOOT, "host", name]);
        let running = host.spawn();
        wait_for(&format!("{name}, which needs name spaces and sshfs"), || up.exists());
        let children = fs::read_to_string(format!("/proc/{0}/task/{0}/children", running.pid())).unwrap();
        Self { init: children.trim().parse().unwrap(), running }
    }

    /// Prepares a tool that is executed on the host, in the shared directory.
    pub fn cmd(&self, lab: &Lab, tool: &str) -> Cmd {
        let user: &[&str] = if getuid().is_root() { &[] } else { &["--user", "--preserve-credentials"] };
        let target = format!("--target={}", self.init);
        let enter = lab.cmd("nsenter").arg(target).args(user).args(["--mount", "--uts", "--pid"]);
        let change = ["sh", "-c", "cd \"$1\" && shift && exec \"$@\"", "host"];
        enter.args(change).arg(lab.path("shared")).arg(tool)
    }

    /// Lets the processes of runs on the host stand still, as if its network were cut. The file system goes on: who
    /// waits for one that stands still cannot be killed.
    pub fn freeze(&self, lab: &Lab) {
        let space = |pid: i32| fs::read_link(format!("/proc/{pid}/ns/pid")).ok();
        let is_of_storage = |pid: i32| {
            let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
            ["sshfs", "sftp-server", "sleep"].contains(&name.trim())
        };
        let own =
            lab.alive().into_iter().filter(|&pid| space(pid) == space(self.init) && !is_of_storage(pid));
        for pid in own {
            crate::signal(pid, Signal::STOP);
        }
    }

    /// Lets everything in the lab go on: nsenter(1) stops itself when what it has started is stopped.
    pub fn thaw(&self, lab: &Lab) {
        for pid in lab.alive() {
            crate::signal(pid, Signal::CONT);
        }
    }

    /// Ends the host with all of its processes, as a power cut does.
    pub fn crash(self) {
        drop(self);
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        crate::signal(self.init, Signal::KILL);
        let _ = self.running.child.wait(); // nothing is left of it
    }
}
