//! The manuals, the README and the examples are true: options, exit statuses, and every command
//! that they show is executed.

use std::collections::BTreeSet;
use std::fs;
use testkit::active::start;
use testkit::process::Signal;
use testkit::{Lab, checkout, wait_for};

const TOOLS: [&str; 7] =
    ["run-new", "run-exec", "run-status", "run-stop", "run-eval", "run-report", "run-sync"];
const PAGES: [&str; 8] = [
    "run-new.1",
    "run-exec.1",
    "run-status.1",
    "run-stop.1",
    "run-eval.1",
    "run-report.1",
    "run-dir.5",
    "run-tools.7",
];

fn source(page: &str) -> String {
    fs::read_to_string(checkout().join("man").join(page)).unwrap()
}

/// Returns a page as it is read.
fn rendered(lab: &Lab, page: &str) -> String {
    let script =
        format!("mandoc -T utf8 -O width=200 {} | col -bx", checkout().join("man").join(page).display());
    lab.cmd("sh").args(["-c", &script]).run().code(0).out()
}

/// Returns a section of a rendered page.
fn section(page: &str, head: &str) -> String {
    let body = page.split(&format!("\n{head}\n")).nth(1).unwrap_or_default();
    let end = body.lines().scan(0, |at, line| {
        let start = *at;
        *at += line.len() + 1;
        Some((start, line))
    });
    let end = end.filter(|(_, line)| line.starts_with(char::is_alphanumeric)).map(|(start, _)| start).next();
    body[..end.unwrap_or(body.len())].to_owned()
}

/// Makes a lab with the files that the examples speak of.
fn workshop() -> Lab {
    let lab = Lab::new();
    lab.write("base.yaml", "seed: 7\ntotal_steps: 40\n");
    for program in ["train.py", "eval.py"] {
        lab.write(program, fs::read(checkout().join("tests/fixtures").join(program)).unwrap());
    }
    lab
}

/// Returns the verbs of a tool, each as arguments, and none for the tool itself.
fn verbs(lab: &Lab, tool: &str) -> Vec<Vec<String>> {
    let help = lab.cmd(tool).arg("--help").run().code(0).out();
    let list =
        help.split("\nCommands:\n").nth(1).unwrap_or_default().split("\n\n").next().unwrap_or_default();
    let verbs = list.lines().filter_map(|line| line.split_whitespace().next());
    let verbs = verbs.filter(|verb| *verb != "help").map(|verb| vec![verb.to_owned()]);
    [Vec::new()].into_iter().chain(verbs).collect()
}

#[test]
fn every_option_is_in_its_manual_and_every_option_of_the_manual_exists() {
    let lab = Lab::new();
    for tool in TOOLS {
        let help: String = verbs(&lab, tool)
            .iter()
            .map(|verb| lab.cmd(tool).args(verb).arg("--help").run().code(0).out())
            .collect();
        let options = help.lines().map(str::trim_start).filter(|line| line.starts_with('-'));
        let known: BTreeSet<String> = options
            .flat_map(|line| line.split("  ").next().unwrap_or_default().split([' ', ',', '=', '[']))
            .filter(|word| word.starts_with('-') && word.len() > 1)
            .map(str::to_owned)
            .collect();
        let page = source(&format!("{tool}.1"));
        let items = page.lines().filter(|line| line.starts_with(".It Fl "));
        let told: BTreeSet<String> = items
            .flat_map(|line| line.split("Fl ").skip(1))
            .filter_map(|flag| flag.split_whitespace().next())
            .map(|flag| format!("-{flag}"))
            .collect();
        assert_eq!(told, known, "{tool}");
        assert!(known.len() > 5, "{tool}: {known:?}");
    }
}

