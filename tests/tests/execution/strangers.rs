//! Nobody signals a stranger: records and locks are forged, copied and out of date, pids are used again. Root may
//! signal anybody, so the tests tell most when they run as root.

use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::{chown, symlink};
use testkit::process::{Signal, getuid};
use testkit::{Cmd, Lab, Running, pid, state, wait_for};

/// Who forges.
const FORGER: u32 = 1000;

/// Returns when a process started, in clock ticks since the boot.
fn start_of(pid: i32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    stat.rsplit_once(") ").unwrap().1.split(' ').nth(19).unwrap().parse().unwrap()
}

/// Forges the record of an ended run, so that it says that the run is running.
fn forge(lab: &Lab, name: &str, change: impl FnOnce(&mut Value)) -> String {
    let run = lab.new_run(name, &["true"]);
    lab.cmd("run-exec").args(["-q", &run]).run().code(0);
    fs::remove_file(lab.path(format!("{run}/.run/result.json"))).unwrap();
    let attempts = format!("{run}/.run/attempts.jsonl");
    let start = lab.read(&attempts).lines().next().unwrap().to_owned();
    lab.write(&attempts, start + "\n");
    let file = format!("{run}/.run/status.json");
    let mut record = lab.json(&file);
    for (key, value) in [("status", json!("running")), ("end_time", Value::Null), ("exit_code", Value::Null)]
    {
        record[key] = value;
    }
    change(&mut record);
    lab.write(&file, record.to_string());
    if getuid().is_root() {
        for path in [run.clone(), format!("{run}/.run"), file] {
            chown(lab.path(path), Some(FORGER), Some(FORGER)).unwrap();
        }
    }
    run
}

/// Starts a process that has nothing to do with any run: of root, or of a user who forged nothing; where nobody
/// is root, one that carries the id of another run.
fn stranger(lab: &Lab, user: Option<u32>) -> Running {
    let by_user = |user: u32| {
        let user = user.to_string();
        lab.cmd("setpriv").args(["--reuid", &user, "--clear-groups", "sleep", "1000"])
    };
    let command: Cmd = match user.filter(|_| getuid().is_root()) {
        Some(user) => by_user(user),
        None if getuid().is_root() => lab.cmd("sleep").arg("1000"),
        None => lab.cmd("sleep").arg("1000").env("RUN_ID", "another").env("RUN_DIR", "/"),
    };
    let process = command.spawn();
    wait_for("it to sleep", || {
        fs::read(format!("/proc/{}/cmdline", process.pid())).is_ok_and(|words| words.starts_with(b"sleep"))
    });
    process
}

/// Holds the lock of a run that says something, until it is killed.
fn hold(lab: &Lab, run: &str, signature: &str) -> Running {
    let lock = lab.path(format!("{run}/.run/lock"));
    if !lock.is_symlink() {
        fs::write(&lock, signature).unwrap();
    }
    let program = "import fcntl, struct, sys, time; f = open(sys.argv[1], 'r+b', 0); \
                   fcntl.fcntl(f, 37, struct.pack('hhxxxxqqixxxx', 1, 0, 0, 0, 0)); print('held', flush=True); \
                   time.sleep(1000)";
    let said = fs::File::create(lab.path("held")).unwrap();
    let holder = lab.cmd("python3").args(["-c", program]).arg(lock).stdout_to(said).spawn();
    lab.await_text("held", "held");
    holder
}

/// Expects that nobody can be made to signal these processes for a run, and returns the messages.
#[track_caller]
fn spared(lab: &Lab, run: &str, strangers: &[i32]) -> String {
    let mut said = String::new();
    let requests: [&[&str]; 4] = [
        &["--no-wait", run],
        &["--no-wait", "--kill", run],
        &["--no-wait", "--all"],
        &["--no-wait", "--all", "--kill"],
    ];
    for request in requests {
        said += &lab.cmd("run-stop").args(request).run().code(0).err();
    }
    for &pid in strangers {
        assert!(matches!(state(pid), Some('S' | 'R' | 'D' | 'I')), "process {pid} was signalled: {said}");
    }
    said
}

