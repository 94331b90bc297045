//! A simulator or a facade as a process of its own, started by `loadtest`: so its memory is its own, and the load does not
//! share its threads. It prints its address and ends when its standard input does, so that none is left behind by whatever
//! becomes of the test.

use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use tokio::net::TcpListener;
use tokio::sync::oneshot;

use crate::cli::rehearsal;
use crate::server::{Server, Stop};
use crate::simulator::{Options, Simulator};

/// A part of a load test's own world
#[derive(clap::Args, Debug)]
pub struct Args {
    #[command(subcommand)]
    which: Which,
}

#[derive(clap::Subcommand, Debug)]
enum Which {
    /// The simulated Cloud
    Simulator {
        #[command(flatten)]
        options: Box<Options>,
    },
    /// The facade before it
    Facade {
        /// Where its state, map and accounts are
        #[arg(long)]
        directory: PathBuf,
        /// The simulated Cloud
        #[arg(long)]
        cloud: String,
        /// Settings instead of the defaults
        #[arg(long)]
        config: Option<PathBuf>,
    },
}

/// Runs until standard input ends.
///
/// # Errors
/// Options or settings that cannot be used, no free port.
pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    match args.which {
        Which::Simulator { options } => {
            let simulator = Simulator::new(&options)?;
            let listener = TcpListener::bind("127.0.0.1:0").await.context("no port is free")?;
            tell(&listener)?;
            simulator.run(listener, orphaned()).await;
        }
        Which::Facade {
            directory,
            cloud,
            config,
        } => {
            let settings = rehearsal::settings(config.as_deref(), &directory, cloud)?;
            let listeners = Server::bind(&settings).await?;
            let server = Server::new(settings)?;
            tell(&listeners.inbound)?;
            let stop = Stop::new();
            let ended = stop.clone();
            tokio::spawn(async move {
                orphaned().await;
                ended.say();
            });
            server.run(listeners, stop).await;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn tell(listener: &TcpListener) -> anyhow::Result<()> {
    let address = listener.local_addr().context("the listener has no address")?;
    let mut out = io::stdout().lock();
    writeln!(out, "http://{address}")
        .and_then(|()| out.flush())
        .context("nobody wants to know the address")
}

/// Until the other end of standard input is closed, which it is when that process ends, too.
async fn orphaned() {
    let (sender, ended) = oneshot::channel::<()>();
    std::thread::spawn(move || {
        let _ = io::copy(&mut io::stdin().lock(), &mut io::sink());
        drop(sender);
    });
    let _ = ended.await;
}