#[test]
fn every_exit_status_is_in_the_manual() {
    let expected: [&[&str]; 7] = [
        &["0", "1", "2", "3", "5"],
        &["124", "125", "126", "127"],
        &["0", "1", "2", "3", "5"],
        &["0", "1", "2", "3", "5"],
        &["0", "1", "2", "3", "4", "5"],
        &["0", "1", "2", "3", "5"],
        &["0", "1", "2", "3", "4", "5"],
    ];
    for (tool, expected) in TOOLS.iter().zip(expected) {
        let page = source(&format!("{tool}.1"));
        let section = page.split(".Sh EXIT STATUS").nth(1).unwrap().split(".Sh ").next().unwrap();
        let items = section.lines().filter_map(|line| line.strip_prefix(".It "));
        let told: BTreeSet<&str> =
            items.filter(|item| item.bytes().all(|byte| byte.is_ascii_digit())).collect();
        assert_eq!(told, expected.iter().copied().collect(), "{tool}");
    }
}

/// Pastes blocks, each whole, into shells; every command must succeed. As on a terminal, the commands have the rest of
/// the block before them on standard input.
fn paste(lab: &Lab, name: &str, blocks: &[String]) {
    assert!(!blocks.is_empty(), "{name} shows no command");
    for block in blocks {
        let options = ["-e", "-u", "-o", "pipefail", "-s"];
        let done = lab.cmd("bash").args(options).stdin(block.as_bytes()).run();
        assert_eq!(done.code, 0, "{name}:\n{block}\n{}\n{}", done.out(), done.err());
    }
    lab.cmd("run-stop").args(["--all", "--grace", "1s"]).run();
}

/// Executes the lines that begin with `$ `, one after another, in one shell.
fn execute(lab: &Lab, name: &str, text: &str) {
    let text = text.replace("\\\n", "");
    let lines: Vec<&str> = text.lines().filter_map(|line| line.trim_start().strip_prefix("$ ")).collect();
    assert!(!lines.is_empty(), "{name} shows no command");
    let peers = checkout().join("target/peers/bin"); // duckdb; python3 is that of the system
    let script = format!("PATH=$PATH:{}\n{}", peers.display(), lines.join("\n"));
    let done = lab.cmd("bash").args(["-e", "-c", &script]).run();
    assert_eq!(done.code, 0, "{name}:\n{script}\n{}\n{}", done.out(), done.err());
    lab.cmd("run-stop").args(["--all", "--grace", "1s"]).run();
}

#[test]
fn the_examples_of_the_manuals_work() {
    let lab = Lab::new();
    for page in PAGES {
        let examples = section(&rendered(&lab, page), "EXAMPLES");
        if page.ends_with(".1") {
            execute(&workshop(), page, &examples);
        }
    }
    paste(&workshop(), "run-tools.7", &literal("run-tools.7", "EXAMPLES"));
}

/// Returns the blocks that a section of a page shows as they are to be typed.
fn literal(page: &str, section: &str) -> Vec<String> {
    let source = source(page);
    let section = source
        .split(&format!("\n.Sh {section}\n"))
        .nth(1)
        .unwrap()
        .split("\n.Sh ")
        .next()
        .unwrap()
        .to_owned();
    let blocks =
        section.split(".Bd -literal").skip(1).map(|block| block.split("\n.Ed").next().unwrap().to_owned());
    let plain = |line: &str| line.replace("\\(aq", "'").replace("\\e", "\\") + "\n";
    blocks.map(|block| block.lines().skip(1).map(plain).collect()).collect()
}

