//! Finds credentials of S3 in variables, then in the files of Amazon's tools. Asks no server that the user did
//! not name, so that missing credentials are an immediate error.
//!
//! Order and names: "Configuration and credential precedence", AWS SDKs and Tools Reference Guide.

use super::sign::Credentials;
use crate::store::environment::Environment;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Variables that belong together.
const GROUP: [&str; 5] =
    ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE", "AWS_DEFAULT_PROFILE"];
/// Variables of credentials that must be requested: of a service account of Kubernetes, of a container, of CI.
const ASKED: [&str; 3] = [
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
];
/// Keys of a profile that need more than the file.
const INDIRECT: [&str; 5] =
    ["role_arn", "sso_session", "sso_start_url", "credential_process", "web_identity_token_file"];

/// The command that prints the keys of any credentials.
const EXPORT: &str = "aws configure export-credentials";

/// The settings for a store, from variables and files.
#[derive(Debug)]
pub(super) struct Settings {
    /// The keys.
    pub(super) who: Credentials,
    /// Region.
    pub(super) region: String,
    /// Address of the server, if it is not Amazon's.
    pub(super) endpoint: Option<String>,
    /// File of trusted certificates, from a profile.
    pub(super) certificates: Option<String>,
}

/// Finds credentials. `read` reads a file, and returns none for a missing file.
pub(super) fn find(
    environment: &Environment,
    read: &dyn Fn(&Path) -> Option<String>,
) -> Result<Settings, String> {
    let variables = environment.together(&GROUP);
    let home = |name: &str| environment.get("HOME").map(|home| Path::new(&home).join(".aws").join(name));
    let file =
        |variable: &str, name: &str| environment.get(variable).map(PathBuf::from).or_else(|| home(name));
    let secrets = file("AWS_SHARED_CREDENTIALS_FILE", "credentials");
    let config = file("AWS_CONFIG_FILE", "config");
    let named = variables.first(&["AWS_PROFILE", "AWS_DEFAULT_PROFILE"]);
    let profile = named.clone().unwrap_or_else(|| "default".to_owned());
    let section = |file: &Option<PathBuf>, name: &str| {
        let mut sections = ini(&file.as_deref().and_then(read).unwrap_or_default());
        sections.remove(name)
    };
    let of_config = section(&config, &format!("profile {profile}"))
        .or_else(|| (profile == "default").then(|| section(&config, "default")).flatten());
    let mut keys = of_config.unwrap_or_default();
    keys.extend(section(&secrets, &profile).unwrap_or_default());

    let variable = |name: &str| variables.get(name);
    let of_variables = pair(
        variable("AWS_ACCESS_KEY_ID"),
        variable("AWS_SECRET_ACCESS_KEY"),
        variable("AWS_SESSION_TOKEN"),
        "the environment",
    )?;
    let key = |name: &str| keys.get(name).filter(|value| !value.is_empty()).cloned();
    let who = match of_variables {
        Some(who) => who,
        None if key("role_arn").is_some()
            && (key("source_profile").or_else(|| key("credential_source"))).is_some() =>
        {
            return Err(indirect(&profile, "role_arn")); // its keys are for taking the role
        }
        None => pair(
            key("aws_access_key_id"),
            key("aws_secret_access_key"),
            key("aws_session_token"),
            &format!("profile '{profile}'"),
        )?
        .ok_or_else(|| missing(environment, &profile, &keys, secrets.as_deref()))?,
    };
    let region = environment.first(&["AWS_REGION", "AWS_DEFAULT_REGION"]).or_else(|| key("region"));
    let of_services =
        || section(&config, &format!("services {}", key("services")?))?.remove("s3.endpoint_url");
    let is_ignored = environment
        .get("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS")
        .or_else(|| key("ignore_configured_endpoint_urls"))
        .is_some_and(|value| value.eq_ignore_ascii_case("true"));
    let of_amazon = || {
        environment
            .first(&["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"])
            .or_else(of_services)
            .or_else(|| key("endpoint_url"))
    };
    let endpoint = if is_ignored { None } else { of_amazon() }.or_else(|| environment.get("S3_ENDPOINT_URL"));
    let region = region.unwrap_or_else(|| "us-east-1".to_owned());
    Ok(Settings { who, region, endpoint, certificates: key("ca_bundle") })
}

