//! `credential login` as it runs: the address that it shows, and how it ends.
#![allow(dead_code, reason = "every test binary uses another part")]

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::thread::JoinHandle;
use std::time::Duration;

/// One that waits for its answer.
pub struct Login {
    child: Child,
    /// Where the browser is to come back to.
    pub callback: String,
    /// What is to be opened in a browser.
    pub address: String,
    /// What it prints, read to its end: or that would have nowhere to go.
    said: JoinHandle<Vec<String>>,
}

/// How it ended.
pub struct Ended {
    pub code: i32,
    pub said: String,
    pub errors: String,
}

impl Login {
    /// Starts it, by the program as `command`, with `more` arguments.
    pub async fn begin(mut command: Command, more: &[&str]) -> Self {
        // A port that was free a moment ago.
        let port = std::net::TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let callback = format!("http://localhost:{port}/callback");
        let mut child = command
            .args(["credential", "login", "--callback", &callback])
            .args(more)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let (sender, address) = tokio::sync::oneshot::channel();
        let said = std::thread::spawn(move || {
            let mut sender = Some(sender);
            let mut said = Vec::new();
            for line in lines.map(Result::unwrap) {
                if line.trim().starts_with("http")
                    && let Some(sender) = sender.take()
                {
                    let _ = sender.send(line.trim().to_owned());
                }
                said.push(line);
            }
            said
        });
        let address = address.await.expect("it shows an address");
        Self {
            child,
            callback,
            address,
            said,
        }
    }

    pub async fn ended(self) -> Ended {
        let Self { child, said, .. } = self;
        let ended = tokio::task::spawn_blocking(move || (child.wait_with_output().unwrap(), said.join().unwrap()));
        let (output, said) = tokio::time::timeout(Duration::from_secs(60), ended)
            .await
            .expect("it ends")
            .unwrap();
        Ended {
            code: output.status.code().unwrap(),
            said: said.join("\n"),
            errors: String::from_utf8(output.stderr).unwrap(),
        }
    }
}
