//! Tables on terminals of 80 and 200 columns: what tells least goes, names and reasons stay.

use testkit::Lab;
use testkit::reports::ran;

/// Returns what a shell command prints on a terminal of this width.
fn terminal_lines(lab: &Lab, columns: u32, command: &str) -> Vec<String> {
    let line = format!("stty cols {columns} rows 40; {command}");
    let shown = lab.cmd("script").args(["-qec", &line, "/dev/null"]).env("NO_COLOR", "1").run().code(0).out();
    shown.lines().map(|line| line.trim_end_matches('\r').to_owned()).collect()
}

#[test]
fn a_list_fits_its_terminal_and_says_every_reason_whole() {
    let lab = Lab::new();
    let error = "ValueError: the batch of 4096 images does not fit";
    for name in ["resnet-of-today-lr=0.1", "resnet-of-today-lr=0.01"] {
        lab.new_run(name, &["sh", "-c", &format!("echo '{error}' >&2; exit 3")]);
    }
    lab.cmd("run-exec").args(["-q", "resnet-of-today-lr=0.1"]).run().code(3);
    let list = "run-status -a";
    let (narrow, wide) = (terminal_lines(&lab, 80, list), terminal_lines(&lab, 200, list));
    for (lines, width) in [(&narrow, 80), (&wide, 200)] {
        assert!(lines.iter().all(|line| line.chars().count() <= width), "{lines:#?}");
        assert!(lines.iter().any(|line| line.contains("exit 3")), "{lines:#?}");
        assert!(!lines[0].contains("ETA") && !lines[0].contains("METRICS"), "{lines:#?}");
    }
    let reason = wide[2].split("exit 3").nth(1).unwrap_or_default();
    assert!(narrow.iter().any(|line| line.ends_with(&format!("exit 3{reason}"))), "{narrow:#?}\n{wide:#?}");
    assert!(narrow[1].starts_with("…lr=0.01  created"), "{narrow:#?}");
    assert!(wide[1].starts_with("resnet-of-today-lr=0.01  created"), "{wide:#?}");
    // On a pipe, the table is whole.
    let whole = lab.cmd("run-status").arg("-a").run().code(0).out();
    assert!(whole.starts_with("RUN                      STATUS   STEP  METRICS  STARTED"), "{whole}");
}

#[test]
fn a_report_fits_its_terminal_with_what_tells_most_and_counts_the_rest() {
    let lab = Lab::new();
    for (lr, seed) in [("0.1", "1"), ("0.1", "10"), ("0.1", "2"), ("1e-3", "1")] {
        let name = format!("resnet-of-today-lr={lr},seed={seed}");
        let set = [format!("lr={lr}"), format!("seed={seed}"), format!("a-long-name-of-a-setting=v{seed}")];
        let script = format!(
            r#"for i in 1 2; do echo "{{\"step\": ${{i}}000000, \"loss\": {seed}.5, \"validation/accuracy\": 0.${{i}}5}}"; done >> $RUN_METRICS"#
        );
        ran(&lab, &name, &set.each_ref().map(String::as_str), &script);
    }
    let narrow = terminal_lines(&lab, 80, "run-report 2>err");
    assert!(narrow.iter().all(|line| line.chars().count() <= 80), "{narrow:#?}");
    let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(words(&narrow[0])[..4], ["run", "status", "step", "lr"], "{narrow:#?}");
    assert!(narrow[0].contains("loss.last"), "{narrow:#?}");
    let names: Vec<String> = narrow[1..].iter().map(|line| words(line)[0].clone()).collect();
    let expected = ["…lr=1e-3,seed=1", "…lr=0.1,seed=1", "…lr=0.1,seed=2", "…lr=0.1,seed=10"];
    assert_eq!(names, expected, "{narrow:#?}");
    assert!(narrow.iter().skip(1).all(|line| line.contains(" 2000000 ")), "{narrow:#?}");
    // Numbers end together, and have one precision.
    let ends: Vec<usize> = narrow
        .iter()
        .map(|line| line.find(".last").map_or(line.find(".500"), Some))
        .map(|at| at.unwrap())
        .collect();
    assert!(ends[1..].iter().all(|end| *end == ends[1]), "{narrow:#?}");
    let err = lab.read("err");
    assert!(
        err.starts_with("run-report: not shown: ") && err.contains("(terminal too narrow); choose with"),
        "{err}"
    );
    // With room, all of the default columns, and no mean.
    let wide = terminal_lines(&lab, 200, "run-report");
    let heads = "run status step duration_s lr seed a-long-name-of-a-setting loss.last loss.best validation/accuracy.last validation/accuracy.best";
    assert_eq!(words(&wide[0]).join(" "), heads, "{wide:#?}");
    assert!(wide[1].starts_with("resnet-of-today-lr=1e-3,seed=1  completed"), "{wide:#?}");
    assert_eq!(wide.len(), 5, "nothing is missing: {wide:#?}");
    // One column is one.
    let narrow = terminal_lines(&lab, 40, "run-report --columns status,loss.last,lr 2>&1 >/dev/tty");
    assert!(
        narrow.iter().any(|line| line.contains("not shown: 1 column (terminal too narrow)")),
        "{narrow:#?}"
    );
}

