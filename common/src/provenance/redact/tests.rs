use super::*;
use crate::provenance::secret::SHAPES;
use proptest::prelude::*;

/// Names of secrets as programs spell them.
const NAMES: &str = "\
    api_key apiKey apikey API-KEY wandb_key openai-key OPENAI_API_KEY WANDB_API_KEY aws_secret_access_key \
    AWS_ACCESS_KEY_ID AccountKey encryption_key api_keys token hub_token hubToken HF_TOKEN HFToken \
    HF_TOKEN_READ HF_TOKEN_ACME access-token secret client_secret password db.password PGPASSWORD passwd \
    passphrase pwd pw db_pass SSHPASS auth basic_auth cookie sessionCookie credentials pat GITHUB_PAT \
    secrets.hub";

/// Spellings of a secret `{}` under a name, as arguments.
const SPELLINGS: &[&[&str]] = &[
    &["--NAME", "{}"],
    &["-NAME", "{}"],
    &["--NAME={}"],
    &["-NAME={}"],
    &["NAME={}"],
    &["-DNAME={}"],
    &["+NAME={}"],
    &["++trainer.NAME={}"],
    &["optim/x.NAME={}"],
    &["--env=NAME={}"],
    &["--env", "NAME={}"],
    &["-e", "NAME={}"],
    &["-eNAME={}"],
    &["--export=ALL,NAME={}"],
    &["--export=ALL,A=1,NAME={},B=2"],
    &["--env=A=1,NAME={}"],
    &["NAME={} of two words"],
    &["--NAME", "{} of two words"],
    &["--NAME={} of two words"],
    &["NAME='{}'"],
    &["NAME=\"{} of two words\""],
    &["NAME:{}"],
    &["--NAME:{}"],
    &["NAME: {}"],
    &["-H", "NAME: {}"],
    &["-HNAME: {}"],
    &["--header=NAME: {}"],
    &["{\"NAME\":\"{}\"}"],
    &["{\"NAME\": \"{}\", \"lr\": 1}"],
    &["{\"a\": {\"b\": [{\"NAME\": \"{} of two words\"}]}}"],
    &["{'lr': 1, 'NAME': '{}'}"],
    &["--config={\"a\": {\"NAME\": \"{}\"}}"],
    &["cfg={\\\"NAME\\\": \\\"{}\\\"}"],
    &["{lr: 1, NAME: {}}"],
    &["cfg={NAME:{},lr:1}"],
    &["https://h/x?NAME={}"],
    &["https://h/x?a=1&NAME={}&b=2#c"],
    &["--url=https://h/x?NAME={}"],
    &["sh", "-c", "NAME={} python t.py"],
    &["sh", "-c", "A=1 NAME='{} of two words' python t.py"],
    &["bash", "-lc", "python t.py --NAME {} --lr 1"],
    &["bash", "-c", "python t.py --NAME \"{} of two words\" --lr 1"],
    &["bash", "-c", "python t.py --NAME='{}' --lr 1; echo"],
    &["bash", "-c", "export NAME={}; python t.py"],
    &["bash", "-c", "curl -H 'NAME: {}' h"],
    &["sbatch", "--wrap", "train --NAME={}"],
    &["python", "-c", "f(NAME='{}', x=1)"],
    &["python", "-c", "os.environ['NAME'] = '{}'"],
    &["python", "-c", "c.NAME = \"{} of two words\""],
    &["Server=h;NAME={};Database=d"],
    &["Server=h;NAME={} of two words;Database=d"],
    &["host=h user=u NAME={} dbname=d"],
];

