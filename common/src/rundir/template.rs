//! Placeholders in the arguments of a command. Used by run-exec and run-eval.

use super::environment::Variable;
use super::meta::Meta;
use super::placeholders::{Piece, Spelling, pieces};
use crate::error::Error;
use crate::provenance::redact::{REDACTED, redact_command, redact_text};
use serde_json::Value;
use std::path::Path;

/// The sources of the values of placeholders.
#[derive(Debug)]
pub struct Values<'a> {
    /// The run directory, absolute.
    pub run: &'a Path,
    /// Its record.
    pub meta: &'a Meta,
    /// GPUs assigned to the attempt.
    pub gpu: Option<&'a str>,
    /// The checkpoint to resume from, or to evaluate.
    pub checkpoint: Option<Chosen<'a>>,
    /// Number of steps to train for, if different from the record.
    pub total_steps: Option<u64>,
    /// Returns a variable of the environment.
    pub env: fn(&str) -> Option<String>,
}

/// A checkpoint, and the directory of its evaluation.
#[derive(Clone, Copy, Debug)]
pub struct Chosen<'a> {
    /// Its absolute path.
    pub path: &'a Path,
    /// Its step, if it has one.
    pub step: Option<u64>,
    /// The absolute path of the evaluation's directory; `None` for an attempt.
    pub out: Option<&'a Path>,
}

/// A command and the variables of the record, with their placeholders filled in.
#[derive(Debug, PartialEq)]
pub struct Filled {
    /// The command to execute.
    pub command: Vec<String>,
    /// The command for the record: `{env:NAME}` stays, secrets are redacted.
    pub recorded: Vec<String>,
    /// The recorded variables of the run, except secrets, whose values were not recorded. A variable with a
    /// checkpoint placeholder is not set without a checkpoint.
    pub env: Vec<Variable>,
}

/// The expansion of a placeholder.
enum Token {
    /// Text that replaces the token.
    Text(String),
    /// Text that must not be recorded.
    Hidden(String),
    /// The whole argument is left out.
    Drop,
}

/// Fills in the placeholders of a command and of the recorded variables.
pub fn fill(template: &[String], values: &Values) -> Result<Filled, Error> {
    let mut filled = Filled { command: Vec::new(), recorded: Vec::new(), env: variables(values)? };
    for argument in template {
        if let Some(spelling) = Spelling::of(argument) {
            add_overrides(&mut filled, values, spelling)?;
            continue;
        }
        match argument.as_str() {
            "{resume}" if values.checkpoint.is_none_or(|chosen| chosen.out.is_some()) => {}
            "{resume}" => {
                let nested = values.meta.resume_args.as_deref().unwrap_or_default();
                for argument in nested.iter().filter(|argument| *argument != "{resume}") {
                    if argument.contains(REDACTED) {
                        return Err(not_recorded("{resume}", "a word of --resume-args"));
                    }
                    add_argument(&mut filled, argument, values)?;
                }
            }
            _ => add_argument(&mut filled, argument, values)?,
        }
    }
    filled.recorded = redact_command(&filled.recorded);
    Ok(filled)
}

fn add_argument(filled: &mut Filled, argument: &str, values: &Values) -> Result<(), Error> {
    if let Some((command, recorded)) = fill_argument(argument, values)? {
        filled.command.push(command);
        filled.recorded.push(recorded);
    }
    Ok(())
}

/// Fills in the recorded variables.
fn variables(values: &Values) -> Result<Vec<Variable>, Error> {
    let mut variables = Vec::new();
    for (name, value) in &values.meta.env {
        let value = value.as_str().unwrap_or_default();
        if !value.contains(REDACTED) {
            let filled = fill_argument(value, values)?;
            variables.push((name.into(), filled.map(|(value, _)| value.into())));
        }
    }
    Ok(variables)
}

fn add_overrides(filled: &mut Filled, values: &Values, spelling: Spelling) -> Result<(), Error> {
    for (key, value) in &values.meta.overrides {
        if is_redacted(value) {
            return Err(not_recorded("{set}", &format!("the value of '{key}'")));
        }
        let value = value.as_str().unwrap_or_default();
        let arguments = match (spelling, value) {
            (Spelling::Options, _) => vec![format!("--{key}={value}")],
            (Spelling::Python, _) => vec![format!("--{key}={}", python_spelling(value))],
            (Spelling::Plain, _) => vec![format!("{key}={value}")],
            (Spelling::Words, "true" | "True") => vec![format!("--{key}")],
            (Spelling::Words, "false" | "False") => Vec::new(),
            (Spelling::Words, _) => vec![format!("--{key}"), value.to_owned()],
        };
        filled.command.extend_from_slice(&arguments);
        filled.recorded.extend(arguments);
    }
    Ok(())
}

fn not_recorded(token: &str, what: &str) -> Error {
    Error::usage(format!("cannot fill in '{token}': {what} is a secret and was not recorded"))
        .hint("pass it as --option={env:NAME} in the command")
}

