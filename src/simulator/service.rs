//! From a request to an answer: limits, delays, credentials, the faults that strike, and only then the call itself.
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::Response;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use serde_json::json;
use tokio::time::Instant;

use super::answers::Answer;
use super::credential_faults::Tenant;
use super::faults::Faults;
use super::limits::State;
use super::reply::{self, Body, Cut, Reply};
use super::request::Request;
use super::routes::{self, Api, Operation, Route};
use super::stats::End;
use super::{Shared, admin, control, credentials, jira, limit_headers, points, reads, scim, v2, writes};

/// The largest body that is looked at: 1 MiB.
const LARGEST_BODY: usize = 1 << 20;
/// Beyond this a body is not even read to its end.
const LARGEST_DRAINED: usize = 16 << 20;

const TIMER_LATE: Duration = Duration::from_millis(1);

/// Which form of a fault comes next, and how often one strikes yet: each counts for itself.
#[derive(Debug, Default)]
pub(super) struct Turns {
    too_many: AtomicU64,
    tokens_lost: AtomicU64,
    changes: AtomicU64,
    html: AtomicU64,
    cut: AtomicU64,
    error: AtomicU64,
    truncated: AtomicU64,
}

impl Turns {
    pub(super) fn new(faults: &Faults) -> Self {
        Self {
            too_many: AtomicU64::new(faults.sources.admin_429),
            tokens_lost: AtomicU64::new(faults.credentials.token_lost),
            changes: AtomicU64::new(faults.falls_at.unwrap_or(0)),
            ..Self::default()
        }
    }

    /// So many requests to the Admin API are too many from now on.
    pub(super) fn too_many(&self, requests: u64) {
        self.too_many.store(requests, Ordering::Relaxed);
    }

    fn is_too_many(&self) -> bool {
        took_one(&self.too_many)
    }

    /// The answers to so many requests for tokens are lost from now on.
    pub(super) fn loses_tokens(&self, requests: u64) {
        self.tokens_lost.store(requests, Ordering::Relaxed);
    }

    /// Everything is down from the change on that is so many away.
    pub(super) fn falls_at(&self, changes: u64) {
        self.changes.store(changes, Ordering::Relaxed);
    }
}

/// Whether there was one left to take.
fn took_one(left: &AtomicU64) -> bool {
    let less_one = |left: u64| left.checked_sub(1);
    left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less_one)
        .is_ok()
}

fn next(turn: &AtomicU64) -> u64 {
    turn.fetch_add(1, Ordering::Relaxed)
}

/// Serves one request.
pub(super) async fn serve(shared: Arc<Shared>, request: http::Request<Incoming>) -> Result<Response<Body>, Cut> {
    let mut response = respond(Arc::clone(&shared), request).await?;
    let ahead = shared.faults.read().credentials.clock_ahead;
    if ahead != 0 {
        reply::date(&mut response, ahead);
    }
    Ok(response)
}

async fn respond(shared: Arc<Shared>, request: http::Request<Incoming>) -> Result<Response<Body>, Cut> {
    let (head, body) = request.into_parts();
    let body = read(body).await?;
    let mut request = Request::new(head, body);
    if request.path.starts_with("/_sim/") {
        return Ok(reply::whole(control::answer(&shared, &request)));
    }
    let faults = Arc::clone(&shared.faults.read());
    if faults.reset || faults.silent {
        let operation = routes::find(&request.method, &request.path).operation();
        shared.stats.arrived(operation);
        shared.stats.ended(operation, End::Ignored);
        if !faults.reset {
            // Whoever hangs up meanwhile ends this as well.
            let _ = shared.silence.subscribe().wait_for(|is_silent| !is_silent).await;
        }
        return Err(Cut);
    }
    // On a task of its own: a caller that hangs up does not call back what Cloud was told to do.
    match tokio::spawn(async move { api(&shared, &faults, &mut request).await }).await {
        Ok(Reply::Whole(answer)) => Ok(reply::whole(answer)),
        Ok(Reply::Broken(answer)) => Ok(reply::broken(answer)),
        Ok(Reply::Cut) | Err(_) => Err(Cut),
    }
}

/// Reads a body to its end; none if it is too large.
async fn read(mut body: Incoming) -> Result<Option<Bytes>, Cut> {
    let mut kept = BytesMut::new();
    let mut length = 0;
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|_| Cut)?.into_data() else {
            continue;
        };
        length += data.len();
        if length > LARGEST_DRAINED {
            break;
        }
        if length <= LARGEST_BODY {
            kept.extend_from_slice(&data);
        }
    }
    Ok((length <= LARGEST_BODY).then(|| kept.freeze()))
}