#[test]
fn a_long_command_is_folded_on_a_terminal() {
    let lab = Lab::new();
    let words: Vec<String> = (0..30).map(|number| format!("--option-{number}")).collect();
    let command: Vec<&str> = ["true"].into_iter().chain(words.iter().map(String::as_str)).collect();
    lab.new_run("r", &command);
    let shown = terminal_lines(&lab, 80, "run-status r");
    let at = shown.iter().position(|line| line.starts_with("command:")).unwrap();
    assert!(shown[at].len() <= 80 && shown[at + 1].starts_with("            --option-"), "{shown:#?}");
    let whole = lab.cmd("run-status").arg("r").run().code(0).out();
    assert!(
        whole.lines().any(|line| line.starts_with("command:") && line.ends_with("--option-29")),
        "{whole}"
    );
}

#[test]
fn curves_fit_the_terminal_in_colours_or_in_letters() {
    let lab = Lab::new();
    for name in ["a", "b"] {
        let script = r#"for i in 1 2 3 4 5 6 7 8 9; do echo "{\"step\": $i, \"loss\": $((90 / i)), \"acc\": 0.$i}"; done >> $RUN_METRICS"#;
        ran(&lab, name, &[], script);
    }
    let on_terminal = |prefix: &str, words: &str| {
        let line = format!("stty cols 90 rows 30; {prefix} run-report --plot {words}");
        lab.cmd("script").args(["-qec", &line, "/dev/null"]).run().code(0).out().replace('\r', "")
    };
    let coloured = on_terminal("", "loss");
    assert!(
        coloured.contains("\u{1b}[38;5;68m━━\u{1b}[0m a (9 rows)")
            && coloured.contains("\u{1b}[38;5;172m━━\u{1b}[0m b"),
        "{coloured}"
    );
    assert!(coloured.chars().any(|sign| ('\u{2801}'..='\u{28ff}').contains(&sign)), "{coloured}");
    assert_eq!(coloured.lines().count(), 29, "all but the prompt: {coloured}");
    let plain = on_terminal("NO_COLOR=1", "loss");
    assert!(!plain.contains('\u{1b}') && plain.contains("  b b (9 rows)") && !plain.contains('⠁'), "{plain}");
    let lines: Vec<&str> = plain.lines().collect();
    assert!(lines.iter().all(|line| line.chars().count() <= 90), "{plain}");
    // Values stand between the ends of the axis, and the name of the step under it.
    let labels: Vec<&str> =
        lines.iter().filter_map(|line| line.split_once(" ┤")).map(|(label, _)| label.trim()).collect();
    assert_eq!(
        (labels.first(), labels.last(), labels.len() > 4),
        (Some(&"90"), Some(&"10"), true),
        "{plain}"
    );
    let axis = lines.iter().position(|line| line.contains('└')).unwrap();
    let steps: Vec<&str> = lines[axis + 1].split_whitespace().collect();
    assert_eq!((steps, lines[axis + 2].trim()), (vec!["1", "2", "4", "6", "8", "9"], "step"), "{plain}");
    // Two pictures share the height.
    assert_eq!(on_terminal("", "loss,acc a").lines().filter(|line| line.contains(['┤', '│'])).count(), 18);
    // On a pipe, the height is fixed.
    let piped = lab.cmd("run-report").args(["--plot", "loss", "--log-x"]).run().code(0).out();
    assert_eq!(piped.lines().filter(|line| line.contains(['┤', '│'])).count(), 16, "{piped}");
}

/// Returns the words of the first line that contains a text, and of the line after it.
fn heads_and_row(lines: &[String], head: &str) -> [Vec<String>; 2] {
    let at = lines.iter().position(|line| line.starts_with(head)).unwrap_or_else(|| panic!("{lines:#?}"));
    [at, at + 1].map(|at| lines[at].split_whitespace().map(str::to_owned).collect())
}

#[test]
fn narrow_tables_keep_the_money_the_percentages_and_the_states() {
    let lab = Lab::new();
    for name in ["a", "b"] {
        let script =
            "[ $RUN_ATTEMPT -gt 1 ] || exit 1; echo '{\"step\": 1, \"loss\": 1}' >> $RUN_METRICS; sleep 0.1";
        lab.new_run(name, &["sh", "-c", script]);
        lab.cmd("run-exec").args(["-q", name]).run().code(1);
        lab.cmd("run-exec").args(["-q", "--resume", name]).run().code(0);
    }
    for (columns, wanted) in [(80, &["usd", "wasted_usd", "compute_usd"][..]), (40, &["usd"])] {
        let [heads, _] =
            heads_and_row(&terminal_lines(&lab, columns, "run-report --cost --rate 2000 2>err"), "run ");
        assert!(wanted.iter().all(|name| heads.iter().any(|head| head == name)), "{heads:?}");
    }
    for columns in [80, 60] {
        let shown = terminal_lines(&lab, columns, "run-report --goodput --rate 2000 2>err");
        let [heads, _] = heads_and_row(&shown, "run ");
        assert!(
            ["trained_percent", "usd"].iter().all(|name| heads.iter().any(|head| head == name)),
            "{shown:#?}"
        );
    }
    lab.cmd("run-sync").args(["backup", "--to", "store", "a", "b"]).run().code(0);
    let [heads, row] = heads_and_row(&terminal_lines(&lab, 40, "run-sync list --from store 2>err"), "RUN ");
    assert!(heads.contains(&"VERIFIED".to_owned()) && heads.contains(&"STATUS".to_owned()), "{heads:?}");
    assert!(row.contains(&"completed".to_owned()), "{row:?}");
}

