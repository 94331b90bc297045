//! `credential`: the consent behind an app of OAuth 2.0 (3LO), and how all credentials for Cloud stand.

use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail, ensure};
use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY};
use http::{HeaderValue, Method, Response, StatusCode};
use http_body_util::Full;
use hyper_util::rt::{TokioIo, TokioTimer};
use jiff::Timestamp;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use url::{Host, Url};

use super::start_log;
use crate::browser;
use crate::cloud::{Ahead, Asking, Client, Consented, Credential, SCOPES};
use crate::metrics::Metrics;
use crate::server;
use crate::settings::{CredentialKind, Settings};

/// Consent to an app of OAuth, and see how the credentials for Cloud stand
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Ask for consent in a browser, and keep what comes of it in the state directory
    Login(Login),
    /// Show every credential for Cloud: its kind and when it ends. Asks nobody
    List {
        /// The file given to `serve`
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
    },
}

#[derive(Debug, clap::Args)]
struct Login {
    /// The file given to `serve`
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Which app, where the settings have several
    #[arg(long, value_name = "ID")]
    client_id: Option<String>,
    /// Where the browser comes back to: the callback address of the app, on this machine
    #[arg(long, value_name = "URL", default_value = "http://localhost:8765/callback")]
    callback: Url,
    /// The browser runs on another machine: the address it ends at, which it cannot open, is read from standard input
    #[arg(long)]
    paste: bool,
    /// How long the answer is waited for, in seconds
    #[arg(long, value_name = "S", default_value_t = 600)]
    patience: u64,
}

/// 0: kept.
///
/// # Errors
/// Why nothing was kept.
pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    match args.command {
        Command::Login(args) => login(args).await,
        Command::List { config } => list(&Settings::load(config.as_deref(), "", None)?),
    }
}

