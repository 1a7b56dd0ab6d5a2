//! There and back again: whatever a run has in it, backed up, removed and restored, is as it was; and so it is by way of
//! other tools.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File, Permissions};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use testkit::Lab;
use testkit::sync::{noise, sha256};

/// All that can be seen of what lies below a directory: a line each, in order.
fn seen(root: &Path) -> Vec<String> {
    let mut lines = Vec::new();
    let mut left = vec![PathBuf::new()];
    while let Some(below) = left.pop() {
        let path = root.join(&below);
        let found = fs::symlink_metadata(&path).unwrap();
        let (kind, is) = if found.is_dir() {
            left.extend(fs::read_dir(&path).unwrap().map(|entry| below.join(entry.unwrap().file_name())));
            ("dir", String::new())
        } else if found.is_symlink() {
            ("link", fs::read_link(&path).unwrap().as_os_str().as_bytes().escape_ascii().to_string())
        } else {
            ("file", format!("{} {} {}", sha256(&fs::read(&path).unwrap()), found.len(), found.nlink()))
        };
        let (mode, seconds, nanoseconds) = (found.mode(), found.mtime(), found.mtime_nsec());
        if below != Path::new(".run/backup.jsonl") {
            let below = below.as_os_str().as_bytes().escape_ascii();
            lines.push(format!("{below} {kind} {mode:o} {seconds}.{nanoseconds:09} {is}"));
        }
    }
    lines.sort();
    lines
}

fn name(bytes: &[u8]) -> &OsStr {
    OsStr::from_bytes(bytes)
}

/// Makes a run of all that a store finds hard to keep.
fn nasty_run(lab: &Lab) -> PathBuf {
    let run = lab.path(lab.new_run("trial", &["true"]));
    lab.cmd("run-exec").args(["-q", "trial"]).run().code(0);
    let put = |name: &OsStr, content: &[u8]| {
        let path = run.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    };
    let long = OsString::from_vec([b'x'; 200].to_vec());
    let longer = OsString::from_vec([0xff; 200].to_vec()); // each byte of its key has three
    let names: [&OsStr; 22] = [
        name(b"empty"),
        name(b"with spaces and  more"),
        name(b"lr=0.1"),
        name(b"#1"),
        name(b"100%"),
        name(b"a%0Ab"),
        name(b"%41"),
        name(b"a+b&c?d*e[f]"),
        name("é ü 語 🚀".as_bytes()),
        name(b"new\nline"),
        name(b"back\\slash"),
        name(b"quote'\"`$(x)"),
        name(b" leading"),
        name(b"trailing "),
        name(b"...."),
        name(b"-n"),
        name(b"SHA256SUMS"),
        name(b".backup/x"),
        name(b".gen/000001-0/x"),
        name(b"no \xff utf \xc3"),
        &long,
        &longer,
    ];
    for (number, name) in names.iter().enumerate() {
        put(name, if number == 0 { b"" } else { name.as_bytes() });
    }
    put(&Path::new("deep").join(&long).join(&long).join(&long).join(&long).into_os_string(), b"deep");
    for directory in ["nothing", "nothing/in/it", ".eval", "dir é\n"] {
        fs::create_dir_all(run.join(directory)).unwrap();
    }
    put(name(b"program"), b"#!/bin/sh\n");
    put(name(b"private"), b"secret");
    put(name(b"readonly"), b"x");
    put(name(b"locked/x"), b"x");
    for (name, target) in [
        ("relative", "empty"),
        ("dangling", "nowhere"),
        ("outside", "/etc/passwd"),
        ("up", "../../.."),
        ("to-dir", "nothing"),
        ("itself", "itself"),
        ("nothing/back", "../empty"),
    ] {
        symlink(target, run.join(name)).unwrap();
    }
    symlink(name(b"no \xff utf"), run.join("odd-target")).unwrap();
    fs::hard_link(run.join("program"), run.join("nothing/second")).unwrap();
    fs::hard_link(run.join("program"), run.join("third")).unwrap();
    put(name(b"large.bin"), &noise(1, 64 << 20));
    let sparse = File::create(run.join("sparse.bin")).unwrap();
    sparse.set_len(1 << 30).unwrap();
    sparse.write_all_at(b"data", 700 << 20).unwrap();
    sparse.write_all_at(b"end", (1 << 30) - 3).unwrap();
    for (path, mode) in [("program", 0o755), ("private", 0o600), ("readonly", 0o444), ("locked", 0o555)] {
        fs::set_permissions(run.join(path), Permissions::from_mode(mode)).unwrap();
    }
    let times = [
        ("empty", "1970-01-01T00:00:00Z"),
        ("private", "1999-12-31T23:59:59.999999999Z"),
        ("relative", "2001-01-01T00:00:00.000000001Z"),
        ("nothing/in", "2002-02-02T02:02:02.123456789Z"),
        ("nothing", "2003-03-03T03:03:03.5Z"),
        ("readonly", "2099-01-01T00:00:00Z"),
    ];
    for (path, time) in times {
        lab.cmd("touch").args(["-h", "-d", time]).arg(run.join(path)).run().code(0);
    }
    run
}

