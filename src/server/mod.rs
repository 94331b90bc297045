//! The running program: puts the parts together, serves until it is told to stop, and stops without losing anything.

mod accept;
mod accounts;
mod body;
mod credentials;
mod exposed;
mod files;
mod inspect;
mod line;
mod map;
mod places;
mod stop;
mod tls;

pub use exposed::exposed_files;
pub use inspect::Inspector;
pub use stop::Stop;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use secrecy::{ExposeSecret as _, SecretString};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::admin::{self, Admin};
use crate::audit::{Audit, Head, Limits};
use crate::cloud::{self, Client, Confluence, Credential, Credentials, Jira, Scim};
use crate::directory::identity::{Current, Drivers, Map, Own};
use crate::directory::{Books, Directory, Process, Visitors};
use crate::extender::Extender;
use crate::extender::auth::{Accounts, Door, Passthrough};
use crate::metrics::Metrics;
use crate::private;
use crate::settings::{Faults, Mode, Settings, seconds};
use crate::store::{self, Journal, ReadOnly, StateLock, Store, journal};

/// How long answers may take to be written once the operations behind them were cut short.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// A facade, ready to serve.
pub struct Server {
    settings: Arc<Settings>,
    process: Arc<Process>,
    extender: Arc<Extender>,
    admin: Arc<Admin>,
    tls: Option<tls::Watch>,
    map: map::Watch,
    accounts: Option<accounts::Watch>,
    credentials: credentials::Watch,
    /// Cloud as the facade's own credential sees it, where there is one.
    eyes: Option<Arc<Directory>>,
    metrics: Metrics,
    /// Held until the last answer is given.
    _lock: StateLock,
}

/// Reads the identity map that is set; none is an empty one.
///
/// # Errors
/// All faults of the file.
pub fn load_map(settings: &Settings) -> Result<Map, Faults> {
    match &settings.identity.map_file {
        Some(path) => Map::read(path, settings.identity.primary_username).map_err(|faults| Faults(faults.0)),
        None => Ok(Map::default()),
    }
}

/// Reads the accounts that are set, in mode `accounts`.
///
/// # Errors
/// All faults of the file.
pub fn load_accounts(settings: &Settings) -> Result<Option<Accounts>, Faults> {
    let Some(path) = settings
        .inbound
        .accounts_file
        .as_ref()
        .filter(|_| settings.inbound.mode == Mode::Accounts)
    else {
        return Ok(None);
    };
    let (accounts, warnings) = Accounts::load(path).map_err(|faults| Faults(vec![faults.to_string()]))?;
    for warning in warnings {
        tracing::warn!(%warning, "inbound.accounts_file");
    }
    let remembered = seconds(settings.inbound.verified_ttl_s);
    Ok(Some(accounts.with_limits(&crate::extender::auth::accounts::Limits {
        remembered,
        ..Default::default()
    })))
}

/// Tries the other files that the settings name: the certificate, and the state directory, which may be in use, and is not
/// made where it is not there. Returns what there is to say about them.
///
/// # Errors
/// What is wrong with them.
pub fn check_files(settings: &Settings) -> Result<Vec<String>, Faults> {
    let (mut notes, mut faults) = (Vec::new(), Vec::new());
    faults.extend(tls::Files::of(&settings.inbound).and_then(|files| files.read().err()));
    let dir = &settings.state_dir;
    match StateLock::ask(dir) {
        // The audit is open over there: what it is writing must not be taken for half a line.
        Err(store::Error::InUse { pid, .. }) => {
            let pid = pid.map(|pid| format!(" (pid {pid})")).unwrap_or_default();
            notes.push(format!("state_dir {} is used by a running facade{pid}", dir.display()));
        }
        Err(error) => faults.push(error.to_string()),
        // The service is to make it: what is made now may be another user's.
        Ok(()) if !dir.exists() => match can_be_made(dir) {
            Ok(()) => notes.push(format!("state_dir {} is made at the first start", dir.display())),
            Err(cause) => faults.push(format!("state_dir: {}: {cause}", dir.display())),
        },
        Ok(()) => {
            if let Err(older @ store::Error::Older { .. }) = journal::ReadOnly::open(dir) {
                notes.push(format!("{older}; the audit is held against its head then"));
            } else {
                let head = kept_head(dir);
                faults.extend(head.and_then(|head| audit(settings, head, Metrics::new())).err());
            }
            notes.push(format!("state_dir {} is used by nobody now", dir.display()));
        }
    }
    let learned = ReadOnly::open(dir).and_then(|store| {
        store.check()?;
        store.count()
    });
    match learned {
        Ok(rows) => notes.push(format!("{rows} learned identities")),
        Err(store::Error::Absent { .. }) => notes.push("nothing has been learned yet".to_owned()),
        Err(error) => faults.push(error.to_string()),
    }
    if faults.is_empty() {
        Ok(notes)
    } else {
        Err(Faults(faults))
    }
}

