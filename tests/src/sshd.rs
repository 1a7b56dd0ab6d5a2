//! An ssh server of one's own on this machine.

use crate::{Cmd, Lab, wait_for};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

/// A server, reached as the hosts `gpu1` and `gpu2` with the settings in [`Sshd::config`].
#[derive(Debug)]
pub struct Sshd {
    config: PathBuf,
    server: Child,
}

impl Sshd {
    /// Starts one in a lab. What is executed by it carries the lab's mark.
    pub fn start(lab: &Lab) -> Self {
        for key in ["host", "user"] {
            let path = lab.path(format!("ssh/{key}"));
            lab.write("ssh/.made", "");
            lab.cmd("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(path).run().code(0);
        }
        if rustix::process::getuid().is_root() {
            std::fs::create_dir_all("/run/sshd").unwrap(); // which the package makes when it starts its own
        }
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let dir = lab.path("ssh").display().to_string();
        let server = lab.write(
            "ssh/sshd_config",
            format!(
                "Port {port}\nListenAddress 127.0.0.1\nHostKey {dir}/host\nAuthorizedKeysFile {dir}/user.pub\n\
                 StrictModes no\nUsePAM no\nPidFile none\nPermitRootLogin yes\nSetEnv LAB={}\n",
                lab.mark()
            ),
        );
        let config = lab.write(
            "ssh/config",
            format!(
                "Host gpu1 gpu2\nHostName 127.0.0.1\nPort {port}\nIdentityFile {dir}/user\n\
                 UserKnownHostsFile {dir}/known\nStrictHostKeyChecking no\nLogLevel ERROR\n"
            ),
        );
        let server = Command::new("/usr/sbin/sshd")
            .args(["-D", "-e", "-f"])
            .arg(server)
            .env_clear()
            .env("LAB", lab.mark())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("sshd: {error}; tests/setup installs it"));
        wait_for("sshd", || TcpStream::connect(("127.0.0.1", port)).is_ok());
        Self { config, server }
    }

    /// Returns the file that `ssh -F` takes to reach it.
    pub fn config(&self) -> String {
        self.config.display().to_string()
    }

    /// Lets a command find the launchers among the examples.
    pub fn with_examples(command: Cmd) -> Cmd {
        let examples = crate::checkout().join("examples");
        let path = format!("{}:{}:/usr/local/bin:/usr/bin:/bin", crate::bin().display(), examples.display());
        command.env("PATH", path)
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        let _ = self.server.kill(); // it may have ended
        let _ = self.server.wait();
    }
}
