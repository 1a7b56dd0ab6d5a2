//! A table with tens of thousands of columns: pages and documents hold each of them in little memory.

use std::fmt::Write;
use testkit::Lab;

const COLUMNS: usize = 12_000;

/// Memory for each of them, in KiB, and for everything else.
const EACH: usize = 6;
const REST: usize = 20 << 10;

#[test]
fn a_page_and_a_document_hold_many_metrics_in_little_memory() {
    let lab = Lab::new();
    let (mut header, mut row) = ("time/iterations".to_owned(), "1".to_owned());
    for number in 0..COLUMNS {
        write!(header, ",m/{number}").unwrap();
        row += ",1";
    }
    lab.write("runs/ppo/progress.csv", format!("{header}\n{row}\n"));
    let program = "import resource, subprocess, sys\n\
                   subprocess.run(sys.argv[1:], check=True)\n\
                   print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)";
    for words in [["--html", "page.html"], ["--export", "all.json"]] {
        let done = lab.cmd("python3").args(["-c", program, "run-report"]).args(words).run().code(0);
        let most: usize = done.out().lines().last().unwrap().parse().unwrap();
        assert!(most < EACH * COLUMNS + REST, "{words:?} took {most} KiB");
    }
    let all = lab.json("all.json");
    let [columns, curves] = [&all["columns"], &all["runs"][0]["curves"]].map(|of| of.as_array().unwrap());
    assert!(columns.len() > COLUMNS && curves.len() == COLUMNS, "{} {}", columns.len(), curves.len());
    assert_eq!(all["rows"][0]["m/11999.last"], 1);
}
