//! `healthcheck`: what a container asks its own process, with nothing but this binary at hand.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::process::ExitCode;
use std::time::Duration;

/// Ask a running facade whether it is alive
#[derive(clap::Args, Debug)]
pub struct Args {
    /// The admin listener
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8092")]
    address: SocketAddr,
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
            eprintln!("{}: {error}", args.address);
            ExitCode::FAILURE
        }
    }
}

fn ask(args: &Args) -> std::io::Result<String> {
    let patience = Duration::from_secs(3);
    let mut stream = TcpStream::connect_timeout(&args.address, patience)?;
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