/// When the certificate that the settings name ends, if it can be read.
#[must_use]
pub fn certificate_ends(settings: &Settings) -> Option<Timestamp> {
    tls::Files::of(&settings.inbound)?.read().ok()?.ends
}

/// Tries whether whoever runs this could make a folder; nothing of it is left.
fn can_be_made(dir: &Path) -> std::io::Result<()> {
    let above = dir
        .ancestors()
        .skip(1)
        .find(|above| above.as_os_str().is_empty() || above.exists());
    let above = above
        .filter(|above| !above.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    tempfile::tempdir_in(above).map(drop)
}

/// Journal and audit. Where one of them cannot be used nothing is changed, and reads go on.
fn books(settings: &Settings, metrics: &Metrics) -> Books {
    let open = || {
        // First: its head cannot be read before a journal of an earlier version was upgraded.
        let journal = Journal::open(&settings.state_dir, metrics.clone()).map_err(|e| e.to_string())?;
        let expected = kept_head(&settings.state_dir)?;
        Ok::<_, String>((audit(settings, expected, metrics.clone())?, journal))
    };
    match open() {
        Ok((audit, journal)) => Books::open(audit, journal),
        Err(why) => {
            tracing::error!(%why, "changes are refused until this is mended and the facade is started again; reads go on");
            Books::closed(&why)
        }
    }
}

/// The last line of the audit, as the journal in the same state directory keeps it, if there is one.
///
/// # Errors
/// What is wrong with the journal.
pub fn kept_head(state_dir: &Path) -> Result<Option<Head>, String> {
    let kept = match journal::ReadOnly::open(state_dir) {
        Err(store::Error::Absent { .. }) => return Ok(None),
        opened => opened.and_then(|journal| journal.head()),
    };
    kept.map_err(|e| e.to_string())?.map(|text| text.parse()).transpose()
}

fn audit(settings: &Settings, expected: Option<Head>, metrics: Metrics) -> Result<Audit, String> {
    let limits = Limits {
        max_file_bytes: settings.audit.max_file_mb.saturating_mul(1024 * 1024),
        keep_files: settings.audit.keep_files,
    };
    Audit::open(&settings.state_dir, limits, expected, metrics).map_err(|e| format!("state_dir: {e}"))
}

/// What travels in the clear beyond this machine because the settings say that it is meant.
#[must_use]
pub fn in_the_clear(settings: &Settings) -> Vec<&'static str> {
    let inbound = &settings.inbound;
    let is_heard =
        !inbound.listen.ip().is_loopback() && inbound.tls_cert_file.is_none() && inbound.trusted_proxies.is_empty();
    let is_operator_heard = settings.admin.listen.is_some_and(|listen| !listen.ip().is_loopback());
    let callers = "inbound.allow_cleartext: whoever is on the way can read callers' passwords and tokens";
    let operators = "admin.allow_cleartext: whoever is on the way can read the operator's token";
    let told = [(is_heard, callers), (is_operator_heard, operators)];
    told.into_iter()
        .filter(|(is_so, _)| *is_so)
        .map(|(_, told)| told)
        .collect()
}

