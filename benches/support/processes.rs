//! The built program in processes of its own, as an operator runs it, and what the system says of a process.
//!
//! What a facade writes to its log is thrown away; `FACADE_BENCH_LOG=1` shows it, to see why a bench ends.
#![allow(dead_code, reason = "every bench uses another part")]

use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use extender_facade::simulator::{Options, Person, Simulator};
use sha2::{Digest as _, Sha256};

/// The program.
pub const PROGRAM: &str = env!("CARGO_BIN_EXE_extender-facade");

/// How long anything may take to start.
const START: Duration = Duration::from_secs(120);

/// A process, ended with its value.
pub struct Process {
    child: Child,
    pub address: SocketAddr,
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What the system keeps in memory for a process, in bytes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Memory {
    /// All of it, with the pages of the program's file.
    pub resident: u64,
    /// What it made itself.
    pub own: u64,
    /// The most there ever was.
    pub peak: u64,
}

impl Process {
    /// Starts a command whose first line of output ends with an address, as those of [`crate::servers`] do.
    pub fn that_tells(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().expect("a process");
        let mut line = String::new();
        let output = child.stdout.as_mut().expect("an output");
        BufReader::new(output).read_line(&mut line).expect("an address");
        let address = line.trim().parse();
        let address = address.unwrap_or_else(|_| panic!("{command:?} says {line:?}"));
        Self { child, address }
    }

    /// Starts a command that will listen there.
    pub fn at(command: &mut Command, address: SocketAddr) -> Self {
        let child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let mut process = Self { child, address };
        let begun = Instant::now();
        while TcpStream::connect(address).is_err() {
            process.must_live();
            assert!(begun.elapsed() < START, "{command:?} does not listen");
            std::thread::sleep(Duration::from_millis(1));
        }
        process
    }

    fn must_live(&mut self) {
        if let Some(status) = self.child.try_wait().expect("a process") {
            panic!("the process at {} has ended: {status}", self.address);
        }
    }

    fn file(&self, name: &str) -> PathBuf {
        Path::new("/proc").join(self.child.id().to_string()).join(name)
    }

    /// The processor's time it has used. Of threads that have ended meanwhile it is not known.
    pub fn cpu(&self) -> Duration {
        let threads = std::fs::read_dir(self.file("task")).expect("Linux's /proc");
        let time = |thread: std::io::Result<std::fs::DirEntry>| cpu_of(&thread.ok()?.path().join("schedstat"));
        threads.filter_map(time).sum()
    }

    pub fn memory(&self) -> Memory {
        let text = std::fs::read_to_string(self.file("status")).expect("Linux's /proc");
        let value = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name));
            let number = line.and_then(|rest| rest.split_whitespace().nth(0)?.parse::<u64>().ok());
            number.unwrap_or_default() * 1024
        };
        Memory {
            resident: value("VmRSS:"),
            own: value("RssAnon:"),
            peak: value("VmHWM:"),
        }
    }
}

/// The first number of a thread's `schedstat`: nanoseconds on a processor.
fn cpu_of(file: &Path) -> Option<Duration> {
    let text = std::fs::read_to_string(file).ok()?;
    text.split(' ').next()?.parse().ok().map(Duration::from_nanos)
}

/// The processor's time of this thread.
pub fn cpu_of_myself() -> Duration {
    cpu_of(Path::new("/proc/thread-self/schedstat")).unwrap_or_default()
}

/// An address of this machine that nobody has.
pub fn free() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address")
}

/// A folder that goes with its value, on the disk where the build is: `/tmp` may be memory.
pub fn folder() -> tempfile::TempDir {
    let place = std::env::var_os("FACADE_BENCH_DIR").map_or_else(|| env!("CARGO_TARGET_TMPDIR").into(), PathBuf::from);
    std::fs::create_dir_all(&place).expect("a folder");
    tempfile::Builder::new()
        .prefix("bench-")
        .tempdir_in(place)
        .expect("a folder")
}

/// A simulated Cloud in a process of its own.
pub fn cloud(options: &Options) -> Process {
    let address = free();
    let mut command = program("simulate");
    command.stdout(Stdio::null());
    command.args(["--listen", &address.to_string()]);
    command.args(["--users", &options.users.to_string()]);
    command.args(["--groups", &options.groups.to_string()]);
    command.args(["--latency-ms", &options.latency_ms.to_string()]);
    for group in &options.group {
        command.args(["--group", &format!("{}={}", group.name, group.size)]);
    }
    Process::at(&mut command, address)
}

