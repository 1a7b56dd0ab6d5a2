//! Secrets: in whatever spelling they come, no record holds one and nothing shows one.

use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use testkit::{Done, Lab, checkout};

/// A part of each secret that is used here, and of nothing else.
const MARK: &str = "hunter";

/// A secret.
const SECRET: &str = "Zq7hunter2Zq7hunter2Zq7hunter2";

/// Arguments of a command, `¤` being the secret.
const SPELLINGS: [&str; 76] = [
    "--wandb_key",
    "¤",
    "--openai-key",
    "¤ of two words",
    "--auth",
    "¤",
    "--pat=¤",
    "--cookie",
    "a=b; session=¤",
    "--pw",
    "¤",
    "--api-key=¤",
    "apiKey=¤",
    "++trainer.wandb_key=¤",
    "+logger.token='¤ of two words'",
    "db.password=¤",
    "-Dhub.token=¤",
    "-u",
    "user:¤",
    "--user=user:¤",
    "-H",
    "Authorization: Bearer ¤",
    "-H",
    "Authorization: Basic ¤",
    "-H",
    "Authorization:",
    "token",
    "¤",
    "-H",
    "X-Api-Key: ¤",
    "--header=Cookie: session=¤",
    "{\"api_key\": \"¤\"}",
    "{\"a\": [{\"hub\": {\"token\": \"¤ of two words\"}}], \"lr\": 1}",
    "cfg={api_key: ¤, lr: 1}",
    "--env=HF_TOKEN=¤",
    "-e",
    "HF_TOKEN=¤",
    "--export=ALL,HF_TOKEN=¤,A=1",
    "https://user:¤@h/x",
    "postgres://u:¤@h:5432/db",
    "host=h user=u password=¤ dbname=d",
    "Server=h;Password=¤ of two words;Database=d",
    "https://h/x?a=1&token=¤&b=2",
    "https://a.blob.core.windows.net/c?sv=2020&sig=¤",
    "https://b.s3.amazonaws.com/k?X-Amz-Credential=¤&X-Amz-Signature=¤",
    "https://b.s3.amazonaws.com/k?AWSAccessKeyId=¤&Signature=¤",
    "https://storage.googleapis.com/b/o?X-Goog-Signature=¤",
    "https://hooks.slack.com/services/¤",
    "https://discord.com/api/webhooks/1/¤",
    "https://discordapp.com/api/webhooks/1/¤",
    "hf_¤",
    "sk-¤",
    "sk-ant-api03-¤",
    "ghp_¤",
    "gho_¤",
    "github_pat_¤",
    "glpat-¤",
    "xoxb-1-¤",
    "npm_¤",
    "dapi0123456789ab¤",
    "SG.0aB1cD2eF3gH4iJ5kL6mN7.¤",
    "AIza¤Zq7",
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.¤",
    "-----BEGIN RSA PRIVATE KEY-----\n¤\n-----END RSA PRIVATE KEY-----",
    "sh -c 'HF_TOKEN=¤ python t.py'",
    "-c",
    "LR=1 HF_TOKEN=¤ python t.py --api-key '¤ of two words' --lr 1",
    "--wrap",
    "curl -u user:¤ -H 'Authorization: Bearer ¤' h; wandb login ¤",
    "-c",
    "import os; os.environ['HF_TOKEN'] = '¤'; f(api_key=\"¤ of two words\")",
    "secrets.hub=¤",
    "--token",
    "¤",
    "--",
    "client_secret=¤",
];

fn spellings() -> Vec<String> {
    SPELLINGS.iter().map(|word| word.replace('¤', SECRET)).collect()
}

/// Expects that no file below a directory holds a secret, but for logs, copies of configs, and what tests
/// put there.
fn nothing_recorded(lab: &Lab, below: &str) {
    fn look(path: &Path, seen: &mut usize) {
        for entry in fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()) {
            let name = entry.file_name().unwrap().to_string_lossy().into_owned();
            if entry.is_dir() {
                look(&entry, seen);
            } else if !["stdout.log", "stderr.log", "combined.log", "config.yaml"].contains(&name.as_str()) {
                let bytes = fs::read(&entry).unwrap();
                let text = String::from_utf8_lossy(&bytes);
                assert!(!text.contains(MARK), "{}: {text}", entry.display());
                *seen += 1;
            }
        }
    }
    let mut seen = 0;
    look(&lab.path(below), &mut seen);
    assert!(seen > 2, "{seen}");
}

