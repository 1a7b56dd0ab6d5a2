//! Keeps credentials out of the record.

/// What stands in the record for a credential.
pub const REDACTED: &str = "[redacted]";

/// Words by which the name of an option, variable or key says that its value is secret.
const WORDS: [&str; 10] = [
    "password",
    "passwd",
    "passphrase",
    "pass",
    "pwd",
    "secret",
    "token",
    "apikey",
    "credential",
    "credentials",
];

/// Words that say so in front of `key`.
const KEYS: [&str; 6] = ["api", "access", "private", "secret", "auth", "encryption"];

/// Words in front of `token` that speak of text, not of a credential: `--pad-token`.
const TEXT: [&str; 22] = [
    "pad", "eos", "bos", "unk", "mask", "cls", "sep", "stop", "start", "end", "special", "image", "new",
    "next", "per", "prompt", "no", "first", "last", "num", "max", "min",
];

/// Words by which a variable in capitals says so wherever they stand: `HF_TOKEN_READ`.
const CAPITALS: [&str; 7] = ["TOKEN", "PASSWORD", "PASSWD", "PASS", "SECRET", "APIKEY", "PAT"];

/// Says whether a name such as `--api-key`, `HF_TOKEN` or `db.password` says that its value is
/// secret; `num_tokens` and `pad_token` do not.
pub fn is_secret(name: &str) -> bool {
    let words = words(name);
    let mut last = words.iter().rev().map(String::as_str);
    let by_last_words = match (last.next(), last.next()) {
        (Some("token"), Some(before)) => !TEXT.contains(&before),
        (Some("key"), Some(before)) => KEYS.contains(&before),
        (Some(word), _) => WORDS.contains(&word) || word.ends_with("password") || word.ends_with("sshpass"),
        (None, _) => false,
    };
    let is_variable = name.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_');
    by_last_words
        || is_variable
            && (name.ends_with("_KEY") || name.split('_').any(|word| CAPITALS.contains(&word)))
            && !["PUBLIC", "PRIMARY", "PAD", "EOS", "BOS", "MAX", "NUM"]
                .iter()
                .any(|word| name.contains(word))
}

/// Splits at punctuation and where `camelCase` begins a word.
fn words(name: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut before = ' ';
    for c in name.chars() {
        if !c.is_alphanumeric() || (c.is_uppercase() && before.is_lowercase()) {
            words.push(String::new());
        }
        if c.is_alphanumeric()
            && let Some(word) = words.last_mut()
        {
            word.extend(c.to_lowercase());
        }
        before = c;
    }
    words.retain(|word| !word.is_empty());
    words
}

/// Returns a value as it may be recorded under a name.
pub fn redact_value(name: &str, value: &str) -> String {
    if is_secret(name) && !value.is_empty() && !names_variable(value) {
        REDACTED.to_owned()
    } else {
        redact_url(value)
    }
}

/// Returns a command as it may be recorded: values of options, variables and headers whose names
/// say secret, and user info in URLs, are replaced. `{env:NAME}` is no secret, and stays.
pub fn redact_command(command: &[String]) -> Vec<String> {
    let mut redacted = Vec::with_capacity(command.len());
    let mut next_is_secret = false;
    for argument in command {
        let takes_value = std::mem::take(&mut next_is_secret);
        redacted.push(match argument.split_once('=') {
            _ if takes_value && !argument.starts_with("--") && !names_variable(argument) => {
                REDACTED.to_owned()
            }
            _ if argument.contains(' ') => redact_words(argument),
            Some((name, value)) if !name.contains("://") => format!("{name}={}", redact_value(name, value)),
            _ => {
                next_is_secret = argument.starts_with('-') && is_secret(argument);
                redact_url(argument)
            }
        });
    }
    redacted
}

/// Redacts a text of several words: the script of a shell, a header.
fn redact_words(text: &str) -> String {
    let mut next_is_secret = false;
    let mut redacted = Vec::new();
    for word in text.split(' ') {
        let takes_value = std::mem::take(&mut next_is_secret);
        let bare = word.trim_matches(['"', '\'', ';']);
        redacted.push(match bare.split_once('=') {
            _ if takes_value && !bare.is_empty() && !bare.starts_with("--") && !names_variable(bare) => {
                word.replace(bare, REDACTED)
            }
            Some((name, value)) if !name.contains("://") => {
                word.replace(bare, &format!("{name}={}", redact_value(name, value)))
            }
            _ => {
                let name = bare.strip_suffix(':').unwrap_or(bare);
                let is_header = name.len() < bare.len() || bare == "Bearer";
                next_is_secret = bare == "Bearer" || (is_header || bare.starts_with('-')) && is_secret(name);
                redact_url(word)
            }
        });
    }
    redacted.join(" ")
}