async fn api(shared: &Shared, faults: &Faults, request: &mut Request) -> Reply {
    let arrived = Instant::now();
    let route = routes::find(&request.method, &request.path);
    let operation = route.operation();
    shared.stats.arrived(operation);
    shared.asked.arrived(operation, request);
    let spared = operation.is_beside_site();
    let is_admin = request.api == Api::Admin;
    let admitted = if spared {
        Ok(None)
    } else {
        let admitted = shared.limits.admit(&faults.limits, operation, arrived);
        if admitted.is_ok() && is_admin && shared.turns.is_too_many() {
            Err(State::A_SECOND)
        } else {
            admitted
        }
    };
    let state = match admitted {
        Ok(state) => state,
        Err(state) => {
            shared.stats.ended(operation, End::Limited);
            return Reply::Whole(limit_headers::too_many(&faults.limits, state));
        }
    };
    shared.stats.accepted(operation);
    let mut delay = faults.latency.mul_f64(shared.dice.factor(faults.latency_spread));
    if is_admin {
        delay += faults.sources.admin_slow;
    }
    if operation == Operation::OauthToken {
        delay += faults.credentials.token_slow;
    }
    if !spared && shared.dice.hits(faults.slow) {
        delay += faults.slow_by;
    }
    if !delay.is_zero() {
        wait_until(arrived + delay).await;
    }
    let mut reply = if spared {
        beside_site(shared, faults, request, &route)
    } else {
        decide(shared, faults, request, &route)
    };
    let end = match reply.answer() {
        Some(answer) => {
            if let Some(allowance) = faults.limits.allowance()
                && !spared
            {
                let points = points::of(operation, answer);
                shared.limits.spend(allowance, points);
                shared.stats.spent(points);
            }
            if let Some(state) = state {
                limit_headers::warn(answer, &faults.limits, state);
            }
            End::Answered(answer.status, arrived.elapsed())
        }
        None => End::Cut,
    };
    shared.stats.ended(operation, end);
    reply
}

/// Never returns early. The runtime's timer counts whole milliseconds and ends more than one late on average, which a bench
/// would take for Cloud's: so the first sleep aims one short, and what is missing then, mostly nothing, is a second.
async fn wait_until(deadline: Instant) {
    tokio::time::sleep_until(deadline.checked_sub(TIMER_LATE).unwrap_or(deadline)).await;
    if Instant::now() < deadline {
        tokio::time::sleep_until(deadline).await;
    }
}

fn is_down(shared: &Shared, faults: &Faults, api: Api) -> bool {
    let has_fallen = faults.falls_at.is_some() && shared.turns.changes.load(Ordering::Relaxed) == 0;
    faults.down
        || has_fallen
        || match api {
            Api::Confluence | Api::Auth => false,
            Api::Jira => faults.sources.jira.down,
            Api::Admin => faults.sources.admin.down,
            Api::Scim => faults.sources.scim.down,
        }
}

/// The edge and the authorization server have faults of their own.
fn beside_site(shared: &Shared, faults: &Faults, request: &Request, route: &Route) -> Reply {
    let operation = route.operation();
    if operation != Operation::TenantInfo && is_down(shared, faults, request.api) {
        return Reply::Whole(Answer::down());
    }
    if operation != Operation::OauthToken {
        return Reply::Whole(execute(shared, faults, request, route));
    }
    if faults.credentials.token_down {
        return Reply::Whole(Answer::down());
    }
    let is_lost = took_one(&shared.turns.tokens_lost);
    let answer = execute(shared, faults, request, route);
    if is_lost { Reply::Cut } else { Reply::Whole(answer) }
}