#[test]
fn details_keep_the_states_of_checkpoints_and_every_reason_whole() {
    let lab = Lab::new();
    let error = "OutOfMemoryError: CUDA out of memory; tried to allocate 2.50 GiB of 79.15 GiB on this GPU 0";
    lab.new_run("r", &["sh", "-c", &format!("echo '{error}' >&2; exit 1")]);
    lab.cmd("run-exec").args(["-q", "r"]).run().code(1);
    lab.write("runs/r/checkpoints/a-checkpoint-of-a-long-name-step_10.pt", b"\x80\x04");
    lab.write("runs/r/checkpoints/a-checkpoint-of-a-long-name-step_20.pt", b"\x80\x04N.");
    let mut lines = terminal_lines(&lab, 60, "run-status r");
    assert_eq!(lines.pop().as_deref(), Some(error), "{lines:#?}"); // the log is left as it is
    assert!(lines.iter().all(|line| line.chars().count() <= 60), "{lines:#?}");
    let [heads, row] = heads_and_row(&lines, "CHECKPOINT");
    assert!(heads.contains(&"STATE".to_owned()) && row.contains(&"incomplete".to_owned()), "{lines:#?}");
    let all = lines.join("\n");
    assert!(all.contains("is cut short, or no pickle"), "{all}");
    let words = all.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(words.matches(error).count() >= 2, "{all}");
}

#[test]
fn settings_of_the_sweep_come_before_those_of_a_single_run() {
    let lab = Lab::new();
    let row =
        r#"echo "{\"step\": 1, \"validation/accuracy\": 0.5, \"validation/loss\": 0.25}" >> $RUN_METRICS"#;
    ran(&lab, "a", &["a-setting-of-one-run=1", "another-setting=2"], row);
    for number in 0..12 {
        let set = [format!("lr=0.{}", number / 4 + 1), format!("hidden={}", 4 << (number % 4))];
        ran(&lab, &format!("b{number}"), &set.each_ref().map(String::as_str), row);
    }
    let [heads, _] = heads_and_row(&terminal_lines(&lab, 72, "run-report 2>err"), "run ");
    let has = |name: &str| heads.iter().any(|head| head == name);
    assert!(has("lr") && has("hidden") && !has("another-setting"), "{heads:?}");
    // Heads of groups keep the names of the figures.
    let [heads, _] = heads_and_row(&terminal_lines(&lab, 60, "run-report --group-by lr 2>err"), "lr ");
    let figures: Vec<&String> = heads.iter().filter(|head| head.contains('.')).collect();
    assert!(!figures.is_empty(), "{heads:?}");
    let ends = [".last.mean", ".last.std", ".best.mean", ".best.std"];
    assert!(figures.iter().all(|head| ends.iter().any(|end| head.ends_with(end))), "{heads:?}");
}

#[test]
fn the_numbers_of_a_column_have_one_precision_and_money_has_cents() {
    let lab = Lab::new();
    for (name, loss) in [("a", "0.0147123"), ("b", "6.564e-4")] {
        let row = format!(r#"{{"step": 1, "loss": {loss}, "grad_norm": 1.29, "tokens": 500}}"#);
        ran(&lab, name, &[], &format!("echo '{row}' >> $RUN_METRICS"));
    }
    let shown = lab.cmd("run-report").args(["--columns", "loss.last"]).run().code(0).out();
    let cells: Vec<&str> = shown.lines().skip(1).filter_map(|line| line.split_whitespace().nth(1)).collect();
    assert_eq!(cells, ["0.014712", "0.000656"], "{shown}");
    let shown = lab.cmd("run-status").arg("a").run().code(0).out();
    let last = |metric: &str| {
        let row = shown.lines().find(|line| line.starts_with(&format!("{metric}  "))).unwrap();
        row.split_whitespace().nth(1).unwrap().to_owned()
    };
    assert_eq!(["grad_norm", "loss", "tokens"].map(last), ["1.2900", "0.0147", "500"], "{shown}");
    let cost =
        lab.cmd("run-report").args(["--cost", "--rate", "2", "--columns", "wasted_usd"]).run().code(0).out();
    let cells: Vec<&str> = cost.lines().skip(1).filter_map(|line| line.split_whitespace().nth(1)).collect();
    assert_eq!(cells, ["0.00", "0.00", "0.00"], "{cost}");
}
