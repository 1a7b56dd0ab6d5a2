//! Runs of other systems in the views for DuckDB, beside runs of ours.

use serde_json::json;
use std::fs;
use testkit::evals::{SCRIPT, eval, save};
use testkit::foreign::{age, connect4, connect4_status, rl_evaluations, rl_practice, short_rows, stealthrl};
use testkit::python::asked;
use testkit::{Lab, checkout};

const DUCKDB: &str = "
import duckdb, json, sys
duckdb.execute(open('runs.sql').read())
print(json.dumps([duckdb.execute(query).fetchall() for query in sys.argv[1:]], default=str))
";

#[test]
fn views_have_the_state_the_attempts_and_the_evaluations_of_runs_of_other_systems() {
    let lab = Lab::new();
    stealthrl(&lab, "runs/it's", &json!({"lr": 0.5}), &short_rows(2));
    rl_practice(&lab, "runs", "run_2025-08-19_12-34-56", &["10", "20", "final"], 3);
    rl_evaluations(&lab, "runs", "run_2025-08-19_12-34-56", "gsm8k", true);
    age(&lab, "runs", 3600);
    connect4(&lab, "runs/c4", &connect4_status("running", 1), Some("999999999"));
    let listed = lab.cmd("run-status").args(["-a", "--json"]).run().code(0).json_lines();
    let queries = [
        "SELECT run, status, step, start_time IS NOT NULL FROM runs ORDER BY run",
        "SELECT run, attempt, status, start_time IS NOT NULL FROM attempts ORDER BY run",
        "SELECT run, label, step, avg(pass_rate::DOUBLE) FROM evaluations GROUP BY ALL ORDER BY step",
        "SELECT reason FROM runs WHERE status = 'dead'",
        "SELECT settings->>'lr', (metrics IS NOT NULL) FROM runs WHERE run = 'it''s'",
    ];
    // Alone, and beside runs of ours.
    for ours in [0, 1] {
        if ours == 1 {
            lab.new_run("ours", &["true"]);
            lab.cmd("run-exec").args(["-q", "ours"]).run().code(0);
        }
        lab.cmd("run-report").args(["--sql", "runs.sql"]).run().code(0);
        let found = asked(&lab, "peers", DUCKDB, &queries);
        let of = |name: &str| {
            let rows = found[0].as_array().unwrap();
            rows.iter().find(|row| row[0].as_str().unwrap().ends_with(name)).unwrap().clone()
        };
        assert_eq!(found[0].as_array().unwrap().len(), 3 + ours, "{found:#}");
        for run in &listed {
            let row = of(run["run_name"].as_str().unwrap());
            let step = run["step"].as_f64().map_or(json!(null), |step| json!(step));
            assert_eq!((&row[1], &row[2]), (&run["status"], &step), "{row}");
        }
        assert_eq!(found[1].as_array().unwrap().len(), 3 + ours, "{found:#}");
        assert!(found[1].as_array().unwrap().iter().all(|row| row[3] == true), "{found:#}");
        let name = of("12-34-56")[0].clone();
        assert_eq!(found[2], json!([[name, "gsm8k", 10, 0.25], [name, "gsm8k", 20, 0.75]]));
        assert_eq!(found[3], json!([["its process 999999999 is gone"]]));
        assert_eq!(found[4], json!([["0.5", true]]));
    }
}

const EXPORTED: &str = "
import json, os, sys
os.environ['MLFLOW_ALLOW_FILE_STORE'] = 'true'
from mlflow import MlflowClient
client = MlflowClient(tracking_uri=sys.argv[1])
found = {}
for run in client.search_runs(['0']):
    history = client.get_metric_history(run.info.run_id, 'loss')
    found[run.info.run_name] = [run.info.status, run.data.params, [[one.step, one.value] for one in history]]
print(json.dumps(found))
";

#[test]
fn exports_have_the_values_and_settings_of_runs_of_other_systems() {
    let lab = Lab::new();
    let rows = "{\"step\": 1, \"loss\": 0.5}\n{\"step\": 2, \"loss\": 0.25}\n";
    stealthrl(&lab, "runs/s", &json!({"lr": 0.5, "api_key": "sk-secret"}), rows);
    lab.cmd("run-report").args(["--export-mlflow", "ml"]).run().code(0);
    let found = asked(&lab, "peers", EXPORTED, &["ml"]);
    assert_eq!(found["s"][0], "FINISHED");
    assert_eq!(found["s"][1]["lr"], "0.5");
    assert_eq!(found["s"][2], json!([[1, 0.5], [2, 0.25]]));
    lab.cmd("run-report").args(["--export-tensorboard", "tb"]).run().code(0);
    let read = lab.cmd("run-report").args(["--metrics", "-d", "tb"]).run().code(0).out();
    assert_eq!(read, "run,step,loss\ns,1,0.5\ns,2,0.25\n");
    lab.cmd("grep").args(["-rq", "sk-secret", "ml", "tb"]).run().code(1);
}

