//! Every kind of credential that Cloud knows, and every way to get one wrong: what `check` says, and what a script gets.

#[path = "../support/cloud.rs"]
mod cloud;
#[path = "../facade/harness.rs"]
mod harness;

mod consent;
mod desk;
mod kinds;
mod several;
mod wrong;