fn is_redacted(value: &Value) -> bool {
    value.as_str().is_some_and(|value| value.contains(REDACTED))
}

fn python_spelling(value: &str) -> String {
    match value {
        "true" => "True".to_owned(),
        "false" => "False".to_owned(),
        "null" => "None".to_owned(),
        other => other.to_owned(),
    }
}

/// Fills in an argument; `None` to leave it out.
fn fill_argument(argument: &str, values: &Values) -> Result<Option<(String, String)>, Error> {
    let (mut command, mut recorded) = (String::new(), String::new());
    let has_out = values.checkpoint.is_some_and(|chosen| chosen.out.is_some());
    for piece in pieces(argument, has_out) {
        let name = match piece {
            Piece::Text(text) => {
                command.push_str(text);
                recorded.push_str(text);
                continue;
            }
            Piece::Placeholder(name) => name,
        };
        let token = format!("{{{name}}}");
        match value_of(name, values).map_err(|cause| {
            Error::usage(format!("cannot fill in '{token}' of '{}'", redact_text(argument))).because(cause)
        })? {
            Token::Text(text) => {
                command.push_str(&text);
                recorded.push_str(&text);
            }
            Token::Hidden(text) => {
                command.push_str(&text);
                recorded.push_str(&token);
            }
            Token::Drop => return Ok(None),
        }
    }
    Ok(Some((command, recorded)))
}

/// Returns a recorded value, unless a secret was removed from it.
fn known(value: &str, what: &str) -> Result<String, String> {
    if value.contains(REDACTED) {
        return Err(format!("{what} is a secret and was not recorded"));
    }
    Ok(value.to_owned())
}

