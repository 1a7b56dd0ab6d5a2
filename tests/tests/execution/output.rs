//! The command's bytes: every one in its log, at once, and passed on to the caller.

use std::fs::{self, File};
use std::io::Read;
use std::time::Duration;
use testkit::process::Signal;
use testkit::{Lab, pid, state, wait_for};

/// A program that writes what a test wants of it, to stdout or stderr.
const WRITER: &str = r"
import sys, os, random
def write(fd, data):
    while data:
        data = data[os.write(fd, data):]
kind = sys.argv[1]
if kind == 'text':
    for i in range(3000):
        write(1 + i % 2, f'line {i} of some text, ünïcödé\n'.encode())
elif kind == 'bytes':
    r = random.Random(7)
    for i in range(400):
        write(1 + i % 2, bytes(r.randrange(256) for _ in range(r.randrange(999))))
elif kind == 'long':
    write(1, b'x' * 5_000_000)
    write(2, b'y' * 5_000_000)
elif kind == 'bar':
    for i in range(5001):
        write(2, f'\r{i}/5000 |{chr(9608) * (i // 500)}|'.encode())
    write(2, b'\n')
    write(1, b'done')
";

/// A line of combined.log: stream, tag, text.
fn combined(lab: &Lab, run: &str) -> Vec<(String, char, Vec<u8>)> {
    let bytes = lab.bytes(&format!("{run}/combined.log"));
    let mut lines: Vec<&[u8]> = bytes.split(|&byte| byte == b'\n').collect();
    assert_eq!(lines.pop(), Some(&b""[..]), "it ends with a whole line");
    let mut last = String::new();
    lines
        .into_iter()
        .map(|line| {
            let mut fields = line.splitn(4, |&byte| byte == b' ');
            let mut field =
                || fields.next().unwrap_or_else(|| panic!("{}", String::from_utf8_lossy(line))).to_vec();
            let (time, stream, tag) = (field(), field(), field());
            let time = String::from_utf8(time).unwrap();
            assert!(time.len() == 27 && time.ends_with('Z') && time.as_bytes()[10] == b'T', "{time}");
            assert!(time >= last, "{time} after {last}");
            last = time;
            let stream = String::from_utf8(stream).unwrap();
            assert!(stream == "stdout" || stream == "stderr", "{stream}");
            assert!(tag == b"F" || tag == b"P");
            (stream, char::from(tag[0]), field())
        })
        .collect()
}

/// Puts the text of a stream together again.
fn text_of(lines: &[(String, char, Vec<u8>)], which: &str) -> Vec<u8> {
    let mut text = Vec::new();
    for (_, tag, piece) in lines.iter().filter(|(stream, ..)| stream == which) {
        text.extend_from_slice(piece);
        if *tag == 'F' {
            text.push(b'\n');
        }
    }
    text
}

#[test]
fn the_logs_and_the_caller_get_what_the_bare_program_writes() {
    let lab = Lab::new();
    lab.write("writer.py", WRITER);
    for kind in ["text", "bytes", "long", "bar"] {
        let bare = lab.cmd("python3").args(["writer.py", kind]).run().code(0);
        let run = lab.new_run(kind, &["python3", "writer.py", kind]);
        let through = lab.cmd("run-exec").arg(&run).run().code(0);
        assert!(through.stdout == bare.stdout && through.stderr == bare.stderr, "{kind}: passed on");
        assert!(lab.bytes(&format!("{run}/stdout.log")) == bare.stdout, "{kind}: stdout.log");
        assert!(lab.bytes(&format!("{run}/stderr.log")) == bare.stderr, "{kind}: stderr.log");
        let lines = combined(&lab, &run);
        match kind {
            "text" | "long" => {
                for (stream, bytes) in [("stdout", &bare.stdout), ("stderr", &bare.stderr)] {
                    let mut expected = bytes.clone();
                    if kind == "long" {
                        expected.push(b'\n');
                    }
                    assert!(text_of(&lines, stream) == expected, "{kind}: {stream} in combined.log");
                }
            }
            "bar" => {
                assert!(lines.len() <= 3, "{} lines for a progress bar", lines.len());
                let bar = format!("5000/5000 |{}|\n", "█".repeat(10));
                assert_eq!(text_of(&lines, "stderr"), bar.as_bytes());
                assert_eq!(text_of(&lines, "stdout"), b"done\n");
            }
            _ => {}
        }
    }
}