/// The file in the state directory whose token opens the operations at the operator's listener, where no other is set:
/// whoever may read it may as well read the journal.
pub const OPERATORS_TOKEN: &str = "operator.token";

/// The token of the setting, else that of the file, which is made anew at each start.
fn operators_token(settings: &Settings) -> Result<SecretString, String> {
    if !settings.admin.token.expose_secret().is_empty() {
        return Ok(settings.admin.token.clone());
    }
    let path = settings.state_dir.join(OPERATORS_TOKEN);
    let fault = |cause: std::io::Error| format!("{}: {cause}", path.display());
    let token = crate::model::OperationId::random().as_str().to_owned();
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(fault(error)),
        _ => {}
    }
    let written = private::file()
        .write(true)
        .create_new(true)
        .open(&path)
        .and_then(|mut file| std::io::Write::write_all(&mut file, token.as_bytes()));
    if let Err(error) = written {
        // A full disk is no reason not to serve.
        tracing::warn!(%error, path = %path.display(), "nobody can take operations back: the operator's token is not written");
    }
    Ok(SecretString::from(token))
}

/// The client and, where one is configured, the credential with which Cloud is called.
///
/// # Errors
/// What is wrong with the address or the certificates.
pub fn cloud(settings: &Settings, consents: &Path, metrics: &Metrics) -> Result<(Arc<Client>, Credential), Faults> {
    let client = Client::new(&settings.cloud, metrics.clone()).map_err(|fault| Faults(vec![fault]))?;
    let credential = Credential::of(settings.cloud.keys(), consents);
    Ok((Arc::new(client), credential))
}

/// Where the consents of OAuth are kept.
#[must_use]
pub fn consents(settings: &Settings) -> PathBuf {
    settings.state_dir.join("credentials")
}

/// The drivers of the other sources of identity that have a credential.
///
/// # Errors
/// What is wrong with an address or a credential.
pub fn drivers(settings: &Settings, consents: &Path, metrics: &Metrics) -> Result<Drivers, Faults> {
    let cloud = &settings.cloud;
    let one = |fault: String| Faults(vec![fault]);
    let mut drivers = Drivers::default();
    if !cloud.admin.org_id.is_empty() {
        let client = Client::towards(&cloud.admin.base_url, cloud, metrics.clone()).map_err(one)?;
        let key = Credential::of(cloud.admin.keys(), consents);
        drivers.admin = Some(cloud::Admin::new(Arc::new(client), key, &cloud.admin.org_id));
    }
    if !cloud.scim.directory_id.is_empty() {
        let client = Client::towards(&cloud.scim.base_url, cloud, metrics.clone()).map_err(one)?;
        let key = Credential::of(cloud.scim.keys(), consents);
        drivers.scim = Some(Scim::new(Arc::new(client), key, &cloud.scim.directory_id));
    }
    if let Some(first) = cloud.jira.keys().first() {
        let credential = Credential::of(cloud.jira.keys(), consents);
        // A client of its own: its pace and its failures are not Confluence's.
        let client = Client::new(cloud, metrics.clone()).map_err(one)?;
        drivers.jira = Some((Jira::new(Arc::new(client), credential), first.email.clone()));
    }
    Ok(drivers)
}

