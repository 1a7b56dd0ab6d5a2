//! Files of other systems that a program left beside runs of ours, or beside those of a layout with sure marks:
//! no run is hidden by them, and the directory is not taken for a run.

use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use testkit::Lab;
use testkit::foreign::{short_rows, stealthrl};

/// Files by which a directory is known as a run of another system, or as its evaluations: one line for each way.
const MARKS: [&[&str]; 26] = [
    &["run_metadata.json"],
    &["experiment_metadata.json"],
    &["config_used.py", "stdout.log"],
    &["status.json", "meta.json"],
    &["config.yaml", "pid"],
    &["training_state/step_1/training_info.json"],
    &["config.yaml", "train_log.jsonl"],
    &["run-a.wandb", "files/output.log"],
    &["meta.yaml", "metrics/loss", "params/lr", "tags/a"],
    &["run.json", "config.json", "cout.txt"],
    &[".guild/attrs/started"],
    &["12_submitted.pkl"],
    &[".hydra/config.yaml"],
    &["params.json", "result.json"],
    &["args.yaml", "results.csv"],
    &["trainer_state.json"],
    &["checkpoint-5/trainer_state.json"],
    &["checkpoint-5/random_states_0.pkl"],
    &["ckpt.pt"],
    &["progress.csv"],
    &["0.monitor.csv"],
    &["evaluations.npz"],
    &["training.log"],
    &["train/events.out.tfevents.1769688000.h.1.0"],
    &["events.out.tfevents.1769688000.h.1.0"],
    &["eval_config.yaml"],
];

/// Returns the text of such a file, by which its layout is known.
fn content(mark: &str) -> &'static str {
    if mark.ends_with("monitor.csv") {
        return "#{\"t_start\": 1769688000.5}\nr,l,t\n1,1,1\n";
    }
    "epoch,loss,time/iterations\n1,1,1\n"
}

/// Returns the paths below the laboratory of the runs that run-status lists: of ours, and of other systems.
fn listed(lab: &Lab, words: &[&str]) -> (Vec<String>, Vec<String>) {
    let listed = lab.cmd("run-status").arg("--json").args(words).run().code(0).json_lines();
    let path = |run: &Value| {
        let path = Path::new(run["path"].as_str().unwrap());
        path.strip_prefix(lab.dir()).unwrap().to_str().unwrap().to_owned()
    };
    let (ours, others): (Vec<&Value>, Vec<&Value>) = listed.iter().partition(|run| run["layout"].is_null());
    (ours.into_iter().map(path).collect(), others.into_iter().map(path).collect())
}

#[test]
fn what_a_program_left_beside_runs_of_ours_hides_none() {
    for batch in ["two", "version_0"] {
        let lab = Lab::new();
        let new =
            |words: &[&str]| lab.cmd("run-new").args(["-d", "home/proj/runs"]).args(words).run().code(0);
        let in_batch =
            new(&["-n", "one", &format!("--batch={batch}"), "-s", "lr=1", "--", "true", "{set:lr}"]).out();
        let (in_batch, alone) = (in_batch.trim().to_owned(), "home/proj/runs/train".to_owned());
        new(&["-n", "train", "--", "true"]);
        let batch = format!("home/proj/runs/{batch}");
        for marks in MARKS {
            // At the top of the batch, of the directory of runs, and of the project.
            for place in [&*batch, "home/proj/runs", "home/proj"] {
                for mark in marks {
                    lab.write(&format!("{place}/{mark}"), content(mark));
                }
                let all = vec![alone.clone(), in_batch.clone()];
                for (words, expected) in [
                    (&["-a", "-d", "home/proj/runs"][..], all.clone()),
                    (&["-a", "-d", "home/proj"], all),
                    (&["-a", "-d", "home"], vec![alone.clone()]), // the batch lies too deep
                    (&[&*batch], vec![in_batch.clone()]),
                ] {
                    let (mut ours, others) = listed(&lab, words);
                    ours.sort();
                    assert_eq!(ours, expected, "{marks:?} in {place}: {words:?}");
                    assert!(others.iter().all(|path| path != place), "{marks:?} in {place}: {others:?}");
                }
                for mark in marks {
                    let top = lab.path(place).join(mark.split('/').next().unwrap());
                    if top.is_file() {
                        fs::remove_file(top).unwrap();
                    } else if top != lab.path(&alone) {
                        fs::remove_dir_all(top).unwrap();
                    } else {
                        fs::remove_file(lab.path(place).join(mark)).unwrap();
                    }
                }
            }
        }
        lab.write(&format!("{batch}/events.out.tfevents.1769688000.h.1.0"), "");
        lab.cmd("run-exec").args(["-q", &batch]).run().code(0);
        assert_eq!(lab.status(&in_batch)["status"], "completed");
    }
}

