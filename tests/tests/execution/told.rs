//! The recipes of run-exec(1) for --on-end, against servers of the test.

use serde_json::Value;
use std::fs;
use testkit::{Lab, checkout, wait_for};

/// A server that writes each request as a line of JSON, and its port to a file.
const SERVER: &str = r#"
import http.server, json
class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        with open("requests", "a") as file:
            file.write(json.dumps({"path": self.path, "title": self.headers["Title"], "body": body}) + "\n")
        self.send_response(200)
        self.end_headers()
    def log_message(self, *_):
        pass
server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
with open("port.new", "w") as file:
    file.write(str(server.server_port))
import os
os.rename("port.new", "port")
server.serve_forever()
"#;

/// Returns the command of the recipe in the manual that has these words.
fn recipe(words: &str) -> String {
    let page = fs::read_to_string(checkout().join("man/run-exec.1")).unwrap();
    let page = page.replace("\\(aq", "'").replace("\\(dq", "\"").replace("\\e", "\\");
    let section = page.split(".Sh WHEN IT HAS ENDED").nth(1).unwrap();
    let blocks = section.split(".Bd -literal -offset indent\n").skip(1);
    let mut blocks = blocks.map(|block| block.split("\n.Ed").next().unwrap());
    blocks.find(|block| block.contains(words)).unwrap().to_owned()
}

/// A mail server that accepts one mail and writes it to a file.
const MAIL_SERVER: &str = r#"
import os, socket
listener = socket.create_server(("127.0.0.1", 0))
with open("port.new", "w") as file:
    file.write(str(listener.getsockname()[1]))
os.rename("port.new", "port")
connection, _ = listener.accept()
lines = connection.makefile("rb")
connection.sendall(b"220 ready\r\n")
mail = []
while (line := lines.readline()):
    verb = line[:4].upper()
    if verb == b"DATA":
        connection.sendall(b"354 go on\r\n")
        while (text := lines.readline()) != b".\r\n":
            mail.append(text)
        with open("mail", "wb") as file:
            file.writelines(mail)
    elif verb in (b"MAIL", b"RCPT"):
        mail.append(line)
    elif verb == b"QUIT":
        connection.sendall(b"221 bye\r\n")
        break
    connection.sendall(b"250 ok\r\n")
"#;

#[test]
fn the_recipe_for_mail_sends_one() {
    let lab = Lab::new();
    lab.write("server.py", MAIL_SERVER);
    let server = lab.cmd("python3").arg("server.py").spawn();
    wait_for("the port of the server", || lab.path("port").exists());
    let address = format!("smtp://127.0.0.1:{}", lab.read("port"));
    lab.new_run("trial", &["sh", "-c", "echo 'ValueError: oh no' >&2; exit 3"]);
    let command = recipe("SMTP_URL").replace("run-exec --detach", "run-exec -q");
    lab.cmd("sh").args(["-c", &command]).env("SMTP_URL", address).run().code(3).stderr("");
    server.wait().code(0);
    let expected = "MAIL FROM:<ann@example.org>\r\nRCPT TO:<ann@example.org>\r\nTo: ann@example.org\r\n\
                    Subject: trial: failed\r\n\r\nexit 3: ValueError: oh no\r\n";
    assert_eq!(lab.read("mail"), expected);
}

#[test]
fn the_recipes_tell_a_phone_and_a_chat_room() {
    let lab = Lab::new();
    lab.write("server.py", SERVER);
    let server = lab.cmd("python3").arg("server.py").spawn();
    wait_for("the port of the server", || lab.path("port").exists());
    let address = format!("http://127.0.0.1:{}", lab.read("port"));
    lab.new_run("trial", &["sh", "-c", "echo 'oh no' >&2; exit 3"]);
    // The recipes execute the run in the background, where a test cannot wait for the script.
    let told = |command: &str| {
        let command = command.replace("run-exec --detach", "run-exec -q --resume");
        lab.cmd("sh").args(["-c", &command]).env("WEBHOOK_URL", format!("{address}/hook")).run().code(3)
    };
    lab.cmd("run-exec").args(["-q", "trial"]).run().code(3);
    told(&recipe("ntfy.sh").replace("https://ntfy.sh", &address));
    let peers = checkout().join("target/peers/bin");
    let service = address.replace("http", "json");
    told(&format!(
        "APPRISE_URL={service}; export APPRISE_URL; PATH=$PATH:{}; {}",
        peers.display(),
        recipe("apprise")
    ));
    lab.write("bin/tell-chat", recipe("#!/bin/sh"));
    lab.set_mode("bin/tell-chat", 0o755);
    told(&format!("PATH=$PATH:{} run-exec --detach --on-end tell-chat trial", lab.path("bin").display()));
    let requests = lab.json_lines("requests");
    assert_eq!(requests.len(), 3, "{requests:?}");
    assert_eq!((&requests[0]["path"], &requests[0]["title"]), (&"/anns-runs".into(), &"trial".into()));
    assert!(requests[0]["body"].as_str().unwrap().starts_with("failed exit 3"), "{requests:?}");
    let message = |number: usize| -> Value {
        serde_json::from_str(requests[number]["body"].as_str().unwrap()).unwrap()
    };
    let by_apprise = message(1);
    assert_eq!(by_apprise["title"], "trial: failed");
    assert!(by_apprise["message"].as_str().unwrap().starts_with("failed exit 3: oh no"), "{by_apprise}");
    assert_eq!(requests[2]["path"], "/hook");
    let text = &message(2)["text"];
    assert!(text.as_str().unwrap().starts_with("trial: failed exit 3"), "{text}");
    server.signal(testkit::process::Signal::KILL);
    server.wait();
}
