//! A request, read to its end.
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, Method, header};

use super::answers::Answer;
use super::routes::{self, Api};

/// A credential as it was sent.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Credential {
    Basic {
        user: String,
        password: String,
    },
    Bearer {
        token: String,
    },
    /// None, or one that cannot be read.
    Missing,
}

/// Where a page is to start and how many rows it is to have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Paging {
    pub(super) start: u32,
    pub(super) limit: u32,
}

/// What was asked, with the query taken apart.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) method: Method,
    /// As the site would have it, without the gateway's prefix.
    pub(super) path: String,
    pub(super) api: Api,
    /// The cloud id of the path, if the request came by the gateway's.
    pub(super) gateway: Option<String>,
    /// The account id of whoever asks, if the credential tells it. Known once it was let in.
    pub(super) account: Option<String>,
    pub(super) headers: HeaderMap,
    /// None: larger than is read.
    pub(super) body: Option<Bytes>,
    query: Vec<(String, String)>,
}

impl Request {
    pub(super) fn new(head: Parts, body: Option<Bytes>) -> Self {
        let path = head.uri.path();
        let (gateway, path) = match routes::gateway(path) {
            Some((cloud_id, path)) => (Some(cloud_id.to_owned()), path),
            None => (None, path),
        };
        let query = url::form_urlencoded::parse(head.uri.query().unwrap_or_default().as_bytes());
        Self {
            path: path.to_owned(),
            api: Api::of(path),
            gateway,
            account: None,
            query: query.into_owned().collect(),
            method: head.method,
            headers: head.headers,
            body,
        }
    }

    /// The first value of a parameter.
    pub(super) fn first(&self, name: &str) -> Option<&str> {
        self.all(name).next()
    }

    /// Every value of a parameter, in order.
    pub(super) fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        self.query
            .iter()
            .filter(move |(known, _)| known == name)
            .map(|(_, value)| value.as_str())
    }

    /// The names of the parameters, in order.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.query.iter().map(|(name, _)| name.as_str())
    }

    /// A parameter without which the request makes no sense.
    pub(super) fn required(&self, name: &str) -> Result<&str, Answer> {
        let missing = || Answer::error(400, &format!("{name} is required"));
        self.first(name).filter(|value| !value.is_empty()).ok_or_else(missing)
    }

    /// True only if it says `true`, as Java reads a Boolean.
    pub(super) fn flag(&self, name: &str) -> bool {
        self.first(name).is_some_and(|value| value.eq_ignore_ascii_case("true"))
    }

    pub(super) fn paging(&self) -> Result<Paging, Answer> {
        let number = |name, default| self.number(name, default).map_err(|wrong| Answer::error(400, &wrong));
        Ok(Paging {
            start: number("start", 0)?,
            limit: number("limit", 200)?,
        })
    }

    /// A parameter that is a number from 0; what is wrong with it otherwise.
    pub(super) fn number(&self, name: &str, default: u32) -> Result<u32, String> {
        let Some(text) = self.first(name) else {
            return Ok(default);
        };
        let parsed = text.parse::<i32>().ok().and_then(|number| u32::try_from(number).ok());
        parsed.ok_or_else(|| format!("{name} is no number from 0: {text:?}"))
    }

    /// The parameters but `start` and `limit`, as a link to another page repeats them.
    pub(super) fn link_to(&self, path: &str, start: u64, limit: u32) -> String {
        self.link(path, [("start", start), ("limit", u64::from(limit))])
    }

    /// The parameters with these two exchanged.
    pub(super) fn link(&self, path: &str, paging: [(&str, u64); 2]) -> String {
        let mut query = url::form_urlencoded::Serializer::new(String::new());
        let is_paging = |name: &str| paging.iter().any(|(known, _)| *known == name);
        query.extend_pairs(self.query.iter().filter(|(name, _)| !is_paging(name)));
        query.extend_pairs(paging.map(|(name, value)| (name, value.to_string())));
        format!("{path}?{}", query.finish())
    }

    /// The site's address with the context of Confluence, as its links are based on it.
    pub(super) fn base(&self) -> String {
        format!("{}/wiki", self.origin())
    }

    /// The address at which this Cloud was reached.
    pub(super) fn origin(&self) -> String {
        let host = self
            .headers
            .get(header::HOST)
            .and_then(|host| host.to_str().ok())
            .unwrap_or("localhost");
        format!("http://{host}")
    }

    pub(super) fn credential(&self) -> Credential {
        let sent = self
            .headers
            .get(header::AUTHORIZATION)
            .and_then(|sent| sent.to_str().ok())
            .unwrap_or_default();
        let (scheme, rest) = sent.split_once(' ').unwrap_or((sent, ""));
        if scheme.eq_ignore_ascii_case("bearer") {
            return Credential::Bearer {
                token: rest.trim().to_owned(),
            };
        }
        if !scheme.eq_ignore_ascii_case("basic") {
            return Credential::Missing;
        }
        let pair = STANDARD
            .decode(rest.trim())
            .ok()
            .and_then(|pair| String::from_utf8(pair).ok());
        match pair.as_deref().and_then(|pair| pair.split_once(':')) {
            Some((user, password)) => Credential::Basic {
                user: user.to_owned(),
                password: password.to_owned(),
            },
            None => Credential::Missing,
        }
    }

    /// The text of a header, empty if it is absent or no text.
    pub(super) fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
    }
}