#[test]
fn the_cookbook_works() {
    let lab = workshop();
    let [selections, halving, makefile, _, _, prompt] =
        literal("run-tools.7", "COOKBOOK").try_into().unwrap();
    let active = |name: &str, command: &str| {
        lab.new_run(name, &["sh", "-c", command]);
        lab.cmd("run-exec").args(["--detach", "--heartbeat", "50ms", name]).run().code(0);
        lab.await_child(name)
    };
    active("nan", "echo '{\"step\": 1, \"loss\": NaN}' >> $RUN_METRICS; sleep 1000");
    lab.await_status("nan", "diverged", |status| status["metrics"]["loss"]["nonfinite"] == 1);
    active("silent", "sleep 1000");
    lab.new_run("killed", &["sh", "-c", "[ $RUN_ATTEMPT -gt 1 ] || kill -9 $$"]);
    lab.cmd("run-exec").args(["-q", "killed"]).run().code(137);
    for (name, loss) in [("a", 3), ("b", 1), ("c", 4), ("d", 2)] {
        lab.new_run(
            name,
            &["sh", "-c", &format!("echo '{{\"step\": 1, \"loss\": {loss}}}' >> $RUN_METRICS")],
        );
        lab.cmd("run-exec").args(["-q", name]).run().code(0);
    }
    // An hour is too long for a test.
    let script = selections.replace("quiet_s > 3600", "run_name == \"silent\"");
    let out = lab.cmd("bash").args(["-e", "-o", "pipefail", "-c", &script]).run().code(0).out();
    let status = |name: &str| lab.status(name)["status"].as_str().unwrap().to_owned();
    assert_eq!(["silent", "nan", "killed"].map(status), ["stopped", "stopped", "completed"]);
    assert!(lab.status("silent")["reason"].as_str().unwrap().ends_with(": silent for an hour"));
    let best: Vec<&str> =
        out.lines().filter_map(|line| line.split("loss=").nth(1)?.split(' ').next()).collect();
    assert_eq!(best, ["1", "2", "3"], "{out}");
    assert!(out.contains("5 completed") && out.contains("2 stopped"), "{out}");

    // Ranked by how near its learning rate is to the best, each run went as far as its rank allows.
    lab.cmd("bash").args(["-e", "-o", "pipefail", "-c", &halving]).run().code(0).stderr("");
    let found = lab.cmd("run-status").args(["--json", "halving"]).run().code(0).out();
    let mut ranks: Vec<(f64, u64)> = found
        .lines()
        .map(|line| {
            let run: serde_json::Value = serde_json::from_str(line).unwrap();
            let lr: f64 = run["overrides"]["lr"].to_string().trim_matches('"').parse().unwrap();
            ((lr.log10() + 2.0).abs(), run["step"].as_u64().unwrap())
        })
        .collect();
    ranks.sort_by(|one, other| one.0.total_cmp(&other.0));
    let steps: Vec<u64> = ranks.iter().map(|(_, step)| *step).collect();
    assert_eq!(steps, [80, 60, 40, 40, 20, 20, 20, 20], "{ranks:?}");

    lab.write("Makefile", makefile);
    lab.cmd("make").arg("base.done").run().code(0);
    assert_eq!(status("base"), "completed");
    let again = lab.cmd("make").arg("base.done").run().code(0).out();
    assert!(again.contains("up to date"), "{again}");

    let active_one = active("one", "sleep 1000");
    assert_eq!(active_one["status"], "running");
    let show = format!("{prompt}echo \"${{PS1@P}}\"");
    let shown = lab.cmd("bash").args(["-c", &show]).run().code(0).out();
    assert!(shown.starts_with("1 ") && shown.ends_with("$ \n"), "{shown}");
    lab.cmd("run-stop").arg("--all").run().code(0);
}