impl Server {
    /// Puts the parts together: validates the settings, reads the files they name, takes the state directory, opens
    /// audit and store, takes SIGHUP over (so it has to be within a runtime). Calls nobody.
    ///
    /// # Errors
    /// Everything that is at fault, as far as it can be told at once.
    pub fn new(settings: Settings) -> Result<Self, Faults> {
        let mut faults = Vec::new();
        let mut gather = |fault: Faults| faults.extend(fault.0);
        if let Err(fault) = settings.validate() {
            gather(fault);
        }
        let map_read = files::stamps(&settings.identity.map_file);
        let map = load_map(&settings).map_err(&mut gather).ok();
        let accounts_read = files::stamps(&settings.inbound.accounts_file);
        let accounts = load_accounts(&settings).map_err(&mut gather).ok();
        let (Some(map), Some(accounts)) = (map, accounts) else {
            return Err(Faults(faults));
        };
        if !faults.is_empty() {
            return Err(Faults(faults));
        }
        let one = |fault: String| Faults(vec![fault]);
        let settings = Arc::new(settings);
        let metrics = Metrics::new();
        let tls = tls::Files::of(&settings.inbound)
            .map(|files| tls::Watch::over(files, &settings.inbound, metrics.clone()))
            .transpose()
            .map_err(one)?;
        let lock = StateLock::take(&settings.state_dir).map_err(|e| one(e.to_string()))?;
        let books = books(&settings, &metrics);
        let store = Store::open(&settings.state_dir, metrics.clone()).map_err(|e| one(e.to_string()))?;
        let (client, credential) = cloud(&settings, &consents(&settings), &metrics)?;
        let own = Own {
            drivers: drivers(&settings, &consents(&settings), &metrics)?,
            store: Some(store.clone()),
        };
        let mut credentials = vec![credential.clone()];
        credentials.extend(own.drivers.admin.as_ref().map(|admin| admin.credential().clone()));
        credentials.extend(own.drivers.scim.as_ref().map(|scim| scim.credential().clone()));
        credentials.extend(own.drivers.jira.as_ref().map(|(jira, _)| jira.credential().clone()));
        let credentials = Credentials::new(credentials);
        map::welcome(&map, &metrics);
        let map = Arc::new(Current::new(map));
        let process = Arc::new(Process::new(
            Arc::clone(&map),
            books,
            store,
            metrics.clone(),
            Arc::clone(&settings),
        ));
        let has_credential = !settings.cloud.keys().is_empty();
        let eyes = has_credential.then(|| {
            let cloud = Confluence::new(Arc::clone(&client), credential.clone());
            Arc::new(Directory::new(Arc::clone(&process), cloud, own.clone()))
        });
        let directory = || eyes.clone().ok_or_else(|| one("no credential for Cloud".to_owned()));
        let visitors = || Visitors::new(Arc::clone(&client), Arc::clone(&process));
        let accounts_watch = accounts.clone().zip(settings.inbound.accounts_file.clone());
        let accounts_watch = accounts_watch
            .map(|(accounts, path)| accounts::Watch::new(path, &settings, accounts_read, accounts, metrics.clone()));
        let door = match (settings.inbound.mode, accounts) {
            (Mode::Open, _) => Door::Open(directory()?),
            (Mode::Accounts, Some(accounts)) => Door::Accounts(accounts, directory()?),
            (Mode::Accounts, None) => return Err(one("inbound.accounts_file is missing".to_owned())),
            (Mode::Passthrough, _) => Door::Passthrough(Box::new(Passthrough::new(visitors(), &settings))),
        };
        for told in in_the_clear(&settings) {
            tracing::warn!("{told}");
        }
        let extender = Extender::new(Arc::clone(&settings), door, metrics.clone()).map_err(|e| one(e.to_string()))?;
        let map = map::Watch::new(&settings, map_read, map, metrics.clone());
        let watch = credentials::Watch::new(credentials.clone(), metrics.clone(), Arc::clone(&client), eyes.clone());
        let certificate = tls.as_ref().map(|watch| {
            let current = watch.current();
            Box::new(move || current.ends()) as admin::Ends
        });
        let admin = Admin::new(
            client,
            Arc::clone(&process),
            eyes.clone(),
            metrics.clone(),
            credentials,
            settings.admin.token.clone(),
            operators_token(&settings).map_err(one)?,
        )
        .telling_end(certificate);
        Ok(Self {
            eyes,
            settings,
            map,
            accounts: accounts_watch,
            credentials: watch,
            metrics,
            process,
            extender: Arc::new(extender),
            admin: Arc::new(admin),
            tls,
            _lock: lock,
        })
    }

    /// Opens the listeners that are set.
    ///
    /// # Errors
    /// An address that cannot be had.
    pub async fn bind(settings: &Settings) -> Result<Listeners, Faults> {
        let bind = |key, address: SocketAddr| {
            accept::listen(address).map_err(|e| Faults(vec![format!("{key} {address}: {e}")]))
        };
        let admin = settings.admin.listen.map(|address| bind("admin.listen", address));
        Ok(Listeners {
            inbound: bind("inbound.listen", settings.inbound.listen)?,
            admin: admin.transpose()?,
        })
    }

