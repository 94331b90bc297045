//! `healthcheck`: what a container asks its own process, with nothing but this binary at hand.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;

use crate::settings::Settings;

/// Ask a running facade whether it is alive
#[derive(clap::Args, Debug)]
pub struct Args {
    /// The admin listener [default: as the settings say]
    #[arg(long, value_name = "ADDR")]
    address: Option<SocketAddr>,
    /// The file given to `serve`
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Ask whether it is ready instead
    #[arg(long)]
    ready: bool,
}

/// 0: yes; 1: no.
#[must_use]
pub fn run(args: &Args) -> ExitCode {
    match ask(args) {
        Ok(status) if status.starts_with("HTTP/1.1 200") => ExitCode::SUCCESS,
        Ok(status) => {
            eprintln!("{status}");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn address(args: &Args) -> anyhow::Result<SocketAddr> {
    match args.address {
        Some(address) => Ok(address),
        None => operators(&Settings::load(args.config.as_deref(), "", None)?),
    }
}

/// Where the settings put the admin listener; one that listens everywhere is asked on this machine.
pub(super) fn operators(settings: &Settings) -> anyhow::Result<SocketAddr> {
    let mut address = settings.admin.listen.context("admin.listen is switched off")?;
    if address.ip().is_unspecified() {
        let here = if address.is_ipv4() {
            IpAddr::from(Ipv4Addr::LOCALHOST)
        } else {
            Ipv6Addr::LOCALHOST.into()
        };
        address.set_ip(here);
    }
    Ok(address)
}

fn ask(args: &Args) -> anyhow::Result<String> {
    let address = address(args)?;
    let patience = Duration::from_secs(3);
    let mut stream = TcpStream::connect_timeout(&address, patience).with_context(|| address.to_string())?;
    stream.set_read_timeout(Some(patience))?;
    stream.set_write_timeout(Some(patience))?;
    let path = if args.ready { "/ready" } else { "/live" };
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    )?;
    let mut answer = String::new();
    stream.take(65_536).read_to_string(&mut answer)?;
    Ok(answer.lines().next().unwrap_or("no answer").to_owned())
}
