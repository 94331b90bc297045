//! One HTTP client for all of Cloud: sends a request, and sends it again where that is safe and makes sense.

use std::sync::atomic::{AtomicI64, AtomicU8, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use http::StatusCode;
use parking_lot::Mutex;
use serde::de::DeserializeOwned;
use url::Url;

use super::attempt::{Try, chain, is_html};
use super::call::{Answer, Call, parse};
use super::credential::{Login, Shown, Tried, Unfit};
use super::diagnosis::Diagnosis;
use super::governor::Governor;
use super::heard::{Doubts, Heard};
use super::places::Places;
use super::scrub::Scrub;
use super::{Credential, Error, Operation, Patience, wire};
use crate::metrics::{Metrics, Outbound};
use crate::model::{RequestId, Wait};
use crate::settings::{self, Pays};

/// What v1 answers when no seat is free in the licence: a sign, not a proof, so it is tried once more unless the caller
/// has reason to believe it.
const NO_SEAT_SIGN: &str = "AddUserToGroupsIdentityPlatformCommand";

/// Letters of what a reader says of an answer that it cannot read.
const MOST_TOLD: usize = 300;

/// Until somebody who is on it has made a token.
const SHORTLY: Duration = Duration::from_millis(50);

/// The process's connections to one of Cloud's addresses, with everything that is shared by its callers.
#[derive(Debug)]
pub struct Client {
    pub(super) http: reqwest::Client,
    pub(super) places: Places,
    login: Login,
    governor: Governor,
    pub(super) metrics: Metrics,
    pub(super) try_timeout: Duration,
    max_tries: u32,
    pub(super) max_answer: usize,
    /// Requests answered; tells a fault of one name from a fault of Cloud.
    successes: AtomicU64,
    last: Mutex<Option<Exchange>>,
    max_in_flight: usize,
    pays: Pays,
    /// The moving average behind [`Client::pace`], in microseconds; 0: nothing measured.
    pace_us: AtomicU64,
    /// How far Cloud's clock was ahead of ours at the last answer, in seconds.
    pub(super) skew_s: AtomicI64,
    /// Which form of `user/bulk?accountId=` this site understands, see [`super::confluence`].
    pub(super) ids_form: AtomicU8,
}

/// How the last try towards Cloud ended.
#[derive(Clone, Debug)]
pub struct Exchange {
    /// When.
    pub at: Instant,
    /// What went wrong, if anything did.
    pub fault: Option<String>,
    /// What went wrong is a credential, which does not mend by itself.
    pub is_refusal: bool,
}

/// How fast requests are answered at present.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pace {
    /// The time Cloud takes for an answer: an average over the last dozens of requests. `None` before the first.
    pub request: Option<Duration>,
    /// Requests under way at once.
    pub at_once: usize,
    /// Requests of the kind a second, where a limit was learned or set.
    pub per_second: Option<f64>,
}

/// How a try that did not help is followed by another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Again {
    /// When its turn comes.
    InTurn,
    /// After a moment: the answer is not believed at once.
    Doubted,
    /// After a pause that grows, for as long as there is leave.
    Failed,
}

impl Client {
    /// A client for the site of `settings`.
    ///
    /// # Errors
    /// One sentence: an address or certificate file that cannot be used, or a system without certificates.
    pub fn new(settings: &settings::Cloud, metrics: Metrics) -> Result<Self, String> {
        Self::towards(&settings.site()?, settings, metrics)
    }

