//! The tables of run-tools(7) that say what the commands of other systems are here: each command works, and each table
//! fits a terminal.

use std::fs;
use testkit::checkpoints::torch;
use testkit::{Lab, checkout};

/// The sections with such tables, and how many commands each shows at least.
const SECTIONS: [(&str, usize); 4] = [
    ("TRAIN, EVALUATE, RESUME", 20),
    ("FROM AN EXPERIMENT RUNNER", 13),
    ("FROM STEALTHRL", 11),
    ("FROM A CONNECT4 PIPELINE", 5),
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
            let store = lab.path("STORE");
            let done =
                lab.cmd("timeout").args(["50", "bash", "-c", &command]).env("RUN_SYNC_URL", store).run();
            assert_eq!(done.code, 0, "{section}: {shown}\n{command}\n{}{}", done.out(), done.err());
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
