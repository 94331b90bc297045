//! `serve`: the facade itself.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;

use super::start_log;
use crate::server::{Server, Stop, exposed_files};
use crate::settings::Settings;

/// Serve legacy scripts
#[derive(clap::Args, Debug)]
pub struct Args {
    /// A file with what differs from config/default.toml; FACADE__SECTION__KEY outranks it
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// Serves until SIGTERM or Ctrl-C, then finishes what runs.
///
/// # Errors
/// Faults of the settings or of a file they name, an address that is taken.
pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let settings = Settings::load(args.config.as_deref(), "", None)?;
    start_log(&settings.log)?;
    for sentence in exposed_files(&settings, args.config.as_deref()) {
        tracing::warn!("{sentence}");
    }
    let listeners = Server::bind(&settings);
    let server = Server::new(settings.clone())?;
    let listeners = listeners.await?;
    let stop = Stop::new();
    stop.at_signals();
    let inbound = listeners.inbound.local_addr().context("the listener has no address")?;
    let admin = listeners.admin.as_ref().and_then(|listener| listener.local_addr().ok());
    tracing::info!(%inbound, admin = admin.map(tracing::field::display), mode = ?settings.inbound.mode, site = %settings.cloud.base_url, "serving");
    server.run(listeners, stop).await;
    Ok(ExitCode::SUCCESS)
}