/// Makes runs that ended in all ways, each with a program that ends well in its second attempt.
fn ended(lab: &Lab) {
    let wait = "trap 'exit 0' TERM; echo ready; while [ $RUN_ATTEMPT = 1 ]; do sleep 0.02; done";
    for (name, command) in [
        ("signalled", "[ $RUN_ATTEMPT -gt 1 ] || kill -9 $$"),
        ("shell", "[ $RUN_ATTEMPT -gt 1 ] || sh -c 'kill -9 $$'"),
        ("wrong", "[ $RUN_ATTEMPT -gt 1 ] || exit 1"),
        ("fine", "true"),
    ] {
        lab.new_run(name, &["sh", "-c", command]);
        lab.cmd("run-exec").args(["-q", name]).run();
    }
    for name in ["dead", "unsupervised", "unwatched", "shut", "stopped"] {
        let run = start(lab, name, &[], &["sh", "-c", wait]);
        lab.await_text(&format!("runs/{name}/stdout.log"), "ready");
        match name {
            "dead" => {
                run.exec.kill_with(run.supervisor);
                lab.cmd("run-stop").args(["--grace", "1s", name]).run().code(0);
                continue;
            }
            "unsupervised" => testkit::signal(run.supervisor, Signal::KILL),
            "unwatched" => run.exec.signal(Signal::KILL),
            "shut" => testkit::signal(run.supervisor, Signal::TERM),
            _ => drop(lab.cmd("run-stop").args(["--why", "it was killed", name]).run().code(0)),
        }
        run.exec.wait();
        lab.await_status(name, "over", |status| status["status"] != "running");
    }
}

/// Returns the runs of [`ended`] that have made a second attempt, when they have ended.
fn resumed(lab: &Lab) -> Vec<String> {
    lab.cmd("run-status").arg("--wait").run();
    let all = lab.cmd("run-status").args(["-a", "--json"]).run().code(0).json_lines();
    let mut names: Vec<String> = all
        .iter()
        .filter(|run| run["attempt"] == 2 && run["status"] == "completed")
        .map(|run| run["run_name"].as_str().unwrap().to_owned())
        .collect();
    names.sort();
    names
}

#[test]
fn what_ended_without_being_asked_to_is_resumed() {
    let [selections, _, _, filter, cron, _] = literal("run-tools.7", "COOKBOOK").try_into().unwrap();
    let [_, _, reboot] = literal("run-tools.7", "NOHUP, SSH AND CRON").try_into().unwrap();
    let recipe = selections.split("\n\n").find(|recipe| recipe.contains("without being asked")).unwrap();
    let line = cron.trim().strip_prefix("*/10 * * * *  ").unwrap();
    for (script, expected) in [
        (recipe, &["dead", "shell", "signalled", "unsupervised", "unwatched", "wrong"][..]),
        (line, &["dead", "shell", "signalled", "unsupervised", "unwatched"]),
        (&reboot, &["dead", "shell", "shut", "signalled", "unsupervised", "unwatched"]),
    ] {
        let lab = Lab::new();
        ended(&lab);
        lab.write("died.jq", &filter);
        // As cron(8) does it: by sh, with its own short environment.
        lab.cmd("sh").args(["-c", script]).run().code(0);
        assert_eq!(resumed(&lab), expected, "{script}");
        // Again there is nothing to do.
        lab.cmd("sh").args(["-c", script]).run().code(0).stderr("");
    }
}

#[test]
fn training_and_evaluation_take_turns() {
    let lab = workshop();
    let [course] = literal("run-tools.7", "TRAIN, EVALUATE, RESUME").try_into().unwrap();
    let out = lab.cmd("bash").args(["-e", "-c", &course]).run().code(0).stderr("").out();
    let table = &out[out.rfind("step,question,loss\n").unwrap()..];
    let mut steps: Vec<&str> = table.lines().skip(1).map(|row| row.split(',').next().unwrap()).collect();
    assert_eq!(steps.len(), 18, "{table}"); // three questions each
    steps.dedup();
    assert_eq!(steps, ["10", "20", "30", "40", "50", "60"]);
}

