//! A simulated Cloud and a facade before it, for whoever has neither: two processes on free ports of this machine.

use std::fmt;
use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;
use url::Url;

use super::address;
use super::changes::Ground;
use super::thresholds::positive;
use crate::cli::demo;
use crate::cli::rehearsal::{ACCOUNTS, MAP};
use crate::simulator::{Fault, GroupSize, Options, Simulator};

/// The group that most reads go to, and the one that is changed.
const GROUP: &str = "loadtest";
const CHANGED: &str = "loadtest-changed";
/// Whoever does not end by itself by then is ended.
const PATIENCE: Duration = Duration::from_secs(20);

/// What the world is like.
#[derive(clap::Args, Clone, Debug)]
#[command(next_help_heading = "The simulated Cloud, where no --target is given")]
pub(super) struct Shape {
    /// How many users there are
    #[arg(long, value_name = "N", default_value_t = 1_000, conflicts_with = "target")]
    users: u32,
    /// How many members the group has that most reads go to
    #[arg(long, value_name = "N", default_value_t = 100, conflicts_with = "target")]
    group_size: u32,
    /// How many members each of the --distinct-groups has
    #[arg(long, value_name = "N", default_value_t = 20, conflicts_with = "target")]
    distinct_size: u32,
    /// How long Cloud takes for an answer, in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 50, conflicts_with = "target")]
    latency_ms: u64,
    /// Requests a second that Cloud allows of each kind (default: no limit)
    #[arg(long, value_name = "R", value_parser = positive, conflicts_with = "target")]
    limit: Option<f64>,
    /// One way in which Cloud misbehaves (repeatable), as for `simulate`
    #[arg(long, value_name = "NAME[=VALUE]", value_parser = fault, conflicts_with = "target")]
    fault: Vec<String>,
    /// Settings of the facade, instead of the defaults
    #[arg(long, value_name = "FILE", conflicts_with = "target")]
    config: Option<PathBuf>,
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} users, {} in the first group, {} in each other, {} ms an answer, ",
            self.users, self.group_size, self.distinct_size, self.latency_ms
        )?;
        match self.limit {
            Some(limit) => write!(f, "{limit} requests a second of each kind")?,
            None => f.write_str("no limit")?,
        }
        self.fault.iter().try_for_each(|fault| write!(f, ", {fault}"))
    }
}

fn fault(text: &str) -> Result<String, String> {
    text.parse::<Fault>().map(|_| text.to_owned())
}

/// Two running processes, and what is needed to call them.
pub(super) struct World {
    pub(super) facade: Url,
    pub(super) cloud: Url,
    /// A bearer token for the facade.
    pub(super) token: String,
    /// The groups to read: the first one, then the distinct ones.
    pub(super) groups: Vec<String>,
    pub(super) ground: Ground,
    pub(super) facade_pid: u32,
    // The facade first: its last changes still want an answer.
    parts: [Part; 2],
    directory: TempDir,
}