pub(super) fn pair(
    key: Option<String>,
    secret: Option<String>,
    token: Option<String>,
    whence: &str,
) -> Result<Option<Credentials>, String> {
    match (key, secret) {
        (Some(key), Some(secret)) => {
            let is_right = |text: &str| text.bytes().all(|byte| (b'!'..=b'~').contains(&byte));
            if is_right(&key) && is_right(&secret) && token.as_deref().is_none_or(is_right) {
                Ok(Some(Credentials { key, secret, token }))
            } else {
                Err(format!("the credentials in {whence} have a character that none can have"))
            }
        }
        (None, None) => Ok(None),
        (Some(_), None) => Err(format!("{whence} has an access key id and no secret access key")),
        (None, Some(_)) => Err(format!("{whence} has a secret access key and no access key id")),
    }
}

fn missing(
    environment: &Environment,
    profile: &str,
    keys: &BTreeMap<String, String>,
    secrets: Option<&Path>,
) -> String {
    let export = EXPORT;
    if let Some(key) = INDIRECT.iter().find(|key| keys.contains_key(**key)) {
        return indirect(profile, key);
    }
    if let Some(variable) = ASKED.iter().find(|variable| environment.get(variable).is_some()) {
        return format!(
            "{variable} is set, which run-sync does not use; this gives its keys: eval \"$({export} --format env)\""
        );
    }
    format!(
        "there are no credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or write profile '{profile}' to '{}'; no instance is asked for its role, whose keys 'eval \"$({export} --format env)\"' gives",
        secrets.unwrap_or(Path::new("~/.aws/credentials")).display()
    )
}

fn indirect(profile: &str, key: &str) -> String {
    format!(
        "profile '{profile}' uses {key}, which run-sync does not; this gives its keys: eval \"$({EXPORT} --profile {profile} --format env)\""
    )
}

