//! A proxy between the facade and the simulated Cloud: keeps what goes through, and may change an answer on its way.
#![allow(dead_code, reason = "every test binary uses another part")]

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use reqwest::header::HeaderMap;

/// One request and its answer.
#[derive(Clone, Debug)]
pub struct Exchange {
    pub method: String,
    pub path_and_query: String,
    pub headers: HeaderMap,
    pub body: Bytes,
    pub status: u16,
    pub answer_headers: HeaderMap,
    pub answer: Bytes,
}

/// What came through so far.
#[derive(Clone, Default)]
pub struct Between {
    seen: Arc<Mutex<Vec<Exchange>>>,
}

type Change = Arc<dyn Fn(&mut Exchange) + Send + Sync>;

impl Between {
    /// Stands before `target`; gives its own address besides.
    pub fn start(target: &str, change: impl Fn(&mut Exchange) + Send + Sync + 'static) -> (Self, String) {
        let listener = std::net::TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let listener = tokio::net::TcpListener::from_std(listener).unwrap();
        let between = Self::default();
        let (kept, target, change) = (between.clone(), target.to_owned(), Arc::new(change) as Change);
        let client = reqwest::Client::builder()
            .no_proxy()
            .tls_certs_only([])
            .build()
            .unwrap();
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let _ = socket.set_nodelay(true);
                let (kept, target, client, change) =
                    (kept.clone(), target.clone(), client.clone(), Arc::clone(&change));
                tokio::spawn(async move {
                    let service = service_fn(|request| pass(&kept, &target, &client, &change, request));
                    let connection = hyper::server::conn::http1::Builder::new();
                    let _ = connection.serve_connection(TokioIo::new(socket), service).await;
                });
            }
        });
        (between, address)
    }

    pub fn seen(&self) -> Vec<Exchange> {
        self.seen.lock().unwrap().clone()
    }
}

async fn pass(
    between: &Between,
    target: &str,
    client: &reqwest::Client,
    change: &Change,
    request: hyper::Request<hyper::body::Incoming>,
) -> Result<hyper::Response<Full<Bytes>>, reqwest::Error> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    let path_and_query = head.uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
    let mut headers = head.headers.clone();
    headers.remove("host");
    let sent = client
        .request(head.method.clone(), format!("{target}{path_and_query}"))
        .headers(headers)
        .body(body.clone())
        .send()
        .await;
    let sent = match sent {
        Ok(sent) => sent,
        // Cut off: so is the other side, and it is kept without a status.
        Err(cut) => {
            between.seen.lock().unwrap().push(Exchange {
                method: head.method.to_string(),
                path_and_query,
                headers: head.headers,
                body,
                status: 0,
                answer_headers: HeaderMap::new(),
                answer: Bytes::new(),
            });
            return Err(cut);
        }
    };
    let mut exchange = Exchange {
        method: head.method.to_string(),
        path_and_query,
        headers: head.headers,
        body,
        status: sent.status().as_u16(),
        answer_headers: sent.headers().clone(),
        answer: sent.bytes().await.unwrap_or_default(),
    };
    // It may wait for something, which must not wait for what this thread would do next.
    tokio::task::block_in_place(|| change(&mut exchange));
    between.seen.lock().unwrap().push(exchange.clone());
    let mut response = hyper::Response::new(Full::new(exchange.answer));
    *response.status_mut() = hyper::StatusCode::from_u16(exchange.status).unwrap();
    for (name, value) in &exchange.answer_headers {
        if !["content-length", "transfer-encoding", "content-encoding"].contains(&name.as_str()) {
            response.headers_mut().insert(name, value.clone());
        }
    }
    Ok(response)
}
