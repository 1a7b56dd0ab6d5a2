//! Running evaluations: several at once, interrupted, killed; pins; their output.

use rustix::fs::{FlockOperation, fcntl_lock};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::thread::sleep;
use std::time::Duration;
use testkit::evals::{SCRIPT, consolidated, ended, eval, no_pins, save, spawned};
use testkit::process::Signal;
use testkit::{Lab, Random, times, wait_for};

#[test]
fn of_many_that_start_at_once_one_evaluates_and_the_others_say_who() {
    for _ in 0..times(8, 100) {
        let lab = Lab::new();
        ended(&lab, "r");
        save(&lab, "r", 1);
        // The one that is first stays until the others have ended.
        let script = "while [ ! -e go ]; do sleep 0.01; done; echo '{\"acc\": 1}'; echo $2 >> log";
        let mut all: Vec<testkit::Running> = (0..20).map(|_| spawned(&lab, &["r"], script)).collect();
        let mut ended = Vec::new();
        wait_for("all but one to end", || {
            while let Some(at) = all.iter_mut().position(|one| one.child.try_wait().unwrap().is_some()) {
                ended.push(all.swap_remove(at).wait());
            }
            all.len() == 1
        });
        let first = all.pop().unwrap();
        let who = format!("process {} on ", first.pid());
        for done in ended {
            done.code(4).stderr_has(&who).stderr_has(" is evaluating the run");
        }
        lab.write("go", "");
        first.wait().code(0).stderr("");
        assert_eq!(
            (lab.read("log"), consolidated(&lab, "r")),
            ("1\n".to_owned(), "step,acc\n1,1\n".to_owned())
        );
    }
}

#[test]
fn a_directory_that_another_one_makes_is_not_taken_for_a_strangers() {
    let lab = Lab::new();
    ended(&lab, "r");
    save(&lab, "r", 1);
    // One that has taken the lock, and has said neither who it is nor of which run this is.
    lab.write("eval_runs/r_eval/eval_config.yaml", "");
    let lock = fs::File::create(lab.path("eval_runs/r_eval/.lock")).unwrap();
    fcntl_lock(&lock, FlockOperation::NonBlockingLockExclusive).unwrap();
    eval(&lab, &["r"], SCRIPT).code(4).stderr_has("another process is evaluating the run");
    // When nobody is at it, it is a stranger's.
    drop(lock);
    eval(&lab, &["r"], SCRIPT).code(3).stderr_has("it holds files, and none names its run");
    assert!(!lab.path("eval_runs/r_eval/.eval").exists());
}

#[test]
fn many_runs_are_evaluated_though_few_files_may_be_open() {
    let lab = Lab::new();
    lab.write("runs/grid/.batch/batch.json", "{}\n");
    for run in 0..40 {
        lab.cmd("run-new").args(["-d", "runs/grid", "-n", &format!("r{run}"), "--", "true"]).run().code(0);
        save(&lab, &format!("grid/r{run}"), 1);
    }
    let script = "ulimit -S -n 64; run-eval runs/grid -- sh -c 'echo \"{\\\"files\\\": $(ulimit -S -n)}\"'";
    lab.cmd("sh").args(["-c", script]).run().code(0).stderr("");
    for run in 0..40 {
        let table = lab.read(&format!("eval_runs/grid/r{run}_eval/consolidated_metrics.csv"));
        assert_eq!(table, "step,files\n1,64\n");
    }
}

#[test]
fn a_gpu_is_given_to_each_evaluation() {
    let lab = Lab::new();
    ended(&lab, "r");
    for step in 1..=4 {
        save(&lab, "r", step);
    }
    let script = "echo \"{\\\"gpu\\\": \\\"$CUDA_VISIBLE_DEVICES\\\"}\"";
    let command = ["r", "--", "sh", "-c", script];
    lab.cmd("run-eval").args(command).run().code(0);
    assert_eq!(consolidated(&lab, "r"), "step,gpu\n1,0\n2,0\n3,0\n4,0\n");
    lab.cmd("run-eval").arg("--force").args(command).env("CUDA_VISIBLE_DEVICES", "3").run().code(0);
    assert_eq!(consolidated(&lab, "r"), "step,gpu\n1,3\n2,3\n3,3\n4,3\n");
    // Two at once, on two of their own: each waits for the other.
    let script = format!("touch at-$2; while [ $(ls | grep -c at-) -lt 2 ]; do sleep 0.01; done; {script}");
    eval(&lab, &["--force", "--gpus", "4,5+6", "r"], &script).code(0);
    let mut found: Vec<String> =
        consolidated(&lab, "r").lines().skip(1).take(2).map(|line| line[2..].to_owned()).collect();
    found.sort();
    assert_eq!(found, ["\"5,6\"", "4"]);
}

