//! The tables of run-tools(7) that say what the commands of other systems are here: each command works, and each table
//! fits a terminal.

use serde_json::json;
use std::fs;
use testkit::checkpoints::torch;
use testkit::foreign::{age, connect4, connect4_status, experiments, rl_practice, short_rows, stealthrl};
use testkit::{Lab, checkout};

/// The sections with such tables, and how many commands each shows at least.
const SECTIONS: [(&str, usize); 4] = [
    ("TRAIN, EVALUATE, RESUME", 22),
    ("FROM AN EXPERIMENT RUNNER", 14),
    ("FROM STEALTHRL", 13),
    ("FROM A CONNECT4 PIPELINE", 6),
];

/// The commands, flags, files and statuses that the documents of these systems name, by section.
const NAMED: [&str; 4] = [
    "torchrun rl_runner.py --cfg --ckpt resume_training.py --training-run --from-step --additional-steps --no-torchrun \
     eval_batch.py --steps --eval-dataset --subset-frac --ckpt-path sync_to_s3.py --action backup backup-all list-backups \
     restore --cleanup --keep-latest --transfers training_runs/ rl_runs/ config.yaml training_state/step_20/ step_latest \
     model/ optimizer.pt scheduler.pt training_info.json logs/train_log.jsonl rollouts.jsonl ratios.jsonl tensorboard/ \
     eval_runs/ eval_config.yaml metrics.csv completions.jsonl summary.json consolidated_metrics.csv archive/ \
     ~/.lambda_s3.env",
    "run_experiments.py --configs --batch_size --wandb_project --wandb_enabled --device --compile --max_iters \
     --learning_rate --base_out_dir experiment_*/ master_log.txt experiment_summary.json stdout.log stderr.log combined.log \
     config_used.py experiment_metadata.json experiment_result.json ckpt_unmasking_500.pt completed failed error",
    "stealthrl.tinker.train --config --data-path --output-dir --num-epochs --batch-size --run-name track_runs.py --runs-dir \
     --list --details --compare --export --cost monitor_runs.py --interval run_metadata.json metrics.jsonl training.log \
     checkpoints/ running completed failed",
    "src.cli.train --config --run_dir src.cli.runs list --all stop config.yaml meta.json status.json pid checkpoints/ \
     metrics.csv step total_steps episode epsilon start_time last_heartbeat running completed stopped dead stale",
];

/// Returns the commands that the tables of a section show as ours.
fn commands(section: &str) -> Vec<String> {
    let page = fs::read_to_string(checkout().join("man/run-tools.7")).unwrap();
    let section = page.split(&format!(".Sh {section}\n")).nth(1).unwrap().split("\n.Sh ").next().unwrap();
    let ours = section
        .lines()
        .filter(|line| line.starts_with(".It "))
        .filter_map(|line| line.split(" Ta Li ").nth(1));
    let plain = |text: &str| text.replace("\\-", "-").replace("\\(aq", "'");
    ours.map(plain).filter(|command| command.starts_with("run-")).collect()
}

#[test]
fn the_tables_have_all_that_the_documents_name() {
    let page = fs::read_to_string(checkout().join("man/run-tools.7")).unwrap();
    for ((section, _), named) in SECTIONS.iter().zip(NAMED) {
        let text = page.split(&format!(".Sh {section}\n")).nth(1).unwrap().split("\n.Sh ").next().unwrap();
        let theirs = text
            .lines()
            .filter(|line| line.starts_with(".It "))
            .map(|line| line.split(" Ta ").next().unwrap());
        let theirs: Vec<_> = theirs.flat_map(|cell| cell.split([' ', '\\'])).collect();
        for word in named.split_whitespace() {
            let is_it = |cell: &&str| {
                *cell == word
                    || cell.ends_with(&format!("/{word}"))
                    || cell.starts_with(word) && word.ends_with('/')
            };
            assert!(theirs.iter().any(is_it), "{section}: {word}");
        }
        assert!(text.contains("adopt"), "{section}: how to resume what is there");
    }
}

/// Makes the run of another system that is at this path, and has ended.
fn made_before(lab: &Lab, run: &str) {
    let _ = fs::remove_dir_all(lab.path(run));
    match run {
        "training_runs/RUN" => rl_practice(lab, ".", "RUN", &["10"], 10),
        "experiment_1/*/" => experiments(lab, "experiment_1"),
        "outputs/runs/RUN" => stealthrl(lab, run, &json!({}), &short_rows(3)),
        "runs/RUN" => connect4(lab, run, &connect4_status("stopped", 600), None),
        _ => panic!("no system makes '{run}'"),
    }
    age(lab, run.split('/').next().unwrap(), 600);
}