fn not_signalled(pid: i32, run: &str, role: &str) -> String {
    format!(
        "run-stop: not signalling process {pid}, the recorded {role} of '{run}': nothing proves that it belongs to the \
         run\nrun-stop: if process {pid} belongs to the run, 'kill {pid}' ends it\n"
    )
}

#[test]
fn a_record_that_names_a_stranger_as_the_program_leads_to_no_signal() {
    let lab = Lab::new();
    let strangers = [stranger(&lab, None), stranger(&lab, Some(65534))];
    for (number, pid) in strangers.iter().map(Running::pid).chain([1]).enumerate() {
        let run = forge(&lab, &format!("r{number}"), |record| {
            record["child_pid"] = pid.into();
            record["child_start"] = start_of(pid).into();
        });
        let said = spared(&lab, &run, &[pid]);
        assert!(said.contains(&not_signalled(pid, &run, "program")), "{said}");
        // It may be the run's all the same: nothing says that the run is dead.
        let reason = format!("supervisor gone, process {pid} lives, which may be its program");
        let status = lab.status(&run);
        assert_eq!((&status["status"], &status["reason"]), (&json!("stale"), &json!(reason)));
        let done = lab.cmd("run-stop").arg(&run).run().code(1).stdout(format!("{run}: stale\n"));
        done.stderr_has(&format!("run-stop: cannot tell whether '{run}' has ended: {reason}\n"));
        lab.cmd("run-exec").args(["--resume", &run]).run().code(125).stderr_has(&reason);
        fs::remove_dir_all(lab.path(run)).unwrap();
    }
    // When it has ended, so has the run.
    let [first, _] = strangers;
    let run = forge(&lab, "over", |record| {
        record["child_pid"] = first.pid().into();
        record["child_start"] = start_of(first.pid()).into();
    });
    first.signal(Signal::KILL);
    first.wait();
    assert_eq!(lab.status(&run)["status"], "dead");
}

#[test]
fn a_record_that_names_a_stranger_as_the_supervisor_leads_to_no_signal() {
    let lab = Lab::new();
    let strangers = [stranger(&lab, None), stranger(&lab, Some(65534))];
    for (number, pid) in strangers.iter().map(Running::pid).chain([1]).enumerate() {
        let run = forge(&lab, &format!("r{number}"), |record| {
            record["pid"] = pid.into();
            record["pid_start"] = start_of(pid).into();
        });
        // Nobody holds the lock: the supervisor is gone, whatever has its pid.
        assert_eq!(lab.status(&run)["status"], "dead");
        spared(&lab, &run, &[pid]);
        // Without lock the process is all that there is.
        fs::remove_file(lab.path(format!("{run}/.run/lock"))).unwrap();
        assert_eq!(lab.status(&run)["status"], "running");
        let said = spared(&lab, &run, &[pid]);
        assert!(said.contains(&not_signalled(pid, &run, "supervisor")), "{said}");
        fs::remove_dir_all(lab.path(run)).unwrap();
    }
}

#[test]
fn a_supervisor_that_may_be_a_stranger_is_not_waited_for_in_vain() {
    let lab = Lab::new();
    let pid = stranger(&lab, None).pid();
    let run = forge(&lab, "r", |record| {
        record["pid"] = pid.into();
        record["pid_start"] = start_of(pid).into();
    });
    fs::remove_file(lab.path("runs/r/.run/lock")).unwrap();
    let done = lab.cmd("run-stop").arg("--all").run().code(1).stdout(format!("{run}: running\n"));
    done.stderr_has(&format!(
        "cannot tell whether '{run}' has ended: process {pid} may not be its supervisor\n"
    ));
    assert_eq!(state(pid), Some('S'));
}