#[test]
fn the_loops_of_the_examples_work() {
    let lab = Lab::new();
    let examples = checkout().join("examples");
    let script = || lab.cmd(examples.join("loop")).args(["one", "20", "60"]);
    let steps = |run: &str| -> Vec<String> {
        let table = lab.read(&format!("eval_runs/{run}_eval/consolidated_metrics.csv"));
        let mut lines = table.lines();
        assert_eq!(lines.next(), Some("step,accuracy,least_of_a_digit"));
        lines.map(|line| line.split(',').next().unwrap().to_owned()).collect()
    };
    script().run().code(0).stderr("");
    assert_eq!(steps("one"), ["20", "40", "60"]);
    // Again there is nothing to do; and three attempts made the curve of one.
    script().run().code(0).stderr("");
    assert_eq!(lab.status("one")["attempt"], 3);
    let makefile = |target: &str| {
        let file = examples.join("loop.mk");
        lab.cmd("make").arg("-f").arg(file).args(["RUN=two", "STEPS=20", target]).run().code(0).stderr("")
    };
    makefile("two.evaluated-1");
    assert_eq!(steps("two"), ["20"]);
    makefile("two.csv");
    assert_eq!(steps("two"), ["20", "40", "60"]);
    assert_eq!(lab.read("runs/one/metrics.jsonl"), lab.read("runs/two/metrics.jsonl"));
    assert_eq!(lab.read("two.csv").lines().count(), 4);
    assert!(makefile("two.csv").out().contains("up to date"));
    // A loop that is stopped ends, and continues when it is started again.
    let three = || lab.cmd(examples.join("loop")).args(["three", "1000000", "1000000"]);
    let running = three().spawn();
    wait_for("a row of metrics", || {
        lab.path("runs/three/metrics.jsonl").exists() && lab.status("three")["step"].is_u64()
    });
    lab.cmd("run-stop").arg("three").run().code(0);
    running.wait().code(1).stderr("");
    assert!(!lab.path("eval_runs/three_eval").exists());
    let running = three().spawn();
    lab.await_text("runs/three/stdout.log", "resumed at step");
    lab.cmd("run-stop").arg("three").run().code(0);
    running.wait().code(1);
    // Another trainer and evaluation; one that does not get on does not train for ever.
    lab.write("step_1.pt", testkit::checkpoints::torch());
    lab.new_run("four", &["sh", "-c", "cp step_1.pt $RUN_DIR; echo '{\"step\": 1}' >>$RUN_METRICS"]);
    let script = lab.cmd(examples.join("loop")).args(["four", "5", "20", "echo", "{\"score\": 1}"]);
    script.run().code(1).stderr_has("loop: four is still at step 1 of 20\n");
    assert_eq!(lab.read("eval_runs/four_eval/consolidated_metrics.csv"), "step,score\n1,1\n");
    lab.nothing_left();
}

#[test]
fn an_experiment_runner_can_be_replaced() {
    let lab = Lab::new();
    let [line] = literal("run-tools.7", "FROM AN EXPERIMENT RUNNER").try_into().unwrap();
    // A program in the manner of nanoGPT's configurator: values are Python literals, of the type of
    // the default.
    lab.write(
        "train.py",
        "import sys\nfrom ast import literal_eval\nbatch_size = 1\ndevice = 'cuda'\ncompile = True\nout_dir = ''\n\
         for arg in sys.argv[1:]:\n    if not arg.startswith('--'):\n        exec(open(arg).read())\n        continue\n\
         \x20   key, value = arg[2:].split('=')\n    try:\n        value = literal_eval(value)\n    except (SyntaxError, ValueError):\n        pass\n\
         \x20   assert type(value) == type(globals()[key]), (key, value)\n    globals()[key] = value\n\
         open(out_dir + '/ckpt_unmasking_10.pt', 'w').close()\nprint(batch_size, device, compile, name)\n",
    );
    for name in ["easy_first", "moderate_first"] {
        lab.write(&format!("config/{name}.py"), format!("name = '{name}'\nmax_iters = 10\n"));
    }
    let line = line.replace("-s device=cpu", "-s device=cpu -s compile=false");
    let out = lab.cmd("bash").args(["-o", "pipefail", "-c", &line]).run().code(0).out();
    assert_eq!(out, "8 cpu False easy_first\n8 cpu False moderate_first\n");
    let batch =
        fs::read_dir(lab.path("runs")).unwrap().next().unwrap().unwrap().file_name().into_string().unwrap();
    assert!(batch.starts_with("experiment_"), "{batch}");
    for file in ["master_log.txt", "experiment_summary.json"] {
        assert!(lab.path(format!("runs/{batch}/{file}")).is_file(), "{file}");
    }
    let files =
        ["stdout.log", "stderr.log", "combined.log", "config.py", "ckpt_unmasking_10.pt", ".run/result.json"];
    for run in ["easy_first", "moderate_first"] {
        for file in files {
            assert!(lab.path(format!("runs/{batch}/{run}/{file}")).is_file(), "{run}/{file}");
        }
        assert_eq!(lab.status(run)["total_steps"], 10);
    }
}

