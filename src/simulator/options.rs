//! How a simulator is started: the options of the sub-command, and what can be wrong with them.
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::str::FromStr;

use super::faults::Faults;

/// What the simulator holds and how badly it behaves. Where it listens is the caller's affair.
#[derive(clap::Args, Clone, Debug)]
pub struct Options {
    /// How many users there are: user000001, user000002 and so on
    #[arg(long, value_name = "N", default_value_t = 100, conflicts_with = "data")]
    pub users: u32,
    /// How many groups there are besides the built-in three: group-00001 and so on, 20 members each
    #[arg(long, value_name = "N", default_value_t = 0, conflicts_with = "data")]
    pub groups: u32,
    /// Where every id and every chance comes from: the same seed gives the same Cloud
    #[arg(long, value_name = "S", default_value_t = 1)]
    pub seed: u64,
    /// How long every answer takes, in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 0)]
    pub latency_ms: u64,
    /// One more group of the first SIZE users (repeatable)
    #[arg(long, value_name = "NAME=SIZE", conflicts_with = "data")]
    pub group: Vec<GroupSize>,
    /// Users and groups from this JSON file instead of generated ones
    #[arg(long, value_name = "FILE")]
    pub data: Option<PathBuf>,
    /// Which credentials open anything, from this JSON file (default: any does)
    #[arg(long, value_name = "FILE")]
    pub credentials: Option<PathBuf>,
    /// The id of the organisation (default: drawn from the seed)
    #[arg(long, value_name = "ID")]
    pub org_id: Option<String>,
    /// Requests a second that each operation allows; more are answered 429
    #[arg(long, value_name = "R")]
    pub rate: Option<f64>,
    /// Requests that may come at once before the rate counts (default: the rate, rounded up)
    #[arg(long, value_name = "B", requires = "rate")]
    pub burst: Option<u32>,
    /// One way of misbehaving (repeatable); an unknown name lists them all
    #[arg(long, value_name = "NAME[=VALUE]")]
    pub fault: Vec<Fault>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            users: 100,
            groups: 0,
            seed: 1,
            latency_ms: 0,
            group: Vec::new(),
            data: None,
            credentials: None,
            org_id: None,
            rate: None,
            burst: None,
            fault: Vec::new(),
        }
    }
}

impl Options {
    /// The switches as they stand at the start. A `--fault` of the same name as an option (`rate`, `burst`, `latency_ms`) wins.
    pub(super) fn faults(&self) -> Result<Faults, Error> {
        let mut given = BTreeMap::new();
        if self.latency_ms > 0 {
            given.insert("latency_ms".to_owned(), self.latency_ms.to_string());
        }
        if let Some(rate) = self.rate {
            given.insert("rate".to_owned(), rate.to_string());
        }
        if let Some(burst) = self.burst {
            if self.rate.is_none() {
                return Err(Error::Options("burst: means nothing without a rate".to_owned()));
            }
            given.insert("burst".to_owned(), burst.to_string());
        }
        for fault in &self.fault {
            given.insert(fault.name.clone(), fault.value.clone());
        }
        Faults::compile(given).map_err(Error::Options)
    }
}

/// A group to generate, written `NAME=SIZE`: the first SIZE users belong to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupSize {
    /// The group's name. It may hold `=` itself: the last one separates.
    pub name: String,
    /// How many members it has.
    pub size: u32,
}

impl FromStr for GroupSize {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, size) = text.rsplit_once('=').ok_or("expected NAME=SIZE")?;
        if name.trim().is_empty() {
            return Err("the name is empty".to_owned());
        }
        let size = size.parse().map_err(|_| format!("the size {size:?} is not a number"))?;
        Ok(Self {
            name: name.to_owned(),
            size,
        })
    }
}

/// One way of misbehaving that is switched on, written `NAME` or `NAME=VALUE`. Checked when it is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    name: String,
    value: String,
}

impl FromStr for Fault {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, value) = text.split_once('=').unwrap_or((text, ""));
        let fault = Self {
            name: name.to_owned(),
            value: value.to_owned(),
        };
        Faults::compile(BTreeMap::from([(fault.name.clone(), fault.value.clone())])).map(|_| fault)
    }
}

/// Why a simulator could not be made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An option has a value that makes no sense; the text names it.
    #[error("{0}")]
    Options(String),
    /// The data file could not be read.
    #[error("cannot read the data file {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file of the credentials could not be read, or does not say what it should.
    #[error("credentials {}: {message}", path.display())]
    Credentials {
        /// The file.
        path: PathBuf,
        /// What is wrong and where.
        message: String,
    },
    /// The data file does not say what it should; the text has the position.
    #[error("data file {}: {message}", path.display())]
    Data {
        /// The file.
        path: PathBuf,
        /// What is wrong and where.
        message: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_is_split_at_the_last_equals_sign() {
        let parsed = "a=b=12".parse::<GroupSize>().unwrap();
        assert_eq!(
            parsed,
            GroupSize {
                name: "a=b".to_owned(),
                size: 12
            }
        );
        assert!("a".parse::<GroupSize>().is_err());
        assert!("=3".parse::<GroupSize>().is_err());
        assert!("a=many".parse::<GroupSize>().is_err());
    }

    #[test]
    fn an_unknown_fault_is_refused_with_the_list_of_names() {
        let refused = "nonsense".parse::<Fault>().unwrap_err();
        assert!(
            refused.contains("nonsense") && refused.contains("hidden_emails"),
            "{refused}"
        );
        assert!("cut=1.5".parse::<Fault>().is_err());
        assert!("cut=0.5".parse::<Fault>().is_ok());
    }

    #[test]
    fn a_burst_without_a_rate_is_refused() {
        let options = Options {
            burst: Some(3),
            ..Options::default()
        };
        assert!(options.faults().is_err());
        let options = Options {
            rate: Some(0.0),
            ..Options::default()
        };
        assert!(options.faults().is_err());
    }
}
