//! Finds credentials of Azure in the variables of Azure's command line tool. Asks no server for them.

use super::super::text::from_base64;
use crate::store::environment::Environment;
use std::fmt;

/// Variables that belong together.
const GROUP: [&str; 4] = [
    "AZURE_STORAGE_CONNECTION_STRING",
    "AZURE_STORAGE_ACCOUNT",
    "AZURE_STORAGE_KEY",
    "AZURE_STORAGE_SAS_TOKEN",
];
/// Variables of identities that would have to ask a server for a token.
const ASKED: [&str; 5] = [
    "AZURE_FEDERATED_TOKEN_FILE",
    "AZURE_CLIENT_SECRET",
    "AZURE_CLIENT_ID",
    "IDENTITY_ENDPOINT",
    "MSI_ENDPOINT",
];
/// The account of emulators, and its key, which is no secret.
const EMULATOR: [&str; 2] = [
    "devstoreaccount1",
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==",
];

/// Proves the identity of the client.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum Proof {
    /// The key of the account, decoded and as text.
    Key(Vec<u8>, String),
    /// A signature that is part of each address.
    Token(String),
}

impl fmt::Debug for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Proof")
    }
}

impl Proof {
    /// Returns the texts that no message may contain.
    pub(super) fn secrets(&self) -> Vec<&str> {
        match self {
            Self::Key(_, text) => vec![text],
            Self::Token(token) => token
                .split('&')
                .filter_map(|pair| pair.strip_prefix("sig="))
                .chain([token.as_str()])
                .collect(),
        }
    }
}

/// The settings for a store, from variables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Settings {
    /// The account.
    pub(super) account: String,
    /// The proof of the client's identity.
    pub(super) proof: Proof,
    /// `https://ACCOUNT.blob.core.windows.net`, or the address of another server, without a `/` at its end.
    pub(super) server: String,
}

/// Finds credentials.
pub(super) fn find(environment: &Environment) -> Result<Settings, String> {
    let variables = environment.together(&GROUP);
    let endpoint = environment.first(&["AZURE_STORAGE_SERVICE_ENDPOINT", "AZURE_STORAGE_ENDPOINT"]);
    if let Some(text) = variables.get("AZURE_STORAGE_CONNECTION_STRING") {
        return of_string(&text);
    }
    let account = variables.get("AZURE_STORAGE_ACCOUNT");
    let (key, token) = (variables.get("AZURE_STORAGE_KEY"), variables.get("AZURE_STORAGE_SAS_TOKEN"));
    let key_or_token = "AZURE_STORAGE_KEY or AZURE_STORAGE_SAS_TOKEN";
    let identity = ASKED.iter().find(|name| environment.get(name).is_some());
    let Some(account) = account else {
        return Err(match (key, token, identity) {
            (None, None, Some(name)) => {
                format!(
                    "{name} is set, which run-sync does not use: set AZURE_STORAGE_ACCOUNT and {key_or_token}"
                )
            }
            (None, None, None) => format!(
                "there are no credentials: set AZURE_STORAGE_CONNECTION_STRING, or AZURE_STORAGE_ACCOUNT and {key_or_token}"
            ),
            _ => "AZURE_STORAGE_ACCOUNT is not set".to_owned(),
        });
    };
    let missing = || match identity {
        Some(name) => format!("{name} is set, which run-sync does not use: set {key_or_token}"),
        None => format!("{account} has no credentials: set {key_or_token}"),
    };
    let proof = proof(key, token)?.ok_or_else(missing)?;
    let server = endpoint.unwrap_or_else(|| format!("https://{account}.blob.core.windows.net"));
    checked(account, proof, &server, "AZURE_STORAGE_SERVICE_ENDPOINT")
}

/// Reads a connection string: `NAME=VALUE;…`.
fn of_string(text: &str) -> Result<Settings, String> {
    let pairs: Vec<_> = text.split(';').filter_map(|pair| pair.trim().split_once('=')).collect();
    let of = |name: &str| {
        let found = pairs.iter().find(|(other, _)| other.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.trim().to_owned()).filter(|value| !value.is_empty())
    };
    let variable = "AZURE_STORAGE_CONNECTION_STRING";
    if of("UseDevelopmentStorage").is_some_and(|value| value.eq_ignore_ascii_case("true")) {
        let [account, key] = EMULATOR.map(ToOwned::to_owned);
        let server = format!("http://127.0.0.1:10000/{account}");
        let proof = proof(Some(key), None)?.ok_or_else(String::new)?;
        return Ok(Settings { account, proof, server });
    }
    let proof = proof(of("AccountKey"), of("SharedAccessSignature"))?
        .ok_or_else(|| format!("{variable} has neither AccountKey nor SharedAccessSignature"))?;
    let (account, endpoint) = (of("AccountName"), of("BlobEndpoint"));
    let server = match (endpoint, &account) {
        (Some(endpoint), _) => endpoint,
        (None, Some(account)) => {
            let scheme = of("DefaultEndpointsProtocol").unwrap_or_else(|| "https".to_owned());
            let suffix = of("EndpointSuffix").unwrap_or_else(|| "core.windows.net".to_owned());
            format!("{scheme}://{account}.blob.{suffix}")
        }
        (None, None) => return Err(format!("{variable} has neither AccountName nor BlobEndpoint")),
    };
    match account {
        None if matches!(proof, Proof::Key(..)) => Err(format!("{variable} has no AccountName")),
        account => checked(account.unwrap_or_default(), proof, &server, variable),
    }
}