fn list(settings: &Settings) -> anyhow::Result<ExitCode> {
    let cloud = &settings.cloud;
    let mut is_over = false;
    for keys in [cloud.keys(), cloud.admin.keys(), cloud.scim.keys(), cloud.jira.keys()] {
        for key in Credential::of(keys, &server::consents(settings)).standing() {
            let ahead = key.ahead(Timestamp::now());
            is_over |= ahead == Ahead::Over;
            let ends = match key.ends {
                None => "no end is known".to_owned(),
                Some(_) if ahead == Ahead::Over => "is over".to_owned(),
                Some(ends) => format!("ends {ends}"),
            };
            say!("{:<16} {}: {ends}", key.kind.as_str(), key.name);
        }
    }
    Ok(if is_over { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

async fn login(args: Login) -> anyhow::Result<ExitCode> {
    let settings = Settings::load(args.config.as_deref(), "", None)?;
    start_log(&crate::settings::Log {
        filter: "warn".to_owned(),
        ..settings.log.clone()
    })?;
    // The code and the client's secret go to these addresses.
    let faults = settings.cloud.faults();
    ensure!(faults.is_empty(), "{}", faults.join("\n"));
    let apps: Vec<_> = settings
        .cloud
        .keys()
        .into_iter()
        .filter(|key| key.kind == CredentialKind::Oauth)
        .filter(|key| args.client_id.as_ref().is_none_or(|id| *id == key.client_id))
        .collect();
    let app = match apps.as_slice() {
        [] => bail!(
            "the settings name no such app: cloud.kind = \"oauth\", with client_id and client_secret (was --config forgotten?)"
        ),
        [one] => one,
        [first, rest @ ..] if rest.iter().all(|other| other.client_id == first.client_id) => first,
        _ => bail!("the settings name several apps: say which with --client-id"),
    };
    if let Some(why) = server::Inspector::foreign(&settings.state_dir) {
        bail!("{why}: what is kept there now could not be read by the service; run this as its user");
    }
    let client = Client::new(&settings.cloud, Metrics::new()).map_err(|fault| anyhow!(fault))?;
    let asking = Asking::new(app, args.callback.clone(), &server::consents(&settings));
    let patience = Duration::from_secs(args.patience);
    let answer = if args.paste {
        show(&asking, &client);
        say!(
            "The browser ends at an address that it cannot open: {}?…",
            args.callback
        );
        say!("Paste that address here:");
        tokio::time::timeout(patience, pasted()).await
    } else {
        let listeners = listen(&args.callback).await?;
        show(&asking, &client);
        tokio::time::timeout(patience, come_back(&listeners, &args.callback, &asking)).await
    };
    let answer = answer.map_err(|_elapsed| anyhow!("nobody answered within {} seconds", args.patience))??;
    let Consented { file, missing, doubt } = asking.take(&client, &answer).await.map_err(|fault| anyhow!(fault))?;
    say!(
        "The consent is kept in {}. A running facade uses it at once.",
        file.display()
    );
    if let Some(doubt) = doubt {
        say!("Whether it is for this site is not certain: {doubt}. `extender-facade check` tells.");
    }
    if !missing.is_empty() {
        say!(
            "Not given: {}. Add them to the app at developer.atlassian.com, then consent again.",
            missing.join(", ")
        );
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}

fn show(asking: &Asking, client: &Client) {
    say!("The app must have these scopes: {}", SCOPES.join(" "));
    say!("Open this address in a browser, as a site administrator, and consent:");
    say!("\n  {}\n", asking.address(client));
}

async fn pasted() -> anyhow::Result<Url> {
    let (sender, line) = tokio::sync::oneshot::channel();
    // A thread of its own, which ends with the process: nothing else ends a wait for a terminal.
    std::thread::spawn(move || {
        let mut line = String::new();
        let read = std::io::stdin().read_line(&mut line);
        let _ = sender.send(read.map(|_| line));
    });
    let line = line.await.context("nothing was read")??;
    Url::parse(line.trim()).context("that is no address")
}

/// Listeners at the callback's port, on this machine alone. None if somebody else has that port at one of the two addresses
/// that `localhost` means: a browser may ask there, and would hand over its answer.
async fn listen(callback: &Url) -> anyhow::Result<Vec<TcpListener>> {
    let port = callback.port_or_known_default().context("the callback has no port")?;
    ensure!(
        callback.scheme() == "http",
        "the callback must be http, on this machine: the answer does not leave it"
    );
    let addresses: Vec<SocketAddr> = match callback.host() {
        Some(Host::Domain("localhost")) => vec![(Ipv4Addr::LOCALHOST, port).into(), (Ipv6Addr::LOCALHOST, port).into()],
        Some(Host::Ipv4(ip)) if ip.is_loopback() => vec![(ip, port).into()],
        Some(Host::Ipv6(ip)) if ip.is_loopback() => vec![(ip, port).into()],
        _ => bail!("the callback must be an address of this machine: http://localhost:PORT/…"),
    };
    let mut listeners = Vec::new();
    let mut fault = None;
    for address in addresses {
        match TcpListener::bind(address).await {
            Ok(listener) => listeners.push(listener),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => bail!(
                "cannot listen on {address}: another program has that port; end it, or name another with --callback (one that \
                 the app knows), or use --paste"
            ),
            // A machine without one of the two.
            Err(error) => fault = Some(anyhow!("cannot listen on {address}: {error}")),
        }
    }
    match fault {
        Some(fault) if listeners.is_empty() => Err(fault),
        _ => Ok(listeners),
    }
}

/// The address at which the browser came back with an answer to this question; everything else is turned away.
async fn come_back(listeners: &[TcpListener], callback: &Url, asking: &Asking) -> anyhow::Result<Url> {
    let (sender, mut answers) = mpsc::channel::<Url>(1);
    let serve = async |listener: &TcpListener| -> Infallible {
        loop {
            let Ok((socket, _)) = listener.accept().await else {
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            };
            let (sender, callback) = (sender.clone(), callback.clone());
            let service = hyper::service::service_fn(move |request| {
                let (sender, callback) = (sender.clone(), callback.clone());
                async move { Ok::<_, Infallible>(page(&request, &callback, &sender).await) }
            });
            let mut http = hyper::server::conn::http1::Builder::new();
            http.timer(TokioTimer::new())
                .header_read_timeout(Duration::from_secs(10))
                .keep_alive(false);
            tokio::spawn(http.serve_connection(TokioIo::new(socket), service));
        }
    };
    let serving = futures_util::future::join_all(listeners.iter().map(serve));
    let mut serving = std::pin::pin!(serving);
    loop {
        tokio::select! {
            answer = answers.recv() => {
                let answer = answer.context("the listener ended")?;
                if asking.is_answer(&answer) {
                    return Ok(answer);
                }
                eprintln!("An answer to another question came, and was left alone: open the address above.");
            }
            _ = &mut serving => bail!("the listener ended"),
        }
    }
}

/// What the browser is shown. Only the callback's own path, by its own name, is an answer.
async fn page(
    request: &http::Request<hyper::body::Incoming>,
    callback: &Url,
    sender: &mpsc::Sender<Url>,
) -> Response<Full<Bytes>> {
    let is_ours = request.method() == Method::GET
        && request.uri().path() == callback.path()
        && browser::is_for_loopback(request.headers());
    let (status, text) = if is_ours {
        let mut url = callback.clone();
        url.set_query(request.uri().query());
        let _ = sender.send(url).await;
        (
            StatusCode::OK,
            "<!doctype html><meta charset=utf-8><title>extender-facade</title><p>You can close this page; the \
                          command line tells the rest.",
        )
    } else {
        (StatusCode::NOT_FOUND, "")
    };
    let mut response = Response::new(Full::new(Bytes::from_static(text.as_bytes())));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    for (name, value) in [
        (CONTENT_TYPE, "text/html; charset=utf-8"),
        (CACHE_CONTROL, "no-store"),
        (REFERRER_POLICY, "no-referrer"),
        (CONTENT_SECURITY_POLICY, "default-src 'none'"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}
