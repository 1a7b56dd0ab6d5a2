"""A Slurm of three nodes on this machine, of Debian's packages, for the time of a benchmark. With MariaDB and slurmdbd it
keeps accounts, which sacct needs. All its files are below one directory, and it serves 127.0.0.1 alone."""

import os
import secrets
import shutil
import signal
import socket
import subprocess
import time

from harness import Failed, Refused

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
ACCOUNTS = ("mariadbd", "mariadb-install-db", "slurmdbd", "sacctmgr")
WAIT_S = 60


def free_ports(count):
    """Returns the first of some ports in a row that nobody uses."""
    for first in range(12_000, 30_000, count):
        try:
            for port in range(first, first + count):
                with socket.socket() as one:
                    one.bind(("127.0.0.1", port))
            return first
        except OSError:
            continue
    raise Refused("there are no free ports")


class Cluster:
    """The cluster, which ends with its context."""

    def __init__(self, directory, jobs):
        if os.geteuid() != 0:
            raise Refused("the benchmark of clusters starts a Slurm, which only root can")
        self.dir = directory
        self.jobs = jobs  # that it has to take
        self.has_accounts = all(shutil.which(program, path=PATH) for program in ACCOUNTS)
        self.children = []

    def __enter__(self):
        try:
            self.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        for child in reversed(self.children):
            if child.poll() is None:
                os.killpg(child.pid, signal.SIGKILL)
            child.wait()
        mark = f"SLURM_CONF={self.dir}/slurm.conf".encode()
        for entry in os.listdir("/proc"):  # steps and jobs that are left
            try:
                with open(f"/proc/{entry}/environ", "rb") as file:
                    if entry.isdigit() and int(entry) != os.getpid() and mark in file.read().split(b"\0"):
                        os.kill(int(entry), signal.SIGKILL)
            except OSError:
                continue

    @property
    def conf(self):
        """The settings, which every command needs as SLURM_CONF."""
        return f"{self.dir}/slurm.conf"

    def ask(self, *words):
        """Executes one of Slurm's commands and returns its output, or None."""
        env = {"PATH": PATH, "LC_ALL": "C.UTF-8", "SLURM_CONF": self.conf}
        done = subprocess.run(words, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
        return done.stdout if done.returncode == 0 else None

    def clear(self):
        """Ends all jobs, and waits until Slurm has forgotten them."""
        self.ask("scancel", "--user=root")
        self.until("Slurm to forget its jobs", lambda: self.ask("squeue", "--noheader", "--states=all") == "", 300)

    def until(self, what, holds, limit=WAIT_S):
        """Waits until something is so."""
        start = time.monotonic()
        while not holds():
            if time.monotonic() - start > limit:
                raise Failed(f"waited in vain for {what}; see '{self.dir}/log'")
            time.sleep(0.1)

    def spawn(self, *words):
        """Starts a daemon."""
        env = {"PATH": PATH, "LC_ALL": "C.UTF-8", "SLURM_CONF": self.conf}
        with open(f"{self.dir}/log/start.log", "ab") as log:
            self.children.append(subprocess.Popen(words, env=env, cwd="/", stdin=subprocess.DEVNULL, stdout=log,
                                                  stderr=log, process_group=0))

    def start(self):
        """Starts all daemons."""
        for name in ("munge", "state", "spool", "log", "run"):
            (self.dir / name).mkdir(parents=True)
        key = self.dir / "munge/key"
        key.write_bytes(secrets.token_bytes(128))
        key.chmod(0o600)
        port = free_ports(8)
        host = socket.gethostname().partition(".")[0]
        (self.dir / "slurm.conf").write_text(self.settings(host, port))
        files = {"key-file": "key", "socket": "socket", "pid-file": "pid", "seed-file": "seed"}
        options = [f"--{option}={self.dir}/munge/{name}" for option, name in files.items()]
        self.spawn("munged", "--foreground", "--force", *options)
        self.until("munged", (self.dir / "munge/socket").exists)
        if self.has_accounts:
            self.start_accounts(host, port)
        self.spawn("slurmctld", "-D")
        self.until("slurmctld", lambda: "is UP" in (self.ask("scontrol", "ping") or ""))
        for node in ("n1", "n2", "n3"):
            self.spawn("slurmd", "-D", "-N", node)
        self.until("the nodes", lambda: (self.ask("sinfo", "-h", "-N", "-o", "%t") or "").split() == ["idle"] * 3)

    def start_accounts(self, host, port):
        """Starts the database and its daemon."""
        socket_path, password = f"{self.dir}/run/db.sock", secrets.token_hex(16)
        install = ["mariadb-install-db", "--no-defaults", "--user=root", f"--datadir={self.dir}/db", "--skip-test-db",
                   "--auth-root-authentication-method=socket"]
        if self.ask(*install) is None:
            raise Failed("mariadb-install-db failed")
        self.spawn("mariadbd", "--no-defaults", "--user=root", f"--datadir={self.dir}/db", f"--socket={socket_path}",
                   "--bind-address=127.0.0.1", f"--port={port + 7}", f"--pid-file={self.dir}/run/db.pid",
                   "--innodb-flush-log-at-trx-commit=0", "--performance-schema=off")
        sql = ["mariadb", "--no-defaults", f"--socket={socket_path}", "--user=root", "-e"]
        self.until("MariaDB", lambda: self.ask(*sql, "select 1") is not None)
        self.ask(*sql, "create database slurm_acct_db; "
                 f"create user 'slurm'@'127.0.0.1' identified by '{password}'; "
                 f"create user 'slurm'@'localhost' identified by '{password}'; "
                 "grant all on slurm_acct_db.* to 'slurm'@'127.0.0.1', 'slurm'@'localhost';")
        conf = self.dir / "slurmdbd.conf"
        conf.touch(0o600)
        conf.write_text(f"AuthType=auth/munge\nAuthInfo=socket={self.dir}/munge/socket\nDbdHost={host}\n"
                        f"DbdAddr=127.0.0.1\nDbdPort={port + 6}\nCommunicationParameters=NoInAddrAny\nSlurmUser=root\n"
                        f"PidFile={self.dir}/run/slurmdbd.pid\nLogFile={self.dir}/log/slurmdbd.log\n"
                        f"StorageType=accounting_storage/mysql\nStorageHost=127.0.0.1\nStoragePort={port + 7}\n"
                        f"StorageUser=slurm\nStoragePass={password}\nStorageLoc=slurm_acct_db\n")
        self.spawn("slurmdbd", "-D")
        self.until("slurmdbd", lambda: self.ask("sacctmgr", "-n", "show", "cluster") is not None)
        self.ask("sacctmgr", "-i", "add", "cluster", "bench")

    def settings(self, host, port):
        """Returns slurm.conf."""
        storage = "AccountingStorageType=accounting_storage/none"
        if self.has_accounts:
            storage = (f"AccountingStorageType=accounting_storage/slurmdbd\nAccountingStorageHost=127.0.0.1\n"
                       f"AccountingStoragePort={port + 6}\nAccountingStoragePass={self.dir}/munge/socket")
        return f"""ClusterName=bench
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
AuthType=auth/munge
AuthInfo=socket={self.dir}/munge/socket
CredType=cred/munge
SlurmUser=root
SlurmdUser=root
StateSaveLocation={self.dir}/state
SlurmdSpoolDir={self.dir}/spool/%n
SlurmctldPidFile={self.dir}/run/slurmctld.pid
SlurmdPidFile={self.dir}/run/slurmd.%n.pid
SlurmctldLogFile={self.dir}/log/slurmctld.log
SlurmdLogFile={self.dir}/log/slurmd.%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
SwitchType=switch/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
{storage}
MaxJobCount={20 * self.jobs + 1000}
MaxArraySize={self.jobs + 1}
MinJobAge=2
KillWait=2
ReturnToService=2
SlurmdParameters=config_overrides
NodeName=n[1-3] NodeHostname={host} NodeAddr=127.0.0.1 Port=[{port + 1}-{port + 3}] CPUs=8 RealMemory=500
PartitionName=debug Nodes=ALL Default=YES DefaultTime=60 MaxTime=INFINITE State=UP
"""