    /// Serves until `stop` is said, then finishes what runs, for at most `shutdown_s`.
    pub async fn run(self, listeners: Listeners, stop: Stop) {
        let inbound = &self.settings.inbound;
        let limits = accept::Limits {
            connections: inbound.max_connections,
            connections_of_one: inbound.max_connections_per_address,
            head: seconds(inbound.header_timeout_s),
            handshake: seconds(inbound.tls_handshake_timeout_s),
            standstill: seconds(inbound.body_timeout_s),
            networks: inbound.allow_networks.clone(),
            proxies: inbound.trusted_proxies.clone(),
        };
        // Probes and figures are wanted until the very end.
        let admin_stop = CancellationToken::new();
        let admin = listeners.admin.map(|listener| {
            let limits = accept::Limits {
                connections: 64,
                connections_of_one: 0,
                networks: Vec::new(),
                proxies: Vec::new(),
                ..limits.clone()
            };
            let service = accept::Service {
                filter: admin::filter(Arc::clone(&self.admin)),
                repeats: None,
                tls: None,
                metrics: self.metrics.clone(),
            };
            tokio::spawn(accept::serve(listener, service, limits, admin_stop.clone()))
        });
        let extender = Arc::clone(&self.extender);
        self.process
            .restore(self.eyes.clone(), |report| extender.still_admits(report))
            .await;
        let service = accept::Service {
            filter: Arc::clone(&self.extender).filter(),
            repeats: Some(self.extender.repeats()),
            tls: self.tls.as_ref().map(tls::Watch::current),
            metrics: self.metrics,
        };
        let mut watching = vec![tokio::spawn(self.map.run()), tokio::spawn(self.credentials.run())];
        watching.extend(self.accounts.map(|watch| tokio::spawn(watch.run())));
        watching.extend(self.tls.map(|watch| tokio::spawn(watch.run())));
        let forgetting = tokio::spawn(Arc::clone(&self.process).forget_old_reports());
        let open = accept::serve(listeners.inbound, service, limits, stop.begin.clone()).await;

        watching.iter().for_each(tokio::task::JoinHandle::abort);
        forgetting.abort();
        self.admin.stopping();
        let from = Instant::now();
        let patience = seconds(self.settings.shutdown_s);
        tracing::info!(
            connections = open.count(),
            operations = self.process.running(),
            ?patience,
            "stopping: no new connections; finishing what runs"
        );
        let mut closed = std::pin::pin!(open.closed());
        let all_closed = tokio::select! {
            () = &mut closed => true,
            () = tokio::time::sleep(patience) => false,
            () = stop.hurry.cancelled() => false,
        };
        // Operations whose callers hung up have no connection any more.
        let left = if stop.hurry.is_cancelled() {
            Duration::ZERO
        } else {
            patience.saturating_sub(from.elapsed())
        };
        let cut_short = tokio::select! {
            cut_short = self.process.finish(left) => cut_short,
            () = stop.hurry.cancelled(), if !left.is_zero() => self.process.finish(Duration::ZERO).await,
        };
        if !all_closed && tokio::time::timeout(LAST_WORDS, closed).await.is_err() {
            tracing::warn!("connections were cut that did not end in time");
        }
        admin_stop.cancel();
        if let Some(admin) = admin {
            admin.abort();
        }
        let waited = from.elapsed();
        if cut_short == 0 {
            tracing::info!(?waited, "stopped: everything that ran was finished");
        } else {
            tracing::warn!(
                ?waited,
                cut_short,
                "stopped: operations were cut short; their remaining names are told not_attempted in the audit"
            );
        }
    }
}

/// The open listeners of a server.
pub struct Listeners {
    /// For legacy scripts.
    pub inbound: TcpListener,
    /// For operators.
    pub admin: Option<TcpListener>,
}