/// Says whether a value names a variable of the environment, to be put in when it is executed.
fn names_variable(value: &str) -> bool {
    value.starts_with("{env:") && value.ends_with('}')
}

/// Replaces user info in the URLs of a text: `https://user:word@host` and `https://word@host`.
pub fn redact_url(text: &str) -> String {
    let mut redacted = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(scheme) = rest.find("://") {
        let (before, after) = rest.split_at(scheme + 3);
        redacted.push_str(before);
        let end = after.find(['/', '?', '#', ' ', '"', '\'']).unwrap_or(after.len());
        match after[..end].rfind('@') {
            Some(at) => {
                redacted.push_str(REDACTED);
                rest = &after[at..];
            }
            None => rest = after,
        }
    }
    redact_query(&(redacted + rest))
}

/// Replaces what secret names in the query of a URL say: `?api_key=word&x=1`.
fn redact_query(text: &str) -> String {
    let Some((before, query)) = text.split_once('?').filter(|(before, _)| before.contains("://")) else {
        return text.to_owned();
    };
    let parts = query.split('&').map(|part| match part.split_once('=') {
        Some((name, value)) if is_secret(name) && !value.is_empty() => format!("{name}={REDACTED}"),
        _ => part.to_owned(),
    });
    format!("{before}?{}", parts.collect::<Vec<_>>().join("&"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_say_what_is_secret() {
        for name in [
            "--api-key",
            "HF_TOKEN",
            "token",
            "db.password",
            "wandbApiKey",
            "AWS_SECRET_ACCESS_KEY",
            "--hub_token",
            "client-secret",
            "PGPASSWORD",
            "SSHPASS",
            "OPENAI_KEY",
            "GITHUB_PAT",
            "HF_TOKEN_READ",
            "--pass",
        ] {
            assert!(is_secret(name), "{name}");
        }
        for name in [
            "num_tokens",
            "--max-tokens",
            "pad_token",
            "tokenizer",
            "key",
            "--keys",
            "monkey",
            "secretary",
            "sort-key",
            "",
        ] {
            assert!(!is_secret(name), "{name}");
        }
    }

    #[test]
    fn a_recorded_command_holds_no_credential() {
        let command = [
            "train",
            "--api-key",
            "k1",
            "--token=k2",
            "password=k3",
            "--lr",
            "0.1",
            "--num_tokens",
            "7",
            "--token",
            "{env:T}",
            "https://u:k4@h/x@y",
            "git+ssh://k5@h",
            "--url=http://k6@h/?a=b",
            "--token",
            "--lr",
            "s3://bucket/a",
        ];
        let redacted = redact_command(&command.map(str::to_owned)).join(" ");
        assert_eq!(
            redacted,
            "train --api-key [redacted] --token=[redacted] password=[redacted] --lr 0.1 --num_tokens 7 --token {env:T} \
             https://[redacted]@h/x@y git+ssh://[redacted]@h --url=http://[redacted]@h/?a=b --token --lr s3://bucket/a"
        );
    }

    #[test]
    fn scripts_headers_and_queries_hold_none_either() {
        let command = [
            "sh",
            "-c",
            "LR=1 HF_TOKEN=k1 python t.py --api-key k2 --password=k3; export WANDB_API_KEY='k4'",
            "Authorization: Bearer k5",
            "X-Api-Key: k6",
            "https://h/x?api_key=k7&step=3",
        ];
        let redacted = redact_command(&command.map(str::to_owned)).join("|");
        assert!(
            !redacted.contains('k') || !(1..8).any(|n| redacted.contains(&format!("k{n}"))),
            "{redacted}"
        );
        assert!(redacted.contains("LR=1") && redacted.contains("python t.py") && redacted.contains("step=3"));
    }

    proptest! {
        #[test]
        fn no_text_is_too_strange(command: Vec<String>) {
            prop_assert_eq!(redact_command(&command).len(), command.len());
        }
    }
}
