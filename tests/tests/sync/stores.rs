//! `run-sync probe`, and how stores are reached: credentials, addresses, messages when they are wrong.

use serde_json::Value;
use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use testkit::stores::{Act, BUCKET, KEY, SECRET, Scripted, Seaweed, Server};
use testkit::{Lab, wait_for};

fn probed(lab: &Lab, server: &dyn Server, url: &str) -> Value {
    let done = server.reached_by(lab.cmd("run-sync").args(["probe", "--json", url])).run().code(0);
    serde_json::from_str(&done.stderr("").out()).unwrap()
}

#[test]
fn a_probe_tells_what_a_directory_can_do() {
    let lab = Lab::new();
    let lines = "create if absent   one of 32 writers wins\nparts              taken\n";
    let unequal = "parts of any size  not taken: parts must be equal, as run-sync's are\n";
    lab.cmd("run-sync").args(["probe", "store"]).run().code(0).stdout(format!("{lines}{unequal}")).stderr("");
    let kept = lab.json("store/.run-store/abilities.json");
    assert_eq!(kept["create"], true);
    assert_eq!(kept["address"], lab.path("store").to_str().unwrap());
    assert_eq!(fs::read_dir(lab.path("store/.run-store/probe")).unwrap().count(), 0);
}

#[test]
fn a_probe_tells_what_a_server_can_do() {
    let lab = Lab::new();
    let seen = probed(&lab, Seaweed::shared(), &format!("s3://{BUCKET}/probed"));
    for ability in ["checksums", "create", "replace", "parts"] {
        assert_eq!(seen[ability], true, "{seen}");
    }
    assert_eq!(seen["redirects"], false);

    let server = Scripted::new();
    let seen = probed(&lab, &server, &format!("s3://{BUCKET}"));
    assert_eq!((&seen["create"], &seen["checksums"]), (&true.into(), &true.into()), "{seen}");
    assert_eq!(server.keys(), [".run-store/abilities.json"]);
    assert_eq!(
        serde_json::from_slice::<Value>(&server.object(".run-store/abilities.json").unwrap()).unwrap(),
        seen
    );
}

#[test]
fn a_dry_run_of_a_probe_says_what_is_known_and_writes_nothing() {
    let lab = Lab::new();
    let server = Scripted::new();
    let url = format!("s3://{BUCKET}/x");
    let directory = lab.path("store").display().to_string();
    for url in [&url, &directory] {
        let before = server.requests().len();
        let probe = |args: &[&str]| {
            server
                .reached_by(lab.cmd("run-sync").args(["probe", url.as_str()]).args(args))
                .run()
                .code(0)
                .stderr("")
        };
        probe(&["-n"]).stdout("nothing is recorded of this store yet\n");
        probe(&["-n", "--json"]).stdout("null\n");
        assert!(!lab.path("store").exists());
        assert!(server.requests()[before..].iter().all(|request| request.method == "GET"));
        for form in [&[][..], &["--json"]] {
            let found = probe(form).out();
            let count = server.requests().len();
            assert_eq!(probe(&[form, &["--dry-run"]].concat()).out(), found);
            assert!(server.requests()[count..].iter().all(|request| request.method == "GET"));
        }
    }
}

#[test]
fn what_a_server_claims_and_does_not_do_is_found_out() {
    let lab = Lab::new();
    let server = Scripted::new();
    server.objects(|objects| (objects.conditions, objects.checksums) = (false, false));
    let seen = probed(&lab, &server, &format!("s3://{BUCKET}/x"));
    for ability in ["checksums", "create", "replace"] {
        assert_eq!(seen[ability], false, "{seen}");
    }
    let said =
        server.reached_by(lab.cmd("run-sync").args(["probe", &format!("s3://{BUCKET}/x")])).run().code(0);
    let said = said.out();
    assert!(said.contains("checksums          not checked: --read-back proves what was sent\n"), "{said}");
    assert!(said.contains("create if absent   not kept\n"), "{said}");
}

