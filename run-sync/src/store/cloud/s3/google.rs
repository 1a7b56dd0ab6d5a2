//! Finds HMAC keys of Google Cloud Storage in variables, then in the files of gsutil.

use super::credentials::{Settings, ini, pair};
use crate::store::environment::Environment;
use std::path::{Path, PathBuf};

/// The server of the XML API.
const SERVER: &str = "https://storage.googleapis.com";
/// Variables that belong together, named as in gsutil's file, GDAL and duplicity.
const GROUP: [&str; 2] = ["GS_ACCESS_KEY_ID", "GS_SECRET_ACCESS_KEY"];

/// Finds HMAC keys. `read` reads a file, and returns none for a missing file.
pub(super) fn find(
    environment: &Environment,
    read: &dyn Fn(&Path) -> Option<String>,
) -> Result<Settings, String> {
    let variables = environment.together(&GROUP);
    let of_variables = pair(variables.get(GROUP[0]), variables.get(GROUP[1]), None, "the environment")?;
    let home = || environment.get("HOME").map(|home| Path::new(&home).join(".boto"));
    let file = environment.get("BOTO_CONFIG").map(PathBuf::from).or_else(home);
    let who = match of_variables {
        Some(who) => who,
        None => of_file(file.as_deref(), read)?.ok_or_else(|| missing(environment))?,
    };
    let endpoint = match environment.get("STORAGE_EMULATOR_HOST") {
        None => SERVER.to_owned(),
        Some(host) if host.contains("://") => host,
        Some(host) => format!("http://{host}"), // as in Google's libraries
    };
    Ok(Settings { who, region: "auto".to_owned(), endpoint: Some(endpoint), certificates: None })
}

fn of_file(
    file: Option<&Path>,
    read: &dyn Fn(&Path) -> Option<String>,
) -> Result<Option<super::sign::Credentials>, String> {
    let Some(path) = file else { return Ok(None) };
    let mut sections = ini(&read(path).unwrap_or_default());
    let mut keys = sections.remove("Credentials").unwrap_or_default();
    let mut key = |name: &str| keys.remove(name).filter(|value| !value.is_empty());
    let (id, secret) = (key("gs_access_key_id"), key("gs_secret_access_key"));
    pair(id, secret, None, &format!("'{}'", path.display()))
}

fn missing(environment: &Environment) -> String {
    let others = ["GOOGLE_APPLICATION_CREDENTIALS", "GOOGLE_SERVICE_ACCOUNT", "CLOUDSDK_AUTH_ACCESS_TOKEN"];
    let why = match others.iter().find(|name| environment.get(name).is_some()) {
        Some(name) => format!("{name} is set, but run-sync signs with HMAC keys"),
        None => "there are no credentials".to_owned(),
    };
    format!(
        "{why}: set GS_ACCESS_KEY_ID and GS_SECRET_ACCESS_KEY, which 'gcloud storage hmac create ACCOUNT' makes"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(variables: &[(&str, &str)]) -> Result<String, String> {
        let read = |path: &Path| {
            let text = "[Credentials]\ngs_access_key_id = B\ngs_secret_access_key = T\n";
            (path == Path::new("/h/.boto")).then(|| text.to_owned())
        };
        find(&Environment::of(variables), &read).map(|found| {
            format!("{} {} {}", found.who.key, found.who.secret, found.endpoint.unwrap_or_default())
        })
    }

    #[test]
    fn keys_are_in_variables_or_the_file_of_gsutil() {
        let keys = [("GS_ACCESS_KEY_ID", "A"), ("GS_SECRET_ACCESS_KEY", "S"), ("HOME", "/h")];
        assert_eq!(look(&keys).unwrap(), format!("A S {SERVER}"));
        let file = [("HOME", "/h"), ("STORAGE_EMULATOR_HOST", "localhost:9000")];
        assert_eq!(look(&file).unwrap(), "B T http://localhost:9000");
    }

    #[test]
    fn what_is_missing_is_said() {
        assert!(look(&[]).unwrap_err().starts_with("there are no credentials: set GS_ACCESS_KEY_ID"));
        assert!(look(&keys_of_one()).unwrap_err().contains("no secret"));
        let other = look(&[("GOOGLE_APPLICATION_CREDENTIALS", "/x.json")]).unwrap_err();
        assert!(other.contains("signs with HMAC keys"), "{other}");
    }

    fn keys_of_one() -> [(&'static str, &'static str); 1] {
        [("GS_ACCESS_KEY_ID", "A")]
    }
}