#[test]
fn a_lock_that_names_a_stranger_leads_to_no_signal() {
    let lab = Lab::new();
    let strangers = [stranger(&lab, None), stranger(&lab, Some(65534))];
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap().trim().to_owned();
    for (number, pid) in strangers.iter().map(Running::pid).chain([1]).enumerate() {
        let run = forge(&lab, &format!("r{number}"), |_| {});
        let record = lab.json(&format!("{run}/.run/status.json"));
        let id = json!({"host": record["host"], "boot_id": boot, "pid_ns": record["pid_ns"], "pid": pid,
                        "pid_start": start_of(pid)});
        let host = record["host"].as_str().unwrap();
        for (signature, says) in [
            (format!("process {pid} on {host}\n{id}\n"), true),
            (format!("process {pid} on {host}\n"), false), // of version 0.1.0, by which nobody is found
            (format!("process 12 on {host}\n{{\"pid\":{pid}}}\n"), false),
            (String::new(), false),
        ] {
            let holder = hold(&lab, &run, &signature);
            assert_eq!(lab.status(&run)["status"], "running", "{signature}");
            let said = spared(&lab, &run, &[pid]);
            assert_eq!(said.contains(&not_signalled(pid, &run, "supervisor")), says, "{signature}: {said}");
            assert_eq!(
                state(holder.pid()),
                Some('S'),
                "who holds the lock is signalled by the file 'stop' alone"
            );
            holder.signal(Signal::KILL);
            holder.wait();
        }
        fs::remove_dir_all(lab.path(run)).unwrap();
    }
}

#[test]
fn a_lock_that_is_a_link_to_what_a_stranger_has_open_leads_to_no_signal() {
    let lab = Lab::new();
    let stranger = stranger(&lab, None);
    let pid = stranger.pid();
    let run = forge(&lab, "r", |record| {
        record["pid"] = pid.into();
        record["pid_start"] = start_of(pid).into();
    });
    let lock = lab.path(format!("{run}/.run/lock"));
    fs::remove_file(&lock).unwrap();
    symlink("/dev/null", &lock).unwrap(); // its standard input
    let holder = hold(&lab, &run, "");
    spared(&lab, &run, &[pid]);
    holder.signal(Signal::KILL);
    holder.wait();
}

#[test]
fn a_record_with_the_id_of_another_run_leads_to_no_signal() {
    let lab = Lab::new();
    lab.cmd("run-new").args(["-d", "theirs", "-n", "victim", "--", "sleep", "1000"]).run().code(0);
    let exec = lab.cmd("run-exec").args(["-q", "theirs/victim"]).spawn();
    let victim = lab.await_child("theirs/victim");
    let pids = ["pid", "child_pid"].map(|key| pid(&victim, key));
    let run = forge(&lab, "r", |record| {
        for key in ["run_id", "pid", "pid_start", "child_pid", "child_start"] {
            record[key] = victim[key].clone();
        }
    });
    let said = spared(&lab, &run, &pids);
    assert!(said.contains(&not_signalled(pids[1], &run, "program")), "{said}");
    fs::remove_file(lab.path(format!("{run}/.run/lock"))).unwrap();
    let said = spared(&lab, &run, &pids);
    assert_eq!(said.contains(&not_signalled(pids[0], &run, "supervisor")), getuid().is_root(), "{said}");
    assert_eq!(lab.status("theirs/victim")["status"], "running");
    lab.cmd("run-stop").args(["-d", "theirs", "victim"]).run().code(0).stdout("theirs/victim: stopped\n");
    exec.wait().code(143);
}

/// The real thing: in a name space of its own, whose pids are given out as is asked for.
#[test]
fn a_pid_that_is_used_again_leads_to_no_signal() {
    let lab = Lab::new();
    lab.new_run("r", &["sleep", "1000"]);
    let script = r#"
set -eu
mount -t proc proc /proc
field() { sed "s/.*\"$1\":\([0-9]*\),.*/\1/" runs/r/.run/status.json; }
run-exec -q r & front=$!
until grep -q '"child_pid":[0-9]' runs/r/.run/status.json; do sleep 0.02; done
supervisor=$(field pid) child=$(field child_pid)
kill -STOP $front $supervisor
kill -KILL $front $supervisor $child
wait $front || true
while [ -d /proc/$supervisor ] || [ -d /proc/$child ]; do sleep 0.02; done
again() { # Starts a stranger with a pid.
    until [ -d /proc/$1 ]; do
        echo $(($1 - 1)) >/proc/sys/kernel/ns_last_pid
        sleep 1000 &
        test $! -eq $1 || kill $!
    done
}
again $supervisor
again $child
grep -q sleep /proc/$supervisor/cmdline && grep -q sleep /proc/$child/cmdline
run-status --json r | jq -r .status,.reason
for options in "" --kill; do run-stop $options r; done
run-stop --all --kill
kill -0 $supervisor && kill -0 $child && echo both live
rm runs/r/.run/lock
run-stop --kill r
kill -0 $supervisor && kill -0 $child && echo both live
"#;
    let unshare = ["--pid", "--fork", "--mount", "--kill-child", "bash", "-c", script];
    let done = lab.cmd("unshare").args(unshare).run().code(0);
    let dead = "runs/r: dead\n";
    done.stdout(format!("dead\nits supervisor is gone\n{dead}{dead}both live\n{dead}both live\n"));
}