#[test]
fn what_is_wrong_is_said_within_a_second_and_without_secrets() {
    let lab = Lab::new();
    let server = Scripted::new();
    let asked = |wrong: &[(&str, &str)], url: &str| {
        let start = Instant::now();
        let mut command = server.reached_by(lab.cmd("run-sync").args(["probe", url]));
        for (name, value) in wrong {
            command = command.env(name, value);
        }
        let done = command.run().stdout("");
        assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
        assert!(!done.err().contains(SECRET), "{}", done.err());
        (done.code, done.err())
    };
    let url = format!("s3://{BUCKET}/x");
    let advice = "run-sync: see run-sync(1), CREDENTIALS\n";

    let (code, said) = asked(&[("AWS_ACCESS_KEY_ID", ""), ("AWS_SECRET_ACCESS_KEY", "")], &url);
    let file = lab.path(".aws/credentials");
    let why = "there are no credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or write profile 'default'";
    let role = "no instance is asked for its role, whose keys 'eval \"$(aws configure export-credentials --format env)\"' gives";
    assert_eq!(said, format!("run-sync: cannot use {url}: {why} to '{}'; {role}\n{advice}", file.display()));
    assert_eq!(code, 5);

    // What Kubernetes and container services set is reported, and not used.
    let none = [("AWS_ACCESS_KEY_ID", ""), ("AWS_SECRET_ACCESS_KEY", "")];
    let asked_by = server.requests().len();
    for (name, value) in [
        ("AWS_WEB_IDENTITY_TOKEN_FILE", "/var/run/secrets/token"),
        ("AWS_CONTAINER_CREDENTIALS_FULL_URI", &*server.address()),
    ] {
        let (code, said) = asked(&[none[0], none[1], ("AWS_ROLE_ARN", "arn:x"), (name, value)], &url);
        assert!(said.contains(&format!("{name} is set, which run-sync does not use")), "{said}");
        assert_eq!(code, 5);
    }
    assert_eq!(server.requests().len(), asked_by);

    // A file of certificates that is named has to have some.
    let empty = lab.write("empty.pem", "none here\n");
    for (path, why) in [
        ("/nowhere.pem", "cannot read '/nowhere.pem', which AWS_CA_BUNDLE names: No such file or directory"),
        (
            empty.to_str().unwrap(),
            &*format!("'{}', which AWS_CA_BUNDLE names, has no certificates", empty.display()),
        ),
    ] {
        let (code, said) = asked(&[("AWS_CA_BUNDLE", path)], &url);
        assert_eq!((code, said), (5, format!("run-sync: cannot use {url}: {why}\n{advice}")));
    }

    let (code, said) = asked(&[("AWS_ACCESS_KEY_ID", "wrong")], &url);
    let what = format!("run-sync: cannot use {url}: ");
    let why = "the store answered 403 InvalidAccessKeyId (scripted InvalidAccessKeyId), request R1\n";
    assert_eq!((code, said), (5, format!("{what}{why}{advice}")));

    let (code, said) = asked(&[], "s3://absent/x");
    let check = "run-sync: check its name: run-sync creates neither buckets nor remotes\n";
    assert!(
        said.starts_with("run-sync: cannot use s3://absent/x: the store answered 404 NoSuchBucket"),
        "{said}"
    );
    assert!(said.ends_with(check), "{said}");
    assert_eq!(code, 5);

    let address = format!("http://{KEY}:{SECRET}@127.0.0.1:1");
    let (code, said) = asked(&[("AWS_ENDPOINT_URL", &address)], &url);
    assert!(said.contains("AWS_ENDPOINT_URL has credentials in it"), "{said}");
    assert_eq!(code, 5);

    let (code, said) = asked(&[], &format!("s3://{KEY}:{SECRET}@{BUCKET}/x"));
    let advice = "see run-sync(1), CREDENTIALS";
    let expected = format!("run-sync: credentials do not belong into the address of a store; {advice}\n");
    assert_eq!((code, said), (2, format!("{expected}run-sync: see 'run-sync probe --help'\n")));
}

#[test]
fn a_store_that_is_not_there_is_given_up() {
    let lab = Lab::new();
    let command =
        lab.cmd("run-sync").args(["probe", &format!("s3://{BUCKET}/x")]).env("RUN_SYNC_TIMEOUT", "1");
    let command = command.env("AWS_ACCESS_KEY_ID", KEY).env("AWS_SECRET_ACCESS_KEY", SECRET);
    let done = command.env("AWS_ENDPOINT_URL", "http://127.0.0.1:1").run().code(5);
    let why = "http://127.0.0.1:1 does not answer: Connection refused";
    let hint = "try the same command again: backups and restores continue where they stopped";
    done.stderr(&format!("run-sync: cannot use s3://{BUCKET}/x: {why}\nrun-sync: {hint}\n"));
}