#[test]
fn an_interrupt_ends_evaluations_gracefully_and_the_rest_comes_next_time() {
    let lab = Lab::new();
    ended(&lab, "r");
    for step in 1..=4 {
        save(&lab, "r", step);
    }
    let script = format!(
        "{SCRIPT}; [ -e go ] || [ $2 -lt 2 ] || {{ trap 'touch asked; exit 1' INT; touch waits; while :; do sleep 0.01; done; }}"
    );
    let running = spawned(&lab, &["r"], &script);
    wait_for("the second evaluation", || lab.path("waits").exists());
    // Another one of the same kind would be in the way.
    eval(&lab, &["r"], &script).code(4).stderr_has("is evaluating the run");
    running.signal(Signal::INT);
    running.wait().code(130).stdout("eval_runs/r_eval/consolidated_metrics.csv\n");
    assert!(lab.path("asked").exists());
    lab.nothing_left();
    no_pins(&lab, "r");
    assert_eq!(consolidated(&lab, "r"), "step,acc,n\n1,0.1,1\n1,NaN,\n");
    assert_eq!(lab.json("eval_runs/r_eval/step_2_eval/.eval/status.json")["status"], "stopped");
    lab.write("go", "");
    eval(&lab, &["r"], &script).code(0).stderr("");
    assert_eq!(lab.read("log"), "1\n2\n2\n3\n4\n");
}

#[test]
fn whatever_is_killed_the_records_are_true_and_the_same_line_completes_it() {
    let mut random = Random::new(7);
    for round in 0..times(6, 200) {
        let lab = Lab::new();
        ended(&lab, "r");
        for step in 1..=5 {
            save(&lab, "r", step);
        }
        let script = "sleep 0.05; printf 'acc\\n0.%s\\n' $2 > $3/metrics.csv; sleep 0.02";
        let args = ["--grace", "200ms", "-j", "2", "r"];
        let running = spawned(&lab, &args, script);
        sleep(Duration::from_millis(random.below(300)));
        // The controller, or any of its processes.
        let mut victims = vec![running.pid()];
        if round % 2 == 1 {
            victims = lab.alive();
            victims.retain(|pid| {
                fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|exe| exe.ends_with("run-eval"))
            });
        }
        if !victims.is_empty() {
            let victim = victims[usize::try_from(random.below(victims.len() as u64)).unwrap()];
            testkit::signal(victim, Signal::KILL);
        }
        let code = running.wait().code;
        assert!([0, 1, 1009].contains(&code), "{code}");
        // Every file parses, and what says that it has completed has.
        for step in 1..=5 {
            let at = format!("eval_runs/r_eval/step_{step}_eval/.eval");
            for file in ["meta.json", "status.json", "result.json"] {
                let path = lab.path(format!("{at}/{file}"));
                if path.exists() {
                    assert!(serde_json::from_slice::<Value>(&fs::read(path).unwrap()).is_ok(), "{at}/{file}");
                }
            }
        }
        eval(&lab, &args, script).code(0).stderr("");
        assert_eq!(consolidated(&lab, "r"), "step,acc\n1,0.1\n2,0.2\n3,0.3\n4,0.4\n5,0.5\n");
        lab.nothing_left();
        no_pins(&lab, "r");
    }
}

