//! The command of `--cost-command`, which reports further costs of a run: JSON on stdin, JSON on stdout.

use run_common::time::human;
use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::Value;
use std::io::{Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

/// How often to check a command that has closed its output and has not ended.
const PAUSE: Duration = Duration::from_millis(5);

/// Maximum size of an answer, in bytes.
const ANSWER: u64 = 1 << 20;

/// The answer of the command.
#[derive(Default)]
pub(super) struct Answer {
    pub(super) usd: f64,
    pub(super) balance: Option<f64>,
    pub(super) calls: Option<f64>,
}

/// Asks a command for the costs of a run. Kills a command that fails or takes too long, with its children.
pub(super) fn ask(command: &str, question: &Value, limit: Duration) -> Result<Answer, String> {
    let mut child = Command::new("sh")
        .args(["-c", command])
        .process_group(0)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| format!("sh cannot be started: {error}"))?;
    let answer = converse(&mut child, question, limit);
    if answer.is_err() {
        let _ = kill_process_group(Pid::from_child(&child), Signal::KILL); // with its children
    }
    let _ = child.wait(); // it has ended or was killed
    parse(&answer?)
}

fn converse(child: &mut Child, question: &Value, limit: Duration) -> Result<Vec<u8>, String> {
    let deadline = Instant::now() + limit;
    let late = || format!("the command took longer than {}", human(limit));
    let (Some(mut stdin), Some(stdout)) = (child.stdin.take(), child.stdout.take()) else {
        return Err("the command has no pipes".to_owned());
    };
    let text = format!("{question}\n");
    thread::spawn(move || stdin.write_all(text.as_bytes())); // a command may ignore its stdin
    let (send, receive) = channel();
    thread::spawn(move || {
        let mut bytes = Vec::new();
        let read = stdout.take(ANSWER).read_to_end(&mut bytes);
        send.send(read.map(|_| bytes))
    });
    let bytes = receive.recv_timeout(limit).map_err(|_| late())?.map_err(|error| error.to_string())?;
    loop {
        match child.try_wait() {
            Ok(Some(status)) if status.success() => return Ok(bytes),
            Ok(Some(status)) => return Err(format!("the command ended with {status}")),
            Ok(None) if Instant::now() < deadline => thread::sleep(PAUSE),
            Ok(None) => return Err(late()),
            Err(error) => return Err(error.to_string()),
        }
    }
}

fn parse(answer: &[u8]) -> Result<Answer, String> {
    let value: Value =
        serde_json::from_slice(answer).map_err(|error| format!("its answer is not JSON: {error}"))?;
    let usd = value["usd"].as_f64().filter(|usd| usd.is_finite());
    let usd = usd.ok_or_else(|| "its answer has no number \"usd\"".to_owned())?;
    Ok(Answer { usd, balance: value["balance"].as_f64(), calls: value["calls"].as_f64() })
}

#[cfg(test)]
#[expect(clippy::float_cmp, reason = "the numbers are exact")]
mod tests {
    use super::*;

    #[test]
    fn an_answer_without_dollars_is_none() {
        assert!(
            parse(b"{\"usd\": 1.5, \"calls\": 3}")
                .is_ok_and(|answer| answer.usd == 1.5 && answer.calls == Some(3.0))
        );
        assert!(parse(b"{\"usd\": null}").is_err() && parse(b"3").is_err() && parse(b"").is_err());
    }
}