#[test]
fn a_store_that_goes_in_the_middle_is_given_up_once() {
    let lab = Lab::new();
    let has_gone = AtomicBool::new(false);
    // It answers until the writers race.
    let server = Scripted::with(move |request| {
        let begins = request.headers.contains_key("if-none-match");
        if has_gone.fetch_or(begins, Ordering::Relaxed) || begins { Act::Reset } else { Act::Serve }
    });
    let command = lab.cmd("run-sync").args(["probe", &format!("s3://{BUCKET}/x")]);
    let said = server.reached_by(command.env("RUN_SYNC_TIMEOUT", "1")).run().code(5).err();
    assert!(said.contains("cannot probe"), "{said}");
    // The writers try again until their time is over; what follows is tried once.
    let requests = server.requests();
    let count = |method: &str| {
        requests.iter().filter(|request| request.method == method && request.key.contains("/probe/")).count()
    };
    assert!(count("PUT") > 33, "{}", count("PUT"));
    assert_eq!((count("GET"), count("DELETE")), (1, 1));
}

#[test]
fn a_file_has_the_variables_of_a_store() {
    let lab = Lab::new();
    let server = Scripted::new();
    let keys = format!("# of the store\nexport AWS_ACCESS_KEY_ID={KEY}\nAWS_SECRET_ACCESS_KEY='{SECRET}'\n");
    lab.write("store.env", format!("{keys}S3_ENDPOINT_URL=\"{}\"\n", server.address()));
    let url = format!("s3://{BUCKET}/x");
    lab.cmd("run-sync").args(["probe", "--env-file", "store.env", &url]).run().code(0).stderr("");
    assert_eq!(server.keys(), ["x/.run-store/abilities.json"]);

    lab.write("wrong.env", format!("{keys}the secret is {SECRET}\n"));
    let said = lab.cmd("run-sync").args(["probe", "--env-file", "wrong.env", &url]).run().code(2);
    said.stdout("").stderr("run-sync: line 4 of 'wrong.env' is not KEY=VALUE\n");
    let said = lab.cmd("run-sync").args(["probe", "--env-file", "none.env", &url]).run().code(2);
    said.stderr("run-sync: cannot read 'none.env': No such file or directory\n");
}

#[test]
fn a_profile_of_amazons_tools_is_used() {
    let lab = Lab::new();
    let server = Scripted::new();
    lab.write(
        ".aws/credentials",
        format!("[mine]\naws_access_key_id = {KEY}\naws_secret_access_key = {SECRET}\n"),
    );
    lab.write(".aws/config", format!("[profile mine]\nregion = r\nendpoint_url = {}\n", server.address()));
    let command = lab.cmd("run-sync").args(["probe", &format!("s3://{BUCKET}")]).env("AWS_PROFILE", "mine");
    command.run().code(0).stderr("");
    let signed = &server.requests()[0].headers["authorization"];
    assert!(
        signed.contains(&format!("Credential={KEY}/")) && signed.contains("/r/s3/aws4_request"),
        "{signed}"
    );
}

#[test]
fn no_secret_is_seen_by_other_processes() {
    let lab = Lab::new();
    let server = Scripted::with(|_| Act::Stall);
    let command = lab.cmd("run-sync").args(["probe", &format!("s3://{BUCKET}/x")]);
    let running = server.reached_by(command).spawn();
    wait_for("a request", || !server.requests().is_empty());
    let words = fs::read(format!("/proc/{}/cmdline", running.pid())).unwrap();
    assert!(!String::from_utf8_lossy(&words).contains(SECRET));
    running.signal(testkit::process::Signal::KILL);
    running.wait();
}

