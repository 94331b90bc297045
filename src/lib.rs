//! extender-facade answers the group calls of the Data Center app "REST API Extender" on top of Confluence Cloud, so
//! that scripts written against it run unchanged but for their base URL.
//!
//! ```text
//! legacy script ──HTTP──▶ extender ──calls──▶ directory ──calls──▶ cloud ──HTTP──▶ Confluence Cloud
//!                         their words          our words            Cloud's words
//! ```
//!
//! Two translators with a domain between them. In reading order:
//!
//! * [`model`]: the words everybody shares.
//! * [`extender`]: INBOUND. Routes, checks, parameters, messages, dates; who may call.
//! * [`directory`]: DOMAIN. Six operations on groups and members; names to accounts and back.
//! * [`cloud`]: OUTBOUND. One method a call; retries, waits and limits.
//! * [`audit`], [`metrics`]: written beside the stream, never read by a request.
//! * [`store`]: what outlives a restart: learned identities, the journal of operations; and the lock on the state directory.
//! * [`reports`]: what became of bulk calls, as JSON; one form for callers, operators and the command line.
//! * [`settings`], [`server`], [`admin`], [`cli`]: how all of it is set, run, watched and started. [`browser`] keeps
//!   web pages out, [`doors`] limits guesses and tells who was refused, [`private`] makes files that are their owner's alone.
//! * [`migration`]: OFFLINE. Exports to an identity map, names in scripts, the readiness report.
//! * `fuzzing`: what the fuzz targets call.
//! * [`simulator`]: a Confluence Cloud small enough for a test, reached over HTTP alone.
//!
//! Who may use whom: `cli → server → {admin, extender} → directory → {cloud, audit, store} → {metrics, settings, model}`;
//! a test holds it. `ARCHITECTURE.md` says where things go and what must never happen.
#![warn(
    clippy::unwrap_used,
    clippy::panic,
    clippy::unreachable,
    clippy::indexing_slicing,
    clippy::string_slice
)]
#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::panic,
        clippy::unreachable,
        clippy::indexing_slicing,
        clippy::string_slice
    )
)]

pub mod admin;
pub mod audit;
pub mod browser;
pub mod cli;
pub mod cloud;
pub mod directory;
pub mod doors;
pub mod extender;
#[doc(hidden)]
pub mod fuzzing;
pub mod metrics;
pub mod migration;
pub mod model;
pub mod private;
pub mod reports;
pub mod server;
pub mod settings;
pub mod simulator;
pub mod store;