#[test]
fn a_line_is_in_its_log_as_soon_as_it_is_printed() {
    let lab = Lab::new();
    // Python reads the log that its own line must appear in; without PYTHONUNBUFFERED it never would.
    let program = r"
import os, sys, time
log, worst = os.environ['RUN_DIR'] + '/stdout.log', 0
for i in range(50):
    print('line', i)
    start = time.monotonic()
    while f'line {i}\n' not in open(log).read():
        if time.monotonic() - start > 5: sys.exit(f'line {i} is not in the log')
    worst = max(worst, time.monotonic() - start)
    time.sleep(0.002)
print(worst, file=sys.stderr)
";
    let run = lab.new_run("quick", &["python3", "-c", program]);
    let done = lab.cmd("run-exec").arg(&run).run().code(0);
    // The deadline of the contract is 100 ms; a busy machine gets some more.
    let worst: f64 = done.err().trim().parse().unwrap();
    assert!(worst < 1.0, "{worst} s");
}

fn null() -> File {
    File::create("/dev/null").unwrap()
}

#[test]
fn memory_stays_small_whatever_the_output() {
    let lab = Lab::new();
    let program = "import sys, os; [os.write(1 + i % 2, b'x' * 999_999 + b'\\n' * (i % 7)) for i in range(150)]; [os.write(1, b'\\n' * 100_000) for i in range(30)]; open('done', 'w'); [0 for _ in iter(lambda: os.path.exists('go'), True)]";
    let run = lab.new_run("much", &["python3", "-c", program]);
    let exec =
        lab.cmd("run-exec").args(["--heartbeat", "100ms", &run]).stdout_to(null()).stderr_to(null()).spawn();
    let supervisor = pid(&lab.await_child(&run), "pid");
    wait_for("all of the output", || lab.path("done").exists());
    for pid in [exec.pid(), supervisor] {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        let kibibytes: u64 = peak.trim().trim_end_matches(" kB").parse().unwrap();
        assert!(kibibytes < 20 << 10, "process {pid} used {peak}");
    }
    lab.write("go", "");
    exec.wait().code(0);
}

#[test]
fn a_caller_that_reads_no_more_does_not_stop_the_program() {
    let lab = Lab::new();
    let program = "import time\nfor i in range(3000): print('line', i)\n";
    let run = lab.new_run("one", &["python3", "-c", program]);
    let mut exec = lab.cmd("run-exec").arg(&run).spawn();
    let mut first = [0; 10];
    let mut out = exec.child.stdout.take().unwrap();
    out.read_exact(&mut first).unwrap();
    drop(out);
    exec.wait().code(0);
    assert_eq!(lab.read("runs/one/stdout.log").lines().count(), 3000);
    assert_eq!(lab.status(&run)["status"], "completed");
    let done = lab.cmd("sh").args(["-c", "run-exec $(run-new -- seq 100000) | head -n 1"]).run().code(0);
    done.stdout("1\n").stderr("");
}

#[test]
fn a_caller_that_reads_slowly_gets_everything() {
    let lab = Lab::new();
    let run = lab.new_run("much", &["seq", "1000000"]);
    let expected: String = (1..=1_000_000).map(|i| format!("{i}\n")).collect();
    let mut exec = lab.cmd("run-exec").args(["--linger", "2s", &run]).spawn();
    let mut out = exec.child.stdout.take().unwrap();
    let (mut got, mut block) = (Vec::new(), vec![0; 100_000]);
    loop {
        let count = out.read(&mut block).unwrap();
        if count == 0 {
            break;
        }
        got.extend_from_slice(&block[..count]);
        std::thread::sleep(Duration::from_millis(2)); // a slow reader, not a wait for a fact
    }
    assert!(got == expected.as_bytes());
    exec.wait().code(0);
    assert!(lab.read("runs/much/stdout.log") == expected);
}

#[test]
fn a_caller_that_is_stuck_cannot_keep_a_run_from_ending() {
    let lab = Lab::new();
    let run = lab.new_run("stuck", &["sh", "-c", "seq 1000000; echo finished > finished"]);
    let exec = lab.cmd("run-exec").args(["--linger", "300ms", "--grace", "1s", &run]).spawn();
    lab.await_child(&run);
    // Nobody reads: the program waits, as it would behind a pipe of its own. A stop reaches it.
    lab.cmd("run-stop").arg(&run).run().code(0).stdout("runs/stuck: stopped\n");
    exec.signal(Signal::TERM);
    let done = exec.wait();
    assert!(done.err().contains("the rest goes only to the logs"), "{}", done.err());
    let log = lab.read("runs/stuck/stdout.log");
    assert!(log.starts_with("1\n2\n") && log.len() >= done.out().len());
}

