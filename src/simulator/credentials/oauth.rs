//! The authorization server: consents, tokens, and the sites that a token is for.
use std::collections::BTreeMap;

use serde_json::{Value, json};
use tokio::time::Instant;

use super::super::Shared;
use super::super::answers::Answer;
use super::super::chance::{Kind as Draw, Sequence};
use super::super::faults::Faults;
use super::super::request::{Credential, Request};
use super::Registry;
use super::entry::Kind;
use super::grants::{Consent, Issued, Refused, Terms};

/// The scope that is none: it asks for a refresh token.
const OFFLINE: &str = "offline_access";
const AUDIENCE: &str = "api.atlassian.com";

/// `GET /authorize`: somebody is asked, and agrees at once, unless a fault says otherwise.
pub(in super::super) fn agree(shared: &Shared, faults: &Faults, request: &Request) -> Result<Answer, Answer> {
    let value = |name: &str| request.first(name).unwrap_or_default();
    let client_id = value("client_id");
    let mut registry = shared.credentials.write();
    let client = registry.client(client_id);
    let client = client.filter(|entry| entry.kind == Kind::Oauth && entry.is_valid());
    let client = client.ok_or_else(|| Answer::refused_page("The app's client_id is not known."))?;
    let redirect_uri = value("redirect_uri");
    let is_registered = client.redirect_uri.as_ref().is_none_or(|uri| uri == redirect_uri);
    let address = url::Url::parse(redirect_uri).ok().filter(|_| is_registered);
    let Some(mut address) = address else {
        return Err(Answer::refused_page("The redirect_uri is not one of the app's."));
    };
    if value("audience") != AUDIENCE || value("response_type") != "code" {
        return Err(Answer::refused_page("The audience or the response_type is wrong."));
    }
    let asked: Vec<&str> = value("scope").split_whitespace().collect();
    if asked.is_empty() {
        return Err(Answer::refused_page("No scope was asked for."));
    }
    let consent = Consent {
        client: client_id.to_owned(),
        redirect_uri: redirect_uri.to_owned(),
        scopes: granted(&asked, |scope| client.has_scope(scope)),
        offline: asked.contains(&OFFLINE),
    };
    let mut answer = address.query_pairs_mut();
    if faults.credentials.consent_denied {
        answer.append_pair("error", "access_denied");
        answer.append_pair("error_description", "User did not authorize the request");
    } else {
        answer.append_pair("code", &registry.grants.agreed(consent));
    }
    if let Some(state) = request.first("state") {
        answer.append_pair("state", state);
    }
    drop(answer);
    let mut redirect = Answer::empty(302);
    redirect.headers.push(("location", address.to_string()));
    Ok(redirect)
}

/// What is asked for and there, each once, in the order of asking.
fn granted(asked: &[&str], has: impl Fn(&str) -> bool) -> Vec<String> {
    let mut scopes: Vec<String> = Vec::new();
    for scope in asked {
        if *scope != OFFLINE && has(scope) && !scopes.iter().any(|known| known == scope) {
            scopes.push((*scope).to_owned());
        }
    }
    scopes
}

/// An error in the shape of the authorization server.
fn error(status: u16, code: &str, description: &str) -> Answer {
    Answer::json(status, &json!({"error": code, "error_description": description}))
}

/// The parameters of a request for tokens, sent as JSON or as a form.
struct Asked(BTreeMap<String, String>);

impl Asked {
    fn read(request: &Request) -> Result<Self, Answer> {
        let body = request.body.as_deref().unwrap_or_default();
        let media_type = request.header("content-type").split(';').next().unwrap_or_default();
        match media_type.trim().to_ascii_lowercase().as_str() {
            "application/x-www-form-urlencoded" => {
                let pairs = url::form_urlencoded::parse(body).into_owned();
                Ok(Self(pairs.collect()))
            }
            "application/json" => {
                let fields: BTreeMap<String, Value> = serde_json::from_slice(body)
                    .map_err(|_| error(400, "invalid_request", "The body is no JSON object"))?;
                let texts = fields.into_iter().filter_map(|(name, value)| match value {
                    Value::String(text) => Some((name, text)),
                    _ => None,
                });
                Ok(Self(texts.collect()))
            }
            _ => Err(error(400, "invalid_request", "The body is neither JSON nor a form")),
        }
    }

    fn get(&self, name: &str) -> Result<&str, Answer> {
        let missing = || error(400, "invalid_request", &format!("Missing required parameter: {name}"));
        let text = self.0.get(name).filter(|text| !text.is_empty());
        text.map(String::as_str).ok_or_else(missing)
    }
}

