//! Every kind of credential that Cloud knows, and every way to get one wrong: what `check` says, and what a script gets.

#[path = "../support/cloud.rs"]
mod cloud;
#[path = "../facade/harness.rs"]
mod harness;
#[path = "../support/login.rs"]
mod login;
#[path = "../support/program.rs"]
mod program;

mod consent;
mod desk;
mod killed;
mod kinds;
mod several;
mod wrong;
