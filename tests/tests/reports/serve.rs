//! The live page: in a real browser, and what its server does with all kinds of clients.

use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::symlink;
use testkit::browser::browse;
use testkit::evals;
use testkit::process::Signal;
use testkit::reports::made;
use testkit::{Lab, Running, wait_for};

/// Starts the server at a free port; returns it with the address that it prints.
fn serve(lab: &Lab, words: &[&str]) -> (Running, String) {
    let out = File::create(lab.path("serve.out")).unwrap();
    let server = lab.cmd("run-report").args(words).stdout_to(out).spawn();
    lab.await_text("serve.out", "\n");
    let url = lab.read("serve.out").lines().next().unwrap().to_owned();
    (server, url)
}

fn place(url: &str) -> &str {
    url.strip_prefix("http://").unwrap().split('/').next().unwrap()
}

/// Sends a request, and returns the whole answer.
fn ask(place: &str, head: &str) -> String {
    let mut stream = TcpStream::connect(place).unwrap();
    let mut answer = Vec::new();
    // The server may close first, also while a head is sent that is too long.
    let _ = stream.write_all(head.as_bytes());
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

fn get(place: &str, path: &str) -> String {
    ask(place, &format!("GET {path} HTTP/1.1\r\nHost: {place}\r\n\r\n"))
}

fn status(answer: &str) -> &str {
    answer.split(' ').nth(1).unwrap_or(answer)
}

fn body(answer: &str) -> &str {
    answer.split_once("\r\n\r\n").map_or("", |(_, body)| body)
}

/// A trainer that writes three rows, one more on demand, and fails on demand.
const TRAINER: &str = r#"
import json, os, sys, time
def until(name):
    while not os.path.exists(name):
        time.sleep(0.02)
with open(os.environ["RUN_METRICS"], "a", buffering=1) as rows:
    for step in range(1, 4):
        print(json.dumps({"step": step, "loss": 1 / step}), file=rows)
    until("more")
    print(json.dumps({"step": 4, "loss": 0.2}), file=rows)
    until("end")
    sys.exit("<b>diverged</b>")
"#;

#[test]
fn the_page_follows_runs_that_come_grow_end_and_go() {
    let lab = Lab::new();
    lab.write("train.py", TRAINER);
    lab.cmd("run-new").args(["-n", "one", "--", "python3", "train.py"]).run().code(0);
    let training = lab.cmd("run-exec").args(["-q", "--heartbeat", "200ms", "one"]).spawn();
    let script = "until [ -e new ]; do sleep 0.05; done; run-new -n '<i>two' -- true\n\
                  until [ -e remove ]; do sleep 0.05; done; rm -r 'runs/<i>two'";
    let other = lab.cmd("sh").args(["-c", script]).spawn();
    let (server, url) = serve(&lab, &["--serve=0"]);
    let names = "[...document.querySelectorAll('#runs .fit')].map(one => one.textContent).join()";
    let states = "[...document.querySelectorAll('#runs small')].map(one => one.textContent).join()";
    let points = |count: u32| format!("charts.length > 0 && charts[0].lines()[0].x.length === {count}");
    let steps = json!([
        ["wait", points(3)],
        ["wait", format!("{states} === 'running'")],
        ["eval", "[$('link').textContent, document.title]"],
        ["shot", "live.png"],
        ["file", "more"],
        ["wait", points(4)],
        ["eval", "charts[0].lines()[0].y[3]"],
        ["file", "new"],
        ["wait", format!("{names} === 'one,<i>two'")],
        ["wait", "document.querySelectorAll('#table tbody tr').length === 2"],
        ["file", "end"],
        ["wait", format!("{states} === 'failed,created'")],
        ["wait", "$('logs').textContent.includes('<b>diverged</b>')"],
        ["wait", "!$('attempts').hidden && $('trained').textContent.endsWith('trained')"],
        ["file", "remove"],
        ["wait", format!("{names} === 'one'")],
        ["eval", "window.hacked === undefined && document.querySelectorAll('i:not(.kind)').length"],
    ]);
    let values = browse(&lab, &url, (1300, 900), &steps);
    assert_eq!(values, [json!(["● live", "one"]), json!(0.2), json!(0)]);
    training.wait().code(1);
    other.wait().code(0);
    server.signal(Signal::INT);
    server.wait();
    lab.nothing_left();
}

#[test]
fn more_tabs_and_windows_than_a_browser_has_connections_are_live() {
    let lab = Lab::new();
    lab.write("train.py", TRAINER);
    lab.cmd("run-new").args(["-n", "one", "--", "python3", "train.py"]).run().code(0);
    let training = lab.cmd("run-exec").args(["-q", "--heartbeat", "200ms", "one"]).spawn();
    let (server, url) = serve(&lab, &["--serve=0"]);
    let points = |count: u32| {
        json!(["wait", format!("charts.length > 0 && charts[0].lines()[0].x.length === {count}")])
    };
    let is_live = json!(["wait", "$('link').textContent === '● live'"]);
    let told = "window.told = []; new MutationObserver(() => told.push($('link').textContent)).observe($('link'), {childList: true})";
    let mut steps = vec![points(3), is_live.clone(), json!(["do", told])];
    for tab in 1..8 {
        steps.extend([json!(["tab", tab]), points(3), is_live.clone()]);
    }
    steps.extend([
        json!(["tab", 0]),
        is_live.clone(),
        json!(["eval", "told"]),
        json!(["file", "more"]),
        points(4),
    ]);
    steps.extend([json!(["tab", 7]), points(4), is_live]);
    // Windows that are all seen take turns.
    for window in 8..16 {
        steps.extend([json!(["window", window]), points(4)]);
    }
    steps.push(json!(["file", "end"]));
    for window in 8..16 {
        let has_failed = "$('runs').textContent.includes('failed')";
        steps.extend([
            json!(["window", window]),
            json!(["eval", "document.hidden"]),
            json!(["wait", has_failed]),
        ]);
    }
    let values = browse(&lab, &url, (1300, 900), &json!(steps));
    assert_eq!(values[0], json!(["○ paused", "● live"]));
    assert_eq!(values[1..], vec![json!(false); 8]);
    training.wait().code(1);
    server.signal(Signal::INT);
    server.wait();
    lab.nothing_left();
}

#[test]
fn the_server_tells_of_runs_that_are_not_there_and_goes_on() {
    let lab = Lab::new();
    let told = |words: &[&str]| {
        let out = File::create(lab.path("serve.out")).unwrap();
        let server = lab.cmd("run-report").args(words).stdout_to(out).spawn();
        lab.await_text("serve.out", "\n");
        let url = lab.read("serve.out").lines().next().unwrap().to_owned();
        let page = get(place(&url), "/");
        let runs = data(body(&page))["runs"].as_array().unwrap().len();
        assert_eq!((status(&page), runs), ("200", usize::from(words.contains(&"a"))));
        server.signal(Signal::INT);
        server.wait().err()
    };
    assert_eq!(told(&["-d", "none", "--serve=0"]), "run-report: no runs: there is no directory 'none'\n");
    made(&lab, "a", &[]);
    assert_eq!(told(&["--serve=0", "a"]), "");
    let without = lab.cmd("run-report").args(["a", "b"]).run().code(3).err();
    assert!(without.contains("'b'"), "{without}");
    assert_eq!(told(&["--serve=0", "a", "b"]), without);
    assert!(told(&["--serve=0", "--tag", "x"]).contains("none has the tag 'x'"));
    // No name is not all names.
    assert_eq!(told(&["--serve=0", "-"]), "run-report: no runs: the operands name no run\n");
    lab.nothing_left();
}

#[test]
fn a_run_that_loses_its_tag_leaves_the_page() {
    let lab = Lab::new();
    for name in ["a", "b"] {
        made(&lab, name, &[]);
        lab.cmd("run-status").args(["--add-tag", "keep", name]).run().code(0);
    }
    let (server, url) = serve(&lab, &["--serve=0", "--tag", "keep"]);
    let place = place(&url);
    assert!(get(place, "/").contains("\"run\":\"b\""));
    lab.cmd("run-status").args(["--remove-tag", "keep", "b"]).run().code(0);
    let page = get(place, "/"); // looks at all runs
    assert!(page.contains("\"run\":\"a\"") && !page.contains("\"run\":\"b\""), "{page}");
    server.signal(Signal::INT);
    server.wait();
    lab.nothing_left();
}

#[test]
fn the_server_only_reads_and_only_for_this_machine() {
    let lab = Lab::new();
    made(&lab, "a", &[("metrics.jsonl", "{\"step\": 1, \"loss\": 2}\n")]);
    lab.write("runs/secret.txt", "hunter2");
    lab.write("runs/secret.png", "hunter2");
    let image = |path: &str| json!({"step": 2, "image": path, "more": "../secret.png"}).to_string() + "\n";
    made(&lab, "b", &[("metrics.jsonl", &image("a.png"))]);
    lab.write("runs/b/a.png", "picture");
    let (server, url) = serve(&lab, &["--serve=0"]);
    let printed = lab.read("serve.out");
    let place = place(&url);
    let port = place.rsplit(':').next().unwrap();
    assert!(place.starts_with("127.0.0.1:"), "{url}");
    let line = printed.lines().nth(1).unwrap();
    assert!(line.starts_with(&format!("from another machine: ssh -N -L {port}:127.0.0.1:{port} ")), "{line}");
    let page = get(place, "/");
    assert_eq!(status(&page), "200");
    assert!(page.contains("connect-src 'self'") && page.contains("no-store") && page.contains("nosniff"));
    assert_eq!(status(&get(place, "/run?id=1")), "200");
    let details: Value = serde_json::from_str(body(&get(place, "/run?id=1"))).unwrap();
    assert_eq!(details["run"]["curves"][0]["min"], json!([2]));
    for path in [
        "/run?id=99",
        "/run?id=../secret.txt",
        "/run",
        "/secret.txt",
        "/../secret.txt",
        "/runs/secret.txt",
        "//etc/passwd",
        "/%2e%2e/secret.txt",
    ] {
        let answer = get(place, path);
        assert!(status(&answer) == "404" && !answer.contains("hunter2"), "{path}: {answer}");
    }
    for method in ["POST", "PUT", "DELETE", "OPTIONS"] {
        assert_eq!(status(&ask(place, &format!("{method} / HTTP/1.1\r\nHost: {place}\r\n\r\n"))), "405");
    }
    // Of a run only the pictures are served that its rows name.
    let details: Value = serde_json::from_str(body(&get(place, "/run?id=2"))).unwrap();
    assert_eq!(details["run"]["media"], json!([{"name": "image", "step": 2, "src": "media?id=2&number=0"}]));
    let picture = get(place, "/media?id=2&number=0");
    assert!(picture.contains("Content-Type: image/png\r\n") && body(&picture) == "picture", "{picture}");
    for path in ["/media?id=2&number=1", "/media?id=2", "/media?id=1&number=0", "/media?id=2&number=-1"] {
        assert_eq!(status(&get(place, path)), "404", "{path}");
    }
    // A page of another site may have its name lead here.
    for host in
        ["Host: evil.example\r\n", "Host: 10.0.0.1\r\n", "", "Host: localhost\r\nHost: evil.example\r\n"]
    {
        assert_eq!(status(&ask(place, &format!("GET / HTTP/1.1\r\n{host}\r\n"))), "403", "{host}");
    }
    assert_eq!(status(&ask(place, "GET / HTTP/1.1\r\nHost: localhost:1\r\n\r\n")), "200", "through a tunnel");
    assert_eq!(ask(place, &format!("GET / HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(1 << 20))), "");
    assert_eq!(ask(place, "\u{16}\u{3}\u{1} hello\r\n\r\n"), "");
    let head = ask(place, &format!("HEAD / HTTP/1.1\r\nHost: {place}\r\n\r\n"));
    assert!(status(&head) == "200" && body(&head).is_empty());
    // The port is taken.
    let taken = lab.cmd("run-report").arg(format!("--serve={port}")).run().code(4);
    assert_eq!(
        taken.err(),
        format!(
            "run-report: cannot serve at '{port}': another program listens there\n\
             run-report: choose another port with --serve=PORT; 0 takes any that is free\n"
        )
    );
    lab.cmd("run-report").arg("--serve=nowhere.invalid:1").run().code(5);
    server.signal(Signal::INT);
    server.wait();
    lab.nothing_left();
}

#[test]
fn other_machines_need_a_token() {
    let lab = Lab::new();
    made(&lab, "a", &[("metrics.jsonl", "{\"step\": 1, \"loss\": 2}\n{\"step\": 2, \"loss\": 1}\n")]);
    let (server, url) = serve(&lab, &["--serve=0.0.0.0:0"]);
    let (address, token) = url.split_once("/?token=").unwrap();
    let port = address.rsplit(':').next().unwrap();
    assert!(token.len() == 32 && !lab.read("serve.out").contains("ssh"));
    let place = format!("127.0.0.1:{port}");
    for path in [
        "/",
        "/?token=",
        "/?token=x",
        "/run?id=1",
        "/events",
        "/?Token=",
        &format!("/?token={}", &token[1..]),
    ] {
        let answer = get(&place, path);
        assert!(status(&answer) == "403" && !answer.contains("loss"), "{path}: {answer}");
    }
    let steps = json!([
        ["wait", "charts.length === 1 && charts[0].lines()[0].x.length === 2"],
        ["wait", "$('link').textContent === '● live'"]
    ]);
    browse(&lab, &format!("http://{place}/?token={token}"), (400, 800), &steps);
    server.signal(Signal::INT);
    server.wait();
    lab.nothing_left();
}

#[test]
fn many_clients_and_some_that_stall_are_served() {
    let lab = Lab::new();
    lab.write("train.py", TRAINER);
    lab.cmd("run-new").args(["-n", "one", "--", "python3", "train.py"]).run().code(0);
    let training = lab.cmd("run-exec").args(["-q", "--heartbeat", "100ms", "one"]).spawn();
    let (server, url) = serve(&lab, &["--serve=0"]);
    let place = place(&url);
    // Some say nothing, some ask and never read.
    let silent: Vec<TcpStream> = (0..10).map(|_| TcpStream::connect(place).unwrap()).collect();
    let request = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: {place}\r\n\r\n");
    let stalled: Vec<TcpStream> = (0..10)
        .map(|number| {
            let mut stream = TcpStream::connect(place).unwrap();
            let path = if number % 2 == 0 { "/events" } else { "/" };
            stream.write_all(request(path).as_bytes()).unwrap();
            stream
        })
        .collect();
    // Twenty follow, and all learn of a change.
    let mut followers: Vec<TcpStream> = (0..20)
        .map(|_| {
            let mut stream = TcpStream::connect(place).unwrap();
            stream.write_all(request("/events").as_bytes()).unwrap();
            stream
        })
        .collect();
    let until = |stream: &mut TcpStream, text: &str| {
        let (mut seen, mut block) = (String::new(), [0; 4096]);
        wait_for(text, || {
            let length = stream.read(&mut block).unwrap();
            seen.push_str(&String::from_utf8_lossy(&block[..length]));
            seen.contains(text)
        });
    };
    for stream in &mut followers {
        until(stream, "event: other"); // they come with no page of this server
    }
    lab.write("more", "");
    lab.write("end", "");
    training.wait().code(1);
    for stream in &mut followers {
        until(stream, "\"status\":\"failed\"");
    }
    assert_eq!(status(&get(place, "/")), "200");
    // All learn of a run that is removed, and its details are gone.
    fs::remove_dir_all(lab.path("runs/one")).unwrap();
    for stream in &mut followers {
        until(stream, "\"gone\":[1]");
    }
    assert_eq!(status(&get(place, "/run?id=1")), "404");
    drop((silent, stalled));
    server.signal(Signal::INT);
    server.wait();
    lab.nothing_left();
}

/// Returns the data of a page.
fn data(page: &str) -> Value {
    let (_, rest) = page.split_once("<script type=\"application/json\" id=\"data\">").unwrap();
    serde_json::from_str(rest.split_once("</script>").unwrap().0).unwrap()
}

#[test]
fn what_the_first_page_of_many_runs_lacks_is_sent_to_it() {
    const RUNS: usize = 300;
    let lab = Lab::new();
    let rows: String = (0..3000).map(|step| json!({"step": step, "loss": 0.5}).to_string() + "\n").collect();
    for number in 0..RUNS {
        // A record without figures: its metrics have to be read.
        made(&lab, &format!("run_{number:03}"), &[("metrics.jsonl", &rows)]);
    }
    let (server, url) = serve(&lab, &["--serve=0"]);
    let place = place(&url);
    let page = data(body(&get(place, "/")));
    let mut seen: BTreeMap<u64, Value> = BTreeMap::new();
    let mut take = |runs: &Value| {
        for run in runs.as_array().unwrap() {
            seen.insert(run["id"].as_u64().unwrap(), run.clone());
        }
        let has_loss = |run: &&Value| run["row"]["loss.last"] == 0.5;
        (seen.len(), seen.values().filter(has_loss).count())
    };
    let (runs, _) = take(&page["runs"]);
    assert_eq!(runs, RUNS);
    // What it lacks is sent to who follows.
    let (server_id, clock) = (page["live"]["server"].as_str().unwrap(), &page["live"]["clock"]);
    let mut stream = TcpStream::connect(place).unwrap();
    let path = format!("/events?server={server_id}&since={clock}");
    stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: {place}\r\n\r\n").as_bytes()).unwrap();
    let mut lines = BufReader::new(stream).lines();
    let mut left = take(&json!([]));
    wait_for("the metrics of all runs", || {
        if left == (RUNS, RUNS) {
            return true;
        }
        let line = lines.next().unwrap().unwrap(); // it is not silent for long
        if let Some(message) = line.strip_prefix("data: ") {
            let message: Value = serde_json::from_str(message).unwrap();
            left = take(&message["changed"]);
        }
        left == (RUNS, RUNS)
    });
    let again = data(body(&get(place, "/")));
    assert!(again["runs"].as_array().unwrap().iter().all(|run| run["row"]["loss.last"] == 0.5));
    server.signal(Signal::INT);
    server.wait();
    lab.nothing_left();
}

#[test]
fn rows_that_grow_are_those_of_a_reader_that_comes_later() {
    let lab = Lab::new();
    let row = |step: u32, loss: f64| json!({"step": step, "loss": loss}).to_string() + "\n";
    made(&lab, "a", &[("metrics.jsonl", &(row(1, 0.5) + &row(2, 0.25)))]);
    let (server, url) = serve(&lab, &["--serve=0"]);
    let place = place(&url);
    let mut written = row(1, 0.5) + &row(2, 0.25);
    let mut same = |more: &str, count: usize| {
        written += more;
        lab.write("runs/a/metrics.jsonl", &written);
        get(place, "/"); // looks at all runs
        let details: Value = serde_json::from_str(body(&get(place, "/run?id=1"))).unwrap();
        let export = lab.cmd("run-report").args(["--export", "-"]).run().code(0).out();
        let document: Value = serde_json::from_str(&export).unwrap();
        let of = |run: &Value| (run["curves"][0]["rows"].clone(), run["curves"][0]["min"].clone());
        assert_eq!(of(&details["run"]), of(&document["runs"][0]), "{more}");
        assert_eq!(details["run"]["curves"][0]["rows"], json!(count), "{more}");
    };
    same("", 2);
    same(&(row(3, 0.125) + "{\"step\": 4, \"lo"), 3);
    same("ss\": 0.0625}\n", 4);
    same("not a row\n", 4);
    same(&row(2, 8.0), 2); // which takes back what came after step 1
    same(&row(3, 9.0), 3);
    // A file that is written anew is read anew.
    lab.write("runs/a/metrics.jsonl", row(7, 1.0));
    get(place, "/");
    let details: Value = serde_json::from_str(body(&get(place, "/run?id=1"))).unwrap();
    assert_eq!(details["run"]["axes"][0]["step"], json!([7]));
    server.signal(Signal::INT);
    server.wait();
    lab.nothing_left();
}

#[test]
fn what_is_written_beside_the_record_of_a_run_is_seen() {
    let lab = Lab::new();
    // A run of another system, whose metrics lie elsewhere, and one that is evaluated after its end.
    lab.write("runs/lightning_logs/version_0/hparams.yaml", "lr: 0.1\n");
    let table = "runs/lightning_logs/version_0/metrics.csv";
    lab.write(table, "epoch,step,loss\n0,1,0.5\n");
    made(&lab, "linked", &[]);
    lab.write("elsewhere.jsonl", "{\"step\": 1, \"loss\": 1}\n");
    symlink(lab.path("elsewhere.jsonl"), lab.path("runs/linked/metrics.jsonl")).unwrap();
    evals::ended(&lab, "a");
    evals::save(&lab, "a", 1);
    let (server, url) = serve(&lab, &["--serve=0"]);
    let place = place(&url);
    let run = |name: &str| {
        let page = data(body(&get(place, "/"))); // looks at all runs
        let run = page["runs"].as_array().unwrap().iter().find(|run| run["run"] == name).unwrap().clone();
        let details = body(&get(place, &format!("/run?id={}", run["id"]))).to_owned();
        (run["row"].clone(), serde_json::from_str::<Value>(&details).unwrap()["run"].clone())
    };
    wait_for("its metrics", || run("lightning_logs/version_0").0["loss.last"] == 0.5);
    lab.append(table, "0,2,0.25\n");
    let (row, _) = run("lightning_logs/version_0");
    assert_eq!((&row["step"], &row["loss.last"]), (&json!(2), &json!(0.25)), "{row}");
    // A table is read as a whole, and not at each request.
    wait_for("its curve", || {
        let (_, details) = run("lightning_logs/version_0");
        details["curves"][0]["min"] == json!([0.5, 0.25])
    });
    // Metrics behind a link.
    assert_eq!(run("linked").0["loss.last"], json!(1));
    lab.append("elsewhere.jsonl", "{\"step\": 2, \"loss\": 7}\n");
    assert_eq!(run("linked").0["loss.last"], json!(7));
    // An evaluation, and one more under another label.
    let (row, _) = run("a");
    assert!(!row.to_string().contains("acc"), "{row}");
    for label in ["default", "other"] {
        evals::eval(&lab, &["--label", label, "a"], evals::SCRIPT).code(0);
        let (row, details) = run("a");
        assert_eq!(row[&format!("{label}/acc.last")], json!(0.1), "{row}");
        let curves = details["curves"].as_array().unwrap();
        assert!(curves.iter().any(|curve| curve["metric"] == format!("{label}/acc")), "{details}");
    }
    // A run that takes the place of another has its own curves.
    made(&lab, "b", &[("metrics.jsonl", "{\"step\": 1, \"loss\": 1}\n")]);
    assert_eq!(run("b").1["curves"][0]["min"], json!([1]));
    fs::remove_dir_all(lab.path("runs/b")).unwrap();
    made(&lab, "b", &[("metrics.jsonl", "{\"step\": 5, \"loss\": 2}\n{\"step\": 6, \"loss\": 3}\n")]);
    assert_eq!(run("b").1["curves"][0]["min"], json!([2, 3]));
    server.signal(Signal::INT);
    server.wait();
    lab.nothing_left();
}

#[test]
fn a_picture_keeps_its_address_while_others_come() {
    let lab = Lab::new();
    let row = |step: u32, name: &str| json!({"step": step, "image": name}).to_string() + "\n";
    made(&lab, "a", &[("metrics.jsonl", &(row(1, "1.png") + &row(2, "2.png")))]);
    for name in ["1", "2", "3", "new"] {
        lab.write(&format!("runs/a/{name}.png"), name);
    }
    let (server, url) = serve(&lab, &["--serve=0"]);
    let place = place(&url);
    let media = || {
        get(place, "/"); // looks at all runs
        let details: Value = serde_json::from_str(body(&get(place, "/run?id=1"))).unwrap();
        let media = details["run"]["media"].as_array().unwrap().clone();
        let of = |one: &Value| (one["step"].as_u64().unwrap(), format!("/{}", one["src"].as_str().unwrap()));
        media.iter().map(of).collect::<BTreeMap<_, _>>()
    };
    let before = media();
    // One replaces that of step 1, which moves the others in the list.
    lab.append("runs/a/metrics.jsonl", row(2, "2.png") + &row(3, "3.png"));
    lab.append("runs/a/metrics.jsonl", json!({"image": "new.png"}).to_string() + "\n");
    let after = media();
    assert_eq!(body(&get(place, &before[&1])), "1");
    assert_eq!(body(&get(place, &after[&2])), "2");
    assert_eq!(body(&get(place, &after[&3])), "3");
    assert!(after.values().all(|address| status(&get(place, address)) == "200"), "{after:?}");
    server.signal(Signal::INT);
    server.wait();
    // They are there for who has the address, also if nobody has asked for the details yet.
    let (server, url) = serve(&lab, &["--serve=0"]);
    assert_eq!(body(&get(self::place(&url), &after[&3])), "3");
    server.signal(Signal::INT);
    server.wait();
    lab.nothing_left();
}
