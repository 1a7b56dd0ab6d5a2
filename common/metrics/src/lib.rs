//! Metric rows: one row type, read from what programs append, print and leave behind, and their
//! figures.

pub mod aggregate;
mod ascent;
mod aside;
pub mod bar;
pub mod csv;
pub mod evaluated;
mod events;
mod figures;
pub mod follow;
pub mod foreign;
pub mod goal;
pub mod growing;
mod kinds;
pub mod lines;
mod made_anew;
pub mod name_list;
pub mod names;
mod natural;
pub mod of_run;
pub mod read;
pub mod resumptions;
pub mod row;
mod row_reader;
pub mod scrape;
mod snapshot;
pub mod source;
pub mod standing;
pub mod step_key;
pub mod supersede;
pub mod tfrecord;
mod trainer_csv;
mod trainer_files;
mod trainer_state;
pub mod turns;