fn proof(key: Option<String>, token: Option<String>) -> Result<Option<Proof>, String> {
    let is_plain = |text: &str| text.bytes().all(|byte| (b'!'..=b'~').contains(&byte) && byte != b'#');
    match (key, token) {
        (Some(text), _) => match from_base64(&text) {
            Some(key) => Ok(Some(Proof::Key(key, text))),
            None => Err("the key of the account is no base64".to_owned()),
        },
        (None, Some(token)) => {
            let token = token.trim_start_matches('?').to_owned();
            if is_plain(&token) && token.split('&').any(|pair| pair.starts_with("sig=")) {
                Ok(Some(Proof::Token(token)))
            } else {
                Err("the SAS token has no signature".to_owned())
            }
        }
        (None, None) => Ok(None),
    }
}

fn checked(account: String, proof: Proof, server: &str, variable: &str) -> Result<Settings, String> {
    if !account.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') {
        return Err(format!("'{account}' is no name of an account"));
    }
    let server = server.trim_end_matches('/').to_owned();
    let rest = server.strip_prefix("https://").or_else(|| server.strip_prefix("http://"));
    match rest {
        None | Some("") => Err(format!("{variable} names no https:// or http:// address")),
        Some(rest) if rest.contains('@') => Err(format!("{variable} has credentials in its address")),
        Some(rest) if rest.contains(['?', '#', ' ', '%']) => {
            Err(format!("{variable} names no address of a server"))
        }
        Some(_) => Ok(Settings { account, proof, server }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(variables: &[(&str, &str)]) -> Result<String, String> {
        find(&Environment::of(variables)).map(|found| {
            let proof = found.proof.secrets().last().copied().unwrap_or_default().to_owned();
            format!("{} {proof} {}", found.account, found.server)
        })
    }

    #[test]
    fn variables_are_those_of_azures_tool() {
        let account = ("AZURE_STORAGE_ACCOUNT", "me");
        let server = "https://me.blob.core.windows.net";
        let key = look(&[account, ("AZURE_STORAGE_KEY", "a2V5")]).unwrap();
        assert_eq!(key, format!("me a2V5 {server}"));
        let token = look(&[account, ("AZURE_STORAGE_SAS_TOKEN", "?sv=1&sig=a%2B")]).unwrap();
        assert_eq!(token, format!("me sv=1&sig=a%2B {server}"));
        let string = |text| look(&[("AZURE_STORAGE_CONNECTION_STRING", text), account]);
        let china = "DefaultEndpointsProtocol=https;AccountName=x;AccountKey=a2U=;EndpointSuffix=core.chinacloudapi.cn";
        assert_eq!(string(china).unwrap(), "x a2U= https://x.blob.core.chinacloudapi.cn");
        let shared = "BlobEndpoint=http://h:1/x/;SharedAccessSignature=sig=b";
        assert_eq!(string(shared).unwrap(), " sig=b http://h:1/x");
        assert!(
            string("UseDevelopmentStorage=true")
                .unwrap()
                .ends_with("http://127.0.0.1:10000/devstoreaccount1")
        );
    }

    #[test]
    fn what_is_missing_or_wrong_is_said_without_secrets() {
        let account = ("AZURE_STORAGE_ACCOUNT", "me");
        assert!(look(&[]).unwrap_err().starts_with("there are no credentials"));
        assert!(look(&[account]).unwrap_err().starts_with("me has no credentials"));
        for name in ASKED {
            for variables in [&[(name, "x")][..], &[account, (name, "x")]] {
                let why = look(variables).unwrap_err();
                assert!(why.starts_with(&format!("{name} is set, which run-sync does not use")), "{why}");
            }
        }
        assert!(look(&[("AZURE_STORAGE_KEY", "a2V5")]).unwrap_err().contains("ACCOUNT is not set"));
        for wrong in [
            [account, ("AZURE_STORAGE_KEY", "secret!")],
            [account, ("AZURE_STORAGE_SAS_TOKEN", "secret")],
            [account, ("AZURE_STORAGE_CONNECTION_STRING", "AccountKey=secrets8")],
        ] {
            let why = look(&wrong).unwrap_err();
            assert!(!why.contains("secret"), "{why}");
        }
        let elsewhere = [account, ("AZURE_STORAGE_KEY", "a2V5"), ("AZURE_STORAGE_ENDPOINT", "http://k:s@h")];
        assert!(look(&elsewhere).unwrap_err().contains("has credentials in its address"));
    }
}
