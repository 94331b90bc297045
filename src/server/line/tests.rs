//! Clients that read, and clients that go away.

use std::net::SocketAddr;

use http::StatusCode;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use warp::Filter as _;
use warp::reply::Reply as _;

use super::super::accept::{Limits, Service, serve};
use super::*;
use crate::extender::{Delivered, Delivery};
use crate::metrics::Metrics;

/// What became of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum News {
    Written,
    Lost,
    /// Nothing more can come of it.
    Over,
}

/// Says `Over` when it is dropped.
struct Last(mpsc::UnboundedSender<News>);

impl Last {
    fn say(&self, news: News) {
        let _ = self.0.send(news);
    }
}

impl Drop for Last {
    fn drop(&mut self) {
        self.say(News::Over);
    }
}

struct Server {
    address: SocketAddr,
    news: mpsc::UnboundedReceiver<News>,
    asked: watch::Receiver<usize>,
    /// Answers are held back until it is true.
    go: watch::Sender<bool>,
    stop: CancellationToken,
}

/// Answers every request with `length` bytes, in one piece or in pieces whose length is not announced.
async fn server(length: usize, pieces: Option<usize>) -> Server {
    patient_server(length, pieces, Duration::from_secs(20)).await
}

/// One that waits so long for a client to read on.
async fn patient_server(length: usize, pieces: Option<usize>, patience: Duration) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (tell, news) = mpsc::unbounded_channel();
    let (count, asked) = watch::channel(0);
    let (go, gone) = watch::channel(true);
    let filter = warp::any().then(move || {
        let (tell, mut gone) = (tell.clone(), gone.clone());
        count.send_modify(|count| *count += 1);
        async move {
            gone.wait_for(|go| *go).await.unwrap();
            let mut response = match pieces {
                None => warp::reply::Response::new(Bytes::from(vec![b'x'; length]).into()),
                Some(piece) => {
                    let pieces = (0..length / piece).map(move |_| Ok::<_, io::Error>(vec![b'x'; piece]));
                    warp::reply::stream(futures_util::stream::iter(pieces)).into_response()
                }
            };
            let last = Arc::new(Last(tell));
            let (written, lost) = (Arc::clone(&last), last);
            let delivered = Delivered::new(move || written.say(News::Written)).or_lost(move || lost.say(News::Lost));
            let delivery = Delivery::default();
            delivery.put(delivered);
            response.extensions_mut().insert(delivery);
            response
        }
    });
    let stop = CancellationToken::new();
    let limits = Limits {
        connections: 10,
        connections_of_one: 0,
        head: Duration::from_secs(20),
        handshake: Duration::from_secs(20),
        standstill: patience,
        networks: Vec::new(),
        proxies: Vec::new(),
    };
    let service = Service {
        filter: filter.boxed(),
        repeats: None,
        tls: None,
        metrics: Metrics::new(),
    };
    tokio::spawn(serve(listener, service, limits, stop.clone()));
    Server {
        address,
        news,
        asked,
        go,
        stop,
    }
}

impl Server {
    async fn ask(&self, method: &str, further: &str) -> TcpStream {
        let mut socket = TcpStream::connect(self.address).await.unwrap();
        send(&mut socket, method, further).await;
        socket
    }

    async fn next(&mut self) -> News {
        let next = self.news.recv();
        tokio::time::timeout(Duration::from_secs(20), next)
            .await
            .unwrap()
            .unwrap()
    }