/// Parses a file of Amazon's tools, or of gsutil, into sections and keys. An indented setting within a setting
/// has the names of both: `s3.endpoint_url`.
pub(super) fn ini(text: &str) -> BTreeMap<String, BTreeMap<String, String>> {
    let (mut sections, mut section) = (BTreeMap::<String, BTreeMap<_, _>>::new(), String::new());
    let mut outer = String::new();
    for line in text.trim_start_matches('\u{feff}').lines() {
        if line.trim_start().starts_with(['#', ';']) {
            continue;
        }
        let start = line.split(" #").next().unwrap_or_default().trim();
        if line.starts_with([' ', '\t']) {
            if let Some((key, value)) = start.split_once('=').filter(|_| !outer.is_empty()) {
                let keys = sections.entry(section.clone()).or_default();
                keys.insert(format!("{outer}.{}", key.trim().to_ascii_lowercase()), value.trim().to_owned());
            }
            continue;
        }
        outer.clear();
        if let Some(name) = start.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            section = name.split_whitespace().collect::<Vec<_>>().join(" ").replace(['"', '\''], "");
        } else if let Some((key, value)) = start.split_once('=') {
            let keys = sections.entry(section.clone()).or_default();
            let key = key.trim().to_ascii_lowercase();
            if value.trim().is_empty() {
                outer.clone_from(&key);
            }
            keys.insert(key, value.trim().to_owned());
        }
    }
    sections
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRETS: &str = "[default]\naws_access_key_id = A\naws_secret_access_key=S # x\n\n[other]\nAWS_ACCESS_KEY_ID=B\naws_secret_access_key=T\naws_session_token=K\n";
    const CONFIG: &str = "[default]\nregion = eu-west-1\ns3 =\n  max_concurrent_requests = 20\n[profile  other]\nregion=x\nendpoint_url = http://h\n[profile sso]\nsso_session=me\n[profile role]\nrole_arn=arn:x\nsource_profile=default\n[profile made]\ncredential_process = /bin/x\n[profile local]\nservices = near\nendpoint_url = http://far\naws_access_key_id = A\naws_secret_access_key = S\n[services near]\ndynamodb =\n  endpoint_url = http://other\ns3 =\n  # of ours\n  endpoint_url = http://near\n";

    fn look(variables: &[(&str, &str)]) -> Result<String, String> {
        let read = |path: &Path| match path.to_str() {
            Some("/h/.aws/credentials") => Some(SECRETS.to_owned()),
            Some("/h/.aws/config") => Some(CONFIG.to_owned()),
            _ => None,
        };
        find(&Environment::of(variables), &read).map(|found| {
            let who = found.who;
            let (token, endpoint) = (who.token.unwrap_or_default(), found.endpoint.unwrap_or_default());
            format!("{} {} {token} {} {endpoint}", who.key, who.secret, found.region)
        })
    }

    #[test]
    fn variables_come_before_files() {
        let home = ("HOME", "/h");
        assert_eq!(look(&[home]).unwrap(), "A S  eu-west-1 ");
        assert_eq!(look(&[home, ("AWS_PROFILE", "other")]).unwrap(), "B T K x http://h");
        let keys = [home, ("AWS_ACCESS_KEY_ID", "E"), ("AWS_SECRET_ACCESS_KEY", "F"), ("AWS_REGION", "r")];
        assert_eq!(look(&keys).unwrap(), "E F  r ");
        let profile = ("AWS_PROFILE", "other");
        assert_eq!(look(&[home, profile, ("AWS_ENDPOINT_URL_S3", "http://s")]).unwrap(), "B T K x http://s");
        let files =
            [("AWS_CONFIG_FILE", "/h/.aws/config"), ("AWS_SHARED_CREDENTIALS_FILE", "/h/.aws/credentials")];
        assert_eq!(look(&[&files[..], &[profile]].concat()).unwrap(), "B T K x http://h");
        let default = ("AWS_DEFAULT_PROFILE", "other");
        assert_eq!(look(&[home, default]).unwrap(), "B T K x http://h");
    }

    #[test]
    fn a_server_is_that_of_s3_before_that_of_all_services() {
        let local = [("HOME", "/h"), ("AWS_PROFILE", "local")];
        let look = |more: &[(&str, &str)]| look(&[&local[..], more].concat()).unwrap();
        assert_eq!(look(&[]), "A S  us-east-1 http://near");
        assert_eq!(look(&[("AWS_ENDPOINT_URL", "http://e")]), "A S  us-east-1 http://e");
        assert_eq!(look(&[("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "true")]), "A S  us-east-1 ");
    }

    #[test]
    fn what_is_missing_is_said() {
        assert!(look(&[("HOME", "/h"), ("AWS_PROFILE", "sso")]).unwrap_err().contains("sso_session"));
        for (profile, key) in [("role", "role_arn"), ("made", "credential_process")] {
            let why = look(&[("HOME", "/h"), ("AWS_PROFILE", profile)]).unwrap_err();
            assert!(
                why.starts_with(&format!("profile '{profile}' uses {key}, which run-sync does not")),
                "{why}"
            );
        }
        assert!(look(&[("HOME", "/h"), ("AWS_PROFILE", "none")]).unwrap_err().contains("profile 'none'"));
        assert!(look(&[]).unwrap_err().starts_with("there are no credentials"));
        for variable in ASKED {
            let why = look(&[("AWS_ROLE_ARN", "arn:x"), (variable, "/x")]).unwrap_err();
            assert!(why.starts_with(&format!("{variable} is set, which run-sync does not use")), "{why}");
            assert_eq!(look(&[("HOME", "/h"), (variable, "/x")]).unwrap(), "A S  eu-west-1 ");
        }
        assert!(look(&[("AWS_ACCESS_KEY_ID", "E")]).unwrap_err().contains("no secret"));
        assert!(look(&[("AWS_ACCESS_KEY_ID", "E"), ("AWS_SECRET_ACCESS_KEY", "a\nb")]).is_err());
    }
}