#[test]
fn an_event_file_beside_runs_of_another_system_hides_none() {
    for mark in ["events.out.tfevents.1769688000.h.1.0", "ckpt.pt", "progress.csv", "training.log"] {
        let lab = Lab::new();
        stealthrl(&lab, "proj/runs/s", &json!({}), &short_rows(2));
        lab.write("proj/lightning_logs/version_0/hparams.yaml", "lr: 0.1\n");
        for holder in ["runs", "lightning_logs"] {
            lab.write(&format!("proj/{holder}/{mark}"), content(mark));
        }
        let found = listed(&lab, &["-a", "-d", "proj"]);
        assert_eq!(found.1, ["proj/lightning_logs/version_0", "proj/runs/s"], "{mark}");
    }
}

#[test]
fn a_file_in_a_project_hides_no_runs_below_it_and_a_run_keeps_what_is_below_it() {
    let logs = |lab: &Lab, top: &str| {
        for version in 0..2 {
            lab.write(&format!("{top}/lightning_logs/version_{version}/hparams.yaml"), "lr: 0.1\n");
        }
    };
    let hydra = |lab: &Lab, top: &str| {
        for time in ["12-00-00", "12-00-01"] {
            lab.write(&format!("{top}/outputs/2026-01-29/{time}/.hydra/config.yaml"), "lr: 0.1\n");
        }
    };
    let mlflow = |lab: &Lab, top: &str| {
        for run in ["a", "b"] {
            for file in ["meta.yaml", "metrics/loss", "params/lr", "tags/t"] {
                lab.write(&format!("{top}/mlruns/0/{run}/{file}"), "");
            }
        }
    };
    let guild = |lab: &Lab, top: &str| {
        for run in ["a", "b"] {
            lab.write(&format!("{top}/.guild/runs/{run}/.guild/attrs/id"), run);
        }
    };
    let projects: [fn(&Lab, &str); 4] = [logs, hydra, mlflow, guild];
    for mark in ["events.out.tfevents.1769688000.h.1.0", "ckpt.pt", "progress.csv", "training.log"] {
        let lab = Lab::new();
        for (number, fill) in projects.iter().enumerate() {
            let top = format!("home/p{number}");
            fill(&lab, &top);
            lab.write(&format!("{top}/{mark}"), content(mark));
        }
        // A run of its own, with what W&B keeps in it.
        lab.write(&format!("home/run/{mark}"), content(mark));
        for id in ["a", "b"] {
            lab.write(&format!("home/run/wandb/offline-run-20260129_120000-{id}/run-{id}.wandb"), "");
        }
        let (_, mut others) = listed(&lab, &["-a", "-d", "home"]);
        others.sort();
        assert_eq!(
            others,
            [
                "home/p0/lightning_logs/version_0",
                "home/p0/lightning_logs/version_1",
                "home/p1/outputs/2026-01-29/12-00-00",
                "home/p1/outputs/2026-01-29/12-00-01",
                "home/p2/mlruns/0/a",
                "home/p2/mlruns/0/b",
                "home/p3/.guild/runs/a",
                "home/p3/.guild/runs/b",
                "home/run",
            ],
            "{mark}"
        );
    }
}
