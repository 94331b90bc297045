//! The program itself, as a process of its own: `serve` in mode `open` on free ports.
#![allow(dead_code, reason = "every test binary uses another part")]

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;

/// How long anything that is waited for may take.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The program, as a command with no setting of the machine's own.
pub fn bare() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_extender-facade"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("FACADE__")) {
        command.env_remove(name);
    }
    command
}

/// A running `serve`; killed when it is dropped.
pub struct Program {
    child: Child,
    served: Receiver<(String, String)>,
    log: Arc<Mutex<Vec<Value>>>,
}

impl Program {
    /// Starts it with its state in `state`, Cloud at `site`, and these further settings; it may not serve yet.
    pub fn start(state: &Path, site: &str, more: &[(&str, &str)]) -> Self {
        let mut command = bare();
        let mut child = command
            .arg("serve")
            .env("FACADE__INBOUND__MODE", "open")
            .env("FACADE__INBOUND__LISTEN", "127.0.0.1:0")
            .env("FACADE__ADMIN__LISTEN", "127.0.0.1:0")
            .env("FACADE__STATE_DIR", state)
            .env("FACADE__CLOUD__BASE_URL", site)
            .env("FACADE__CLOUD__EMAIL", "robot@example.com")
            .env("FACADE__CLOUD__API_TOKEN", "token")
            .env("FACADE__LOG__FORMAT", "json")
            .envs(more.iter().copied())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let (sender, served) = channel();
        let log = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&log);
        // Read to its end: a full pipe would hold the program up.
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let Ok(line) = serde_json::from_str::<Value>(&line) else {
                    continue;
                };
                kept.lock().unwrap().push(line.clone());
                if line["message"] == "serving" {
                    let address = |key: &str| line[key].as_str().unwrap_or_default().to_owned();
                    let _ = sender.send((address("inbound"), address("admin")));
                }
            }
        });
        Self { child, served, log }
    }

    /// Waits until it serves: its address for scripts, and the one for operators.
    pub fn serves(&self) -> (String, String) {
        self.served.recv_timeout(PATIENCE).expect("the program serves")
    }

    /// What it has logged so far.
    pub fn log(&self) -> Vec<Value> {
        self.log.lock().unwrap().clone()
    }

    /// `kill -SIGNAL`.
    pub fn signal(&self, signal: &str) {
        let id = self.child.id().to_string();
        let sent = Command::new("kill").args([signal, &id]).status().unwrap();
        assert!(sent.success(), "kill {signal} {id}");
    }

    /// The most memory it has had so far, in KiB (`VmHWM`); 0 where the system does not tell.
    pub fn peak_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap_or_default();
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let peak = peak.and_then(|peak| peak.trim().strip_suffix(" kB")?.parse().ok());
        peak.unwrap_or(0)
    }

    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// `kill -9`; how it ended, which may be by itself before.
    pub fn kill(&mut self) -> ExitStatus {
        let _ = self.child.kill();
        self.child.wait().unwrap()
    }

    /// Waits until it has ended.
    pub fn ended(&mut self) -> ExitStatus {
        self.child.wait().unwrap()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.kill();
    }
}
