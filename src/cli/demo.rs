//! `demo`: a simulated Cloud and a facade before it in one process, on this machine alone, with nothing to set up.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context as _;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::start_log;
use crate::extender::auth::accounts;
use crate::private;
use crate::server::{Server, Stop};
use crate::settings::{Mode, Settings};
use crate::simulator::{Options, Person, Simulator};

const DEFAULTS: &str = include_str!("../../config/demo.toml");

/// Show the main job with no account and no configuration
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Where the facade listens [default: inbound.listen, 127.0.0.1:8090]
    #[arg(long, value_name = "ADDR")]
    listen: Option<SocketAddr>,
    /// Where the simulated Cloud listens
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8091")]
    simulator_listen: SocketAddr,
    /// Where the facade's operator listens [default: admin.listen, 127.0.0.1:8092]
    #[arg(long, value_name = "ADDR")]
    admin_listen: Option<SocketAddr>,
    /// What the simulated Cloud holds and how badly it behaves.
    #[command(flatten)]
    options: Options,
}

/// Runs until it is told to stop; its directory is removed at the end.
///
/// # Errors
/// An address that is taken or not on this machine, options without sense.
pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let directory = tempfile::Builder::new()
        .prefix("extender-facade-demo-")
        .tempdir()
        .context("no temporary directory")?;
    let simulator = Simulator::new(&args.options)?;
    let people = simulator.people();
    let simulator_listener = listen("--simulator-listen", args.simulator_listen).await?;
    let simulator_address = simulator_listener.local_addr().context("the listener has no address")?;

    let map = directory.path().join("identities.csv");
    write_map(&map, &people).context("the identity map cannot be written")?;
    let accounts = directory.path().join("accounts.toml");
    write_accounts(&accounts).context("the accounts cannot be written")?;
    let mut settings = Settings::load(None, DEFAULTS, None)?;
    settings.cloud.base_url = format!("http://{simulator_address}");
    settings.state_dir = directory.path().join("state");
    settings.identity.map_file.get_or_insert(map);
    settings.inbound.accounts_file.get_or_insert(accounts);
    settings.inbound.listen = args.listen.unwrap_or(settings.inbound.listen);
    settings.admin.listen = args.admin_listen.or(settings.admin.listen);
    for (what, address) in [
        ("--listen", Some(settings.inbound.listen)),
        ("--admin-listen", settings.admin.listen),
    ] {
        loopback(what, address)?;
    }
    start_log(&settings.log)?;
    let listeners = Server::bind(&settings).await?;
    let facade = listeners.inbound.local_addr().context("the listener has no address")?;
    let admin = listeners.admin.as_ref().and_then(|listener| listener.local_addr().ok());
    let mode = settings.inbound.mode;
    let server = Server::new(settings)?;

    let stop = Stop::new();
    stop.at_signals();
    let simulator_stop = CancellationToken::new();
    let stopped = simulator_stop.clone();
    let simulator = tokio::spawn(simulator.run(simulator_listener, async move { stopped.cancelled().await }));
    let names = people
        .iter()
        .map(|person| person.username.as_str())
        .filter(|name| !name.is_empty());
    let users: Vec<&str> = names.take(2).collect();
    print(&guide(facade, simulator_address, admin, mode, &users))?;
    server.run(listeners, stop).await;
    // The facade's last changes still want an answer, so the simulator goes last.
    simulator_stop.cancel();
    let _ = simulator.await;
    directory.close().context("the temporary directory cannot be removed")?;
    Ok(ExitCode::SUCCESS)
}

async fn listen(what: &str, address: SocketAddr) -> anyhow::Result<TcpListener> {
    loopback(what, Some(address))?;
    TcpListener::bind(address)
        .await
        .with_context(|| format!("{what} {address}"))
}

fn loopback(what: &str, address: Option<SocketAddr>) -> anyhow::Result<()> {
    match address {
        Some(address) if !address.ip().is_loopback() => {
            anyhow::bail!("{what} {address}: a demo with known passwords listens on loopback only")
        }
        _ => Ok(()),
    }
}

/// Everybody who has a name; a data file may hold accounts without any.
pub(super) fn write_map(path: &Path, people: &[Person]) -> anyhow::Result<()> {
    let mut file = csv::Writer::from_path(path)?;
    file.write_record(["username", "key", "email", "account_id", "full_name"])?;
    for Person {
        username,
        key,
        email,
        account_id,
        display_name,
    } in people
    {
        if [username, key, email].into_iter().any(|name| !name.trim().is_empty()) {
            file.write_record([username, key, email, account_id, display_name])?;
        }
    }
    file.flush()?;
    Ok(())
}

fn write_accounts(path: &Path) -> anyhow::Result<()> {
    let mut text = String::new();
    for (name, role) in [
        ("admin", accounts::Role::Administrator),
        ("reader", accounts::Role::Reader),
    ] {
        let hash = accounts::hash_password(name)?;
        text.push_str(&format!(
            "[[account]]\nname = \"{name}\"\npassword = \"{hash}\"\nrole = \"{role}\"\n\n"
        ));
    }
    write_secret(path, &text)?;
    Ok(())
}

/// Writes a file that nobody else may read.
pub(super) fn write_secret(path: &Path, text: &str) -> std::io::Result<()> {
    let mut file = private::file().write(true).create_new(true).open(path)?;
    file.write_all(text.as_bytes())
}

/// What a newcomer reads: the six calls, ready to paste, in an order that makes a story.
fn guide(facade: SocketAddr, simulator: SocketAddr, admin: Option<SocketAddr>, mode: Mode, users: &[&str]) -> String {
    let who = |name: &str| match mode {
        Mode::Accounts => format!(" -u {name}:{name}"),
        Mode::Passthrough => " -u you@example.com:any-token".to_owned(),
        Mode::Open => String::new(),
    };
    let base = format!("http://{facade}/rest/extender/1.0/group");
    let get = |path: &str| format!("curl -s{} '{base}/{path}'", who("reader"));
    let post = |path: &str, body: &str| {
        // As a shell wants a quote within quotes.
        let body = body.replace('\'', "'\\''");
        format!(
            "curl -s{} -H 'Content-Type: application/json' -d '{body}' '{base}/{path}'",
            who("admin")
        )
    };
    let users = serde_json::json!({ "users": users }).to_string();
    let lines = [
        get("getGroups?maxResults=10"),
        post("addGroups", "{\"groups\":[\"demo team\"]}"),
        post("addUsers/demo%20team", &users),
        get("getUsers/demo%20team?showBasicDetails=true"),
        post("removeUsers/demo%20team", &users),
        post("removeGroups", "{\"groups\":[\"demo team\"]}"),
    ];
    let mut text = String::from(
        "The calls of the legacy API, answered from a simulated Confluence Cloud; paste them in another terminal:\n\n",
    );
    for line in lines {
        text.push_str(&line);
        text.push('\n');
    }
    let admin = admin.map_or_else(
        || "nowhere".to_owned(),
        |admin| format!("http://{admin}/ready and /metrics"),
    );
    text.push_str(&format!(
        "\nAdd ?dryRun=true to try a change without making it. Each change has a report, at the id of its header\nX-Facade-Report: \
         http://{facade}/facade/v1/reports/<id>\n\nfacade     http://{facade}\nsimulator  http://{simulator} (its truth: /_sim/stats)\noperator   {admin}\n\nready (Ctrl-C ends it)\n"
    ));
    text
}

fn print(text: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())
        .and_then(|()| out.flush())
        .context("standard output is closed")
}