    async fn until_asked(&mut self, count: usize) {
        let asked = self.asked.wait_for(|asked| *asked == count);
        tokio::time::timeout(Duration::from_secs(20), asked)
            .await
            .unwrap()
            .unwrap();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

async fn send(socket: &mut TcpStream, method: &str, further: &str) {
    let head = format!("{method} / HTTP/1.1\r\nhost: localhost\r\n{further}\r\n");
    socket.write_all(head.as_bytes()).await.unwrap();
}

/// Reads a head and so many bytes.
async fn read(socket: &mut TcpStream, length: usize) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(socket.read_u8().await.unwrap());
    }
    let mut body = vec![0; length];
    socket.read_exact(&mut body).await.unwrap();
    let head = String::from_utf8(head).unwrap();
    assert!(head.contains(&format!(" {} ", StatusCode::OK.as_str())), "{head}");
    head
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_read_was_written_once() {
    for (length, pieces) in [
        (0, None),
        (1, None),
        (150_000, None),
        (20_000_000, None),
        (10_000, Some(100)),
    ] {
        let mut server = server(length, pieces).await;
        let mut socket = server.ask("GET", "").await;
        let head = read(&mut socket, if pieces.is_some() { 0 } else { length }).await;
        assert_eq!(head.contains("content-length"), pieces.is_none(), "{head}");
        if pieces.is_some() {
            let mut all = Vec::new();
            while !all.ends_with(b"\r\n0\r\n\r\n") {
                socket.read_buf(&mut all).await.unwrap();
            }
        }
        assert_eq!(server.next().await, News::Written, "{length}");
        drop(socket);
        assert_eq!(server.next().await, News::Over, "{length}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_of_a_connection_has_its_own_news() {
    let mut server = server(1000, None).await;
    let mut socket = server.ask("GET", "").await;
    read(&mut socket, 1000).await;
    assert_eq!(server.next().await, News::Written);
    send(&mut socket, "GET", "").await;
    read(&mut socket, 1000).await;
    // The second request told that the first answer was read.
    assert_eq!((server.next().await, server.next().await), (News::Over, News::Written));
    // Two at once, and the last one asks to close.
    send(&mut socket, "GET", "").await;
    send(&mut socket, "GET", "connection: close\r\n").await;
    read(&mut socket, 1000).await;
    read(&mut socket, 1000).await;
    drop(socket);
    let mut rest = Vec::new();
    for _ in 0..5 {
        rest.push(server.next().await);
    }
    rest.sort_by_key(|news| *news as u8);
    assert_eq!(rest, [News::Written, News::Written, News::Over, News::Over, News::Over]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_answer_to_head_is_its_head() {
    let mut server = server(5000, None).await;
    let mut socket = server.ask("HEAD", "").await;
    let head = read(&mut socket, 0).await;
    assert!(head.contains("content-length: 5000"), "{head}");
    assert_eq!(server.next().await, News::Written);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_hung_up_before_the_answer_was_told_nothing() {
    for reset in [false, true] {
        for (length, pieces) in [(100, None), (100, Some(10)), (20_000_000, None)] {
            let mut server = server(length, pieces).await;
            server.go.send_replace(false);
            let socket = server.ask("GET", "").await;
            server.until_asked(1).await;
            if reset {
                socket.set_zero_linger().unwrap();
            }
            drop(socket);
            // The runtime has heard of it once it has heard of a later connection.
            let mut later = server.ask("GET", "connection: close\r\n").await;
            server.until_asked(2).await;
            server.go.send_replace(true);
            later.read_to_end(&mut Vec::new()).await.unwrap();
            drop(later);
            let mut news = [server.next().await, server.next().await, server.next().await];
            news.sort_by_key(|news| *news as u8);
            assert_eq!(news, [News::Written, News::Over, News::Over], "{length} {reset}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_read_by_half_was_not_written() {
    for pieces in [None, Some(100_000)] {
        let mut server = server(50_000_000, pieces).await;
        let mut socket = server.ask("GET", "").await;
        read(&mut socket, 10_000_000).await;
        drop(socket);
        assert_eq!(server.next().await, News::Over);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_nobody_reads_on_ends_with_its_connection() {
    for pieces in [None, Some(100_000)] {
        let mut server = patient_server(50_000_000, pieces, Duration::from_millis(200)).await;
        let mut socket = server.ask("GET", "").await;
        read(&mut socket, 1000).await;
        assert_eq!(server.next().await, News::Over);
        let mut rest = Vec::new();
        let ended = tokio::time::timeout(Duration::from_secs(20), socket.read_to_end(&mut rest)).await;
        assert!(ended.unwrap().is_err() || rest.len() < 49_000_000, "{}", rest.len());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_the_socket_held_when_its_client_went_away_is_lost() {
    for further in ["", "connection: close\r\n"] {
        let mut server = server(150_000, None).await;
        let mut socket = server.ask("GET", further).await;
        read(&mut socket, 100).await;
        assert_eq!(server.next().await, News::Written);
        drop(socket);
        assert_eq!(
            (server.next().await, server.next().await),
            (News::Lost, News::Over),
            "{further}"
        );
    }
}

#[tokio::test]
async fn a_client_that_is_gone_is_noticed_and_one_that_waits_is_not() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let short = Duration::from_millis(20);
    for gone in [true, false] {
        let mut client = TcpStream::connect(address).await.unwrap();
        let (socket, _) = listener.accept().await.unwrap();
        let pulse = Pulse::of(&socket);
        // Something of a next request stands before the end, unread.
        client.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
        let _kept = if gone {
            drop(client);
            None
        } else {
            Some(client)
        };
        let stopped = tokio::time::timeout(Duration::from_millis(400), pulse.stopped(short)).await;
        assert_eq!(stopped.is_ok(), gone);
    }
}