/// Spellings of a secret `{}` without a name.
const OTHERS: &[&[&str]] = &[
    &["curl", "-u", "user:{}", "h"],
    &["curl", "-uuser:{}", "h"],
    &["sudo", "curl", "-u", "user:{}", "h"],
    &["docker", "run", "img", "curl", "-u", "user:{}", "h"],
    &["curl", "--user=user:{}", "h"],
    &["curl", "--user", "user:{}", "h"],
    &["sh", "-c", "curl -u user:{} h"],
    &["sh", "-c", "curl -u 'user:{}' h"],
    &["curl", "-b", "{}", "h"],
    &["sshpass", "-p", "{}", "ssh", "h"],
    &["sshpass", "-p{}", "ssh", "h"],
    &["mysql", "-u", "root", "-p{}", "db"],
    &["sh", "-c", "docker login -u u -p {} h"],
    &["http", "-a", "user:{}", "h"],
    &["curl", "--oauth2-bearer", "{}", "h"],
    &["curl", "--userpwd", "user:{}", "h"],
    &["train.py", "WANDB.API_KEY", "{}", "LR", "1"],
    &["aws", "configure", "set", "aws_secret_access_key", "{}"],
    &["wandb.key={}"],
    &["https://canary.discord.com/api/v10/webhooks/1/{}"],
    &["sh", "-c", "wandb login {} && python t.py"],
    &["-H", "Authorization: Bearer {}"],
    &["-H", "Authorization: {}"],
    &["-H", "authorization: token {}"],
    &["-H", "Proxy-Authorization: Basic {}"],
    &["-H", "Authorization:", "Bearer", "{}"],
    &["-H", "Authorization:", "{}"],
    &["-H", "Authorization:", "Basic {}"],
    &["-H", "Authorization: Bearer", "{}"],
    &["Bearer", "{}"],
    &["-H", "Cookie: a=b; session={}"],
    &["sh", "-c", "curl -H \"Authorization: Bearer {}\" h"],
    &["sh", "-c", "curl -H 'Cookie: a=b; session={}; c=d' h"],
    &["https://user:{}@h/x@y"],
    &["https://{}@h"],
    &["postgres://u:{}@h:5432/db?sslmode=require"],
    &["--db=mysql+pymysql://u:{}@h/db"],
    &["git+https://x-access-token:{}@github.com/o/r.git@main"],
    &["https://hooks.slack.com/services/{}"],
    &["--hook=https://discord.com/api/webhooks/1/{}"],
    &["https://discordapp.com/api/webhooks/{}"],
    &["https://b.s3.amazonaws.com/k?X-Amz-Expires=9&X-Amz-Signature={}"],
    &["https://b.s3.amazonaws.com/k?X-Amz-Credential={}&a=1"],
    &["https://b.s3.amazonaws.com/k?AWSAccessKeyId={}&Signature={}"],
    &["https://storage.googleapis.com/b/o?X-Goog-Signature={}"],
    &["https://a.blob.core.windows.net/c?sv=2020&sig={}"],
    &["sv=2020&se=x&sig={}"],
    &["hf_{}"],
    &["--x=hf_{}"],
    &["ghp_{}"],
    &["see gho_{}."],
    &["github_pat_{}"],
    &["glpat-{}"],
    &["xoxb-1-{}"],
    &["sk-{}"],
    &["sk-ant-api03-{}"],
    &["npm_{}"],
    &["eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.{}"],
    &["-----BEGIN RSA PRIVATE KEY-----\n{}\n-----END RSA PRIVATE KEY-----"],
    &["-----BEGIN PRIVATE KEY-----\n{}"],
];

fn spelled(spelling: &[&str], name: &str, secret: &str) -> Vec<String> {
    spelling.iter().map(|word| word.replace("NAME", name).replace("{}", secret)).collect()
}

/// Command lines of training without a secret.
const INNOCENT: &str = include_str!("../../../../tests/fixtures/innocent_commands.txt");

/// Pieces of random texts that contain a secret or look similar.
const PIECES: [&str; 48] = [
    "api_key",
    "token",
    "--token",
    "--pw",
    "key",
    "Authorization",
    "Bearer",
    "Cookie",
    "secrets",
    "lr",
    "-u",
    "--env",
    "-H",
    "wandb login",
    "sshpass -p",
    "docker",
    "=",
    ":",
    " = ",
    ": ",
    " ",
    " ",
    "\"",
    "'",
    "`",
    "\\\"",
    "\\",
    ",",
    ";",
    "&",
    "?",
    "{",
    "}",
    "[",
    "]",
    "(",
    ")",
    "\n",
    "[redacted]",
    "abc123",
    "a b",
    "1",
    "true",
    "{env:A}",
    "$B",
    "https://u:p@h/",
    "hf_Zq7hunter2Zq7hunter2Zq7",
    "é",
];

fn innocent() -> impl Iterator<Item = Vec<String>> {
    let lines = INNOCENT.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.map(|line| line.split(' ').map(|word| word.replace('␣', " ")).collect())
}