/// Expects that a tool shows no secret, and shows something.
#[track_caller]
fn shows_none(done: Done) -> Done {
    for text in [done.out(), done.err()] {
        assert!(!text.contains(MARK), "{text}");
    }
    done
}

/// Expects that no tool shows a secret of any run, in whatever form.
fn nothing_shown(lab: &Lab, run: &str) {
    let status = |words: &[&str]| shows_none(lab.cmd("run-status").args(words).run());
    for words in [&["-a"] as &[&str], &["-a", "--json"], &["-a", "--full"], &["--full", run], &[run]] {
        assert!(status(words).code(0).out().contains("[redacted]") || words == ["-a"], "{words:?}");
    }
    status(&["--wait", "--json", run]);
    status(&["--watch=1s", "--full", run]);
    let columns = "run,wandb_key,command,note,tags,reason";
    for format in ["table", "csv", "json", "md"] {
        for words in [
            &[] as &[&str],
            &["--compare"],
            &["--columns", columns],
            &["--group-by", "wandb_key"],
            &["--cost", "--rate", "1", "--cost-command", "cat >&2; echo '{\"usd\": 1}'"],
        ] {
            shows_none(lab.cmd("run-report").args(words).args(["--format", format]).run().code(0));
        }
    }
    for words in [["--html", "-"], ["--export", "-"], ["--svg", "-"]] {
        let done = shows_none(lab.cmd("run-report").args(words).run().code(0));
        assert!(done.out().contains("[redacted]") || words[0] == "--svg", "{words:?}");
    }
    for words in ["--metrics", "--evals"] {
        shows_none(lab.cmd("run-report").arg(words).run());
    }
}

#[test]
fn no_spelling_of_a_secret_is_recorded_or_shown() {
    let lab = Lab::new();
    let config =
        format!("lr: 1\nhub: {{api_key: {SECRET}, url: 'https://u:{SECRET}@h'}}\npassword: 'a {SECRET}'\n");
    let config = lab.write(&format!("hf_{SECRET}/base.yaml"), config);
    let input = lab.write(&format!("ghp_{SECRET}.csv"), "1");
    let pair = |name: &str| format!("{name}={SECRET}");
    for (name, lr) in [("r", "lr=1"), ("other", "lr=2")] {
        let done = lab.cmd("run-new").args([
            "--json",
            "-n",
            name,
            "--set-by-env",
            "-s",
            lr,
            "-s",
            &pair("wandb_key"),
        ]);
        let done = done.args(["-s", &format!("cfg={{\"token\": \"{SECRET}\"}}"), "--env", &pair("HF_TOKEN")]);
        let done = done.args(["--env", &format!("OPTIONS=--lr 1 --token {SECRET}"), "--tag", &pair("token")]);
        let done =
            done.args(["--tag", &format!("sk-{SECRET}"), "--note", &format!("its password: {SECRET}, see")]);
        let done = done.args(["--input", &format!("data={}", input.display()), config.to_str().unwrap()]);
        let done = done.args(["--resume-args", "--token", SECRET, "--", "train"]).args(spellings());
        shows_none(done.run().code(0));
    }
    nothing_recorded(&lab, "runs/r/.run");
    assert!(lab.read("runs/r/config.yaml").contains(SECRET));
    // A command that is typed gets the real values, and its last words are recorded without.
    let script = "printf '%s\\n' \"$@\" > got; echo \"token=$2\"; printf 'Traceback (most recent call last):\\n  \
                  File \"x\", in f(api_key=\"%s\")\\nValueError: https://u:%s@h, password=%s\\n' $2 $2 $2 >&2; exit 3";
    let words = ["sh", "-c", script, "sh"].map(str::to_owned).into_iter().chain(spellings());
    let exec = lab.cmd("run-exec").args(["-q", "r", "--"]).args(words.clone());
    shows_none(exec.env("HF_TOKEN", "x").env("OPTIONS", "").run().code(3));
    assert_eq!(lab.read("got"), spellings().join("\n") + "\n");
    assert!(lab.read("runs/r/stderr.log").contains(SECRET));
    let end = lab.json("runs/r/.run/result.json");
    assert_eq!(end["reason"], "exit 3: ValueError: https://[redacted]@h, password=[redacted]");
    assert_eq!(end["traceback"].as_array().unwrap().len(), 3);
    let exec = lab.cmd("run-exec").args(["-q", "--resume", "--retries", "1", "--retry-delay", "0s"]);
    let exec = exec.args(["--retry-on", "3", "r", "--"]).args(words).env("HF_TOKEN", "x").env("OPTIONS", "");
    shows_none(exec.run().code(3));
    nothing_recorded(&lab, "runs/r/.run");
    // An evaluation.
    lab.write("runs/r/checkpoint-5/model.bin", "weights");
    lab.write("runs/r/checkpoint-5/trainer_state.json", "{\"global_step\": 5}");
    let script = "printf 'acc\\n1\\n' > \"$0/metrics.csv\"";
    let eval = lab.cmd("run-eval").args(["--json", "r", "--", "sh", "-c", script, "{out}"]).args(spellings());
    shows_none(eval.run().code(0));
    nothing_recorded(&lab, "eval_runs");
    nothing_shown(&lab, "r");
}