/// Returns the blocks of a text in Markdown that are marked as being in a language.
fn fenced(text: &str, language: &str) -> Vec<String> {
    let fence = format!("\n```{language}\n");
    let blocks = text.split(&fence).skip(1);
    blocks.map(|block| block.split("\n```\n").next().unwrap().to_owned() + "\n").collect()
}

#[test]
fn the_commands_of_the_readme_work() {
    let lab = Lab::new();
    let example = |name: &str| fs::read(checkout().join("examples").join(name)).unwrap();
    for name in ["train.py", "eval.py", "digits.csv.gz"] {
        lab.write(name, example(name));
    }
    // Ten seconds a run are too long for a test.
    let config = String::from_utf8(example("digits.json")).unwrap();
    let config = config.replace("\"total_steps\": 2000", "\"total_steps\": 100, \"save_every\": 20");
    lab.write("digits.json", config);
    let readme = fs::read_to_string(checkout().join("README.md")).unwrap().replace("-steps 200", "-steps 20");
    let tour = readme.split("\n## Tour\n").nth(1).unwrap().split("\n## ").next().unwrap();
    paste(&lab, "README.md", &fenced(tour, "sh"));
    let outputs = fenced(tour, "text");
    assert_eq!(tour.matches("\n```").count(), 2 * (fenced(tour, "sh").len() + outputs.len()), "{tour}");
    for line in outputs.iter().flat_map(|output| output.lines()).filter(|line| line.starts_with('├')) {
        let file = line.split_whitespace().nth(1).unwrap();
        let is_there =
            ["runs/first", "eval_runs/first_eval"].iter().any(|dir| lab.path(dir).join(file).exists());
        assert!(is_there, "{line}");
    }
    let resumed = &lab.json_lines("runs/second/.run/attempts.jsonl")[2];
    assert_eq!((&resumed["event"], &resumed["attempt"]), (&"start".into(), &2.into()));
    assert!(resumed["resume_step"].as_u64().is_some_and(|step| step >= 20), "{resumed}");
}

#[test]
fn a_python_program_can_do_what_the_manual_shows() {
    let lab = workshop();
    let page = source("run-tools.7");
    let block = page.split("from a Python program").nth(1).unwrap();
    let block = block.split(".Bd -literal").nth(1).unwrap().split("\n.Ed").next().unwrap();
    let program: String =
        block.lines().skip(1).map(|line| line.replace("\\e", "\\").replace("\\(dq", "\"") + "\n").collect();
    lab.write("manage.py", &program);
    lab.cmd("python3").arg("manage.py").run().code(0);
}

#[test]
fn the_manuals_are_clean() {
    let lab = Lab::new();
    let pages = PAGES.iter().chain(&["run-launch.7"]).map(|page| checkout().join("man").join(page));
    lab.cmd("mandoc").args(["-T", "lint", "-W", "warning"]).args(pages).run().code(0).stdout("").stderr("");
}

#[test]
fn the_demo_works() {
    let lab = Lab::new();
    let demo = checkout().join("examples/demo");
    lab.cmd(demo).arg(lab.path("demo")).env("RUN_BIN", testkit::bin()).run().code(0);
    lab.nothing_left();
}
