//! Options of a command line as keys and values, to compare runs by them.

use serde_json::{Map, Value};

/// Reads `--key=value`, `--key value`, `--flag` and `key=value`; values stay as typed, and a flag is `true`.
/// Ignores words before the options, other words, the short options of an interpreter or a launcher, the
/// module after `-m` and the program after `-c`.
pub fn params(command: &[String]) -> Map<String, Value> {
    let mut params = Map::new();
    let mut arguments = command.iter().peekable();
    let mut awaits_program = arguments.next().is_some_and(|program| is_interpreter(program));
    let mut has_interpreter = awaits_program;
    while let Some(argument) = arguments.next() {
        if argument == "--" {
            continue;
        }
        if awaits_program && argument.starts_with('-') && !argument.starts_with("--") {
            if ["-m", "-c", "-W", "-X", "-o"].contains(&argument.as_str()) {
                arguments.next();
                awaits_program = !["-m", "-c"].contains(&argument.as_str());
            }
            continue;
        }
        if is_interpreter(argument) {
            (awaits_program, has_interpreter) = (true, true);
        } else if !argument.starts_with('-') && !["launch", "run"].contains(&argument.as_str()) {
            awaits_program = false;
        }
        let dashed =
            argument.strip_prefix("--").or_else(|| argument.strip_prefix('-').filter(|rest| is_name(rest)));
        match (dashed, argument.split_once('=')) {
            (Some(_), Some((key, value))) => {
                params.insert(key.trim_start_matches('-').to_owned(), value.into());
            }
            (Some(key), None) if is_name(key) => {
                // In `xvfb-run -a python train.py`, the interpreter is not a value.
                let is_of_launcher = !has_interpreter && !argument.starts_with("--");
                let is_value = |next: &str| !next.starts_with('-') || next.parse::<f64>().is_ok();
                let value =
                    arguments.next_if(|next| is_value(next) && !(is_of_launcher && is_interpreter(next)));
                params.insert(key.to_owned(), value.map_or(Value::Bool(true), |value| value.as_str().into()));
            }
            (None, Some((key, value))) if is_name(key) => {
                params.insert(key.to_owned(), value.into());
            }
            _ => {}
        }
    }
    params
}

/// Returns whether a word names a program that takes another program by `-m` or `-c`.
fn is_interpreter(word: &str) -> bool {
    let name = word.rsplit('/').next().unwrap_or_default();
    let name = name.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.');
    [
        "python",
        "pypy",
        "sh",
        "bash",
        "dash",
        "zsh",
        "ksh",
        "fish",
        "torchrun",
        "accelerate",
        "deepspeed",
        "uv",
    ]
    .contains(&name)
}

/// Returns whether a word can be a key: `lr`, `train.lr`, `learning-rate`, `+optim/lr`.
fn is_name(word: &str) -> bool {
    word.starts_with(|c: char| c.is_alphabetic() || c == '_' || c == '+')
        && word.chars().all(|c| c.is_alphanumeric() || "._-+/@".contains(c))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn options_are_read_as_key_and_value() {
        let command = "python train.py data.yaml --lr=1e-3 --seed 7 --bias -0.5 --amp -v optim.name=adam x=a=b -- --eq= k";
        let command: Vec<String> = command.split(' ').map(str::to_owned).collect();
        let expected = json!({
            "lr": "1e-3", "seed": "7", "bias": "-0.5", "amp": true, "v": "optim.name=adam", "x": "a=b", "eq": ""
        });
        assert_eq!(Value::Object(params(&command)), expected);
    }

    #[test]
    fn the_module_and_the_program_of_an_interpreter_are_no_options() {
        for line in [
            "python -m pkg.train --lr 1",
            "/opt/py/bin/python3.11 -u -m pkg.train --lr 1",
            "torchrun --lr=1 -m pkg.train",
            "env -u X uv run python -m pkg.train --lr 1",
            "sh -c k=1 --lr 1",
            "python -u train --lr 1",
            "accelerate launch --multi_gpu -m pkg.train --lr 1",
            "python3 -X dev -W ignore -m pkg.train --lr 1",
            "xvfb-run -a python3 -m pkg.train --lr 1",
        ] {
            let command: Vec<String> = line.split(' ').map(str::to_owned).collect();
            let params = params(&command);
            assert_eq!(params["lr"], "1", "{line}");
            assert!(["m", "c"].iter().all(|key| !params.contains_key(*key)), "{line}: {params:?}");
            assert_ne!(params.get("u"), Some(&json!("train")), "{line}");
            assert!(["W", "X"].iter().all(|key| !params.contains_key(*key)), "{line}: {params:?}");
            assert!(params.get("a").is_none_or(Value::is_boolean), "{line}: {params:?}");
        }
        let own: Vec<String> = "python train.py -m resnet -c x.yaml".split(' ').map(str::to_owned).collect();
        assert_eq!(Value::Object(params(&own)), json!({"m": "resnet", "c": "x.yaml"}));
    }
}
