//! Which store a command uses, and the store's address in receipts and messages.

use crate::store::Access;
use crate::store::url::StoreUrl;
use run_common::error::Error;
use std::fs;

/// Returns the given store, else that of `RUN_SYNC_URL`. `option` is the command-line option for it.
pub(crate) fn address(given: Option<&StoreUrl>, option: &str, access: &Access) -> Result<StoreUrl, Error> {
    match (given, access.environment.get("RUN_SYNC_URL")) {
        (Some(given), _) => Ok(given.clone()),
        (None, Some(url)) => url.parse(),
        (None, None) => {
            let hint = format!("name one by {option} or RUN_SYNC_URL: s3://BUCKET/PREFIX, or a directory");
            Err(Error::usage("no store is given").hint(hint))
        }
    }
}

/// Returns the address of a store for receipts and messages: for a directory, the absolute path.
pub(crate) fn shown(url: &StoreUrl) -> String {
    match url {
        StoreUrl::Directory(root) => {
            let absolute = fs::canonicalize(root).or_else(|_| std::path::absolute(root));
            absolute.as_ref().unwrap_or(root).display().to_string()
        }
        url => url.to_string(),
    }
}
