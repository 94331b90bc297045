//! The audit as an operator has it in hand: what shows when its files are not as they were written, what does not, and
//! what happens when they cannot be written. The chain itself, and the program over it.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod along;
mod bed;
#[path = "../support/cloud.rs"]
mod cloud;
mod commands;
mod damage;
mod files;
#[path = "../support/program.rs"]
mod program;
mod refusals;
#[path = "../support/seclude.rs"]
mod seclude;
