//! Runs of other systems in the views for DuckDB, beside runs of ours.

use serde_json::json;
use testkit::Lab;
use testkit::foreign::{age, connect4, connect4_status, rl_evaluations, rl_practice, short_rows, stealthrl};
use testkit::python::asked;

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