#[test]
fn what_rclone_reaches_is_a_store() {
    let lab = Lab::new();
    let url = format!("rclone::local:{}", lab.path("store").display());
    let done = lab.cmd("run-sync").args(["probe", "--json", &url]).run().code(0).stderr("");
    let seen: Value = serde_json::from_str(&done.out()).unwrap();
    assert_eq!(seen["parts"], true);
    assert_eq!(seen["address"], url);
    assert_eq!(lab.json("store/.run-store/abilities.json"), seen);

    let said = lab.cmd("run-sync").args(["probe", "rclone:nowhere:x"]).run().code(5).err();
    assert!(said.contains("didn't find section in config file"), "{said}");
    let without = lab.cmd("run-sync").env("PATH", testkit::bin()).args(["probe", &url]).run().code(5);
    without.stderr(&format!("run-sync: cannot use {url}: rclone is not installed\n"));
    let secret = format!("rclone::s3,secret_access_key={SECRET}:bucket");
    let said = lab.cmd("run-sync").args(["probe", &secret]).run().code(2).err();
    assert!(!said.contains(SECRET), "{said}");
}

#[test]
fn an_address_with_a_signature_that_a_store_leads_to_is_never_shown() {
    let lab = Lab::new();
    let signature = "0123456789abcdef0123456789abcdef";
    let url = format!("s3://{BUCKET}/x");
    for address in
        ["http://127.0.0.1:1/b/k", "http://no host/k", "http://[::/k", "https://127.0.0.1:1/k", "http://%/k"]
    {
        let location = format!("{address}?X-Amz-Credential=x&X-Amz-Signature={signature}");
        let server = Scripted::with(move |_| Act::Redirect(307, location.clone()));
        let command = lab.cmd("run-sync").args(["list", "--from", &url]).env("RUN_SYNC_TIMEOUT", "1");
        let said = server.reached_by(command).run().code(5).stdout("").err();
        assert!(!said.contains(signature) && !said.contains(SECRET), "{said}");
    }
}

#[test]
fn a_list_that_goes_in_circles_ends() {
    let lab = Lab::new();
    let page = "<ListBucketResult><IsTruncated>true</IsTruncated><NextContinuationToken>TOKEN</NextContinuationToken></ListBucketResult>";
    let pages: Vec<&'static str> = ["a", "b", "c"]
        .iter()
        .map(|token| &*Box::leak(page.replace("TOKEN", token).into_boxed_str()))
        .collect();
    let server = Scripted::with(move |request| {
        let at = request
            .query
            .get("continuation-token")
            .map_or(0, |token| usize::from(token.as_bytes()[0] - b'a') + 1);
        Act::Reply(200, pages[at % 3])
    });
    let command = lab.cmd("run-sync").args(["list", "--from", &format!("s3://{BUCKET}/x")]);
    let said = server.reached_by(command).run().code(5).stdout("").err();
    assert!(said.contains("a list does not end"), "{said}");
    assert_eq!(server.requests().len(), 4);
}

#[test]
fn what_is_no_store_is_said_soon() {
    let lab = Lab::new();
    let url = format!("s3://{BUCKET}/x");
    for (status, document, why) in [
        (
            200,
            "<html><body>Sign in</body></html>",
            "the store answered something else than it should: it is no list",
        ),
        (200, "nothing", "the store answered something else than it should: it is cut off"),
        (404, "<html>no page</html>", "the store answered 404"),
        (403, "<html>go away</html>", "the store answered 403"),
    ] {
        let server = Scripted::with(move |_| Act::Reply(status, document));
        let done = server.reached_by(lab.cmd("run-sync").args(["list", "--from", &url])).run().code(5);
        assert!(done.err().starts_with(&format!("run-sync: cannot list {url}: {why}\n")), "{}", done.err());
        assert!(server.requests().len() < 10, "{}", server.requests().len());
    }
}

#[test]
fn a_directory_that_cannot_be_written_to_is_no_matter_of_credentials() {
    let lab = Lab::new();
    lab.new_run("trial", &["true"]);
    std::fs::create_dir(lab.path("store")).unwrap();
    lab.cmd("chmod").args(["-R", "a+rwX", "runs"]).run().code(0);
    let done = lab.cmd_by_somebody("run-sync").args(["backup", "--to", "store", "trial"]).run().code(5);
    assert!(
        done.err().contains("Permission denied") && !done.err().contains("CREDENTIALS"),
        "{}",
        done.err()
    );
}
