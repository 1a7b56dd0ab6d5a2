//! The project as a whole: its code, manuals, messages and packages.

mod completions;
mod layers;
mod manual;
mod mistakes;
mod packages;
mod wording;
