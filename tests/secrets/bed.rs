//! The program with secrets of the run in all its settings, and everything that it shows of itself.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use reqwest::{Client, Method, RequestBuilder};
use tempfile::TempDir;

use crate::table::Secrets;

/// How long anything that is waited for may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// How the log is written.
#[derive(Clone, Copy, Debug)]
pub enum Log {
    Text,
    Json,
}

/// What was written to a pipe so far.
#[derive(Clone, Default)]
struct Heard(Arc<(Mutex<Vec<u8>>, Condvar)>);

impl Heard {
    /// Listens to it until it ends.
    fn listen(&self, mut pipe: impl std::io::Read + Send + 'static) -> std::thread::JoinHandle<()> {
        let heard = self.clone();
        std::thread::spawn(move || {
            let mut chunk = [0; 16 * 1024];
            while let Ok(bytes @ 1..) = pipe.read(&mut chunk) {
                heard.0.0.lock().unwrap().extend_from_slice(&chunk[..bytes]);
                heard.0.1.notify_all();
            }
        })
    }

    fn bytes(&self) -> Vec<u8> {
        self.0.0.lock().unwrap().clone()
    }

    /// Waits until `find` finds something in it.
    fn wait<T>(&self, find: impl Fn(&str) -> Option<T>) -> T {
        let (lock, news) = &*self.0;
        let mut bytes = lock.lock().unwrap();
        loop {
            let text = String::from_utf8_lossy(&bytes).into_owned();
            if let Some(found) = find(&text) {
                return found;
            }
            let (after, timeout) = news.wait_timeout(bytes, PATIENCE).unwrap();
            assert!(!timeout.timed_out(), "{text}");
            bytes = after;
        }
    }
}

/// A directory with every file that settings name, and what was gathered to be searched.
pub struct Bed {
    pub directory: TempDir,
    pub settings: Vec<(String, String)>,
    pub places: Vec<(String, Vec<u8>)>,
    pub client: Client,
}

impl Bed {
    /// Settings with all secrets in them, towards Cloud at `site`. Some secrets are in files, some in the environment.
    pub fn new(secrets: &Secrets, site: &str, org: &str, directory_id: &str, log: Log) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
        let secret_file = |name: &str, text: &str| {
            let path = path(name);
            std::fs::write(&path, format!("{text}\n")).unwrap();
            private(Path::new(&path));
            path
        };
        let entry = |name: &str, role: &str, password: &str| {
            let mut child = program(&["account", "hash", "--name", name, "--role", role])
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()
                .unwrap();
            child
                .stdin
                .take()
                .unwrap()
                .write_all(secrets.of(password).as_bytes())
                .unwrap();
            String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap()
        };
        let token = {
            use sha2::Digest as _;
            let digest = sha2::Sha256::digest(secrets.of("a bearer token"));
            let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
            format!("[[token]]\nname = \"ci\"\nsha256 = \"{hex}\"\nrole = \"administrator\"\noperator = true\n")
        };
        let accounts = [
            entry("admin", "administrator", "the administrator's password"),
            entry("reader", "reader", "the reader's password"),
            token,
        ]
        .concat();
        let map = path("identities.csv");
        std::fs::write(
            &map,
            "username,email,account_id\nmapped,,5b10a2844c20165700ede21g\nopen,open@example.com,\n",
        )
        .unwrap();
        let settings = [
            ("INBOUND__LISTEN", "127.0.0.1:0".to_owned()),
            ("ADMIN__LISTEN", "127.0.0.1:0".to_owned()),
            ("STATE_DIR", path("state")),
            ("INBOUND__ACCOUNTS_FILE", secret_file("accounts.toml", &accounts)),
            ("IDENTITY__MAP_FILE", map),
            ("CLOUD__BASE_URL", site.to_owned()),
            ("CLOUD__EMAIL", "robot@example.com".to_owned()),
            (
                "CLOUD__API_TOKEN_FILE",
                secret_file("api-token", secrets.of("cloud.api_token")),
            ),
            ("CLOUD__ADMIN__BASE_URL", format!("{site}/admin")),
            ("CLOUD__ADMIN__ORG_ID", org.to_owned()),
            ("CLOUD__ADMIN__API_KEY", secrets.of("cloud.admin.api_key").to_owned()),
            ("CLOUD__SCIM__BASE_URL", format!("{site}/scim")),
            ("CLOUD__SCIM__DIRECTORY_ID", directory_id.to_owned()),
            (
                "CLOUD__SCIM__API_KEY_FILE",
                secret_file("scim-key", secrets.of("cloud.scim.api_key")),
            ),
            ("CLOUD__JIRA__EMAIL", "jira@example.com".to_owned()),
            ("CLOUD__JIRA__API_TOKEN", secrets.of("cloud.jira.api_token").to_owned()),
            ("ADMIN__TOKEN", secrets.of("admin.token").to_owned()),
            // Failures end soon.
            ("CLOUD__MAX_TRIES", "1".to_owned()),
            ("CLOUD__BACKOFF_BASE_MS", "1".to_owned()),
            ("CLOUD__BACKOFF_CAP_MS", "1".to_owned()),
            ("EXTENDER__READ_DEADLINE_S", "2".to_owned()),
            ("EXTENDER__BULK_GIVE_UP_S", "2".to_owned()),
            ("LOG__FILTER", "trace".to_owned()),
            (
                "LOG__FORMAT",
                match log {
                    Log::Text => "text".to_owned(),
                    Log::Json => "json".to_owned(),
                },
            ),
        ];
        let settings = settings.map(|(key, value)| (format!("FACADE__{key}"), value)).to_vec();
        let client = Client::builder().timeout(PATIENCE).no_proxy().build().unwrap();
        Self {
            directory,
            settings,
            places: Vec::new(),
            client,
        }
    }

    pub fn set(&mut self, key: &str, value: &str) {
        let key = format!("FACADE__{key}");
        self.settings.retain(|(known, _)| *known != key);
        self.settings.push((key, value.to_owned()));
    }

    pub fn state(&self) -> PathBuf {
        self.directory.path().join("state")
    }

    pub fn keep(&mut self, place: impl Into<String>, bytes: impl Into<Vec<u8>>) {
        self.places.push((place.into(), bytes.into()));
    }

    /// Runs a sub-command to its end, and keeps what it says.
    pub fn run(&mut self, arguments: &[&str]) -> Output {
        let output = program(arguments).envs(self.settings.iter().cloned()).output().unwrap();
        let place = format!("`{}`", arguments.join(" "));
        self.keep(format!("the output of {place}"), output.stdout.clone());
        self.keep(format!("the errors of {place}"), output.stderr.clone());
        output
    }

    /// Sends a request, and keeps the whole answer.
    pub async fn send(&mut self, what: &str, request: RequestBuilder) -> (u16, String) {
        let Ok(answer) = request.send().await else {
            return (0, String::new());
        };
        let status = answer.status().as_u16();
        let headers = format!("{:?}", answer.headers());
        let report = answer.headers().get("x-facade-report");
        let report = report.map(|id| id.to_str().unwrap().to_owned()).unwrap_or_default();
        let body = answer.bytes().await.unwrap_or_default();
        self.keep(format!("the headers of {what}"), headers);
        self.keep(format!("the answer to {what}"), body.to_vec());
        (status, report)
    }

    /// Keeps every file of the state directory but the one that is a secret.
    pub fn keep_files(&mut self) {
        let mut folders = vec![self.state()];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else if path.file_name().unwrap() != "operator.token" {
                    self.keep(format!("the file {}", path.display()), std::fs::read(&path).unwrap());
                }
            }
        }
    }
}

