//! `simulate`: a Confluence Cloud on a port of this machine.

use std::net::SocketAddr;
use std::process::ExitCode;

use anyhow::Context as _;
use tokio::net::TcpListener;

use crate::server::Stop;
use crate::simulator::{Options, Simulator};

/// Stand in for Confluence Cloud, for trying things out and for tests
#[derive(clap::Args, Clone, Debug)]
pub struct Args {
    /// Where to listen
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8091")]
    pub listen: SocketAddr,
    /// What there is and how badly it behaves.
    #[command(flatten)]
    pub options: Options,
}

/// Serves until the process is told to stop.
///
/// # Errors
/// Options without sense, a data file that cannot be used, an address that is taken.
pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let simulator = Simulator::new(&args.options)?;
    let listener = TcpListener::bind(args.listen)
        .await
        .with_context(|| format!("cannot listen on {}", args.listen))?;
    let address = listener.local_addr().context("the listener has no address")?;
    let stop = Stop::new();
    stop.at_signals();
    say!("simulator listening on http://{address}");
    simulator.run(listener, async move { stop.said().await }).await;
    Ok(ExitCode::SUCCESS)
}
