//! A Slurm of three nodes on this machine, of Debian's packages, which tests/setup has installed. Its files are below a
//! directory of its own, and nothing of it is left over when this process ends.

pub mod jobs;

use crate::{Cmd, DEADLINE, Lab, lives, signal, state, wait_for, wait_to_see};
use rustix::process::{Signal, getuid};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::symlink;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// The nodes.
pub const NODES: [&str; 3] = ["n1", "n2", "n3"];

/// Where daemons are found besides the usual path.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Ends what is left of a cluster when the process that started it has ended, and removes its directory.
const KEEPER: &str = r#"
cat >/dev/null
for pass in 1 2 3; do
    for environ in /proc/[0-9]*/environ; do
        pid=${environ#/proc/} pid=${pid%/environ}
        [ "$pid" != $$ ] && grep -qzxF "SLURM_CONF=$1/slurm.conf" "$environ" 2>/dev/null && kill -9 "$pid" 2>/dev/null
    done
done
rm -rf "$1"
"#;

/// A cluster.
#[derive(Debug)]
pub struct Cluster {
    dir: PathBuf,
    daemons: Mutex<BTreeMap<String, Child>>,
    /// Notices by its stdin that this process has ended, or that the cluster is not needed any more.
    keeper: Child,
}

impl Cluster {
    /// Returns the one that the tests of this process share.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<Cluster> = OnceLock::new();
        SHARED.get_or_init(|| {
            Self::start(&std::env::temp_dir().join(format!("slurm-{}", std::process::id())), "")
        })
    }

    /// Starts one in a directory, with more lines in its settings.
    pub fn start(dir: &Path, more: &str) -> Self {
        for name in ["munge", "state", "spool", "log"] {
            fs::create_dir_all(dir.join(name)).unwrap();
        }
        for private in ["munge", "state"] {
            fs::set_permissions(dir.join(private), std::os::unix::fs::PermissionsExt::from_mode(0o755))
                .unwrap();
        }
        let dir = dir.canonicalize().unwrap();
        fs::write(dir.join("slurm.conf"), settings(&dir) + more).unwrap();
        // Other devices take the place of two GPUs of each node.
        let gpus = format!("AutoDetect=off\nName=gpu File={}/gpu[0-1]\n", dir.display());
        fs::write(dir.join("gres.conf"), gpus).unwrap();
        for (gpu, device) in [("gpu0", "/dev/null"), ("gpu1", "/dev/zero")] {
            symlink(device, dir.join(gpu)).unwrap();
        }
        let keeper = Command::new("sh")
            .args(["-c", KEEPER, "keeper"])
            .arg(&dir)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .unwrap();
        let cluster = Self { dir, daemons: Mutex::default(), keeper };
        cluster.start_daemon("munged");
        cluster.start_daemon("slurmctld");
        for node in NODES {
            cluster.start_daemon(node);
        }
        cluster.await_nodes();
        cluster
    }

    /// Lets a command of a lab reach it, with a place of the lab's own for what is known of jobs.
    #[must_use]
    pub fn reached_by(&self, lab: &Lab, command: Cmd) -> Cmd {
        command.env("SLURM_CONF", self.dir.join("slurm.conf")).env("XDG_RUNTIME_DIR", lab.dir())
    }

    /// Prepares a tool of a lab that reaches it.
    pub fn cmd(&self, lab: &Lab, program: &str) -> Cmd {
        self.reached_by(lab, lab.cmd(program))
    }

    /// Executes one of Slurm's commands, and returns what it prints.
    pub fn ask(&self, words: &[&str]) -> String {
        let done = self.command(words[0]).args(&words[1..]).output().unwrap();
        let text = String::from_utf8_lossy(&done.stdout).into_owned();
        assert!(done.status.success(), "{words:?}: {text}{}", String::from_utf8_lossy(&done.stderr));
        text
    }

    /// Returns what run-status says of a run.
    pub fn status(&self, lab: &Lab, run: &str) -> Value {
        let done = self.cmd(lab, "run-status").args(["--json", run]).run().code(0);
        serde_json::from_str(&done.out()).unwrap()
    }

    /// Waits until run-status says something of a run, and returns it.
    pub fn await_status(&self, lab: &Lab, run: &str, status: &str) -> Value {
        wait_to_see(
            &format!("{run} to be {status}"),
            || self.status(lab, run),
            |found| found["status"] == status,
        )
    }

    /// Ends a daemon at once: `slurmctld`, or a node, whose jobs go on unseen.
    pub fn kill_daemon(&self, name: &str) {
        let child = self.daemons.lock().unwrap_or_else(PoisonError::into_inner).remove(name);
        let mut child = child.unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// Starts a daemon, and waits until it answers.
    pub fn start_daemon(&self, name: &str) {
        let dir = self.dir.display();
        let log = fs::File::options().create(true).append(true).open(self.dir.join("log/start.log")).unwrap();
        let mut command = match name {
            "munged" => {
                let mut command = self.command("munged");
                if !self.dir.join("munge/key").exists() {
                    fs::write(self.dir.join("munge/key"), [7; 128]).unwrap();
                    fs::set_permissions(
                        self.dir.join("munge/key"),
                        std::os::unix::fs::PermissionsExt::from_mode(0o600),
                    )
                    .unwrap();
                }
                command.args(["--foreground", "--force"]);
                for (option, file) in
                    [("key-file", "key"), ("socket", "socket"), ("pid-file", "pid"), ("seed-file", "seed")]
                {
                    command.arg(format!("--{option}={dir}/munge/{file}"));
                }
                command
            }
            "slurmctld" => {
                let mut command = self.command("slurmctld");
                command.arg("-D");
                command
            }
            node => {
                let mut command = self.command("slurmd");
                command.args(["-D", "-N", node]);
                command
            }
        };
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log).process_group(0);
        let child =
            command.spawn().unwrap_or_else(|error| panic!("{name}: {error}; tests/setup installs it"));
        self.daemons.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned(), child);
        match name {
            "munged" => wait_for("munged", || self.dir.join("munge/socket").exists()),
            "slurmctld" => wait_for("slurmctld", || {
                let ping = self.command("scontrol").arg("ping").output().unwrap();
                String::from_utf8_lossy(&ping.stdout).contains("is UP")
            }),
            _ => {}
        }
    }

    /// Ends a node and all that its jobs have started, as a power cut would: none of them sees another end.
    pub fn crash(&self, node: &str) {
        self.kill_daemon(node);
        wait_for("the processes of a node to stop", || {
            let running = self.processes_of(node).into_iter().filter(|&pid| state(pid) != Some('T'));
            running.map(|pid| signal(pid, Signal::STOP)).count() == 0
        });
        wait_for("the processes of a node to end", || {
            self.processes_of(node).into_iter().map(|pid| signal(pid, Signal::KILL)).count() == 0
        });
    }

    /// Returns the living processes that the jobs on a node have started, and those of its steps.
    fn processes_of(&self, node: &str) -> Vec<i32> {
        let conf = format!("SLURM_CONF={}", self.dir.join("slurm.conf").display());
        let (name, spool) =
            (format!("SLURMD_NODENAME={node}"), format!("{}/spool/{node}", self.dir.display()));
        let is_of_node = |pid: &i32| {
            let environ = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            let has = |entry: &str| environ.split(|&byte| byte == 0).any(|known| known == entry.as_bytes());
            let words = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            has(&conf) && has(&name) || words.starts_with(b"slurmstepd") && listens_below(*pid, &spool)
        };
        let pids =
            fs::read_dir("/proc").unwrap().filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
        pids.filter(|pid| lives(*pid) && is_of_node(pid)).collect()
    }

    /// Waits until all nodes serve.
    pub fn await_nodes(&self) {
        let mut last = String::new();
        let start = Instant::now();
        loop {
            last.clear();
            let told =
                self.command("sinfo").args(["-h", "-N", "-p", "debug", "-o", "%N %t"]).output().unwrap();
            last.push_str(&String::from_utf8_lossy(&told.stdout));
            let serves =
                |line: &str| ["idle", "mix", "alloc", "comp"].iter().any(|state| line.ends_with(state));
            if last.lines().count() == NODES.len() && last.lines().all(serves) {
                return;
            }
            if start.elapsed() > DEADLINE {
                let log = fs::read_to_string(self.dir.join("log/start.log")).unwrap_or_default();
                panic!(
                    "the nodes do not serve: {last}\n{}",
                    log.lines().rev().take(20).collect::<Vec<_>>().join("\n")
                );
            }
            sleep(Duration::from_millis(20));
        }
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new("env");
        command.env_clear().args([format!("PATH={PATH}"), "LC_ALL=C.UTF-8".to_owned(), "TZ=UTC".to_owned()]);
        command.arg(format!("SLURM_CONF={}", self.dir.join("slurm.conf").display())).arg(program);
        command
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        drop(self.keeper.stdin.take());
        let _ = self.keeper.wait(); // whatever it says, the directory is gone or will be
        for child in self.daemons.lock().unwrap_or_else(PoisonError::into_inner).values_mut() {
            let _ = child.wait(); // it was killed
        }
    }
}