#[test]
fn commands_without_a_secret_stay_as_they_are() {
    assert!(innocent().count() >= 80);
    for line in innocent() {
        assert_eq!(redact_command(&line), line);
    }
}

#[test]
fn sentences_without_a_secret_stay_as_they_are() {
    for sentence in [
        "exit 1: KeyError: 'api_key'",
        "exit 2: train.py: error: argument --hub-token: expected one argument",
        "exit 2: train.py: error: the following arguments are required: --api-key, --lr",
        "FATAL: password authentication failed for user \"x\"",
        "SyntaxError: unexpected token: foo",
        "Token indices sequence length is longer than the specified maximum (600 > 512)",
        "ValueError: pad_token=None, use_auth_token=True, num_tokens=512000",
        "TypeError: f() got an unexpected keyword argument 'token'",
        "RuntimeError: CUDA error: an illegal memory access was encountered",
        "FileNotFoundError: [Errno 2] No such file or directory: '/root/.netrc'",
        "stopped by a@b: no warm-up, don't use the key; see https://h/x?step=3",
        "Bearer of news: a secret, a token and a key",
        "  File \"x.py\", line 3, in login(key)",
        "AssertionError: assert token == other, key != 3",
    ] {
        assert_eq!(redact_text(sentence), sentence);
    }
}

#[test]
fn sentences_are_redacted_to_the_end_of_the_secret() {
    for (sentence, expected) in [
        ("wandb_key=abc, lr=1", "wandb_key=[redacted], lr=1"),
        ("the password: hunter2, and more", "the password: [redacted], and more"),
        ("login(token='a b', x=1) failed", "login(token='[redacted]', x=1) failed"),
        ("bad {'api_key': 'abc', 'x': 1}", "bad {'api_key': '[redacted]', 'x': 1}"),
        ("Authorization: Bearer abc123 refused", "Authorization: Bearer [redacted] refused"),
        ("401 for url: https://h/x?token=abc&a=b", "401 for url: https://h/x?token=[redacted]&a=b"),
        ("connect(user=x password=y host=z)", "connect(user=x password=[redacted] host=z)"),
        ("key AKIAIOSFODNN7EXAMPLE is wrong", "key [redacted] is wrong"),
    ] {
        assert_eq!(redact_text(sentence), expected);
    }
}

#[test]
fn documents_are_redacted_below_secret_names() {
    let mut value = serde_json::json!({
        "lr": 0.1, "api_key": "a b", "auth": {"user": "u", "retries": 3, "on": true}, "password": 12_345_678,
        "tokens": [1, 2], "api_keys": ["a", "b"], "url": "https://u:p@h", "pad_token": "<pad>", "token": null,
        "command": ["train", "--token", "a"], "traceback": ["--token a b"], "list": ["token=a b", "x"],
        "template": [{"role": "x", "api_key": "a"}], "tokens_of": {"secret": {"command": ["a", "b"]}}
    });
    redact_json("", &mut value);
    let expected = serde_json::json!({
        "lr": 0.1, "api_key": REDACTED, "auth": {"user": REDACTED, "retries": 3, "on": true}, "password": REDACTED,
        "tokens": [1, 2], "api_keys": [REDACTED, REDACTED], "url": "https://[redacted]@h", "pad_token": "<pad>",
        "token": null, "command": ["train", "--token", REDACTED], "traceback": ["--token [redacted] b"],
        "list": ["token=[redacted]", "x"],
        "template": [{"role": "x", "api_key": REDACTED}],
        "tokens_of": {"secret": {"command": [REDACTED, REDACTED]}}
    });
    assert_eq!(value, expected);
}

#[test]
fn every_shape_is_redacted_and_words_that_begin_so_are_not() {
    for shape in &SHAPES {
        let random = "A7C3E5G2I9K4M6O8".repeat(4);
        let body = if matches!(shape.start, "AKIA" | "ASIA") { &random[..16] } else { &random };
        let dot = if shape.start == "eyJ" { "." } else { "" };
        let token = format!("{}{dot}{body}", shape.start);
        assert_eq!(redact_text(&format!("see '{token}'")), "see '[redacted]'", "{}", shape.start);
        assert_eq!(redact_text(&format!("x{token}")), format!("x{token}"), "{}", shape.start);
        if shape.is_random {
            let words = format!("{}{}", shape.start, "what-was.learned_by-heart".repeat(3));
            assert_eq!(redact_text(&words), words);
        }
    }
    // This token begins like two shapes: that of Neptune, and a JSON web token.
    let token = "eyJhcGlfdiI6MX0.eyJzdWIiOiIxIn0.Zq7Zq7";
    assert_eq!(redact_text(token), "[redacted]");
}

