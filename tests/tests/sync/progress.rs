//! The line on a terminal that says how far a backup is.

use std::collections::BTreeSet;
use testkit::stores::Server;
use testkit::stores::site::Site;
use testkit::sync::noise;

#[test]
fn the_line_moves_while_a_part_is_being_sent() {
    let site = Site::new("s3");
    site.lab.write(&format!("{}/large.bin", site.run), noise(1, 20 << 20)); // two parts
    let backup = format!("run-sync backup --limit 10M --to {} trial", site.url());
    let on_terminal = site.lab.cmd("script").args(["-q", "-e", "-c", &backup, "/dev/null"]);
    let shown = site.server.reached_by(on_terminal).env("TERM", "xterm").run().code(0).out();
    let amounts: BTreeSet<&str> =
        shown.split("] ").filter_map(|rest| rest.split_once(" of 20.").map(|(amount, _)| amount)).collect();
    assert!(amounts.len() > 10, "{amounts:?} {shown:?}");
    assert!(shown.contains("trial: backup 1, "), "{shown:?}");
    // Where nobody looks, nothing is drawn.
    assert_eq!(site.backup().run().code(0).err(), "");
}
