//! Keeps credentials out of the record.

/// What stands in the record for a credential.
pub const REDACTED: &str = "[redacted]";

/// Words by which the name of an option, variable or key says that its value is secret.
const WORDS: [&str; 9] =
    ["password", "passwd", "passphrase", "pwd", "secret", "token", "apikey", "credential", "credentials"];

/// Words that say so in front of `key`.
const KEYS: [&str; 6] = ["api", "access", "private", "secret", "auth", "encryption"];

/// Words in front of `token` that speak of text, not of a credential: `--pad-token`.
const TEXT: [&str; 22] = [
    "pad", "eos", "bos", "unk", "mask", "cls", "sep", "stop", "start", "end", "special", "image", "new",
    "next", "per", "prompt", "no", "first", "last", "num", "max", "min",
];

/// Says whether a name such as `--api-key`, `HF_TOKEN` or `db.password` says that its value is
/// secret; `num_tokens` and `pad_token` do not.
pub fn is_secret(name: &str) -> bool {
    let words = words(name);
    let mut last = words.iter().rev().map(String::as_str);
    match (last.next(), last.next()) {
        (Some("token"), Some(before)) => !TEXT.contains(&before),
        (Some("key"), Some(before)) => KEYS.contains(&before),
        (Some(word), _) => WORDS.contains(&word),
        (None, _) => false,
    }
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

/// Returns a command as it may be recorded: values of options whose names say secret, and user
/// info in URLs, are replaced. `{env:NAME}` is no secret, and stays.
pub fn redact_command(command: &[String]) -> Vec<String> {
    let mut redacted = Vec::with_capacity(command.len());
    let mut next_is_secret = false;
    for argument in command {
        let takes_value = std::mem::take(&mut next_is_secret);
        redacted.push(match argument.split_once('=') {
            _ if takes_value && !argument.starts_with("--") && !names_variable(argument) => {
                REDACTED.to_owned()
            }
            Some((name, value)) if !name.contains("://") => format!("{name}={}", redact_value(name, value)),
            _ => {
                next_is_secret = argument.starts_with('-') && is_secret(argument);
                redact_url(argument)
            }
        });
    }
    redacted
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
    redacted + rest
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

    proptest! {
        #[test]
        fn no_text_is_too_strange(command: Vec<String>) {
            prop_assert_eq!(redact_command(&command).len(), command.len());
        }
    }
}
