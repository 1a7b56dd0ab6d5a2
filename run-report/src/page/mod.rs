//! The HTML page: one file that contains its data and needs no network.

mod axes;
pub(crate) mod data;
pub(crate) mod media;
mod numbers;
pub(crate) mod resources;
pub(crate) mod row_places;

use crate::curves::Options;
use crate::figures::Figures;
use crate::output::write_file;
use crate::runs::Runs;
use run_common::cli::out::Out;
use run_common::cost::Rates;
use run_common::error::{Error, Exit};
use run_common::provenance::hash::sha256;
use std::path::Path;

/// Maximum number of buckets of all curves of a page together, because pages are opened from disk and mailed.
const BUCKETS: usize = 90_000;

/// The program of the page, in the order of its parts.
const SCRIPT: &str = concat!(
    include_str!("assets/base.js"),
    include_str!("assets/scale.js"),
    include_str!("assets/curves.js"),
    include_str!("assets/address.js"),
    include_str!("assets/chart.js"),
    include_str!("assets/hover.js"),
    include_str!("assets/sidebar.js"),
    include_str!("assets/tables.js"),
    include_str!("assets/timeline.js"),
    include_str!("assets/media.js"),
    include_str!("assets/live.js"),
    include_str!("assets/main.js"),
);

/// Writes the page.
pub(crate) fn write(
    runs: &Runs,
    options: &Options,
    rates: Option<&Rates>,
    file: &Path,
    out: &mut Out,
) -> Result<Exit, Error> {
    let (figures, _) = Figures::of_all(&runs.all); // errors are reported with the curves
    let drawn = |figures: &Figures| figures.names().filter(|name| options.wants(name)).count();
    let curves: usize = figures.iter().map(drawn).sum();
    let buckets = (BUCKETS / curves.max(1)).clamp(32, 2048) & !1;
    let (data, exit) = data::of_runs(runs, options, rates, &figures, buckets);
    write_file(file, page(&data, "img-src data:;").as_bytes(), out).map(|()| exit)
}

/// Puts a page together that asks its server for what is new.
pub(crate) fn live(data: &str) -> String {
    page(data, "connect-src 'self'; img-src 'self' data:;")
}

/// Puts a page together. Only its own program runs in it, whatever the data contain.
fn page(data: &str, more_policy: &str) -> String {
    // In a script element, only `</script` and `<!--` are special; escaping every `<` is enough.
    let data = data.replace('<', "\\u003c");
    let nonce = sha256(data.as_bytes()); // data cannot contain their own hash
    let policy = format!(
        "default-src 'none'; script-src 'nonce-{nonce}'; style-src 'unsafe-inline'; {more_policy} \
         base-uri 'none'; form-action 'none'"
    );
    include_str!("assets/page.html")
        .replace("/*CSS*/", include_str!("assets/page.css"))
        .replace("/*JS*/", SCRIPT)
        .replace("/*POLICY*/", &policy)
        .replace("/*NONCE*/", &nonce)
        .replace("/*DATA*/", &data)
}
