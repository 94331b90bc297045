//! A Confluence Cloud small enough for a test: the group and user calls, and the other sources of identity, from memory.
//!
//! It stands in for Cloud in tests, benches and the demo, and is only ever reached over HTTP. It must never know anything else
//! of this crate: a field misspelt in a type that it shared with the client would pass every test.
//!
//! - Confluence's version 1 stands under `/wiki/rest/api`, `users-bulk` of version 2 under `/wiki/api/v2` and Jira's users under
//!   `/rest/api/3` (any Basic credential); the same under `/ex/confluence/{cloudId}` and `/ex/jira/{cloudId}` (Basic or
//!   Bearer), with `/_edge/tenant_info` (no credential).
//! - What `api.atlassian.com` has besides that gateway: the Admin API under `/admin` (`admin`) and provisioning under `/scim`
//!   (`scim`), by any Bearer credential and no other. One organisation, one directory, the same users and groups as the site.
//! - The authorization server: `/authorize`, `/oauth/token`, `/oauth/token/accessible-resources`. Which credentials open what
//!   is told in `credentials`; while it knows none, any will do, as above.
//! - Ids, paging and errors are those of the official documents; contract tests hold the answers to them.
//! - For whoever runs a test: `/_sim/stats`, `/_sim/asked`, `/_sim/reset`, `/_sim/ids`, `/_sim/members?group=NAME`,
//!   `/_sim/faults`, `/_sim/users`, which changes a user, `/_sim/credentials`, `/_sim/tokens` and `/_sim/scopes`.
//! - Everything drawn comes from the seed. How it can misbehave is told in the table of `faults.rs`.
//!
//! Choices where the facts leave one open: lists of groups are sorted by name ignoring case, then by exact name. More than 200
//! groups a page are capped in silence. A user who is not active stands in no page of members, but can be looked up, added and
//! asked for groups. An unknown account is 400 when it is added, 404 elsewhere, and left out of `user/bulk`.
//!
//! The Admin API refuses what it does not simulate (`sortBy`, `roleIds` and the like) rather than ignore it, and a cursor that
//! comes with another search than it was given for. The organisation's users are neither apps nor customers. Somebody who is
//! suspended has an active account in `users-bulk` all the same. A hidden address is absent from Jira's answers, and blank in
//! its list of everybody.
//!
//! Order of the checks: `reset` and `silent`, quota and rate (429, at once), delay, `down`, credential, the faults of chance, then the call.
mod admin;
mod answers;
mod asked;
mod chance;
mod control;
mod credential_faults;
mod credentials;
mod data;
mod data_file;
mod fault_values;
mod faults;
mod jira;
mod limit_faults;
mod limit_headers;
mod limits;
mod options;
mod points;
mod profile;
mod reads;
mod reply;
mod request;
mod routes;
mod scim;
mod service;
mod source_faults;
mod state;
mod stats;
mod users;
mod v2;
mod wire;
mod writes;

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use parking_lot::{Mutex, RwLock};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use chance::{Dice, Kind, Sequence};
use faults::Faults;
use state::Store;

pub use options::{Error, Fault, GroupSize, Options};

/// How long accepting pauses when it fails, as it does without free file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(10);

/// A simulated Cloud. A handle: its clones are the same Cloud.
#[derive(Clone)]
pub struct Simulator {
    shared: Arc<Shared>,
}

/// A user, as whoever writes an identity map wants to know it. What a data file leaves out is empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Person {
    /// The Data Center username.
    pub username: String,
    /// The Data Center user key.
    pub key: String,
    /// The e-mail address, whether the profile hides it or not.
    pub email: String,
    /// The Cloud account id.
    pub account_id: String,
    /// The name shown.
    pub display_name: String,
}

