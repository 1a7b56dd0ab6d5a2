//! Runs of other systems, read as they are.

mod adopt;
mod beside;
mod damage;
mod ecosystem;
mod ecosystem_hostile;
mod evaluations;
mod guild;
mod hostile;
mod live;
mod queries;
mod ray_tune;
mod states;
mod stop;
mod systems;
mod trackers;
mod translations;
mod untouched;
