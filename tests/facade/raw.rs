//! HTTP letter by letter: what a client library would never send, and exactly what comes back.
#![allow(dead_code, reason = "every file uses another part")]

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// No answer takes so long; a test that would hang fails instead.
const PATIENCE: Duration = Duration::from_secs(20);

pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut found = self.headers.iter().filter(|(key, _)| key == name);
        let first = found.next();
        assert!(found.next().is_none(), "{name} stands twice: {self:?}");
        first.map(|(_, value)| value.as_str())
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|wrong| panic!("{wrong}: {self:?}"))
    }
}

impl std::fmt::Debug for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {:?} {:?}", self.status, self.headers, self.text())
    }
}

/// One connection.
pub struct Line(BufReader<TcpStream>);

impl Line {
    pub async fn to(address: SocketAddr) -> Self {
        Self(BufReader::new(TcpStream::connect(address).await.unwrap()))
    }

    /// Sends; a connection that the other side has closed is no failure here, what it answered counts.
    pub async fn say(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        let sent = self.0.write_all(bytes.as_ref());
        timeout(PATIENCE, sent).await.expect("nobody reads").is_ok()
    }

    /// Says that nothing more will be sent, and listens on.
    pub async fn finish(&mut self) {
        let _ = self.0.shutdown().await;
    }

    /// The next answer; none if the connection ended before one began.
    pub async fn hear(&mut self) -> Option<Answer> {
        timeout(PATIENCE, self.answer(true)).await.expect("no answer")
    }

    /// The next answer, where one comes whole before the other side resets the connection.
    pub async fn hear_or_nothing(&mut self) -> Option<Answer> {
        let mut bytes = Vec::new();
        let _ = timeout(PATIENCE, self.0.read_to_end(&mut bytes))
            .await
            .expect("still open");
        let head = String::from_utf8_lossy(&bytes).into_owned();
        let status = head.split(' ').nth(1)?.parse().ok()?;
        Some(Answer {
            status,
            headers: Vec::new(),
            body: bytes,
        })
    }

    /// The next answer, which has no body whatever its headers say.
    pub async fn hear_head(&mut self) -> Option<Answer> {
        timeout(PATIENCE, self.answer(false)).await.expect("no answer")
    }

    /// Whether the other side closes the connection without saying anything more.
    pub async fn is_closed(&mut self) -> bool {
        let mut one = [0];
        !matches!(
            timeout(PATIENCE, self.0.read(&mut one)).await.expect("still open"),
            Ok(1)
        )
    }

    async fn line(&mut self) -> Option<String> {
        let mut line = Vec::new();
        self.0
            .read_until(b'\n', &mut line)
            .await
            .ok()
            .filter(|read| *read > 0)?;
        Some(String::from_utf8(line).unwrap().trim_end().to_owned())
    }

    async fn answer(&mut self, with_body: bool) -> Option<Answer> {
        let first = self.line().await?;
        let status: u16 = first
            .split(' ')
            .nth(1)
            .and_then(|status| status.parse().ok())
            .unwrap_or_else(|| panic!("{first}"));
        let mut headers = Vec::new();
        while let Some(line) = self.line().await.filter(|line| !line.is_empty()) {
            let (name, value) = line.split_once(':').unwrap_or_else(|| panic!("{line}"));
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
        let mut answer = Answer {
            status,
            headers,
            body: Vec::new(),
        };
        if status == 100 {
            return Some(answer);
        }
        let length = answer
            .header("content-length")
            .map_or(0, |length| length.parse().unwrap());
        if with_body {
            answer.body.resize(length, 0);
            self.0.read_exact(&mut answer.body).await.unwrap();
        }
        Some(answer)
    }
}

/// One request on a connection of its own, and its answer.
pub async fn exchange(address: SocketAddr, request: impl AsRef<[u8]>) -> Answer {
    let mut line = Line::to(address).await;
    line.say(request).await;
    line.hear().await.expect("an answer")
}

/// The head of a request with `headers`, each ended by a line break.
pub fn head(method: &str, target: &str, headers: &str) -> String {
    let headers = headers.trim().replace('\n', "\r\n").replace("\r\r", "\r");
    let gap = if headers.is_empty() { "" } else { "\r\n" };
    format!("{method} {target} HTTP/1.1\r\nhost: localhost\r\n{headers}{gap}\r\n")
}