/// Lets the faults strike around the call. What refuses a credential comes first, so that it is certain.
fn decide(shared: &Shared, faults: &Faults, request: &mut Request, route: &Route) -> Reply {
    let is_change = request.api == Api::Confluence && request.method != http::Method::GET;
    if is_down(shared, faults, request.api) {
        return Reply::Whole(Answer::down());
    }
    let caller = match credentials::authorize(shared, faults, request, route.operation()) {
        Ok(caller) => caller,
        Err(refused) => return Reply::Whole(refused),
    };
    request.account = caller.account;
    let restricted = (!caller.is_admin).then(|| faults.without_writes());
    let faults = restricted.as_ref().unwrap_or(faults);
    if shared.dice.hits(faults.html) {
        return Reply::Whole(Answer::html(next(&shared.turns.html)));
    }
    if shared.dice.hits(faults.cut) {
        if next(&shared.turns.cut).is_multiple_of(2) {
            execute(shared, faults, request, route);
        }
        return Reply::Cut;
    }
    if shared.dice.hits(faults.error_5xx) {
        let turn = next(&shared.turns.error);
        // Not in step with the four statuses: each is seen with the request done and not done.
        if (turn ^ (turn >> 2)) & 1 == 0 {
            execute(shared, faults, request, route);
        }
        return Reply::Whole(Answer::gateway_error(turn));
    }
    if faults.falls_at.is_some() && is_change && took_one(&shared.turns.changes) {
        let answer = execute(shared, faults, request, route);
        let has_fallen = is_down(shared, faults, request.api);
        return Reply::Whole(if has_fallen { Answer::down() } else { answer });
    }
    let mut answer = execute(shared, faults, request, route);
    if shared.dice.hits(faults.truncated) {
        if answer.body.is_empty() {
            return Reply::Cut;
        }
        if next(&shared.turns.truncated).is_multiple_of(2) {
            return Reply::Broken(answer);
        }
        answer.body.truncate(answer.body.len() / 2);
    }
    Reply::Whole(answer)
}

/// Does what was asked.
fn execute(shared: &Shared, faults: &Faults, request: &Request, route: &Route) -> Answer {
    if request.body.is_none() {
        return refusal(request, 413, "Request entity too large");
    }
    let (operation, values) = match route {
        Route::To(operation, values) => (*operation, values),
        Route::WrongMethod => return refusal(request, 405, "Method not allowed"),
        Route::Nowhere => return refusal(request, 404, "no such path"),
    };
    if operation.is_write()
        && let Err(refused) = writes::admit(faults, request)
    {
        return refused;
    }
    let value = values.first().map_or("", String::as_str);
    let answer = match operation {
        Operation::ListGroups => reads::list_groups(shared, faults, request),
        Operation::FindGroup => reads::find_group(shared, faults, request),
        Operation::GetGroup => reads::get_group(shared, faults, request),
        Operation::ListMembers => reads::list_members(shared, faults, request, value),
        Operation::GetUser => reads::get_user(shared, faults, request),
        Operation::UsersBulk => reads::users_bulk(shared, faults, request),
        Operation::MemberOf => reads::member_of(shared, faults, request),
        Operation::CurrentUser => reads::current_user(shared, faults, request),
        Operation::CreateGroup => writes::create_group(shared, faults, request),
        Operation::DeleteGroup => writes::delete_group(shared, faults, request),
        Operation::AddMember => writes::add_member(shared, faults, request),
        Operation::RemoveMember => writes::remove_member(shared, faults, request),
        Operation::TenantInfo => Ok(match faults.credentials.tenant {
            None => Answer::json(200, &json!({"cloudId": shared.cloud_id})),
            Some(Tenant::Missing) => Answer::no_tenant(),
            Some(Tenant::Html) => Answer::tenant_page(),
            Some(Tenant::Down) => Answer::down(),
        }),
        Operation::Authorize => credentials::agree(shared, faults, request),
        Operation::OauthToken => credentials::token(shared, faults, request),
        Operation::AccessibleResources => credentials::resources(shared, faults, request),
        Operation::UsersBulkV2 => v2::users_bulk(shared, faults, request),
        Operation::ScimUsers => scim::users(shared, faults, request, value),
        Operation::JiraFindUser => jira::find_user(shared, faults, request),
        Operation::JiraListUsers => jira::list_users(shared, faults, request),
        Operation::JiraGroupMembers => jira::group_members(shared, faults, request),
        Operation::JiraUsersBulk => jira::users_bulk(shared, faults, request),
        Operation::JiraMyself => jira::myself(shared, faults, request),
        Operation::AdminOrgs
        | Operation::AdminOrg
        | Operation::AdminDirectories
        | Operation::AdminSearchUsers
        | Operation::AdminGetUser
        | Operation::AdminSearchGroups
        | Operation::AdminCreateGroup
        | Operation::AdminDeleteGroup
        | Operation::AdminAddMember
        | Operation::AdminRemoveMember
        | Operation::AdminGroupRoles => admin::answer(shared, faults, request, operation, values),
        Operation::Other => Err(refusal(request, 404, "no such path")),
    };
    answer.unwrap_or_else(|refused| refused)
}

/// What no operation is asked for is refused in the shape of the API all the same.
fn refusal(request: &Request, status: u16, text: &str) -> Answer {
    match request.api {
        Api::Confluence | Api::Auth => Answer::error(status, text),
        Api::Jira => jira::error(status, text),
        Api::Admin => admin::plain_error(status, text),
        Api::Scim => scim::error(request, status, None, text),
    }
}
