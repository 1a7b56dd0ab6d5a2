//! Cleanups with object stores: a real one, and one that fails or damages what it is sent at each request.

use std::fs;
use testkit::stores::{Act, BUCKET, Scripted, Seaweed, Server};
use testkit::sync::torch_noise;
use testkit::{Done, Lab, wait_for};

const STEPS: [u64; 3] = [10, 20, 30];

fn trained(lab: &Lab) -> String {
    let run = lab.new_run("trial", &["true"]);
    lab.cmd("run-exec").args(["-q", "trial"]).run().code(0);
    for step in STEPS {
        lab.write(&format!("{run}/step_{step}.pt"), torch_noise(step, 20_000));
    }
    run
}

fn sync(lab: &Lab, server: &Scripted, args: &[&str]) -> Done {
    server.reached_by(lab.cmd("run-sync").args(args).env("RUN_SYNC_TIMEOUT", "1")).run()
}

/// Returns which of the checkpoints are here.
fn here(lab: &Lab, run: &str) -> Vec<u64> {
    STEPS.into_iter().filter(|step| lab.path(format!("{run}/step_{step}.pt")).exists()).collect()
}

#[test]
fn what_a_real_store_has_is_removed_and_comes_back() {
    let (lab, server) = (Lab::new(), Seaweed::shared());
    let sync = |args: &[&str]| server.reached_by(lab.cmd("run-sync").args(args)).run();
    let run = trained(&lab);
    let url = format!("s3://{BUCKET}/cleaned");
    let cleanup = ["backup", "--to", &url, "--cleanup", "--keep-latest", "trial"];
    sync(&cleanup).code(0).stderr("");
    assert_eq!(here(&lab, &run), [30]);
    sync(&["restore", "--from", &url, "trial"]).code(0).stderr("");
    assert_eq!(here(&lab, &run), STEPS);
    sync(&["clean", "trial"]).code(0).stderr("");
    assert_eq!(here(&lab, &run), [30]);
}

#[test]
fn whichever_request_fails_nothing_is_removed_that_the_store_does_not_have() {
    let url = format!("s3://{BUCKET}/p");
    let mut refused = 0;
    for from in 0_u64.. {
        let (lab, server) = (Lab::new(), Scripted::new());
        let run = trained(&lab);
        server.follow(
            move |request| {
                if request.index < from { Act::Serve } else { Act::Fail(403, "AccessDenied") }
            },
        );
        let done = sync(&lab, &server, &["backup", "--to", &url, "--cleanup", "trial"]);
        let left = here(&lab, &run);
        if left == STEPS {
            refused += 1;
            assert!(!done.err().is_empty(), "{from}");
            continue;
        }
        done.code(0);
        assert_eq!(left, [30], "{from}");
        for step in [10, 20] {
            assert_eq!(server.object(&format!("p/trial/step_{step}.pt")), Some(torch_noise(step, 20_000)));
        }
        assert!(server.requests().len() as u64 <= from, "all was asked");
        break;
    }
    assert!(refused > 10, "{refused}");
}

#[test]
fn what_was_damaged_on_its_way_up_or_down_is_found_out_before_anything_is_removed() {
    let url = format!("s3://{BUCKET}/p");
    let (lab, server) = (Lab::new(), Scripted::new());
    let run = trained(&lab);
    // The server checks nothing, and damages one checkpoint as it comes.
    server.objects(|objects| objects.checksums = false);
    server.follow(|request| match (request.method.as_str(), request.key.as_str()) {
        ("PUT", "p/trial/step_20.pt") => Act::CorruptUp,
        _ => Act::Serve,
    });
    let done = sync(&lab, &server, &["backup", "--to", &url, "--cleanup", "trial"]).code(1);
    assert!(done.err().contains("left 'step_20.pt'"), "{}", done.err());
    assert_eq!(here(&lab, &run), STEPS);

    let (lab, server) = (Lab::new(), Scripted::new());
    let run = trained(&lab);
    sync(&lab, &server, &["backup", "--to", &url, "trial"]).code(0);
    server.follow(|request| if request.key.ends_with("step_10.pt") { Act::CorruptDown } else { Act::Serve });
    let done = sync(&lab, &server, &["clean", "trial"]).code(1);
    assert!(done.err().contains("left 'step_10.pt'"), "{}", done.err());
    assert_eq!(here(&lab, &run), STEPS);
    server.follow(|_| Act::Serve);
    sync(&lab, &server, &["clean", "trial"]).code(0);
    assert_eq!(here(&lab, &run), [30]);
}

#[test]
fn a_run_that_is_followed_is_cleaned_up_when_it_has_ended() {
    let lab = Lab::new();
    let run = lab.new_run("trial", &["sh", "-c", "while [ ! -e enough ]; do sleep 0.05; done"]);
    lab.cmd("run-exec").args(["-q", "--detach", "trial"]).run().code(0);
    lab.await_child(&run);
    for step in STEPS {
        lab.write(&format!("{run}/step_{step}.pt"), torch_noise(step, 20_000));
    }
    let args = ["backup", "--follow", "--to", "store", "--cleanup", "trial"];
    let following = lab.cmd("run-sync").args(args).spawn();
    wait_for("the first backup", || {
        fs::read_dir(lab.path("store/trial/.backup")).is_ok_and(|names| names.count() > 1)
    });
    assert_eq!(here(&lab, &run), STEPS);
    lab.write("enough", "");
    following.wait().code(0);
    assert_eq!(here(&lab, &run), [30]);
}