#[test]
fn no_file_of_a_batch_holds_a_secret() {
    let lab = Lab::new();
    let script = "echo \"bad token=$0\" >&2; test -n \"$STAY\" && sleep 1000; exit 1";
    let command = ["--", "sh", "-c", script, "{env:WORD}"];
    let new = lab.cmd("run-new").args([
        "-b=b",
        "--set-by-env",
        "-s",
        &format!("wandb_key={SECRET}"),
        "--sweep",
        "lr=1,2",
    ]);
    let new = new.args(["--tag", &format!("pw={SECRET}")]);
    shows_none(new.args(["--note", &format!("token={SECRET}")]).args(command).run().code(0));
    nothing_recorded(&lab, "runs/b");
    shows_none(lab.cmd("run-exec").args(["-q", "b"]).env("WORD", SECRET).run().code(1));
    let exec =
        lab.cmd("run-exec").args(["-q", "--unfinished", "b"]).env("WORD", SECRET).env("STAY", "1").spawn();
    let is_running = |status: &Value| status["status"] == "running" && !status["child_pid"].is_null();
    lab.await_status("runs/b/run_lr-1", "running", is_running);
    let stop = lab.cmd("run-stop").args(["--why", &format!("token={SECRET} is over"), "b"]);
    shows_none(stop.run().code(0));
    shows_none(exec.wait());
    nothing_recorded(&lab, "runs/b");
    assert!(lab.read("runs/b/master_log.txt").contains("token=[redacted] is over"));
    nothing_shown(&lab, "runs/b/run_lr-1");
}

/// Changes a file of a record, or each line of one, as an older version would have written it.
fn edit(lab: &Lab, file: &str, change: impl Fn(&mut Value)) {
    let lines = lab.json_lines(file).into_iter().map(|mut line| {
        change(&mut line);
        format!("{line}\n")
    });
    let text: String = lines.collect();
    lab.write(file, text);
}

