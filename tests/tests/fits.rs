//! Tables on terminals of 80 and 200 columns: what tells least goes, names and reasons stay.

use testkit::Lab;

/// Returns what `run-status -a` prints on a terminal of this width.
fn on_terminal(lab: &Lab, columns: u32) -> Vec<String> {
    let line = format!("stty cols {columns} rows 40; run-status -a");
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
    let (narrow, wide) = (on_terminal(&lab, 80), on_terminal(&lab, 200));
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