#[test]
fn output_that_ends_without_newline_and_nothing_at_all_are_output_too() {
    let lab = Lab::new();
    let run = lab.new_run("bit", &["printf", "no newline"]);
    lab.cmd("run-exec").arg(&run).run().code(0).stdout("no newline");
    assert_eq!(combined(&lab, &run), [("stdout".to_owned(), 'F', b"no newline".to_vec())]);
    let run = lab.new_run("none", &["true"]);
    lab.cmd("run-exec").arg(&run).run().code(0).stdout("").stderr("");
    for log in ["stdout", "stderr", "combined"] {
        assert_eq!(lab.bytes(&format!("{run}/{log}.log")), b"");
    }
}

#[test]
fn a_log_that_is_cut_is_followed_from_its_new_beginning() {
    let lab = Lab::new();
    let program =
        "echo a first line that is longer; until [ -e go ]; do sleep 0.02; done; echo second; echo third";
    for which in ["combined", "stdout"] {
        let run = lab.new_run(which, &["sh", "-c", program]);
        let exec = lab.cmd("run-exec").args(["-q", &run]).spawn();
        let log = format!("{run}/{which}.log");
        lab.await_text(&log, "a first line");
        let seen = lab.path(format!("seen-{which}"));
        let out = File::create(&seen).unwrap();
        let option = format!("--log={which}");
        let follow = lab.cmd("run-status").args([&option, "-f", &run]).stdout_to(out).spawn();
        wait_for("the first line", || fs::read_to_string(&seen).unwrap().contains("is longer"));
        lab.write(&log, "");
        lab.write("go", "");
        exec.wait().code(0);
        let told = follow.wait().code(0).err();
        assert!(
            told.ends_with(&format!("{which}.log' was cut: what follows is from its new beginning\n")),
            "{told}"
        );
        assert!(fs::read_to_string(&seen).unwrap().ends_with("is longer\nsecond\nthird\n"));
        fs::remove_file(lab.path("go")).unwrap();
    }
}

#[test]
fn the_log_is_printed_as_it_was_written_and_followed_to_its_end() {
    let lab = Lab::new();
    let program =
        "printf 'one\\ntwo'; until [ -s \"$RUN_DIR/stdout.log\" ]; do sleep 0.02; done; echo err >&2
                   until [ -e go ]; do sleep 0.02; done; echo; printf '%05000000d' 0";
    let run = lab.new_run("l", &["sh", "-c", program]);
    let exec = lab.cmd("run-exec").args(["-q", &run]).spawn();
    lab.await_text("runs/l/stderr.log", "err\n");
    lab.cmd("run-status").args(["--log=stdout", &run]).run().code(0).stdout("one\ntwo");
    lab.cmd("run-status").args(["--log", &run]).run().code(0).stdout("one\nerr\n");
    let follow = lab.cmd("run-status").args(["--log", "-f", &run]).spawn();
    lab.write("go", "");
    exec.wait().code(0);
    let zeros = "0".repeat(5_000_000);
    assert!(follow.wait().code(0).out() == format!("one\nerr\ntwo\n{zeros}\n"));
    assert!(lab.cmd("run-status").args(["--log=stdout", &run]).run().out() == format!("one\ntwo\n{zeros}"));
}

#[test]
fn a_run_ends_with_its_program_and_not_with_its_pipe() {
    let lab = Lab::new();
    let run = lab.new_run("held", &["sh", "-c", "sleep 1000 & echo begun"]);
    lab.cmd("run-exec").args(["--linger", "100ms", &run]).run().code(0).stdout("begun\n");
    let status = lab.status(&run);
    assert_eq!(
        (&status["status"], status["reason"].as_str()),
        (&"completed".into(), Some("ended 1 process that outlived it"))
    );
    lab.nothing_left();
    assert!(state(1).is_some());
}

#[test]
fn a_list_that_is_read_no_further_ends_quietly() {
    let lab = Lab::new();
    lab.new_run("r", &["true"]);
    let copy = "for i in $(seq 1000); do cp -r runs/r runs/r$i; done";
    lab.cmd("sh").args(["-c", copy]).run().code(0);
    for option in ["-a", "-a --json"] {
        let script = format!("run-status {option} | head -1 | wc -l; echo ${{PIPESTATUS[0]}}");
        lab.cmd("bash").args(["-c", &script]).run().code(0).stdout("1\n0\n").stderr("");
    }
    assert_eq!(lab.cmd("run-status").args(["-a", "--json"]).run().code(0).out().lines().count(), 1001);
}