#[test]
fn what_an_older_version_recorded_in_clear_is_not_shown_and_can_be_executed() {
    let lab = Lab::new();
    let command = json!([
        "sh",
        "-c",
        "echo \"$@\" > got; exit 3",
        "sh",
        "--wandb_key",
        SECRET,
        "-u",
        format!("u:{SECRET}")
    ]);
    let text = format!("its password: {SECRET}");
    for name in ["old", "other"] {
        lab.new_run(name, &["sh", "-c", "exit 3"]);
        lab.cmd("run-exec").args(["-q", name]).run().code(3);
        lab.write(&format!("runs/{name}/config.yaml"), format!("hub: {{api_key: {SECRET}{name}}}\n"));
        edit(&lab, &format!("runs/{name}/.run/meta.json"), |meta| {
            meta["command"] = command.clone();
            meta["params"] = json!({"wandb_key": SECRET, "u": format!("u:{SECRET}")});
            meta["overrides"] = json!({"wandb_key": SECRET});
            meta["env"] = json!({"WANDB_KEY": SECRET});
            meta["tags"] = json!([format!("token={SECRET}")]);
            meta["note"] = text.clone().into();
            meta["config_path"] = format!("/hf_{SECRET}/base.yaml").into();
            meta["config_file"] = "config.yaml".into();
        });
        for file in ["status.json", "result.json", "attempts.jsonl"] {
            edit(&lab, &format!("runs/{name}/.run/{file}"), |line| {
                let changes = [
                    ("command", command.clone()),
                    ("template", command.clone()),
                    ("overrides", json!({"wandb_key": SECRET})),
                    ("tags", json!([format!("token={SECRET}")])),
                    ("reason", text.clone().into()),
                    ("traceback", json!(["Traceback", format!("ValueError: token={SECRET}")])),
                ];
                for (key, value) in changes {
                    if let Some(there) = line.get_mut(key) {
                        *there = value;
                    }
                }
            });
        }
    }
    nothing_shown(&lab, "old");
    let executed = lab.cmd("run-exec").args(["-q", "--resume", "--allow-config-change", "old"]).run();
    shows_none(executed.code(3));
    assert_eq!(lab.read("got"), format!("--wandb_key {SECRET} -u u:{SECRET}\n"));
    let last = lab.json_lines("runs/old/.run/attempts.jsonl").pop().unwrap();
    assert!(!last.to_string().contains(MARK), "{last}");
    assert!(!lab.read("runs/old/.run/status.json").contains(MARK));
}

#[test]
fn the_same_line_continues_a_batch_of_an_older_version() {
    let lab = Lab::new();
    let new = || lab.cmd("run-new").args(["-b=b", "--exist-ok", "--", "train", "--wandb_key", SECRET]).run();
    new().code(0);
    edit(&lab, "runs/b/run/.run/meta.json", |meta| meta["command"] = json!(["train", "--wandb_key", SECRET]));
    new().code(0).stdout("runs/b/run\n");
}

#[test]
fn what_was_evaluated_by_an_older_version_is_not_evaluated_again() {
    let lab = Lab::new();
    lab.new_run("r", &["true"]);
    lab.cmd("run-exec").args(["-q", "r"]).run().code(0);
    lab.write("runs/r/checkpoint-5/model.bin", "weights");
    lab.write("runs/r/checkpoint-5/trainer_state.json", "{\"global_step\": 5}");
    let words =
        ["sh", "-c", "echo >> log; printf 'acc\\n1\\n' > \"$0/metrics.csv\"", "{out}", "--wandb_key", SECRET];
    edit(&lab, "runs/r/.run/meta.json", |meta| {
        meta["overrides"] = json!({"wandb_key": SECRET});
        meta["tags"] = json!([format!("token={SECRET}")]);
    });
    let eval = || lab.cmd("run-eval").args(["r", "--"]).args(words).run().code(0);
    eval();
    nothing_recorded(&lab, "eval_runs");
    edit(&lab, "eval_runs/r_eval/step_5_eval/.eval/meta.json", |meta| meta["command"] = json!(words));
    eval();
    assert_eq!(lab.read("log"), "\n");
}

#[test]
fn what_was_redacted_is_not_executed_as_a_word() {
    let lab = Lab::new();
    let config = lab.write(&format!("hf_{SECRET}/base.yaml"), "");
    let input = lab.write(&format!("ghp_{SECRET}.csv"), "1");
    let input = format!("data={}", input.display());
    for (name, token) in [("path", "{config_path}"), ("input", "{input:data}"), ("args", "{resume}")] {
        let new = lab.cmd("run-new").args(["-n", name, "--input", &input]).arg(&config);
        new.args(["--resume-args", "--token", SECRET, "--", "echo", token]).run().code(0);
        lab.write(&format!("runs/{name}/checkpoint-5/model.bin"), "weights");
        lab.write(&format!("runs/{name}/checkpoint-5/trainer_state.json"), "{\"global_step\": 5}");
        let mut done = lab.cmd("run-exec").arg(name).run();
        if name == "args" {
            done.code(0);
            done = lab.cmd("run-exec").args(["--resume", name]).run();
        }
        shows_none(done.code(125).stderr_has("is a secret and was not recorded"));
    }
}

