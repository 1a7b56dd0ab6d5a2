//! The HTML page, which contains the document and needs no network.

use super::document;
use crate::curves::Options;
use crate::figures::Figures;
use crate::output::write_file;
use crate::runs::Runs;
use run_common::cli::out::Out;
use run_common::error::{Error, Exit};
use std::path::Path;

/// Maximum number of buckets of all curves of a page together, because pages are opened from disk and mailed.
const BUCKETS: usize = 120_000;

/// Writes the page.
pub(crate) fn write(runs: &Runs, options: &Options, file: &Path, out: &mut Out) -> Result<Exit, Error> {
    let (figures, _) = Figures::of_all(&runs.all); // errors are reported with the curves
    let drawn = |figures: &Figures| figures.names().filter(|name| options.wants(name)).count();
    let curves: usize = figures.iter().map(drawn).sum();
    let buckets = (BUCKETS / curves.max(1)).clamp(32, 2048) & !1;
    let (document, exit) = document(runs, options, &figures, buckets);
    // In a script element, only `</script` and `<!--` are special; escaping every `<` is enough.
    let data = document.replace('<', "\\u003c");
    let page = include_str!("page.html")
        .replace("/*CSS*/", include_str!("page.css"))
        .replace("/*JS*/", include_str!("page.js"))
        .replace("/*DATA*/", &data);
    write_file(file, page.as_bytes(), out).map(|()| exit)
}
