//! The experiments of a file store: one for each batch, named after the batch, and the default one for all
//! other runs.

use super::yaml;
use crate::run::Run;
use run_common::fsio::atomic::{Durability, write_whole};
use run_common::fsio::read_small;
use run_common::provenance::config;
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// The experiment that MLflow shows first, and its name.
const DEFAULT: (&str, &str) = ("0", "Default");

/// An experiment.
#[derive(Clone, Debug)]
pub(super) struct Experiment {
    pub(super) id: String,
    /// Its current directory, and its final path.
    pub(super) root: PathBuf,
    pub(super) artifacts: PathBuf,
}

/// The experiments of a store.
#[derive(Debug)]
pub(super) struct Experiments {
    root: PathBuf,
    place: PathBuf,
    /// Ids by name.
    known: BTreeMap<String, String>,
    /// All ids, including those of unreadable experiments.
    taken: Vec<String>,
}

impl Experiments {
    /// Reads the experiments of the store at `root`, whose final path is `place`.
    pub(super) fn open(root: &Path, place: &Path) -> io::Result<Self> {
        let mut found = Self {
            root: root.to_owned(),
            place: place.to_owned(),
            known: BTreeMap::new(),
            taken: Vec::new(),
        };
        for entry in fs::read_dir(root)? {
            let Ok(id) = entry?.file_name().into_string() else { continue };
            let path = root.join(&id).join("meta.yaml");
            let meta = read_small(&path).ok().and_then(|bytes| config::parse(&path, &bytes).ok());
            if let Some(name) = meta.as_ref().and_then(|meta| meta.get("name")?.as_str()) {
                found.known.insert(name.to_owned(), id.clone());
            }
            found.taken.push(id);
        }
        fs::create_dir_all(root.join(".trash"))?; // MLflow's trash
        Ok(found)
    }

    /// Returns the experiment of a run: the one that already contains its id, else that of its batch.
    pub(super) fn of(&mut self, run: &Run, id: &str) -> io::Result<Experiment> {
        let has_it = |experiment: &&String| self.root.join(experiment).join(id).is_dir();
        if let Some(experiment) = self.known.values().find(has_it) {
            return Ok(self.at(experiment.clone()));
        }
        let name = run.meta.batch.as_deref().unwrap_or(DEFAULT.1);
        if let Some(known) = self.known.get(name) {
            return Ok(self.at(known.clone()));
        }
        let mut free = (1_u32..).map(|number| number.to_string());
        let id = match run.meta.batch {
            Some(_) => free.find(|number| !self.taken.contains(number)).unwrap_or_default(),
            None => DEFAULT.0.to_owned(),
        };
        let experiment = self.at(id.clone());
        let created = run.meta.created.millis();
        let meta = yaml::document(&[
            ("artifact_location", yaml::uri(&experiment.artifacts).into()),
            ("creation_time", created.into()),
            ("experiment_id", id.clone().into()),
            ("last_update_time", created.into()),
            ("lifecycle_stage", "active".into()),
            ("name", name.into()),
        ]);
        fs::create_dir_all(&experiment.root)?;
        write_whole(&experiment.root.join("meta.yaml"), meta.as_bytes(), Durability::Process)?;
        self.known.insert(name.to_owned(), id.clone());
        self.taken.push(id);
        Ok(experiment)
    }

    fn at(&self, id: String) -> Experiment {
        Experiment { root: self.root.join(&id), artifacts: self.place.join(&id), id }
    }
}
