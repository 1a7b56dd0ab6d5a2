//! `run-sync` where the file system cannot check in a rename that a name is free: sshfs, as NFS and others; with hard
//! links and without.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use testkit::hosts::Host;
use testkit::sets::Backup;
use testkit::{Cmd, Lab};

/// Mounts the shared directory once more, as `plain` of itself, so that each change of it is seen at once.
fn mount(lab: &Lab, host: &Host, option: &str) {
    fs::create_dir_all(lab.path("disk/plain")).unwrap();
    let (command, disk) = (lab.path("sftp"), lab.path("disk"));
    let uncached = "dir_cache=no,entry_timeout=0,attr_timeout=0,negative_timeout=0";
    let options = format!("{uncached},{option}ssh_command={}", command.display());
    let place = format!("host:{}", disk.display());
    host.cmd(lab, "sshfs").args(["-o", &options, &place, "plain"]).run().code(0);
}

fn restore(lab: &Lab, host: &Host, args: &[&str]) -> Cmd {
    let place = "cd plain && exec run-sync restore --from store \"$@\"";
    host.cmd(lab, "sh").args(["-c", place, "restore"]).args(args)
}

fn file_systems(test: impl Fn(&Lab, &Host)) {
    for option in ["", "disable_hardlink,"] {
        let lab = Lab::new();
        let host = Host::boot(&lab, "a");
        mount(&lab, &host, option);
        test(&lab, &host);
    }
}

#[test]
fn runs_come_back_whole_and_replace_only_what_they_are_told_to() {
    file_systems(|lab, host| {
        let backup = Backup::first(lab, "disk/store", "trial")
            .dir("checkpoints")
            .file("checkpoints/1.pt", "weights of 1")
            .link("latest", "checkpoints/1.pt")
            .file("config.yaml", "lr: 1\n")
            .file("notes", "n");
        backup.commit();
        let all = "trial: backup 1, restored 4 files (19B)\n";
        restore(lab, host, &["trial"]).run().code(0).stderr("").stdout(all);
        assert_eq!(lab.read("disk/runs/trial/latest"), "weights of 1");
        // What is missing of a run that is here; and a directory in place of a file.
        fs::remove_file(lab.path("disk/runs/trial/notes")).unwrap();
        fs::remove_file(lab.path("disk/runs/trial/latest")).unwrap();
        let some = "trial: backup 1, restored 2 files (1B), 2 were here\n";
        restore(lab, host, &["trial"]).run().code(0).stderr("").stdout(some);
        fs::remove_dir_all(lab.path("disk/runs/trial/checkpoints")).unwrap();
        lab.write("disk/runs/trial/checkpoints", "mine");
        lab.write("disk/runs/trial/config.yaml", "lr: 2\n");
        let left = "trial: backup 1, nothing to restore, 2 left\n";
        restore(lab, host, &["trial"]).run().code(1).stdout(left);
        assert_eq!(lab.read("disk/runs/trial/checkpoints"), "mine");
        let forced = "trial: backup 1, restored 2 files (18B), 2 were here\n";
        restore(lab, host, &["--force", "trial"]).run().code(0).stderr("").stdout(forced);
        assert_eq!(lab.read("disk/runs/trial/checkpoints/1.pt"), "weights of 1");
        assert_eq!(lab.read("disk/runs/trial/config.yaml"), "lr: 1\n");
        let names: Vec<_> = fs::read_dir(lab.path("disk/runs/trial")).unwrap().flatten().collect();
        assert!(names.iter().all(|name| !name.file_name().to_string_lossy().starts_with(".run-sync")));
    });
}

#[test]
fn a_file_that_appears_while_its_name_is_given_stays() {
    const FILES: usize = 300;
    file_systems(|lab, host| {
        let name = |number: usize| format!("f{number:04}");
        let mut backup = Backup::first(lab, "disk/store", "trial").file("config.yaml", "lr: 1\n");
        for number in 0..FILES {
            backup = backup.file(&name(number), "stored");
        }
        backup.commit();
        lab.write("disk/runs/trial/config.yaml", "lr: 1\n");
        let run = lab.path("disk/runs/trial");
        let is_over = AtomicBool::new(false);
        let (done, mine) = thread::scope(|scope| {
            // Takes the names that come next, as soon as one has been given.
            let other = scope.spawn(|| {
                let mut mine = Vec::new();
                let mut next = 0;
                while !is_over.load(Ordering::Relaxed) {
                    if next >= FILES || !run.join(name(next)).exists() {
                        thread::yield_now();
                        continue;
                    }
                    next += 1;
                    let path = run.join(name(next));
                    if let Ok(mut file) = OpenOptions::new().write(true).create_new(true).open(&path) {
                        file.write_all(b"mine").unwrap();
                        mine.push(path);
                    }
                }
                mine
            });
            let done = restore(lab, host, &["trial"]).run();
            is_over.store(true, Ordering::Relaxed);
            (done, other.join().unwrap())
        });
        for path in &mine {
            assert_eq!(fs::read_to_string(path).unwrap(), "mine", "{}", path.display());
        }
        let taken = mine.iter().filter(|path| **path != run.join(name(FILES))).count();
        let count = FILES - taken;
        let files = format!("{count} file{}", if count == 1 { "" } else { "s" });
        assert_eq!(done.code, i32::from(taken > 0), "{}", done.err());
        let left = if taken > 0 { format!(", {taken} left") } else { String::new() };
        let restored = format!("trial: backup 1, restored {files} (1.8K), 1 were here{left}\n");
        assert_eq!(done.out(), restored);
        assert_eq!(done.err().matches("something has taken its name here meanwhile").count(), taken);
    });
}
