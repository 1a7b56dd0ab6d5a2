//! Working directories of Hydra, `outputs/DATE/TIME/` and `multirun/DATE/TIME/NUMBER/`: `.hydra/config.yaml`,
//! `.hydra/overrides.yaml`, `JOB.log`, and the files of the program.

use super::traces::{names, written};
use super::{Account, ForeignLayout, Listing, Logs, settings};
use serde_json::Value;
use std::path::Path;

/// The layout.
#[derive(Debug)]
pub(super) struct Hydra;

impl ForeignLayout for Hydra {
    fn name(&self) -> &'static str {
        "Hydra"
    }

    fn is_run(&self, listing: &Listing) -> bool {
        listing.has_dir(".hydra")
    }

    fn is_holder(&self, listing: &Listing) -> bool {
        let name = listing.name().to_string_lossy();
        let is_like = |form: &str| {
            name.len() == form.len()
                && name.bytes().zip(form.bytes()).all(|(byte, form)| match form {
                    b'0' => byte.is_ascii_digit(),
                    _ => byte == form,
                })
        };
        name == "outputs" || name == "multirun" || is_like("0000-00-00") || listing.has_file("multirun.yaml")
    }

    fn account(&self, run: &Path) -> Account {
        let start_time = written(&run.join(".hydra/config.yaml")); // Hydra writes it at the start
        let mut account = Account { start_time, ..Account::default() };
        let meta = &mut account.meta;
        settings::config_file(meta, run, ".hydra/config.yaml", &mut account.damage);
        let overrides = settings::read(&run.join(".hydra/overrides.yaml"), &mut account.damage);
        for word in overrides.iter().filter_map(Value::as_array).flatten().filter_map(Value::as_str) {
            let (key, value) = word.split_once('=').unwrap_or((word, ""));
            meta.overrides.insert(key.to_owned(), Value::from(value));
        }
        account
    }

    fn logs(&self, run: &Path) -> Logs {
        let name =
            names(run).into_iter().find(|name| Path::new(name).extension().is_some_and(|end| end == "log"));
        Logs { combined: name.map(|name| run.join(name)), ..Logs::default() }
    }
}