/// Makes what the commands name: a run that has failed once, with checkpoints, another one, a batch, and a store with
/// a backup.
fn workshop() -> Lab {
    let lab = Lab::new();
    lab.write("FILE.yaml", "lr: 1\n");
    for name in ["a", "b"] {
        lab.write(&format!("{name}.py"), "lr = 1\n");
    }
    lab.write("model.pt", torch());
    let script =
        "for step in 1 5 10; do mkdir -p $RUN_DIR/step_$step && cp model.pt $RUN_DIR/step_$step/; done
        echo '{\"step\": 10, \"loss\": 1}' >>$RUN_METRICS; [ $RUN_ATTEMPT -gt 1 ]";
    for name in ["RUN", "OTHER"] {
        lab.new_run(name, &["sh", "-c", script]);
        lab.cmd("run-exec").args(["-q", name]).run().code(1);
    }
    lab.cmd("run-new").args(["--batch=BATCH", "--sweep", "lr=1,2", "--", "true", "{set:lr}"]).run().code(0);
    fs::create_dir(lab.path("DIR")).unwrap();
    fs::create_dir(lab.path("STORE")).unwrap();
    lab.cmd("run-sync").args(["backup", "--to", "STORE", "RUN"]).run().code(0);
    lab
}

#[test]
fn every_command_of_the_tables_works() {
    for (section, least) in SECTIONS {
        let commands = commands(section);
        assert!(commands.len() >= least, "{section}: {commands:?}");
        for shown in commands {
            let lab = workshop();
            let command = shown.replace("...", "FILE -- COMMAND");
            let command = command.replace("FILE", "FILE.yaml");
            let command = if command.starts_with("run-eval") {
                command.replace("COMMAND", "sh -c 'echo \"{\\\"acc\\\": 1}\"'")
            } else {
                command.replace("COMMAND", "echo {set:plain}")
            };
            let follows = command.contains("BATCH") && !command.starts_with("run-exec");
            if follows {
                lab.cmd("run-exec").args(["-q", "BATCH"]).run().code(0);
            }
            if command.ends_with("-d DIR RUN") {
                lab.cmd("run-new").args(["-d", "DIR", "-n", "RUN", "--", "true"]).run().code(0);
                lab.cmd("run-exec").args(["-q", "DIR/RUN"]).run().code(0);
            }
            let adopted = command.strip_prefix("run-new --adopt ").and_then(|rest| rest.split(' ').next());
            if let Some(run) = adopted {
                made_before(&lab, run);
            }
            let store = lab.path("STORE");
            let done =
                lab.cmd("timeout").args(["50", "bash", "-c", &command]).env("RUN_SYNC_URL", store).run();
            assert_eq!(done.code, 0, "{section}: {shown}\n{command}\n{}{}", done.out(), done.err());
            if let Some(run) = adopted {
                let run = run.replace("*/", "easy");
                lab.cmd("run-exec").args(["-q", "--resume", &run, "--", "true"]).run().code(0);
            }
        }
    }
}

#[test]
fn the_tables_fit_a_terminal_by_mandoc_and_by_man_db() {
    let lab = Lab::new();
    let page = checkout().join("man/run-tools.7");
    let page = page.display();
    for by in [format!("mandoc -T utf8 -O width=78 {page}"), format!("groff -Tutf8 -mandoc -rLL=78n {page}")]
    {
        let program = by.split(' ').next().unwrap();
        if !lab.cmd("sh").args(["-c", &format!("command -v {program}")]).run().out().contains(program) {
            continue;
        }
        let shown = lab.cmd("sh").args(["-c", &format!("{by} | col -bx")]).run().code(0).out();
        for (section, _) in SECTIONS {
            let text = shown.split(&format!("\n{section}\n")).nth(1).unwrap();
            let lines = text.lines().take_while(|line| line.is_empty() || line.starts_with(' '));
            // What is to be typed is further to the right, and as long as it is.
            for line in lines.filter(|line| !line.starts_with("           ")) {
                assert!(line.chars().count() <= 80, "{program}, {section}: {line}");
            }
        }
        assert!(shown.contains("  run-exec --resume --additional-steps 50 RUN\n"), "{program}");
    }
}
