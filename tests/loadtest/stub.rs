//! A server that answers as it is told.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

/// A request as the stub has read it.
#[derive(Clone, Debug)]
pub struct Asked {
    /// Method and target.
    pub line: String,
    /// In lower case.
    pub head: String,
    pub body: String,
}

/// What the stub does about one.
pub enum Reply {
    Json(String),
    Status(&'static str),
    Close,
}

/// A server that does what it is told. It ends with the test's process.
pub struct Stub {
    pub url: String,
    pub asked: Arc<Mutex<Vec<Asked>>>,
}

impl Stub {
    pub fn start(answer: impl Fn(&Asked) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (answer, seen) = (Arc::new(answer), Arc::clone(&asked));
        std::thread::spawn(move || {
            for socket in listener.incoming() {
                let (answer, seen) = (Arc::clone(&answer), Arc::clone(&seen));
                std::thread::spawn(move || serve(&socket.unwrap(), &*answer, &seen));
            }
        });
        Self { url, asked }
    }

    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }
}

/// Serves one connection until somebody closes it.
pub fn serve(mut socket: &TcpStream, answer: &dyn Fn(&Asked) -> Reply, seen: &Mutex<Vec<Asked>>) {
    socket.set_nodelay(true).unwrap();
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let end = loop {
            if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
                break end + 4;
            }
            match socket.read(&mut buffer) {
                Ok(count) if count > 0 => bytes.extend_from_slice(&buffer[..count]),
                _ => return,
            }
        };
        let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
        let lower = head.to_lowercase();
        let length = lower.split("content-length: ").nth(1);
        let length: usize = length.map_or(0, |rest| rest.lines().next().unwrap().parse().unwrap());
        while bytes.len() < end + length {
            match socket.read(&mut buffer) {
                Ok(count) if count > 0 => bytes.extend_from_slice(&buffer[..count]),
                _ => return,
            }
        }
        let asked = Asked {
            line: head.lines().next().unwrap().to_owned(),
            head: lower,
            body: String::from_utf8(bytes[end..end + length].to_vec()).unwrap(),
        };
        bytes.drain(..end + length);
        seen.lock().unwrap().push(asked.clone());
        let (status, body) = match answer(&asked) {
            Reply::Json(body) => ("200 OK", body),
            Reply::Status(status) => (status, String::new()),
            Reply::Close => return,
        };
        let answer = format!(
            "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        if socket.write_all(answer.as_bytes()).is_err() {
            return;
        }
    }
}

pub fn members(names: &[&str]) -> Reply {
    let rows: Vec<Value> = names.iter().map(|name| json!({ "name": name })).collect();
    let total = rows.len();
    Reply::Json(
        json!({"total": total, "maxResults": 1000, "startAt": 0, "users": rows, "status": "success"}).to_string(),
    )
}

pub fn groups() -> Reply {
    Reply::Json(json!({"total": 0, "maxResults": 1, "startAt": 0, "groups": []}).to_string())
}

/// A good answer to either read.
pub fn good(asked: &Asked) -> Reply {
    if asked.line.contains("/getGroups") {
        groups()
    } else {
        members(&["a"])
    }
}