/// Says whether a step daemon has a file open below a directory.
fn listens_below(pid: i32, dir: &str) -> bool {
    let sockets = fs::read_to_string("/proc/net/unix").unwrap_or_default();
    let inodes: Vec<&str> = sockets
        .lines()
        .filter(|line| line.contains(dir))
        .filter_map(|line| line.split_whitespace().nth(6))
        .collect();
    let open = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    open.filter_map(|entry| fs::read_link(entry.path()).ok())
        .any(|to| inodes.iter().any(|inode| to == Path::new(&format!("socket:[{inode}]"))))
}

/// Finds ports that follow each other and are free, below those from which the kernel takes one for each connection.
fn free_ports(count: u16) -> u16 {
    static TRIED: AtomicU16 = AtomicU16::new(0);
    let own = u16::try_from(std::process::id() % 1000).unwrap() * 20;
    for _ in 0..1000 {
        let first = 10_000 + (own + TRIED.fetch_add(count, Ordering::Relaxed)) % 20_000;
        if (first..first + count).all(|port| TcpListener::bind(("127.0.0.1", port)).is_ok()) {
            return first;
        }
    }
    panic!("there are no free ports");
}

fn settings(dir: &Path) -> String {
    let dir = dir.display();
    let port = free_ports(4);
    let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    let host = host.trim().split('.').next().unwrap();
    let user = if getuid().is_root() { "root".to_owned() } else { getuid().as_raw().to_string() };
    format!(
        "ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
AuthType=auth/munge
AuthInfo=socket={dir}/munge/socket
CredType=cred/munge
SlurmUser={user}
SlurmdUser={user}
StateSaveLocation={dir}/state
SlurmdSpoolDir={dir}/spool/%n
SlurmctldPidFile={dir}/slurmctld.pid
SlurmdPidFile={dir}/slurmd.%n.pid
SlurmctldLogFile={dir}/log/slurmctld.log
SlurmdLogFile={dir}/log/slurmd.%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
SwitchType=switch/none
MpiDefault=none
GresTypes=gpu
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=0,sched_interval=2,bf_interval=2
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
JobRequeue=1
AccountingStorageType=accounting_storage/none
KillWait=6
SlurmdTimeout=10
SlurmctldTimeout=10
MessageTimeout=10
UnkillableStepTimeout=30
ReturnToService=2
SlurmdParameters=config_overrides
NodeName=n[1-3] NodeHostname={host} NodeAddr=127.0.0.1 Port=[{first}-{last}] CPUs=2 RealMemory=500 Gres=gpu:2 State=UNKNOWN
PartitionName=debug Nodes=ALL Default=YES DefaultTime=60 MaxTime=INFINITE State=UP PriorityTier=1
PartitionName=urgent Nodes=ALL DefaultTime=60 MaxTime=INFINITE State=UP PriorityTier=10 PreemptMode=OFF
PartitionName=cancelled Nodes=ALL DefaultTime=60 MaxTime=INFINITE State=UP PriorityTier=1 PreemptMode=CANCEL
PartitionName=closed Nodes=ALL DefaultTime=60 MaxTime=INFINITE State=DOWN PriorityTier=1
",
        first = port + 1,
        last = port + 3,
    )
}