#[test]
fn all_that_a_run_can_hold_comes_back_as_it_was() {
    let lab = Lab::new();
    let run = nasty_run(&lab);
    let before = seen(&run);
    lab.cmd("run-sync").args(["backup", "--to", "store", "trial"]).run().code(0).stderr("");
    assert_eq!(seen(&run), before, "a backup changes nothing");
    fs::rename(&run, lab.path("before")).unwrap();
    lab.cmd("run-sync").args(["restore", "--from", "store", "trial"]).run().code(0).stderr("");
    assert_eq!(seen(&run), before);
    let inode = |path: &str| fs::metadata(run.join(path)).unwrap().ino();
    assert_eq!([inode("nothing/second"), inode("third")], [inode("program"); 2]);
    assert!(fs::metadata(run.join("sparse.bin")).unwrap().blocks() * 512 < 1 << 20, "its holes are holes");
    let differences =
        lab.cmd("diff").args(["-r", "--no-dereference", "-x", "backup.jsonl", "before", "runs/trial"]);
    differences.run().code(0).stdout("").stderr("");

    // By way of any other tool, the hashes prove it; and the copy is a store.
    lab.cmd("cp").args(["-R", "store", "usb"]).run().code(0);
    let sums = ["--check", "--quiet", "--strict", "SHA256SUMS"];
    lab.cmd("sha256sum").args(sums).cwd(lab.path("usb/trial")).run().code(0).stdout("").stderr("");
    lab.cmd("run-sync").args(["verify", "--from", "usb", "--all"]).run().code(0).stderr("");
    lab.cmd("run-sync").args(["restore", "--from", "usb", "--into", "elsewhere", "trial"]).run().code(0);
    assert_eq!(seen(&lab.path("elsewhere/trial")), before);

    // A second backup is of what is here: nothing is sent, and the run is the same.
    lab.cmd("run-sync").args(["diff", "--from", "store", "trial"]).run().code(0).stdout("");
}

#[test]
fn a_run_that_is_restored_is_resumed_and_backed_up_again() {
    let lab = Lab::new();
    let run = lab.new_run(
        "trial",
        &["sh", "-c", "echo attempt $RUN_ATTEMPT; echo {\\\"step\\\": $RUN_ATTEMPT} >> $RUN_METRICS"],
    );
    lab.cmd("run-exec").args(["-q", "trial"]).run().code(0);
    let sync = |args: &[&str]| lab.cmd("run-sync").args(args).env("RUN_SYNC_URL", "store").run().code(0);
    sync(&["backup", "trial"]);
    fs::remove_dir_all(lab.path(&run)).unwrap();
    sync(&["restore", "trial"]).stderr("");
    assert_eq!(lab.status(&run)["status"], "completed");
    lab.cmd("run-exec").args(["-q", "--resume", "trial"]).run().code(0);
    sync(&["backup", "trial"]).stderr("");
    let after = seen(&lab.path(&run));
    fs::remove_dir_all(lab.path(&run)).unwrap();
    sync(&["restore", "trial"]);
    assert_eq!(seen(&lab.path(&run)), after);
    assert_eq!(lab.status(&run)["attempt"], 2);
    // What it was before is there as well.
    sync(&["restore", "--at", "1", "--into", "earlier", "trial"]);
    assert_eq!(lab.read("earlier/trial/stdout.log"), "attempt 1\n");
    sync(&["verify", "--at", "1", "trial"]);
}