    /// A client for another address of Cloud's, with the limits of `settings`.
    ///
    /// # Errors
    /// As for [`Client::new`].
    pub fn towards(address: &str, settings: &settings::Cloud, metrics: Metrics) -> Result<Self, String> {
        // Harmless where a provider is installed already; reqwest needs one before its first client.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let parse = |address: &str| Url::parse(address).map_err(|e| format!("{address:?}: {e}"));
        let (site, gateway) = (parse(address)?, parse(&settings.gateway_url)?);
        let millis = Duration::from_millis;
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("extender-facade/", env!("CARGO_PKG_VERSION")))
            // A redirect would carry the credential to wherever it points.
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(millis(settings.connect_timeout_ms))
            .pool_idle_timeout(Duration::from_secs(50))
            .tcp_keepalive(Duration::from_secs(30))
            .http2_keep_alive_interval(Duration::from_secs(20))
            .http2_keep_alive_timeout(Duration::from_secs(10));
        if site.scheme() == "http" {
            // Loopback: no proxy can be meant, and a machine without certificates must do.
            builder = builder.no_proxy().tls_certs_only(std::iter::empty());
        } else if let Some(path) = &settings.ca_file {
            let pem = std::fs::read(path).map_err(|e| format!("cloud.ca_file {}: {e}", path.display()))?;
            let more = reqwest::Certificate::from_pem_bundle(&pem)
                .map_err(|e| format!("cloud.ca_file {}: {e}", path.display()))?;
            builder = builder.tls_certs_merge(more);
        }
        let http = builder
            .build()
            .map_err(|e| format!("no HTTP client can be made: {}", chain(&e)))?;
        let login = Login {
            http: http.clone(),
            server: parse(&settings.login_url)?,
            gateway: gateway.clone(),
            metrics: metrics.clone(),
            timeout: millis(settings.try_timeout_ms),
        };
        Ok(Self {
            http,
            places: Places::new(site, gateway, &settings.cloud_id),
            login,
            governor: Governor::new(settings, metrics.clone()),
            pays: settings.pays,
            metrics,
            try_timeout: millis(settings.try_timeout_ms),
            max_tries: settings.max_tries,
            max_answer: settings.max_answer_bytes,
            successes: AtomicU64::new(0),
            last: Mutex::new(None),
            max_in_flight: settings.max_in_flight,
            pace_us: AtomicU64::new(0),
            skew_s: AtomicI64::new(0),
            ids_form: AtomicU8::new(0),
        })
    }

    /// How the last try towards Cloud ended, if there was one.
    #[must_use]
    pub fn last_exchange(&self) -> Option<Exchange> {
        self.last.lock().clone()
    }

    /// The authorisation server.
    #[must_use]
    pub fn login(&self) -> &Login {
        &self.login
    }

    /// How far Cloud's clock was ahead of ours at the last answer, in seconds; below 0: behind.
    #[must_use]
    pub fn clock_skew_s(&self) -> i64 {
        self.skew_s.load(Ordering::Relaxed)
    }

    /// How fast requests of this kind are answered at present.
    #[must_use]
    pub fn pace(&self, operation: Operation) -> Pace {
        let micros = self.pace_us.load(Ordering::Relaxed);
        Pace {
            request: (micros > 0).then(|| Duration::from_micros(micros)),
            at_once: self.max_in_flight,
            per_second: self.governor.per_second(operation),
        }
    }

    /// Whether the first of many requests of this kind would leave within `time`, as far as anybody can tell.
    pub(super) fn would_begin(&self, operation: Operation, time: Duration) -> Result<(), Error> {
        let begins = self.governor.would_begin(operation, time);
        begins.map_err(|refusal| Error::Unavailable {
            operation,
            retry_after: refusal.retry_after,
            cause: refusal.why.to_owned(),
            doubtful: false,
        })
    }

    /// Takes an answered request into the average. Two at the same moment may lose one of them; the average does not mind.
    fn took(&self, time: Duration) {
        let most = u64::MAX / 64;
        let now = u64::try_from(time.as_micros()).unwrap_or(most).clamp(1, most);
        let before = self.pace_us.load(Ordering::Relaxed);
        let after = if before == 0 { now } else { (before * 15 + now) / 16 };
        self.pace_us.store(after.max(1), Ordering::Relaxed);
    }

    /// Sends a read until its answer can be understood.
    pub(super) async fn read<T: DeserializeOwned>(
        &self,
        call: &Call,
        credential: &Credential,
        request: &RequestId,
        patience: Patience<'_>,
    ) -> Result<T, Error> {
        let sent = self.send(call, Some(credential), request, patience, parse::<T>);
        let (answer, value) = sent.await?;
        value.ok_or_else(|| answer.rejected(call.operation))
    }

    /// Sends `call` until there is an answer worth reading. `accept` judges the body of a success: what it refuses is
    /// a passing failure like any other, so that half an answer is never taken for one.
    pub(super) async fn send<T>(
        &self,
        call: &Call,
        credential: Option<&Credential>,
        request: &RequestId,
        patience: Patience<'_>,
        accept: impl Fn(&[u8]) -> Result<T, String>,
    ) -> Result<(Answer, Option<T>), Error> {
        let operation = call.operation;
        let (mut tries, mut failures, mut doubtful) = (0_u32, 0_u32, false);
        let mut doubts = Doubts::default();
        let (mut answered, mut alone) = (0, 0_u32);
        let mut cause = String::new();
        let mut renewals = Renewals::default();
        let flow = request.flow();
        loop {
            let unavailable = |cause: &str, doubtful| Error::Unavailable {
                operation,
                retry_after: self.retry_after(operation),
                cause: cause.to_owned(),
                doubtful,
            };
            let mut prepared = None;
            if let Some(credential) = credential {
                let until = Instant::now() + patience.limit(self.try_timeout).min(patience.left());
                match credential.prepare(self, operation, until, &mut renewals.tried).await {
                    Ok(at) => prepared = Some((credential, at)),
                    Err(Unfit::Refused(diagnosis)) => {
                        self.note(operation, "refused", Some(diagnosis.to_string()));
                        return Err(refused(401, renewals.worst(diagnosis), doubtful));
                    }
                    Err(Unfit::Unavailable { cause, retry_after }) => {
                        self.note(operation, "failed", Some(cause.clone()));
                        patience
                            .sleep(retry_after)
                            .await
                            .map_err(|_exhausted| Error::Unavailable {
                                operation,
                                retry_after,
                                cause,
                                doubtful,
                            })?;
                        continue;
                    }
                }
            }
            let (entered, waited) = self.governor.enter(operation, &flow, &patience).await;
            if let Some((wait, time)) = waited {
                request.effort().waited(wait, time);
            }
            let permit = match entered {
                Ok(permit) => permit,
                Err(refusal) => {
                    // What went wrong before says more than that there is no time for another try.
                    let cause = if cause.is_empty() {
                        refusal.why.to_owned()
                    } else {
                        cause
                    };
                    return Err(Error::Unavailable {
                        operation,
                        retry_after: refusal.retry_after,
                        cause,
                        doubtful,
                    });
                }
            };
            // After the wait, which may have been longer than a token lives.
            let shown = match prepared.map(|(credential, at)| credential.of_key(at, self, operation)) {
                Some(None) => {
                    // It came to its end while it waited for its turn.
                    patience
                        .sleep(SHORTLY)
                        .await
                        .map_err(|_exhausted| unavailable("an access token ended", doubtful))?;
                    continue;
                }
                shown => shown.flatten(),
            };
            tries += 1;
            request.effort().tried(tries > 1);
            if tries > 1 {
                self.metrics.cloud_retries.inc();
            }
            let from = Instant::now();
            let limit = patience.limit(self.try_timeout);
            let ended = tokio::select! {
                // An answer that is there counts, however late anybody looks.
                biased;
                ended = self.once(call, shown.as_ref(), request) => ended,
                () = tokio::time::sleep(limit) => Try::Lost(format!("no answer within {} ms", limit.as_millis())),
                () = patience.cut_off() => Try::Lost("no answer before the server stopped".to_owned()),
            };
            self.metrics.cloud_seconds.observe(from.elapsed().as_secs_f64());

            let (fault, again) = match ended {
                Try::NotSent(fault) => {
                    permit.not_sent();
                    (fault, Again::Failed)
                }
                Try::Lost(fault) => {
                    permit.failed(None);
                    doubtful |= operation.is_write();
                    (fault, Again::Failed)
                }
                Try::Answered(status, headers, body) => {
                    let message = || wire::error_message(&body);
                    match status.as_u16() {
                        200..=299 if is_html(&headers) => {
                            // A login or gateway page with a good status; never a success.
                            permit.failed(None);
                            doubtful |= operation.is_write();
                            (
                                format!("an HTML page instead of an answer: {}", message()),
                                Again::Failed,
                            )
                        }
                        200..=299 => match accept(&body) {
                            Ok(value) => {
                                permit.accepted(&headers, self.points(operation, &body));
                                self.note(operation, "2xx", None);
                                self.took(from.elapsed());
                                if let Some((credential, shown)) = credential.zip(shown.as_ref()) {
                                    credential.accepted(shown, operation);
                                }
                                return Ok((Answer { status, body, doubtful }, Some(value)));
                            }
                            Err(fault) => {
                                permit.failed(None);
                                // The reader's words may hold what was read.
                                let fault = Scrub::of(shown.as_ref().map(|shown| &shown.header)).text(fault);
                                (fault.chars().take(MOST_TOLD).collect(), Again::Failed)
                            }
                        },
                        429 => {
                            permit.too_fast(&headers);
                            (format!("too many requests ({})", message()), Again::InTurn)
                        }
                        408 | 500..=599 if !(operation == Operation::AddMember && message().contains(NO_SEAT_SIGN)) => {
                            permit.failed(Some(&headers));
                            doubtful |= operation.is_write();
                            (format!("{status}: {}", message()), Again::Failed)
                        }
                        _ => {
                            // Cloud is there, and says something.
                            permit.accepted(&headers, self.points(operation, &[]));
                            let whose = credential.zip(shown.as_ref());
                            let is_absent = status == StatusCode::NOT_FOUND && !operation.is_everywhere();
                            if let Some((credential, shown)) = whose.filter(|_| is_absent)
                                && !credential.has_opened(shown)
                            {
                                // What is not there, or a site that this credential does not open?
                                match self.opens(shown, request).await {
                                    Some(true) => credential.accepted(shown, operation),
                                    Some(false) => doubts.is_elsewhere = true,
                                    None => {
                                        patience.sleep(SHORTLY).await.map_err(|_exhausted| {
                                            unavailable("whether the site is there could not be asked", doubtful)
                                        })?;
                                        continue;
                                    }
                                }
                            }
                            match self.heard(call, whose, status, &headers, &message(), &mut doubts) {
                                Heard::Answer => return Ok((Answer { status, body, doubtful }, None)),
                                Heard::Refused(diagnosis) => {
                                    let symptom = diagnosis.symptom;
                                    let has_another = match whose {
                                        Some((credential, shown)) if renewals.may_go_on() => {
                                            let limit = patience.limit(self.try_timeout).min(patience.left());
                                            let until = Instant::now() + limit;
                                            let tried = &mut renewals.tried;
                                            credential.refused(shown, operation, symptom, until, tried).await
                                        }
                                        _ => false,
                                    };
                                    let worst = renewals.worst(diagnosis);
                                    if !has_another {
                                        return Err(refused(status.as_u16(), worst, doubtful));
                                    }
                                    renewals.note(worst);
                                    (doubts.forgiven, doubts.is_elsewhere) = (false, false);
                                    continue;
                                }
                                Heard::Elsewhere(fault) => return Err(unavailable(&fault, doubtful)),
                                Heard::Doubted => (format!("{status}: {}", message()), Again::Doubted),
                            }
                        }
                    }
                }
            };
            let counts = again == Again::Failed;
            self.note(
                operation,
                if counts { "failed" } else { "deferred" },
                counts.then(|| fault.clone()),
            );
            tracing::debug!(request = %request, operation = operation.name(), tries, %fault, "Cloud did not answer well");
            cause = fault;
            let mut wait = match again {
                // Its turn comes when Cloud's pause is over.
                Again::InTurn => continue,
                Again::Doubted => self.governor.backoff(1),
                Again::Failed => self.governor.backoff(failures + 1),
            };
            if counts {
                failures += 1;
                if doubtful && !operation.is_safe_to_repeat() {
                    return Err(unavailable(&cause, doubtful));
                }
                let before = std::mem::replace(&mut answered, self.successes.load(Ordering::Relaxed));
                let others_succeed = failures > 1 && answered > before;
                let is_last = failures >= self.max_tries;
                let worn_out = match patience {
                    Patience::Until(_) | Patience::Settling(_) => is_last,
                    // While Cloud is down a bulk operation waits for it; a fault of this one request ends. Cloud must have
                    // been there at two failures in a row: it may have come back after the first.
                    Patience::WhileUnder(_) => {
                        let is_there = others_succeed || (is_last && self.is_up(credential, request).await);
                        alone = if is_there { alone + 1 } else { 0 };
                        is_last && alone >= 2
                    }
                };
                if worn_out {
                    return Err(unavailable(&cause, doubtful));
                }
                // Where most tries fail, trying again is most of the load.
                match (self.governor.try_again(), patience) {
                    (Ok(()), _) => {}
                    (Err(_), Patience::Until(_)) => return Err(unavailable(&cause, doubtful)),
                    (Err(leave), Patience::Settling(_) | Patience::WhileUnder(_)) => wait = wait.max(leave),
                }
            }
            let before = Instant::now();
            let slept = patience.sleep(wait).await;
            request.effort().waited(Wait::Backoff, before.elapsed());
            if slept.is_err() {
                let retry_after = self.retry_after(operation).max(wait);
                return Err(Error::Unavailable {
                    operation,
                    retry_after,
                    cause,
                    doubtful,
                });
            }
        }
    }

    /// When it may be worth asking again.
    fn retry_after(&self, operation: Operation) -> Duration {
        self.governor.shut_for(operation).unwrap_or(Duration::from_secs(5))
    }

    /// What an answer costs of the quota besides the 1 of its request: for a read 2 for every user or group in it.
    fn points(&self, operation: Operation, body: &[u8]) -> u64 {
        match self.pays {
            Pays::Points if !operation.is_write() => 2 * wire::rows(body),
            Pays::Points | Pays::Requests => 0,
        }
    }

    /// Whether what is shown opens this very site: asked for what every site answers. `None`: nobody can tell now.
    async fn opens(&self, shown: &Shown, request: &RequestId) -> Option<bool> {
        let query = vec![("query", "site-admins".to_owned()), ("limit", "1".to_owned())];
        let path = ["wiki", "rest", "api", "group", "picker"];
        let call = Call::get(Operation::FindGroups, &path, query);
        let status = self.probe(&call, Some(shown), request).await?;
        Some(status != StatusCode::NOT_FOUND)
    }

    /// Whether Cloud answers anything else at all.
    async fn is_up(&self, credential: Option<&Credential>, request: &RequestId) -> bool {
        let path = ["wiki", "rest", "api", "user", "current"];
        let call = Call::get(Operation::CurrentUser, &path, Vec::new());
        let shown = match credential.map(|credential| credential.at_hand(self, call.operation)) {
            Some(None) => return false,
            shown => shown.flatten(),
        };
        // Whatever it says to this very question, it is there.
        self.probe(&call, shown.as_ref(), request).await.is_some()
    }

    /// One try of a cheap read: what Cloud itself says to it, if it is there.
    async fn probe(&self, call: &Call, shown: Option<&Shown>, request: &RequestId) -> Option<StatusCode> {
        let asked = tokio::time::timeout(self.try_timeout, self.once(call, shown, request));
        match asked.await {
            Ok(Try::Answered(status, headers, _)) => {
                let is_page = status.is_success() && is_html(&headers);
                let is_away = is_page || status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS;
                (!is_away).then_some(status)
            }
            _ => None,
        }
    }

    pub(super) fn note(&self, operation: Operation, result: &'static str, fault: Option<String>) {
        self.metrics
            .cloud_requests
            .get_or_create(&Outbound {
                operation: operation.name(),
                result,
            })
            .inc();
        if matches!(result, "2xx" | "4xx") {
            self.successes.fetch_add(1, Ordering::Relaxed);
        }
        // A deferred try says nothing about Cloud's health.
        if result != "deferred" {
            *self.last.lock() = Some(Exchange {
                at: Instant::now(),
                // A caller's wrong token is no fault here.
                is_refusal: result == "refused" && fault.is_some(),
                fault,
            });
        }
    }
}

fn refused(status: u16, diagnosis: Diagnosis, doubtful: bool) -> Error {
    Error::Refused {
        status,
        diagnosis: Box::new(diagnosis),
        doubtful,
    }
}

/// What was refused of one request, and shown anew.
#[derive(Debug, Default)]
struct Renewals {
    count: u32,
    tried: Tried,
    first: Option<Diagnosis>,
}

impl Renewals {
    /// More credentials than anybody has, and far fewer than a circle would take.
    const MOST: u32 = 16;

    fn may_go_on(&self) -> bool {
        self.count < Self::MOST
    }

    fn note(&mut self, diagnosis: Diagnosis) {
        self.count += 1;
        self.first.get_or_insert(diagnosis);
    }

    /// What to tell of several refusals: what is wrong with the one that is to be used first.
    fn worst(&self, last: Diagnosis) -> Diagnosis {
        self.first.clone().unwrap_or(last)
    }
}