#[test]
fn commands_without_a_secret_are_recorded_as_they_are() {
    let lab = Lab::new();
    let lines = fs::read_to_string(checkout().join("tests/fixtures/innocent_commands.txt")).unwrap();
    for (number, line) in lines.lines().filter(|line| !line.starts_with('#')).enumerate().step_by(7) {
        let words: Vec<String> = line.split(' ').map(|word| word.replace('␣', " ")).collect();
        let name = number.to_string();
        lab.cmd("run-new").args(["-n", &name, "--"]).args(&words).run().code(0);
        assert_eq!(lab.json(&format!("runs/{name}/.run/meta.json"))["command"], json!(words));
    }
}

fn mode(lab: &Lab, file: &str) -> u32 {
    fs::metadata(lab.path(file)).unwrap_or_else(|error| panic!("{file}: {error}")).permissions().mode()
        & 0o777
}

#[test]
fn what_may_hold_secrets_is_as_private_as_it_was() {
    let lab = Lab::new();
    lab.git(&["init", "-q", "."]);
    lab.write("code.py", "1\n");
    lab.git(&["add", "code.py"]);
    lab.git(&["commit", "-qm", "one"]);
    lab.write("code.py", "2\n");
    for (wanted, copied) in [(0o600, 0o600), (0o640, 0o640), (0o644, 0o644), (0o444, 0o644), (0o666, 0o644)] {
        lab.write("base.yaml", "lr: 1\n");
        lab.set_mode("base.yaml", wanted);
        let name = format!("r{wanted:o}");
        let script = "umask 022; exec run-new -n \"$0\" base.yaml -- true";
        lab.cmd("sh").args(["-c", script, &name]).run().code(0);
        lab.set_mode("base.yaml", 0o644);
        assert_eq!(mode(&lab, &format!("runs/{name}/config.yaml")), copied, "{wanted:o}");
        assert_eq!(mode(&lab, &format!("runs/{name}/.run/git.patch")), 0o600);
    }
    // The copy of a config with a secret in it is private, whatever form the config has.
    let yaml = format!("hub:\n  token: {SECRET}\n");
    let word = "password: hunter2\n".to_owned();
    let torn = format!("{{[\nAPI_KEY={SECRET}\n");
    let python = format!("token = '{SECRET}'\n");
    for (file, text) in
        [("a.yaml", &yaml), ("b.yaml", &word), ("c.yaml", &torn), ("d.py", &python), ("e", &torn)]
    {
        lab.write(file, text);
        lab.set_mode(file, 0o644);
        lab.cmd("run-new").args(["-n", file, file, "--", "true"]).run().code(0);
        let copy = format!("config{}", &file[1..]);
        assert_eq!(lab.read(&format!("runs/{file}/{copy}")), *text);
        assert_eq!(mode(&lab, &format!("runs/{file}/{copy}")), 0o600, "{file}");
    }
    // What is replaced keeps its mode: heartbeats, ends, and reports.
    for file in ["runs/r600/.run/status.json", "runs/r600/.run/result.json", "page.html"] {
        lab.write(file, fs::read(lab.path(file)).unwrap_or_default());
        lab.set_mode(file, 0o640);
    }
    fs::remove_file(lab.path("runs/r600/.run/result.json")).unwrap();
    for _ in 0..2 {
        lab.cmd("run-exec")
            .args(["-q", "--resume", "--heartbeat", "0.01s", "r600", "--", "sleep", "0.05"])
            .run()
            .code(0);
        assert_eq!(mode(&lab, "runs/r600/.run/status.json"), 0o640);
        lab.set_mode("runs/r600/.run/result.json", 0o600);
    }
    lab.cmd("run-exec").args(["-q", "--resume", "r600", "--", "true"]).run().code(0);
    assert_eq!(mode(&lab, "runs/r600/.run/result.json"), 0o600);
    lab.cmd("run-report").args(["--html", "page.html"]).run().code(0);
    assert_eq!(mode(&lab, "page.html"), 0o640);
}