impl World {
    /// Starts both, with so many groups besides the first.
    ///
    /// # Errors
    /// Options without sense, no free port, a machine without room.
    pub(super) async fn start(args: &Shape, distinct: u32, seed: u64) -> anyhow::Result<Self> {
        let largest = args.group_size.max(args.distinct_size);
        ensure!(
            largest <= args.users,
            "--group-size and --distinct-size: a group of {largest} needs as many --users"
        );
        let group = |name: String, size| GroupSize { name, size };
        let others = (1..=distinct).map(|n| group(format!("{GROUP}-{n:05}"), args.distinct_size));
        let options = Options {
            users: args.users,
            seed,
            latency_ms: args.latency_ms,
            rate: args.limit,
            group: [group(GROUP.to_owned(), args.group_size), group(CHANGED.to_owned(), 0)]
                .into_iter()
                .chain(others)
                .collect(),
            fault: args.fault.iter().filter_map(|fault| fault.parse().ok()).collect(),
            ..Options::default()
        };
        // The same seed gives the same people in the other process.
        let people = Simulator::new(&options)?.people();
        let directory = tempfile::Builder::new()
            .prefix("extender-facade-loadtest-")
            .tempdir()
            .context("no temporary directory")?;
        let token = random_word()?;
        demo::write_map(&directory.path().join(MAP), &people).context("the identity map cannot be written")?;
        let digest: String = Sha256::digest(&token)
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        let accounts = format!("[[token]]\nname = \"loadtest\"\nsha256 = \"{digest}\"\nrole = \"administrator\"\n");
        demo::write_secret(&directory.path().join(ACCOUNTS), &accounts).context("the accounts cannot be written")?;
        let simulator = Part::start(&simulator_arguments(&options, &args.fault)).await?;
        let mut arguments = vec!["facade".to_owned(), format!("--cloud={}", simulator.url.as_str())];
        arguments.push(format!("--directory={}", directory.path().display()));
        if let Some(config) = &args.config {
            arguments.push(format!("--config={}", config.display()));
        }
        let facade = Part::start(&arguments).await?;
        let names = people.into_iter().map(|person| person.username);
        Ok(Self {
            facade: facade.url.clone(),
            cloud: simulator.url.clone(),
            token,
            groups: options
                .group
                .into_iter()
                .map(|group| group.name)
                .filter(|name| name != CHANGED)
                .collect(),
            ground: Ground {
                group: CHANGED.to_owned(),
                names: names.filter(|name| !name.is_empty()).collect(),
            },
            facade_pid: facade.child.id(),
            parts: [facade, simulator],
            directory,
        })
    }

    /// Ends both and removes what they wrote.
    pub(super) async fn stop(self) -> anyhow::Result<()> {
        let (parts, directory) = (self.parts, self.directory);
        let ended = tokio::task::spawn_blocking(move || {
            for mut part in parts {
                part.end();
            }
            directory.close()
        });
        ended
            .await
            .context("the simulator or the facade ended badly")?
            .context("the temporary directory cannot be removed")
    }
}

/// The options as they are typed.
fn simulator_arguments(options: &Options, faults: &[String]) -> Vec<String> {
    let mut arguments = vec!["simulator".to_owned()];
    arguments.push(format!("--users={}", options.users));
    arguments.push(format!("--seed={}", options.seed));
    arguments.push(format!("--latency-ms={}", options.latency_ms));
    arguments.extend(options.rate.map(|rate| format!("--rate={rate}")));
    let groups = options.group.iter();
    arguments.extend(groups.map(|group| format!("--group={}={}", group.name, group.size)));
    arguments.extend(faults.iter().map(|fault| format!("--fault={fault}")));
    arguments
}

/// Sixteen bytes that nobody guesses, in hexadecimal digits.
pub(super) fn random_word() -> anyhow::Result<String> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|error| anyhow::anyhow!("no random numbers: {error}"))?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// This program as a process of its own.
struct Part {
    url: Url,
    child: Child,
}

impl Part {
    async fn start(arguments: &[String]) -> anyhow::Result<Self> {
        let program = std::env::current_exe().context("this program does not find itself")?;
        let mut command = Command::new(program);
        command
            .arg("loadtest-part")
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        // Ctrl-C is for the test, which still has to take back what it changed.
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let mut child = command.spawn().context("this program cannot be started once more")?;
        let out = child.stdout.take();
        let mut started = Self {
            // Replaced below; a child is ended wherever this function is left.
            url: address::allowed("http://127.0.0.1")?,
            child,
        };
        let line = tokio::task::spawn_blocking(move || {
            let mut line = String::new();
            let read = out.map(|out| BufReader::new(out).read_line(&mut line));
            read.transpose().map(|_| line)
        });
        let line = line
            .await
            .context("the reading ended badly")?
            .context("no address was told")?;
        ensure!(!line.trim().is_empty(), "the simulator or the facade did not start");
        started.url = address::allowed(&line)?;
        Ok(started)
    }

    /// Ends it, in peace if it can.
    fn end(&mut self) {
        drop(self.child.stdin.take());
        let until = Instant::now() + PATIENCE;
        while Instant::now() < until {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