#[test]
fn nothing_is_left_of_an_evaluation_of_which_both_processes_were_killed() {
    let lab = Lab::new();
    ended(&lab, "r");
    save(&lab, "r", 1);
    save(&lab, "r", 2);
    let script =
        "[ $2 = 2 ] || { trap '' TERM; touch waits; while :; do sleep 0.01; done; }; echo '{\"acc\": 1}'";
    let running = spawned(&lab, &["r"], script);
    wait_for("the first evaluation", || lab.path("waits").exists());
    let is_ours =
        |pid: &i32| fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|exe| exe.ends_with("run-eval"));
    let others: Vec<i32> =
        lab.alive().into_iter().filter(|pid| is_ours(pid) && *pid != running.pid()).collect();
    assert_eq!(others.len(), 2);
    for pid in others {
        testkit::signal(pid, Signal::KILL);
    }
    running.wait().code(1).stderr_has("'r' step 1: ");
    lab.await_nothing_left();
    assert_eq!(consolidated(&lab, "r"), "step,acc\n2,1\n");
    no_pins(&lab, "r");
}

#[test]
fn pins_are_links_and_those_of_a_killed_one_are_removed() {
    let lab = Lab::new();
    ended(&lab, "r");
    save(&lab, "r", 1);
    let old = "01980000-0000-7000-8000-000000000001";
    lab.write(&format!("runs/r/.eval-pins/{old}/of/checkpoint-9/model.bin"), "x");
    lab.write(&format!("runs/r/.eval-pins/{old}/lock"), "");
    let script = "stat -c %i $1/model.bin > inode; ls -A runs/r/.eval-pins > pins; echo '{\"acc\": 1}'";
    eval(&lab, &["r"], script).code(0).stderr("");
    let inode = fs::metadata(lab.path("runs/r/checkpoint-1/model.bin")).unwrap().ino();
    assert_eq!(lab.read("inode"), format!("{inode}\n"));
    assert!(!lab.read("pins").contains(old));
    no_pins(&lab, "r");
    assert_eq!(lab.read("runs/r/checkpoint-1/model.bin"), "weights 1");
}

#[test]
fn what_is_not_known_to_be_a_dead_pin_is_left_alone() {
    let lab = Lab::new();
    ended(&lab, "r");
    save(&lab, "r", 1);
    let pins = "runs/r/.eval-pins";
    let id = |number: u32| format!("01980000-0000-7000-8000-00000000000{number}");
    lab.write("precious/lock", "");
    // Of another name, and behind a link.
    let kept = [format!("{pins}/mine/lock"), "precious/lock".to_owned()];
    for file in &kept {
        lab.write(file, "");
    }
    // A run-eval was killed while it removed this one.
    lab.write(&format!("{pins}/{}/of/x", id(2)), "");
    std::os::unix::fs::symlink(lab.path("precious"), lab.path(format!("{pins}/{}", id(1)))).unwrap();
    eval(&lab, &["r"], SCRIPT).code(0).stderr("");
    for file in &kept {
        assert!(lab.path(file).exists(), "{file}");
    }
    assert!(!lab.path(format!("{pins}/{}", id(2))).exists());
    // Nor is anything behind a link in place of them all.
    fs::rename(lab.path(pins), lab.path("away")).unwrap();
    std::os::unix::fs::symlink(lab.path("away"), lab.path(pins)).unwrap();
    let before = fs::read_dir(lab.path("away")).unwrap().count();
    lab.write(&format!("away/{}/lock", id(3)), "");
    eval(&lab, &["--force", "r"], SCRIPT)
        .code(0)
        .stderr_has("'.eval-pins' is a link; do not delete them before their evaluation");
    assert_eq!(fs::read_dir(lab.path("away")).unwrap().count(), before + 1);
    assert_eq!(consolidated(&lab, "r"), "step,acc,n\n1,0.1,1\n1,NaN,\n");
}

