//! A client that takes as little as it can of the processors it shares with the server: one thread, kept connections,
//! bytes that are ready; of an answer it reads its length, and that it is 200.
#![allow(dead_code, reason = "every bench uses another part")]

use std::collections::VecDeque;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::processes::cpu_of_myself;

/// Kept connections to one server.
pub struct Client {
    streams: Vec<TcpStream>,
    answers: Vec<Answer>,
    buffer: Vec<u8>,
}

/// What came of an answer so far.
#[derive(Default)]
struct Answer {
    /// When it should have been asked for; `None`: nothing is under way.
    due: Option<Instant>,
    head: Vec<u8>,
    /// Bytes that are still to come, once the head has told it.
    missing: Option<usize>,
}

/// What a closed loop did: whoever has an answer asks again.
#[derive(Clone, Copy, Debug)]
pub struct Closed {
    pub answers: u64,
    pub took: Duration,
    /// Of this thread.
    pub cpu: Duration,
}

impl Closed {
    pub fn rate(&self) -> f64 {
        self.answers as f64 / self.took.as_secs_f64()
    }
}

/// What an open loop saw: requests come when they come, however long answers take.
#[derive(Debug, Default)]
pub struct Open {
    /// Microseconds from the moment a request was to be sent until its whole answer was there.
    pub latencies: Vec<f64>,
    /// Microseconds by which this client sent it late, where a connection was free.
    pub late: Vec<f64>,
}

impl Client {
    pub fn new(address: SocketAddr, connections: usize) -> Self {
        let connect = |_| {
            let stream = TcpStream::connect(address).expect("a connection");
            stream.set_nodelay(true).expect("a socket");
            stream.set_nonblocking(true).expect("a socket");
            stream
        };
        Self {
            streams: (0..connections).map(connect).collect(),
            answers: (0..connections).map(|_| Answer::default()).collect(),
            buffer: vec![0; 256 * 1024],
        }
    }

    fn send(&mut self, connection: usize, request: &[u8], due: Instant) {
        let mut stream = &self.streams[connection];
        // A few hundred bytes to a connection whose answer was read: there is room for them.
        stream.write_all(request).expect("a request");
        let answer = &mut self.answers[connection];
        answer.due = Some(due);
        answer.head.clear();
        answer.missing = None;
    }

    /// Reads what is there; the moment at which the answer was to be asked for, if it is whole.
    fn receive(&mut self, connection: usize) -> Option<Instant> {
        let (mut stream, answer) = (&self.streams[connection], &mut self.answers[connection]);
        loop {
            let read = match stream.read(&mut self.buffer) {
                Ok(0) => panic!("the server has closed a connection"),
                Ok(read) => read,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return None,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => panic!("{error}"),
            };
            match &mut answer.missing {
                Some(missing) => *missing -= read,
                None => {
                    answer.head.extend_from_slice(&self.buffer[..read]);
                    answer.missing = missing(&answer.head);
                }
            }
            if answer.missing == Some(0) {
                return answer.due.take();
            }
        }
    }

    /// Waits until something can be read, for so long at most. Not longer than asked for by more than the system needs.
    fn wait(&self, most: Option<Duration>) -> Vec<usize> {
        let mut asked: Vec<PollFd<'_>> = self
            .streams
            .iter()
            .map(|stream| PollFd::new(stream, PollFlags::IN))
            .collect();
        let most = most.map(|most| Timespec {
            tv_sec: most.as_secs() as _,
            tv_nsec: most.subsec_nanos().into(),
        });
        // An interruption is a wait that ended early.
        let _ = poll(&mut asked, most.as_ref());
        let ready = asked
            .iter()
            .enumerate()
            .filter(|(_, asked)| !asked.revents().is_empty());
        ready.map(|(connection, _)| connection).collect()
    }

    /// Asks on every connection, and again as soon as the answer is there. `request` says what comes as the n-th.
    pub fn closed<'r>(&mut self, time: Duration, request: impl Fn(usize) -> &'r [u8]) -> Closed {
        let (cpu, begun) = (cpu_of_myself(), Instant::now());
        let (mut sent, mut answers, mut under_way) = (0, 0, self.streams.len());
        for connection in 0..under_way {
            self.send(connection, request(sent), begun);
            sent += 1;
        }
        while under_way > 0 {
            let is_over = begun.elapsed() >= time;
            for connection in self.wait(None) {
                if self.receive(connection).is_none() {
                    continue;
                }
                answers += 1;
                if is_over {
                    under_way -= 1;
                } else {
                    self.send(connection, request(sent), begun);
                    sent += 1;
                }
            }
        }
        Closed {
            answers,
            took: begun.elapsed(),
            cpu: cpu_of_myself() - cpu,
        }
    }

    /// Asks so often a second, at moments of chance, and counts from them: who waits for a connection waits.
    pub fn open(&mut self, rate: f64, time: Duration, seed: u64, request: &[u8]) -> Open {
        let mut dice = fastrand::Rng::with_seed(seed);
        let mut gap = || Duration::from_secs_f64(-(1.0 - dice.f64()).ln() / rate);
        let mut free: Vec<usize> = (0..self.streams.len()).collect();
        let mut waiting: VecDeque<(Instant, bool)> = VecDeque::new();
        let mut seen = Open::default();
        let begun = Instant::now();
        let mut next = begun + gap();
        loop {
            let now = Instant::now();
            let is_over = next - begun >= time;
            if is_over && waiting.is_empty() && free.len() == self.streams.len() {
                return seen;
            }
            while next <= now && next - begun < time {
                waiting.push_back((next, waiting.len() < free.len()));
                next += gap();
            }
            while let (Some(&connection), Some(&(due, was_free))) = (free.last(), waiting.front()) {
                free.pop();
                waiting.pop_front();
                if was_free {
                    seen.late.push(due.elapsed().as_secs_f64() * 1e6);
                }
                self.send(connection, request, due);
            }
            let most = (next - begun < time).then(|| next.saturating_duration_since(Instant::now()));
            for connection in self.wait(most) {
                if let Some(due) = self.receive(connection) {
                    seen.latencies.push(due.elapsed().as_secs_f64() * 1e6);
                    free.push(connection);
                }
            }
        }
    }
}

/// How much of an answer is still to come; `None` while its head is not whole.
fn missing(answer: &[u8]) -> Option<usize> {
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
    let head = std::str::from_utf8(&answer[..end]).expect("a head");
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length")
            .then(|| value.trim().parse::<usize>().ok())?
    });
    Some(end + length.expect("a length") - answer.len())
}

/// Lets short waits end when they should: the system puts the ends of waits together, 50 µs apart. For the main thread alone.
pub fn wake_in_time() {
    let _ = std::fs::write("/proc/self/timerslack_ns", "1");
}

/// A call that was sent, and whose answer nobody reads.
pub struct Standing(TcpStream);

impl Standing {
    pub fn new(address: SocketAddr, request: &[u8]) -> Self {
        let mut stream = TcpStream::connect(address).expect("a connection");
        stream.write_all(request).expect("a request");
        stream.set_nonblocking(true).expect("a socket");
        Self(stream)
    }

    /// What has come of an answer; nothing: the call waits.
    pub fn answer(&self) -> Option<String> {
        let mut start = [0; 400];
        match self.0.peek(&mut start) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => None,
            Err(error) => Some(error.to_string()),
            Ok(bytes) => Some(String::from_utf8_lossy(&start[..bytes]).into_owned()),
        }
    }
}