/// Who is in a Cloud of these options.
pub fn people(options: &Options) -> Vec<Person> {
    Simulator::new(options).expect("options").people()
}

/// The identity map of these people.
pub fn map(people: &[Person]) -> String {
    let mut map = String::from("username,key,email,account_id,full_name\n");
    for person in people {
        let (name, key, email) = (&person.username, &person.key, &person.email);
        let _ = writeln!(
            map,
            "{name},{key},{email},{},{}",
            person.account_id, person.display_name
        );
    }
    map
}

fn program(command: &str) -> Command {
    let mut program = Command::new(PROGRAM);
    program.arg(command);
    // What is measured is what the bench says, whatever this shell is set up for.
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("FACADE__")) {
        program.env_remove(name);
    }
    program
}

/// A facade in a process of its own, mode `accounts` unless told otherwise.
pub struct Facade {
    pub process: Process,
    pub admin: SocketAddr,
    /// From its start until it was ready.
    pub started: Duration,
    /// Where its state directory is.
    pub folder: tempfile::TempDir,
}

/// What differs between the facades of a bench.
pub struct Setup<'a> {
    /// The text of the identity map.
    pub map: &'a str,
    /// Bearer tokens that may change something.
    pub tokens: &'a [String],
    /// Lines of its settings: `cloud.max_in_flight = 16`.
    pub settings: &'a str,
}

impl Facade {
    pub fn start(cloud: SocketAddr, setup: &Setup<'_>) -> Self {
        let folder = folder();
        let file = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).expect("a file");
            path
        };
        let entry = |(number, token): (usize, &String)| {
            let digest: String = Sha256::digest(token).iter().map(|byte| format!("{byte:02x}")).collect();
            format!("[[token]]\nname = \"bench-{number}\"\nsha256 = \"{digest}\"\nrole = \"administrator\"\n")
        };
        let accounts: String = setup.tokens.iter().enumerate().map(entry).collect();
        let (address, admin) = (free(), free());
        let (accounts, map) = (file("accounts.toml", &accounts), file("identities.csv", setup.map));
        let state = folder.path().join("state");
        let mut lines = format!(
            "state_dir = {state:?}\ninbound.listen = \"{address}\"\nidentity.map_file = {map:?}\n\
             admin.listen = \"{admin}\"\ncloud.base_url = \"http://{cloud}\"\n"
        );
        if !setup.settings.contains("inbound.mode") {
            let _ = writeln!(lines, "inbound.accounts_file = {accounts:?}");
            lines += "cloud.email = \"bench@example.com\"\ncloud.api_token = \"bench\"\n";
        }
        if !setup.settings.contains("log.filter") {
            lines += "log.filter = \"warn\"\n";
        }
        let config = file("facade.toml", &(lines + setup.settings));
        let mut command = program("serve");
        command.arg("--config").arg(config).stderr(Stdio::null());
        if std::env::var_os("FACADE_BENCH_LOG").is_some() {
            command.stderr(Stdio::inherit());
        }
        let begun = Instant::now();
        let mut process = Process {
            child: command.spawn().expect("the program"),
            address,
        };
        while !is_ready(admin) {
            process.must_live();
            assert!(begun.elapsed() < START, "the facade does not become ready");
            std::thread::sleep(Duration::from_millis(1));
        }
        Self {
            process,
            admin,
            started: begun.elapsed(),
            folder,
        }
    }

    /// One figure of `/metrics`, all its labels together.
    pub fn metric(&self, name: &str) -> f64 {
        let (_, text) = once(self.admin, "/metrics").expect("the operator's listener");
        let lines = text.lines().filter_map(|line| {
            let rest = line.strip_prefix(name)?;
            rest.starts_with([' ', '{'])
                .then(|| line.rsplit(' ').next()?.parse::<f64>().ok())?
        });
        lines.sum()
    }
}

fn is_ready(admin: SocketAddr) -> bool {
    once(admin, "/ready").is_some_and(|(status, _)| status == 200)
}

/// Asks once, on a connection of its own.
pub fn once(address: SocketAddr, path: &str) -> Option<(u16, String)> {
    let mut stream = TcpStream::connect(address).ok()?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let status = head.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok()?;
    Some((status, body.to_owned()))
}