/// A running `serve`.
pub struct Serving {
    child: Child,
    stderr: Heard,
    stdout: Heard,
    listening: Vec<std::thread::JoinHandle<()>>,
    pub inbound: String,
    pub admin: String,
}

impl Serving {
    pub fn start(bed: &Bed) -> Self {
        let mut child = program(&["serve"])
            .envs(bed.settings.iter().cloned())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (stderr, stdout) = (Heard::default(), Heard::default());
        let listening = vec![
            stderr.listen(child.stderr.take().unwrap()),
            stdout.listen(child.stdout.take().unwrap()),
        ];
        // In either format the line is the one that names both addresses.
        let address = |line: &str, key: &str| {
            let rest = line
                .split_once(&format!("{key}\":\""))
                .or_else(|| line.split_once(&format!("{key}=")))?
                .1;
            let end = rest
                .find(|c: char| !(c.is_ascii_digit() || matches!(c, '.' | ':')))
                .unwrap_or(rest.len());
            Some(rest[..end].to_owned())
        };
        let (inbound, admin) = stderr.wait(|text| {
            let line = text
                .lines()
                .find(|line| line.contains("serving") && line.contains("inbound"))?;
            Some((address(line, "inbound")?, address(line, "admin")?))
        });
        Self {
            child,
            stderr,
            stdout,
            listening,
            inbound,
            admin,
        }
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// A request of a legacy call.
    pub fn call(&self, bed: &Bed, method: Method, path: &str) -> RequestBuilder {
        let url = format!("http://{}/rest/extender/1.0/group/{path}", self.inbound);
        bed.client.request(method, url)
    }

    pub fn at(&self, bed: &Bed, path: &str) -> RequestBuilder {
        bed.client.get(format!("http://{}{path}", self.inbound))
    }

    pub fn operator(&self, bed: &Bed, path: &str) -> RequestBuilder {
        bed.client.get(format!("http://{}{path}", self.admin))
    }

    /// Stops it, and keeps all that it wrote.
    pub fn stop(mut self, bed: &mut Bed) {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").arg(&id).status().unwrap().success());
        assert!(self.child.wait().unwrap().success());
        for listening in self.listening.drain(..) {
            listening.join().unwrap();
        }
        let log = self.stderr.bytes();
        assert!(!log.is_empty());
        bed.keep("the log", log);
        bed.keep("standard output", self.stdout.bytes());
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The program, with no setting of the machine's own.
pub fn program(arguments: &[&str]) -> Command {
    let mut command = crate::program::bare();
    command.args(arguments);
    command
}

pub fn private(path: &Path) {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
    }
}