fn value_of(name: &str, values: &Values) -> Result<Token, String> {
    let meta = values.meta;
    let number = |number: Option<String>, option: &str| {
        number.ok_or_else(|| format!("the run has none; set it with run-new {option}"))
    };
    let text = match name {
        "run" => values.run.to_string_lossy().into_owned(),
        "name" => meta.run_name.clone(),
        "config" => match &meta.config_file {
            Some(file) => values.run.join(file).to_string_lossy().into_owned(),
            None => return Err("the run has no config".to_owned()),
        },
        "config_path" => known(meta.config_path.as_deref().ok_or("the run has no config")?, "the path")?,
        "seed" => number(meta.seed.map(|seed| seed.to_string()), "--seed")?,
        "total_steps" => {
            number(values.total_steps.or(meta.total_steps).map(|steps| steps.to_string()), "--total-steps")?
        }
        "gpu" => match values.gpu {
            Some(gpu) => gpu.to_owned(),
            None => (values.env)("CUDA_VISIBLE_DEVICES")
                .ok_or("neither --gpus nor CUDA_VISIBLE_DEVICES is set")?,
        },
        "checkpoint" | "step" | "out" => match (values.checkpoint, name) {
            (None, _) => return Ok(Token::Drop),
            (Some(chosen), "checkpoint") => chosen.path.to_string_lossy().into_owned(),
            (Some(Chosen { out: Some(out), .. }), "out") => out.to_string_lossy().into_owned(),
            (Some(chosen), _) => chosen.step.ok_or("the step of the checkpoint is unknown")?.to_string(),
        },
        "set" | "set:py" | "set:plain" | "set:words" | "resume" => {
            return Err("it must be a whole argument".to_owned());
        }
        _ => match name.split_once(':') {
            Some(("set", key)) => match meta.overrides.get(key).and_then(Value::as_str) {
                Some(value) => known(value, &format!("the value of '{key}'"))?,
                None => return Err(format!("the run has no override '{key}'")),
            },
            Some(("input", input)) => match meta.inputs.get(input).and_then(|input| input["path"].as_str()) {
                Some(path) => known(path, "the path")?,
                None => return Err(format!("the run has no input '{input}'")),
            },
            Some(("env", variable)) => {
                return match (values.env)(variable) {
                    Some(value) => Ok(Token::Hidden(value)),
                    None => Err(format!("the variable {variable} is not set")),
                };
            }
            _ => return Err("it is unknown".to_owned()),
        },
    };
    Ok(Token::Text(text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn meta() -> Meta {
        let meta = json!({
            "schema": 1, "run_id": "i", "run_name": "n m", "created": "2026-01-29T12:00:00.000Z", "command": null,
            "resume_args": null, "config_path": "/c/base.yaml", "config_file": "config.yaml", "config_sha256": null,
            "overrides": {"lr": "1e-3", "amp": "true", "text": "a b=c"}, "params": {}, "inputs": {"data": {"path": "/d"}},
            "tags": [], "note": null, "seed": 7, "total_steps": null, "checkpoint": null, "batch": null, "host": "h",
            "user": "u", "cwd": "/", "env": {"OUT": "{run}/out", "KEY": "{env:WORD}", "FROM": "{checkpoint}", "SECRET": "[redacted]"}, "git_commit": null, "git_branch": null, "git_dirty": null,
            "git_patch_cut": 0, "untracked": [], "device": null, "gpus": [], "python_executable": null,
            "python_version": null, "torch_version": null, "tool_version": "0"
        });
        serde_json::from_value(meta).unwrap()
    }

    fn filled(template: &[&str]) -> Result<Filled, Error> {
        let template: Vec<String> = template.iter().map(|&word| word.to_owned()).collect();
        let env = |name: &str| (name == "WORD").then(|| "hush".to_owned());
        fill(
            &template,
            &Values {
                run: Path::new("/r/n m"),
                meta: &meta(),
                gpu: None,
                checkpoint: None,
                total_steps: None,
                env,
            },
        )
    }

    #[test]
    fn placeholders_are_filled_in() {
        let template = [
            "x",
            "{run}/a",
            "{name}",
            "{config}",
            "{config_path}",
            "--lr={set:lr}",
            "{input:data}",
            "s{seed}{seed}",
        ];
        let expected =
            ["x", "/r/n m/a", "n m", "/r/n m/config.yaml", "/c/base.yaml", "--lr=1e-3", "/d", "s77"];
        assert_eq!(filled(&template).unwrap().command, expected);
        assert_eq!(filled(&["{set}"]).unwrap().command, ["--lr=1e-3", "--amp=true", "--text=a b=c"]);
        assert_eq!(filled(&["{set:py}"]).unwrap().command[1], "--amp=True");
        assert_eq!(filled(&["{set:plain}"]).unwrap().command, ["lr=1e-3", "amp=true", "text=a b=c"]);
        assert_eq!(filled(&["{set:words}"]).unwrap().command, ["--lr", "1e-3", "--amp", "--text", "a b=c"]);
    }

    #[test]
    fn variables_are_filled_in() {
        let env = filled(&[]).unwrap().env;
        let text = |name: &str| {
            let found = env.iter().find(|(known, _)| known == name);
            found.map(|(_, value)| value.as_ref().map(|value| value.to_string_lossy().into_owned()))
        };
        assert_eq!(text("OUT"), Some(Some("/r/n m/out".to_owned())));
        assert_eq!(text("KEY"), Some(Some("hush".to_owned())));
        assert_eq!(text("FROM"), Some(None), "there is no checkpoint");
        assert_eq!(text("SECRET"), None);
    }

    #[test]
    fn other_braces_stay_as_typed() {
        let same = [
            "{}",
            "{x}",
            "{'a': 1}",
            "{{foo}}",
            "{",
            "}",
            "{{",
            "{run",
            "{run}"[1..].into(),
            "{set:}",
            "${HOME}",
            "{{{",
        ];
        assert_eq!(filled(&same).unwrap().command, same);
        assert_eq!(
            filled(&["{{run}}", "a{{set}}b", "{{env:X}}", "{{{seed}}}"]).unwrap().command,
            ["{run}", "a{set}b", "{env:X}", "{{seed}}"]
        );
    }

    #[test]
    fn what_belongs_to_a_checkpoint_is_left_out_without_one() {
        let template = ["x", "{resume}", "--from={checkpoint}", "--at={step}", "y"];
        assert_eq!(filled(&template).unwrap().command, ["x", "y"]);
    }

    #[test]
    fn the_environment_is_used_but_not_recorded() {
        let filled = filled(&["--auth={env:WORD}", "--token", "abc", "{env:WORD}"]).unwrap();
        assert_eq!(filled.command, ["--auth=hush", "--token", "abc", "hush"]);
        assert_eq!(filled.recorded, ["--auth={env:WORD}", "--token", "[redacted]", "{env:WORD}"]);
    }

    #[test]
    fn a_checkpoint_to_be_evaluated_is_filled_in() {
        let template: Vec<String> =
            ["{checkpoint}", "--at={step}", "{out}/x", "{{out}}"].map(str::to_owned).to_vec();
        let chosen = Chosen { path: Path::new("/c/step_5"), step: Some(5), out: Some(Path::new("/o")) };
        let fill_for = |checkpoint| {
            fill(
                &template,
                &Values {
                    run: Path::new("/r"),
                    meta: &meta(),
                    gpu: None,
                    checkpoint,
                    total_steps: None,
                    env: |_| Some(String::new()),
                },
            )
        };
        assert_eq!(fill_for(Some(chosen)).unwrap().command, ["/c/step_5", "--at=5", "/o/x", "{out}"]);
        assert_eq!(fill_for(None).unwrap().command, ["{out}/x", "{{out}}"]);
        assert!(fill_for(Some(Chosen { step: None, ..chosen })).is_err());
    }

    #[test]
    fn a_placeholder_without_value_is_an_error() {
        for word in
            ["{total_steps}", "{set:nope}", "{input:nope}", "{env:NOPE}", "{gpu}", "a{set}", "a{resume}"]
        {
            let error = filled(&["x", word]).unwrap_err().to_string();
            assert!(error.contains(word), "{error}");
        }
    }
}
