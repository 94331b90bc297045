//! `credential login` as it runs: the address that it shows, and how it ends.
#![allow(dead_code, reason = "every test binary uses another part")]

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
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
    /// Starts it, by the program as `command` makes it, with `more` arguments.
    pub async fn begin(command: impl Fn() -> Command, more: &[&str]) -> Self {
        // Below what systems give to whoever asks for any port (32768 and above on Linux): nothing else of the tests is there.
        // Another program may be, so that this begins somewhere, and goes on to the next one.
        static NEXT: AtomicU16 = AtomicU16::new(0);
        let start = 10_000 + u16::try_from(std::process::id() % 10_000).unwrap();
        for _ in 0..100 {
            let port = start + NEXT.fetch_add(1, Ordering::Relaxed);
            match Self::try_begin(command(), port, more).await {
                Ok(login) => return login,
                Err(said) if said.contains("another program has that port") => {}
                Err(said) => panic!("it showed no address: {said}"),
            }
        }
        panic!("no port is free");
    }

    /// The same with this port; what it said if it ended at once.
    async fn try_begin(mut command: Command, port: u16, more: &[&str]) -> Result<Self, String> {
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
        match address.await {
            Ok(address) => Ok(Self {
                child,
                callback,
                address,
                said,
            }),
            Err(_ended) => {
                let ended = child.wait_with_output().unwrap();
                Err(String::from_utf8(ended.stderr).unwrap())
            }
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