#[test]
fn checkpoints_on_another_disk_are_pinned_there() {
    let (lab, disk) = (Lab::new(), Lab::below(Path::new("/dev/shm")));
    lab.new_run("r", &["sh", "-c", "touch started; while [ ! -e go ]; do sleep 0.01; done"]);
    std::os::unix::fs::symlink(disk.dir(), lab.path("runs/r/checkpoints")).unwrap();
    let training = lab.cmd("run-exec").args(["-q", "r"]).spawn();
    wait_for("the start", || lab.path("started").exists());
    disk.write("checkpoint-1/model.bin", "weights 1");
    disk.write("checkpoint-1/trainer_state.json", "{}");
    let inode = fs::metadata(disk.path("checkpoint-1/model.bin")).unwrap().ino();
    let script = "rm -r runs/r/checkpoints/checkpoint-1; stat -c %i $1/model.bin > inode; cat $1/model.bin > content; \
        echo '{\"acc\": 1}'";
    eval(&lab, &["r"], script).code(0).stderr("");
    assert_eq!((lab.read("inode"), lab.read("content")), (format!("{inode}\n"), "weights 1".to_owned()));
    assert_eq!(fs::read_dir(disk.dir()).unwrap().count(), 0, "pins are left");
    no_pins(&lab, "r");
    lab.write("go", "");
    training.wait().code(0);
}

#[test]
fn a_terminal_shows_how_far_it_is() {
    let lab = Lab::new();
    ended(&lab, "r");
    for step in 1..=3 {
        save(&lab, "r", step);
    }
    let program = "import os, pty, sys\n\
        seen = []\n\
        def read(fd):\n\
        \x20   data = os.read(fd, 4096)\n\
        \x20   seen.append(data)\n\
        \x20   return data\n\
        code = pty.spawn(['run-eval', 'r', '--', 'sh', '-c', 'sleep 0.3; echo \"{\\\\\"a\\\\\": 1}\"'], read)\n\
        sys.exit(code)\n";
    lab.write("terminal.py", program);
    let shown = lab.cmd("python3").arg("terminal.py").env("TERM", "xterm").run().code(0).out();
    assert!(shown.contains("0/3 step 1") && shown.contains("2/3 step 3, eta "), "{shown:?}");
}

#[test]
fn the_details_of_a_run_list_its_evaluations() {
    let lab = Lab::new();
    ended(&lab, "r");
    ended(&lab, "r_x"); // whose evaluations have a name that begins alike
    for step in [9, 10] {
        save(&lab, "r", step);
        save(&lab, "r_x", step);
    }
    eval(&lab, &["r_x"], SCRIPT).code(0);
    let script = "[ $2 = 10 ] && printf 'q_idx,pass,text,kl\\n0,1,2,NaN\\n1,0,x,\\n2,NaN,,\\n3,0.5,4,\\n' > $3/metrics.csv";
    eval(&lab, &["--label", "gsm8k", "r"], script).code(1);
    let shown = lab.cmd("run-status").arg("r").run().code(0).out();
    let block = shown.split("\n\n").find(|block| block.starts_with("EVALUATION")).unwrap();
    let rows: Vec<BTreeMap<usize, &str>> =
        block.lines().map(|line| line.split_whitespace().enumerate().collect()).collect();
    assert_eq!(rows.len(), 3, "{block}");
    assert_eq!((rows[1][&0], rows[1][&1], rows[1][&2]), ("gsm8k", "9", "failed"));
    assert!(block.contains("exit 1"), "{block}");
    assert_eq!((rows[2][&0], rows[2][&1], rows[2][&2]), ("gsm8k", "10", "completed"));
    // The means over the rows: of numbers, and not of what counts the rows.
    let measured: Vec<&str> = rows[2].range(4..).map(|(_, word)| *word).collect();
    assert_eq!(measured, ["4", "pass=0.5000", "kl=NaN"], "{block}");
    let record = "eval_runs/r_gsm8k/step_10_gsm8k/.eval/metrics.json";
    let kept = lab.json(record);
    assert_eq!((&kept["step"], &kept["rows"]), (&10.into(), &4.into()));
    assert_eq!((&kept["metrics"]["q_idx"], &kept["metrics"]["pass"]["max"]), (&Value::Null, &1.into()));
    // What has failed since says nothing of before.
    eval(&lab, &["--label", "gsm8k", "--steps", "10", "--force", "r"], "exit 3").code(1);
    assert!(!lab.path(record).exists());
    let place = Path::new("eval_runs/r_gsm8k/consolidated_metrics.csv");
    assert!(lab.path(place).exists());
}