#[test]
fn damaged_rows_of_other_systems_are_left_out_and_those_of_ours_are_an_error() {
    let lab = Lab::new();
    rl_practice(&lab, "runs", "run_2025-08-19_12-34-56", &["10", "20"], 3);
    rl_evaluations(&lab, "runs", "run_2025-08-19_12-34-56", "gsm8k", true);
    let table = "runs/eval_runs/run_2025-08-19_12-34-56_gsm8k/step_10_gsm8k/metrics.csv";
    let text = fs::read_to_string(lab.path(table)).unwrap();
    lab.write(table, text + "3,0.5,1,too,many\n4,0.5,1.0\n5,0.");
    lab.new_run("ours", &["true"]);
    save(&lab, "ours", 2);
    lab.cmd("run-exec").args(["-q", "ours"]).run().code(0);
    eval(&lab, &["ours"], SCRIPT).code(0);
    let metrics = lab.path("runs/stealth/metrics.jsonl");
    stealthrl(&lab, "runs/stealth", &json!({}), "");
    fs::write(
        metrics,
        b"{\"step\": 1, \"loss\": 0.5}\n{\"step\": 2, \"lo\n\xff\n[]\n{\"step\": 3, \"loss\": NaN}\n{\"st",
    )
    .unwrap();
    lab.cmd("run-report").args(["--sql", "runs.sql"]).run();
    let queries = [
        "SELECT step, count(*) FROM evaluations WHERE label = 'gsm8k' GROUP BY ALL ORDER BY step",
        "SELECT step, acc::VARCHAR FROM evaluations WHERE run = 'ours'",
        "SELECT step, loss::VARCHAR FROM metrics WHERE run LIKE '%stealth' ORDER BY step",
    ];
    let found = asked(&lab, "peers", DUCKDB, &queries);
    assert_eq!(found[0], json!([[10, 4], [20, 3]]));
    assert_eq!(found[1], json!([[2, "0.2"], [2, "nan"]]));
    assert_eq!(found[2], json!([[1.0, "0.5"], [3.0, "nan"]]));
    // Nobody but run-eval writes this table: its damage must not pass unseen.
    let table = lab.path("eval_runs/ours_eval/consolidated_metrics.csv");
    let text = fs::read_to_string(&table).unwrap();
    fs::write(&table, text + "3,0.5,1,too,many,columns\n").unwrap();
    lab.cmd("run-report").args(["--sql", "runs.sql"]).run();
    let python = checkout().join("target/peers/bin/python3");
    let asked = lab.cmd(python).args(["-c", DUCKDB, "SELECT count(acc) FROM evaluations"]);
    asked.run().code(1).stderr_has("Error");
}

#[test]
fn the_evaluation_of_the_final_checkpoint_has_the_last_step() {
    let lab = Lab::new();
    let run = "run_2025-08-19_12-34-56";
    rl_practice(&lab, "runs", run, &["10", "20", "final"], 30);
    rl_evaluations(&lab, "runs", run, "gsm8k", true);
    lab.write(
        &format!("runs/eval_runs/{run}_gsm8k/step_final_gsm8k/metrics.csv"),
        "q_idx,pass_rate\n0,0.9\n",
    );
    let best = ["--columns", "gsm8k/pass_rate.last,gsm8k/pass_rate.best", "--format", "csv"];
    let found = lab.cmd("run-report").args(best).run().code(0).out();
    assert_eq!(
        found,
        format!("run,gsm8k/pass_rate.last,gsm8k/pass_rate.best\ntraining_runs/{run},0.9,0.9\n")
    );
    let rows = lab.cmd("run-report").arg("--evals").run().code(0).out();
    assert_eq!(rows.lines().last(), Some(&*format!("training_runs/{run},gsm8k,final,0,0.9,")));
    lab.cmd("run-report").args(["--sql", "runs.sql"]).run().code(0);
    let found = asked(&lab, "peers", DUCKDB, &["SELECT DISTINCT step FROM evaluations ORDER BY step"]);
    assert_eq!(found[0], json!([[10], [20], [30]]));
}
