//! Who is let in: the site, the gateway, the Admin API and SCIM each have a door of their own.
use super::super::answers::Answer;
use super::super::faults::{Faults, Refusal};
use super::super::request::{Credential, Request};
use super::super::routes::{Api, Operation};
use super::super::{Shared, admin, jira, scim};
use super::entry::{Entry, Kind};
use super::{Registry, scopes};

/// Who was let in.
#[derive(Debug)]
pub(in super::super) struct Caller {
    /// May change groups and members.
    pub(in super::super) is_admin: bool,
    /// Whose credential it is, if it says so.
    pub(in super::super) account: Option<String>,
}

impl Caller {
    fn anybody() -> Self {
        Self {
            is_admin: true,
            account: None,
        }
    }

    fn of(entry: &Entry) -> Self {
        entry.opens();
        Self {
            is_admin: entry.admin,
            account: entry.account.clone(),
        }
    }
}

/// Whether the credential will do for what is asked.
pub(in super::super) fn authorize(
    shared: &Shared,
    faults: &Faults,
    request: &Request,
    operation: Operation,
) -> Result<Caller, Answer> {
    let registry = shared.credentials.read();
    match request.api {
        Api::Auth => Ok(Caller::anybody()),
        Api::Admin => {
            admin::authorize(faults, request)?;
            if registry.is_empty() {
                return Ok(Caller::anybody());
            }
            let key = registry.key(Kind::OrgKey, &request.credential());
            let key = key.ok_or_else(|| admin::refused(request, 401, "Unauthorized"))?;
            if !scopes::suffice(operation, |scope| key.has_scope(scope)) {
                return Err(admin::refused(request, 401, "Unauthorized; scope does not match"));
            }
            Ok(Caller::of(key))
        }
        Api::Scim => {
            scim::authorize(faults, request)?;
            if registry.is_empty() {
                return Ok(Caller::anybody());
            }
            let key = registry.key(Kind::ScimKey, &request.credential());
            key.map(Caller::of)
                .ok_or_else(|| scim::refused(request, 401, "The key is not valid"))
        }
        Api::Jira => {
            if let Some(status) = faults.sources.jira.refused {
                return Err(jira::error(status, "You are not allowed to do this"));
            }
            at_product(shared, faults, request, operation, &registry)
        }
        Api::Confluence => at_product(shared, faults, request, operation, &registry),
    }
}

/// Confluence and Jira, at the site or by the gateway.
fn at_product(
    shared: &Shared,
    faults: &Faults,
    request: &Request,
    operation: Operation,
    registry: &Registry,
) -> Result<Caller, Answer> {
    let no_site = || Answer::error(404, "no such site");
    if request.gateway.as_ref().is_some_and(|id| *id != shared.cloud_id) {
        return Err(no_site());
    }
    if faults.credentials.ip_blocked {
        return Err(Answer::blocked());
    }
    if let Some(shape) = faults.unauthorized {
        return Err(Answer::refused(shape));
    }
    let sent = request.credential();
    if let Credential::Basic { password, .. } = &sent
        && faults.bad_token.as_ref() == Some(password)
    {
        return Err(Answer::refused(Refusal::Json));
    }
    let is_token = request.gateway.is_some() && matches!(sent, Credential::Bearer { .. });
    let is_elsewhere = is_token && faults.credentials.other_site;
    if registry.is_empty() {
        let caller = as_it_comes(request, &sent)?;
        return if is_elsewhere { Err(no_site()) } else { Ok(caller) };
    }
    let entry = if request.gateway.is_some() {
        let holder = registry.at_gateway(&sent).ok_or_else(Answer::unauthorized)?;
        if is_elsewhere {
            return Err(no_site());
        }
        if !scopes::suffice(operation, |scope| holder.has_scope(scope)) {
            return Err(Answer::refused(Refusal::Scope));
        }
        holder.entry
    } else {
        let owner = registry.pair(Kind::ApiToken, &sent);
        owner.ok_or_else(|| Answer::refused(Refusal::Json))?
    };
    if !entry.access {
        return Err(match request.api {
            Api::Jira => jira::error(403, "You do not have access to Jira on this site"),
            _ => Answer::refused(Refusal::Forbidden),
        });
    }
    Ok(Caller::of(entry))
}

/// Without a registry: any Basic pair will do, and any Bearer at the gateway.
fn as_it_comes(request: &Request, sent: &Credential) -> Result<Caller, Answer> {
    match sent {
        Credential::Missing => Err(Answer::refused(Refusal::Json)),
        Credential::Bearer { .. } if request.gateway.is_none() => Err(Answer::refused(Refusal::Forbidden)),
        Credential::Bearer { .. } | Credential::Basic { .. } => Ok(Caller::anybody()),
    }
}