/// Everything that requests share.
struct Shared {
    seed: u64,
    cloud_id: String,
    org_id: String,
    /// Of the one directory that the organisation has; users are provisioned into it too.
    directory_id: String,
    /// Whoever needs the store as well takes this first.
    users: RwLock<users::Users>,
    store: Mutex<Store>,
    faults: RwLock<Arc<Faults>>,
    /// Whoever needs the users as well takes them first.
    credentials: RwLock<credentials::Registry>,
    /// Whether nothing is answered, for those who wait for the end of it.
    silence: watch::Sender<bool>,
    limits: limits::Limits,
    stats: stats::Stats,
    asked: asked::Asked,
    dice: Dice,
    turns: service::Turns,
    /// How many groups were created: the next one's id comes from it.
    created: AtomicU64,
}

impl Simulator {
    /// Makes a Cloud as the options say.
    ///
    /// # Errors
    /// An option without sense, or a file that cannot be read or understood.
    pub fn new(options: &Options) -> Result<Self, Error> {
        let faults = options.faults()?;
        let start = data::load(options)?;
        let credentials = credentials::Registry::load(options, &start.users)?;
        let shared = Shared {
            seed: options.seed,
            cloud_id: Sequence::new(options.seed, Kind::Cloud, 0).uuid(),
            org_id: options
                .org_id
                .clone()
                .unwrap_or_else(|| Sequence::new(options.seed, Kind::Organisation, 0).uuid()),
            directory_id: Sequence::new(options.seed, Kind::Directory, 0).uuid(),
            users: RwLock::new(start.users),
            store: Mutex::new(Store::new(start.groups, faults.seats)),
            turns: service::Turns::new(&faults),
            silence: watch::Sender::new(faults.silent),
            faults: RwLock::new(Arc::new(faults)),
            limits: limits::Limits::default(),
            stats: stats::Stats::default(),
            asked: asked::Asked::default(),
            credentials: RwLock::new(credentials),
            dice: Dice::new(options.seed),
            created: AtomicU64::new(0),
        };
        Ok(Self {
            shared: Arc::new(shared),
        })
    }

    /// The id of the organisation, as the Admin API has it.
    pub fn org_id(&self) -> String {
        self.shared.org_id.clone()
    }

    /// The id of the organisation's one directory, for the Admin API and for SCIM.
    pub fn directory_id(&self) -> String {
        self.shared.directory_id.clone()
    }

    /// Where a client that knows Cloud's own API alone adds somebody to a group: a POST of `{"accountId": …}`.
    pub fn path_to_add(group_id: &str) -> String {
        routes::adding(group_id)
    }

    /// Every user, in order.
    pub fn people(&self) -> Vec<Person> {
        let person = |user: &users::User| Person {
            username: user.username.to_string(),
            key: user.key.to_string(),
            email: user.email.to_string(),
            account_id: user.account_id.to_string(),
            display_name: user.display_name.to_string(),
        };
        self.shared.users.read().iter().map(person).collect()
    }

    /// Serves until `shutdown` is done; then closes the connections that are open, whatever happens on them, and returns.
    pub async fn run(self, listener: TcpListener, shutdown: impl Future<Output = ()>) {
        let mut connections = JoinSet::new();
        let mut shutdown = pin!(shutdown);
        loop {
            tokio::select! {
                () = &mut shutdown => break,
                accepted = listener.accept() => match accepted {
                    Ok((stream, _)) => {
                        connections.spawn(connection(Arc::clone(&self.shared), stream));
                    }
                    Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
                },
                Some(_) = connections.join_next() => {}
            }
        }
        drop(listener);
        connections.shutdown().await;
    }
}

async fn connection(shared: Arc<Shared>, stream: TcpStream) {
    // Without it an answer in two segments waits for the client's delayed acknowledgement: 40 ms that nobody asked for.
    let _ = stream.set_nodelay(true);
    let service = service_fn(move |request| service::serve(Arc::clone(&shared), request));
    // An error is a client that left or a cut of ours: nothing to tell anybody.
    let _ = http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service)
        .await;
}
