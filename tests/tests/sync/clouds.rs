//! Runs in stores of Google and of Azure: stored, stored again and brought back, by the scripted server.

use std::fs;
use testkit::stores::{AZURE_KEY, Act, BUCKET, SECRET, Scripted, Server};
use testkit::sync::noise;
use testkit::{Cmd, Lab};

/// Calls the tool with the variables of a server.
fn sync(lab: &Lab, server: &Scripted, words: &[&str]) -> Cmd {
    server.reached_by(lab.cmd("run-sync").args(words))
}

#[test]
fn a_run_is_stored_and_brought_back() {
    for scheme in ["gs", "az"] {
        let lab = Lab::new();
        let server = Scripted::new();
        let run = lab.new_run("trial", &["true"]);
        let (small, large) = (noise(1, 5000), noise(2, (17 << 20) + 3));
        lab.write(&format!("{run}/a b=é.bin"), &small);
        lab.write(&format!("{run}/large.bin"), &large);
        lab.write(&format!("{run}/empty"), "");
        let url = format!("{scheme}://{BUCKET}/runs");

        // Each third request fails in passing, as it does of real stores on some days.
        server
            .follow(|request| if request.index % 3 == 1 { Act::Fail(503, "ServerBusy") } else { Act::Serve });
        let done = sync(&lab, &server, &["backup", "--to", &url, "trial"]).run().code(0).stderr("");
        assert!(done.out().ends_with("checked by the store\n"), "{}", done.out());
        assert!(server.object("runs/trial/large.bin").unwrap() == large, "{scheme}");
        let done = sync(&lab, &server, &["backup", "--to", &url, "trial"]).run().code(0).stderr("");
        assert!(done.out().contains("backup 1 is up to date"), "{}", done.out());

        fs::remove_dir_all(lab.path("runs")).unwrap();
        sync(&lab, &server, &["restore", "--from", &url, "trial"]).run().code(0).stderr("");
        assert!(lab.bytes("runs/trial/large.bin") == large, "{scheme}");
        assert!(lab.bytes("runs/trial/a b=é.bin") == small, "{scheme}");
        assert_eq!(lab.bytes("runs/trial/empty"), b"", "{scheme}");

        // One byte is another in the store: named.
        let mut flipped = large.clone();
        flipped[1 << 20] ^= 1;
        server.store("runs/trial/large.bin", &flipped);
        let done = sync(&lab, &server, &["verify", "--from", &url, "trial"]).run().code(1);
        assert!(format!("{}{}", done.out(), done.err()).contains("large.bin"), "{}", done.err());
    }
}

#[test]
fn credentials_that_are_missing_or_wrong_are_said_without_secrets() {
    let lab = Lab::new();
    let server = Scripted::new();
    let probe = |scheme: &str, name: &str, value: &str| {
        let url = format!("{scheme}://{BUCKET}/x");
        let done = sync(&lab, &server, &["probe", &url]).env(name, value).run().code(5).stdout("");
        assert!(!done.err().contains(SECRET) && !done.err().contains(AZURE_KEY), "{}", done.err());
        assert!(done.err().ends_with("run-sync: see run-sync(1), CREDENTIALS\n"), "{}", done.err());
        done.err()
    };
    for (scheme, name, value, said) in [
        ("gs", "GS_ACCESS_KEY_ID", "", "a secret access key and no access key id"),
        ("gs", "GS_ACCESS_KEY_ID", "wrong", "403 InvalidAccessKeyId"),
        (
            "gs",
            "STORAGE_EMULATOR_HOST",
            "http://a:test-secret-0123456789@h",
            "STORAGE_EMULATOR_HOST has cred",
        ),
        ("az", "AZURE_STORAGE_KEY", "", "has no credentials: set AZURE_STORAGE_KEY"),
        ("az", "AZURE_STORAGE_KEY", "no base64!", "the key of the account is no base64"),
        ("az", "AZURE_STORAGE_ACCOUNT", "wrong", "403 AuthenticationFailed"),
        (
            "az",
            "AZURE_STORAGE_ENDPOINT",
            "http://a:test-secret-0123456789@h",
            "has credentials in its address",
        ),
    ] {
        let err = probe(scheme, name, value);
        assert!(err.contains(said), "{err}");
    }
}