#[test]
fn the_command_line_of_a_tool_is_redacted() {
    let argv = [
        "run-new",
        "-b",
        "-s",
        "lr=1",
        "-s",
        "api_key=k 1",
        "--set=token=k2",
        "-spassword=k3",
        "--env",
        "HF_TOKEN=k4",
        "--env=PGPASSWORD=k5",
        "--note",
        "https://u:k6@h",
        "--sweep",
        "x=1,2",
        "a.yaml",
        "--",
        "train",
        "--api-key",
        "k7",
    ];
    assert_eq!(
        redact_command(&argv.map(str::to_owned)),
        [
            "run-new",
            "-b",
            "-s",
            "lr=1",
            "-s",
            "api_key=[redacted]",
            "--set=token=[redacted]",
            "-spassword=[redacted]",
            "--env",
            "HF_TOKEN=[redacted]",
            "--env=PGPASSWORD=[redacted]",
            "--note",
            "https://[redacted]@h",
            "--sweep",
            "x=1,2",
            "a.yaml",
            "--",
            "train",
            "--api-key",
            "[redacted]",
        ]
    );
}

/// Checks that nothing of a secret is left, and that redacting twice changes nothing.
fn check(spelling: &[&str], name: &str, secret: &str) -> Result<(), TestCaseError> {
    let words = spelled(spelling, name, secret);
    let once = redact_command(&words);
    prop_assert!(once.iter().all(|word| !word.contains(secret)), "{:?} -> {:?}", words, once);
    prop_assert_eq!(redact_command(&once), once, "{:?}", words);
    Ok(())
}

#[test]
fn every_spelling_of_every_name_is_redacted() {
    for spelling in SPELLINGS {
        NAMES.split(' ').try_for_each(|name| check(spelling, name, "Zq7-hunter2")).unwrap();
    }
    for spelling in OTHERS {
        check(spelling, "", "Zq7hunter2Zq7hunter2Zq7hunter2").unwrap();
    }
}

fn name() -> impl Strategy<Value = &'static str> {
    prop::sample::select(NAMES.split(' ').collect::<Vec<_>>())
}

fn text() -> impl Strategy<Value = String> {
    prop::collection::vec(prop::sample::select(&PIECES[..]), 0..9).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(ProptestConfig::default().cases / 4))]

    #[test]
    fn a_secret_is_nowhere(secret in "[A-Za-z0-9!#%^*_+./~][A-Za-z0-9!#%^*_+./~=-]{7,32}", name in name()) {
        prop_assume!(!is_plain(Verdict::Secret, &secret) && !secret.starts_with("//"));
        for spelling in SPELLINGS {
            check(spelling, name, &secret)?;
        }
    }

    #[test]
    fn a_shape_is_nowhere(secret in "[A-Z][a-z][0-9][A-Za-z0-9]{30,40}") {
        for spelling in OTHERS {
            check(spelling, "", &secret)?;
        }
    }

}

proptest! {
    #[test]
    fn what_is_redacted_stays_so(words in prop::collection::vec(text(), 1..5)) {
        let once = redact_command(&words);
        prop_assert_eq!(redact_command(&once), once, "{:?}", words);
        let once = redact_text(&words[0]);
        prop_assert_eq!(redact_text(&once), once.as_ref(), "{:?}", words[0]);
    }

    #[test]
    fn a_hint_overlooks_nothing(words in prop::collection::vec(text(), 1..5)) {
        let mut scanner = Scanner::default();
        let once: Vec<_> = words.iter().map(|word| scanner.scan(word, Extent::Whole)).collect();
        prop_assert!(once == words || words.iter().any(|word| may_hold_secret(word)), "{:?} -> {:?}", words, once);
    }

    #[test]
    fn no_text_is_too_strange(words: Vec<String>) {
        prop_assert_eq!(redact_command(&words).len(), words.len());
    }
}