/// `POST /oauth/token`.
pub(in super::super) fn token(shared: &Shared, faults: &Faults, request: &Request) -> Result<Answer, Answer> {
    let asked = Asked::read(request)?;
    let (grant, id) = (asked.get("grant_type")?, asked.get("client_id")?);
    let terms = Terms {
        life: faults.credentials.access_token(),
        leeway: faults.credentials.leeway(),
    };
    let nobody = || error(401, "access_denied", "Unauthorized");
    let mut registry = shared.credentials.write();
    let client = registry.client(id).ok_or_else(nobody)?;
    if client.client_secret.as_deref() != asked.0.get("client_secret").map(String::as_str) {
        return Err(nobody());
    }
    let issued = match (grant, client.kind) {
        ("client_credentials", Kind::ServiceAccount) => {
            if !client.is_valid() {
                return Err(nobody());
            }
            let wanted: Option<Vec<&str>> = asked.0.get("scope").map(|scope| scope.split_whitespace().collect());
            let all = client.scopes.iter().flatten().map(String::as_str).collect();
            let scopes = granted(&wanted.unwrap_or(all), |scope| client.has_scope(scope));
            client.opens();
            registry.grants.direct(id, scopes, terms, Instant::now())
        }
        ("authorization_code" | "refresh_token", Kind::Oauth) => consented(&mut registry, &asked, grant, id, terms)?,
        ("authorization_code" | "refresh_token" | "client_credentials", _) => {
            let told = format!("Grant type '{grant}' not allowed for the client.");
            return Err(error(403, "unauthorized_client", &told));
        }
        _ => {
            let told = format!("Unsupported grant type: {grant}");
            return Err(error(400, "unsupported_grant_type", &told));
        }
    };
    Ok(told(&issued))
}

/// The tokens of a consent. That its client is not valid any more looks as if the consent had ended.
fn consented(registry: &mut Registry, asked: &Asked, grant: &str, id: &str, terms: Terms) -> Result<Issued, Answer> {
    let is_valid = registry.client(id).is_some_and(|client| client.is_valid());
    let grants = &mut registry.grants;
    let issued = if grant == "refresh_token" {
        let token = asked.get("refresh_token")?;
        match is_valid {
            true => grants.refresh(id, token, terms, Instant::now()),
            false => Err(Refused::Ended),
        }
    } else {
        let (code, redirect_uri) = (asked.get("code")?, asked.get("redirect_uri")?);
        match is_valid {
            true => grants.exchange(id, code, redirect_uri, terms, Instant::now()),
            false => Err(Refused::Code),
        }
    };
    let issued = issued.map_err(|why| match why {
        Refused::Code => error(403, "invalid_grant", "Invalid authorization code"),
        Refused::Redirect => error(403, "invalid_grant", "The redirect URI is wrong"),
        Refused::Unknown => error(403, "invalid_grant", "Unknown or invalid refresh token."),
        Refused::Ended => error(403, "unauthorized_client", "refresh_token is invalid"),
    })?;
    if let Some(client) = registry.client(id) {
        client.opens();
    }
    Ok(issued)
}

fn told(issued: &Issued) -> Answer {
    let mut scopes = issued.scopes.clone();
    if issued.refresh.is_some() {
        scopes.push(OFFLINE.to_owned());
    }
    let mut body = json!({
        "access_token": issued.access,
        "expires_in": issued.life.as_secs(),
        "token_type": "Bearer",
        "scope": scopes.join(" "),
    });
    if let (Some(refresh), Some(fields)) = (&issued.refresh, body.as_object_mut()) {
        fields.insert("refresh_token".to_owned(), refresh.as_str().into());
    }
    let mut answer = Answer::json(200, &body);
    answer.headers.push(("cache-control", "no-store".to_owned()));
    answer
}

/// `GET /oauth/token/accessible-resources`: the site that a token is for.
pub(in super::super) fn resources(shared: &Shared, faults: &Faults, request: &Request) -> Result<Answer, Answer> {
    let registry = shared.credentials.read();
    let sent = request.credential();
    let scopes = if registry.is_empty() {
        matches!(sent, Credential::Bearer { .. }).then(Vec::new)
    } else {
        let holder = registry.at_gateway(&sent);
        holder
            .and_then(|holder| holder.access)
            .map(|access| access.scopes.clone())
    };
    let scopes = scopes.ok_or_else(Answer::unauthorized)?;
    let (id, url) = if faults.credentials.other_site {
        let id = Sequence::new(shared.seed, Draw::Cloud, 1).uuid();
        (id, "https://another-site.example".to_owned())
    } else {
        (shared.cloud_id.clone(), request.origin())
    };
    let site = json!({"id": id, "name": "simulator", "url": url, "scopes": scopes, "avatarUrl": ""});
    Ok(Answer::json(200, &json!([site])))
}
