//! Which store is meant, and how receipts and messages call it.

use crate::store::url::StoreUrl;
use run_common::error::Error;
use std::env;
use std::fs;

/// Returns the store that was given, else that of `$RUN_SYNC_URL`.
pub(crate) fn address(given: Option<&StoreUrl>) -> Result<StoreUrl, Error> {
    match (given, env::var("RUN_SYNC_URL")) {
        (Some(given), _) => Ok(given.clone()),
        (None, Ok(url)) if !url.is_empty() => url.parse(),
        (None, _) => {
            Err(Error::usage("no store is given").hint("--to or --from names one, or $RUN_SYNC_URL"))
        }
    }
}

/// Returns the address of a store as receipts and messages have it: of a directory the absolute path.
pub(crate) fn shown(url: &StoreUrl) -> String {
    match url {
        StoreUrl::Directory(root) => {
            let absolute = fs::canonicalize(root).or_else(|_| std::path::absolute(root));
            absolute.as_ref().unwrap_or(root).display().to_string()
        }
        url => url.to_string(),
    }
}
