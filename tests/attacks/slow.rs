//! Connections on which nothing comes, or one byte at a time.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use futures_util::stream;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};

use crate::harness::{ADMIN, World};
use crate::legitimate::{address, alone, served_throughout, world};
use crate::raw::{Line, head};

/// As many have a place, as many wait for one, and as many the kernel keeps until they are accepted.
const HELD: usize = 1024 + 1024 + 4096;

/// How long every connection drips.
const DRIPS: Duration = Duration::from_secs(3);
const A_DRIP: Duration = Duration::from_millis(500);

/// Connections: as many as the files allow that a process may have open, when it is asked for.
fn connections() -> usize {
    if std::env::var_os("FACADE_LONG").is_some() {
        10_000
    } else {
        2_000
    }
}

async fn connect(facade: std::net::SocketAddr, from: IpAddr) -> Option<TcpStream> {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((from, 0).into()).ok()?;
    socket.connect(facade).await.ok()
}

/// Says `first`, then one letter after the other, until the other side has enough. Returns whether it had.
async fn drip(mut socket: TcpStream, first: String) -> bool {
    let until = Instant::now() + DRIPS;
    let (mut said, mut heard) = (socket.write_all(first.as_bytes()).await, [0; 256]);
    while said.is_ok() && Instant::now() < until {
        match tokio::time::timeout(A_DRIP, socket.read(&mut heard)).await {
            Ok(Ok(1..)) => {}
            Ok(_) => return true,
            Err(_elapsed) => said = socket.write_all(b"x").await,
        }
    }
    said.is_err()
}

/// As many connections as can be had from so many addresses, each dripping; how many were cut, and how many never came.
async fn attack(facade: std::net::SocketAddr, addresses: u8, first: fn(usize) -> String) -> (usize, usize) {
    let all = stream::iter(0..connections()).map(|n| async move {
        let place = u8::try_from(n % usize::from(addresses)).unwrap();
        Some((connect(facade, address(1, place + 1)).await?, first(n)))
    });
    let mut opening = all.buffer_unordered(256);
    let (mut tasks, mut none) = (Vec::new(), 0);
    while let Some(opened) = opening.next().await {
        match opened {
            Some((socket, first)) => tasks.push(tokio::spawn(drip(socket, first))),
            None => none += 1,
        }
    }
    let mut cut = 0;
    for task in tasks {
        cut += usize::from(task.await.unwrap());
    }
    (cut, none)
}

async fn holds(world: &World, what: &str, addresses: u8, kept: usize, first: fn(usize) -> String) {
    let all = connections();
    let what = format!("{all} {what} from {addresses} addresses");
    let facade = world.facade;
    let (cut, none) = served_throughout(world, &what, move || attack(facade, addresses, first)).await;
    println!("  {cut} were cut, {none} never came");
    assert!(cut + none + kept >= all, "{cut} and {none} of {all}");
}

fn slow_head(_: usize) -> String {
    "GET /rest/extender/1.0/group/getGroups HTTP/1.1\r\nhost: localhost\r\nx-slow: ".to_owned()
}

fn silent(_: usize) -> String {
    String::new()
}

fn slow_body(n: usize) -> String {
    // Without a credential, with a wrong one, and with one that was guessed.
    let shown = [
        "",
        "authorization: Bearer xft_guessed\n",
        "authorization: Basic dmljdGltOmE=\n",
    ][n % 3];
    head(
        "POST",
        "/rest/extender/1.0/group/addUsers/g",
        &format!("{shown}content-length: 100000"),
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn heads_that_come_letter_by_letter_keep_nobody_out() {
    let _alone = alone().await;
    let world = world(|_| {}).await;
    holds(&world, "slow heads", 1, 256, slow_head).await;
    holds(&world, "slow heads", 40, HELD, slow_head).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_on_which_nothing_is_said_keep_nobody_out() {
    let _alone = alone().await;
    let world = world(|_| {}).await;
    holds(&world, "silent connections", 40, HELD, silent).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_that_come_letter_by_letter_keep_nobody_out() {
    let _alone = alone().await;
    let world = world(|_| {}).await;
    holds(&world, "slow bodies", 40, HELD, slow_body).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_that_never_stops_coming_is_cut_all_the_same() {
    let _alone = alone().await;
    let world = world(|settings| settings.inbound.body_timeout_s = 1).await;
    let facade = world.facade;
    let attack = move || async move {
        let callers = (0..50).map(|_| async move {
            let mut line = Line::to(facade).await;
            let headers = format!("authorization: Bearer {ADMIN}\ncontent-length: 1000000");
            line.say(head("POST", "/rest/extender/1.0/group/addUsers/g", &headers))
                .await;
            let from = Instant::now();
            // Each letter would begin the time anew, if it were one between letters.
            while from.elapsed() < Duration::from_secs(20) {
                if !line.say(" ").await {
                    return true;
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
                if let Ok(answer) = tokio::time::timeout(Duration::from_millis(1), line.hear()).await {
                    return answer.is_none_or(|answer| answer.status == 408);
                }
            }
            false
        });
        futures_util::future::join_all(callers)
            .await
            .into_iter()
            .filter(|cut| *cut)
            .count()
    };
    assert_eq!(
        served_throughout(&world, "bodies without an end by an administrator", attack).await,
        50
    );
    assert!(world.truth("g").await.len() == 5);
}
