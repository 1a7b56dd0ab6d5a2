//! Every metric row of every run as one CSV. The header names every column, so a first pass finds the
//! columns, and a second pass writes the rows. Two threads read the files in pieces, so that memory does not
//! grow with the rows.

mod columns;
mod input;
mod order;
mod reader;
mod rows;
mod scan;
mod write;

use crate::fault::Fault;
use crate::run::Run;
use crate::runs::Runs;
use crate::table::facts;
use columns::Columns;
use input::{Input, Piece};
use run_common::cli::out::Out;
use run_common::error::{Error, Exit};
use std::io;

/// Prints the rows of the runs, each with these settings of its run.
pub(crate) fn print(runs: &Runs, settings: &[String], out: &mut Out) -> Result<Exit, Error> {
    let settings = facts(&runs.all, settings)?;
    let of_run = |(number, run): (usize, &Run)| {
        let values = settings.rows.get(number).into_iter().flatten().map(|(value, _)| value);
        Input::of(run, values)
    };
    let mut inputs: Vec<Input> = runs.all.iter().enumerate().map(of_run).collect();
    let mut errors: Vec<Option<io::Error>> = inputs.iter().map(|_| None).collect();
    let mut fail = |input: usize, error| {
        errors[input].get_or_insert(error); // once per file, whatever the number of its pieces
    };
    let mut pieces: Vec<Piece> =
        inputs.iter().enumerate().flat_map(|(number, input)| input.pieces(number)).collect();
    let columns = scan::columns(&mut inputs, &mut pieces, &mut fail);
    let settings = settings.columns.iter().map(|column| column.name.as_str());
    let columns = Columns::new(columns, settings);
    let left_out = write::print(&inputs, &pieces, &columns, out, &mut fail)?;
    // After the output, because stderr and stdout may be the same file.
    let mut exit = runs.exit;
    for ((input, error), left_out) in inputs.iter().zip(errors).zip(left_out) {
        let root = input.layout.root();
        let unread = error.map(|error| Fault::of(root, Err(error)));
        exit = Fault::say_all(&unread.unwrap_or_default(), exit);
        exit = Fault::say_all(&Fault::of(root, Ok(left_out)), exit);
    }
    Ok(exit)
}
