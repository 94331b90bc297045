//! A facade in this process before a simulated Cloud on another port, and the floors it is held against: what the same
//! bytes cost without any of its work.
#![allow(dead_code, reason = "every bench uses another part")]

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use extender_facade::server::{Server, Stop};
use extender_facade::settings::{Settings, Variables};
use extender_facade::simulator::{Options, Person, Simulator};
use http::{HeaderValue, Response};
use http_body_util::Full;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use sha2::{Digest as _, Sha256};
use tokio::net::TcpListener;
use warp::Filter as _;

/// Who asks.
pub const TOKEN: &str = "xft_caller-of-the-benches";

/// A facade, ready, with everybody in its identity map.
pub struct World {
    pub facade: SocketAddr,
    pub cloud: SocketAddr,
    pub people: Vec<Person>,
    stop: Stop,
    _directory: tempfile::TempDir,
}

impl World {
    /// Starts both; `change` says what differs from the defaults.
    pub async fn start(options: Options, change: impl FnOnce(&mut Settings)) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let simulator = Simulator::new(&options).expect("options");
        let people = simulator.people();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let cloud = listener.local_addr().expect("an address");
        tokio::spawn(simulator.run(listener, std::future::pending()));
        let directory = tempfile::tempdir().expect("a directory");
        let mut map = String::from("username,key,email,account_id,full_name\n");
        for person in &people {
            let Person {
                username,
                key,
                email,
                account_id,
                display_name,
                ..
            } = person;
            map.push_str(&format!("{username},{key},{email},{account_id},{display_name}\n"));
        }
        let file = |name: &str, text: &str| {
            let path = directory.path().join(name);
            std::fs::write(&path, text).expect("a file");
            Some(path)
        };
        let digest: String = Sha256::digest(TOKEN).iter().map(|byte| format!("{byte:02x}")).collect();
        let accounts = format!("[[token]]\nname = \"bench\"\nsha256 = \"{digest}\"\nrole = \"administrator\"\n");
        let mut settings = Settings::load(None, "", Some(Variables::new())).expect("defaults");
        settings.state_dir = directory.path().join("state");
        settings.inbound.listen = ([127, 0, 0, 1], 0).into();
        settings.inbound.accounts_file = file("accounts.toml", &accounts);
        settings.identity.map_file = file("identities.csv", &map);
        settings.admin.listen = None;
        settings.cloud.base_url = format!("http://{cloud}");
        settings.cloud.email = "bench@example.com".to_owned();
        settings.cloud.api_token = "bench".into();
        change(&mut settings);
        let listeners = Server::bind(&settings).await.expect("a port");
        let facade = listeners.inbound.local_addr().expect("an address");
        let server = Server::new(settings).expect("settings");
        let stop = Stop::new();
        tokio::spawn(server.run(listeners, stop.clone()));
        Self {
            facade,
            cloud,
            people,
            stop,
            _directory: directory,
        }
    }
}

/// The floor: warp, one route, bytes that are ready; nobody is asked who they are.
pub async fn bare_warp(body: Bytes) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let route = warp::path!("rest" / "extender" / "1.0" / "group" / "getUsers" / String).map(move |_group| {
        let mut response = warp::reply::Response::new(body.clone().into());
        let json = HeaderValue::from_static("application/json");
        response.headers_mut().insert(http::header::CONTENT_TYPE, json);
        response
    });
    tokio::spawn(async move {
        loop {
            let (socket, _) = listener.accept().await.expect("a connection");
            let _ = socket.set_nodelay(true);
            let service = TowerToHyperService::new(warp::service(route.clone()));
            tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(socket), service));
        }
    });
    address
}

/// The floor below it: hyper alone.
pub async fn bare_hyper(body: Bytes) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let body = Arc::new(body);
    tokio::spawn(async move {
        loop {
            let (socket, _) = listener.accept().await.expect("a connection");
            let _ = socket.set_nodelay(true);
            let body = Arc::clone(&body);
            let service = hyper::service::service_fn(move |_request| {
                let mut response = Response::new(Full::new(Bytes::clone(&body)));
                let json = HeaderValue::from_static("application/json");
                response.headers_mut().insert(http::header::CONTENT_TYPE, json);
                std::future::ready(Ok::<_, Infallible>(response))
            });
            tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(socket), service));
        }
    });
    address
}

/// A GET of this path as a script sends it, the connection kept.
pub fn get(path: &str) -> String {
    format!(
        "GET /rest/extender/1.0/group/{path} HTTP/1.1\r\nHost: 127.0.0.1\r\nUser-Agent: bench\r\nAccept: */*\r\n\
         Authorization: Bearer {TOKEN}\r\n\r\n"
    )
}

/// A POST of `names` to addUsers or removeUsers as a script sends it, the connection kept.
pub fn change(path: &str, names: &[&str]) -> String {
    let body = serde_json::json!({ "users": names }).to_string();
    format!(
        "POST /rest/extender/1.0/group/{path} HTTP/1.1\r\nHost: 127.0.0.1\r\nUser-Agent: bench\r\nAccept: */*\r\n\
         Authorization: Bearer {TOKEN}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}