#[test]
fn a_run_that_another_run_has_started_is_stopped_by_its_own_name() {
    let lab = Lab::new();
    let inner = lab.new_run("inner", &["sleep", "1000"]);
    lab.new_run("outer", &["run-exec", "-q", &inner]);
    let exec = lab.cmd("run-exec").args(["-q", "outer"]).spawn();
    let status = lab.await_child("inner");
    let environ = fs::read(format!("/proc/{}/environ", pid(&status, "pid"))).unwrap();
    let outer = format!("RUN_ID={}", lab.status("outer")["run_id"].as_str().unwrap());
    assert!(environ.split(|&byte| byte == 0).any(|entry| entry == outer.as_bytes()), "it is nested");
    lab.cmd("run-stop").arg("inner").run().code(0).stdout("runs/inner: stopped\n").stderr("");
    exec.wait().code(143);
    assert_eq!(lab.status("outer")["reason"], "exit 143");
    lab.nothing_left();
}

#[test]
fn what_is_left_is_waited_for_without_reading_all_processes_again_and_again() {
    let lab = Lab::new();
    let run = lab.new_run("r", &["sh", "-c", "trap '' TERM; echo ready; sleep 1000; exit"]);
    let exec = lab.cmd("run-exec").args(["-q", &run]).spawn();
    lab.await_text("runs/r/stdout.log", "ready");
    exec.kill_with(pid(&lab.status("r"), "pid"));
    let all = fs::read_dir("/proc").unwrap().filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let most = all.filter(|name| name.bytes().all(|byte| byte.is_ascii_digit())).count() + 200;
    let stop = lab.cmd("run-stop").args(["--grace", "4s", &run]).spawn();
    let mut reads = 0;
    wait_for("run-stop to end", || {
        let io = fs::read_to_string(format!("/proc/{}/io", stop.pid())).unwrap_or_default();
        let count = io.lines().find_map(|line| line.strip_prefix("syscr: ")?.parse::<usize>().ok());
        reads = reads.max(count.unwrap_or_default());
        state(stop.pid()).is_none_or(|state| state == 'Z')
    });
    stop.wait().code(0).stdout("runs/r: dead\n");
    assert!(reads > 0 && reads < 40 * most, "{reads} reads, of {most} processes");
    lab.nothing_left();
}

#[test]
fn a_lock_that_somebody_holds_for_a_dead_run_does_not_keep_run_stop_waiting() {
    let lab = Lab::new();
    let run = forge(&lab, "r", |record| {
        record["pid"] = 0x3fff_fffe.into();
        record["last_heartbeat"] = "2026-01-01T00:00:00Z".into();
    });
    let holder = hold(&lab, &run, "");
    assert_eq!(lab.status(&run)["status"], "stale");
    lab.cmd("run-stop").arg(&run).run().code(1).stdout("runs/r: stale\n").stderr_has("no heartbeat from");
    holder.signal(Signal::KILL);
    holder.wait();
}

#[test]
fn a_run_that_was_just_taken_is_not_called_one_that_will_not_start() {
    let lab = Lab::new();
    let run = lab.new_run("r", &["true"]);
    let holder = hold(&lab, &run, "");
    let stop = lab.cmd("run-stop").arg(&run).spawn();
    wait_for("the request", || lab.path("runs/r/.run/stop").exists() || lab.path("runs/r/stop").exists());
    holder.signal(Signal::KILL);
    holder.wait();
    stop.wait().code(0).stdout("runs/r: created\n").stderr("");
}
