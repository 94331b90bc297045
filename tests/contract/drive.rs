//! Drives the simulator and holds each answer to the document.
use std::collections::BTreeSet;

use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};

use crate::cloud::{Cloud, Reply, send};
use crate::openapi::{Document, Wrong};
use crate::tables::{Api, Row};

/// Replaces the registry of credentials.
pub async fn fill(cloud: &Cloud, credentials: Value) {
    let body = json!({ "credentials": credentials });
    let reply = send(cloud.bare(Method::POST, "/_sim/credentials").json(&body)).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
}

/// What was seen so far.
pub struct Contract {
    pub api: &'static Api,
    pub document: Document,
    /// The rows of its tables that some answer needed.
    pub used: BTreeSet<&'static Row>,
    /// Method, path and status of what was answered.
    pub seen: BTreeSet<(String, String, u16)>,
    pub wrong: Vec<String>,
}

impl Contract {
    /// None where the official documents are not at hand.
    pub fn of(api: &'static Api) -> Option<Self> {
        Some(Self {
            api,
            document: Document::from_environment(api.file)?.under(api.base),
            used: BTreeSet::new(),
            seen: BTreeSet::new(),
            wrong: Vec::new(),
        })
    }

    pub async fn get(&mut self, cloud: &Cloud, path: &str, status: u16) -> Value {
        let reply = self.check(cloud.api(Method::GET, path), status).await;
        serde_json::from_slice(&reply.body).unwrap_or(Value::Null)
    }

    pub async fn post(&mut self, cloud: &Cloud, path: &str, body: Value, status: u16) -> Reply {
        self.check(cloud.api(Method::POST, path).json(&body), status).await
    }

    pub async fn delete(&mut self, cloud: &Cloud, path: &str, status: u16) {
        self.check(cloud.api(Method::DELETE, path), status).await;
    }

    /// Sends a request, whose answer must have this status and be what the document says or the table excuses.
    pub async fn check(&mut self, request: RequestBuilder, status: u16) -> Reply {
        let (client, request) = request.build_split();
        let request = request.unwrap();
        let method = request.method().to_string();
        let path = request.url()[url::Position::BeforePath..].to_owned();
        let reply = send(RequestBuilder::from_parts(client, request)).await;
        if reply.status != status {
            self.wrong.push(format!(
                "{method} {path}: {} instead of {status}: {}",
                reply.status,
                reply.text()
            ));
        }
        let content_type = reply.header("content-type");
        match self
            .document
            .validate_answer(&method, &path, reply.status, content_type, &reply.body)
        {
            Ok(()) => {}
            Err(Wrong::NoStatus(template)) if self.excused(self.api.undocumented, &method, &template, reply.status) => {
            }
            Err(Wrong::Body(_)) if self.excused_body(&method, &path, reply.status) => {}
            Err(other) => self.wrong.push(format!(
                "{method} {path} {}: {other:?} in {}",
                reply.status,
                reply.text()
            )),
        }
        if let Some((template, _)) = self.document.operation(&method, &path) {
            self.seen.insert((method, template, reply.status));
        }
        reply
    }

    pub async fn reads(&mut self, cloud: &Cloud) {
        let everybody = cloud.group_id("confluence-users").await;
        let account = cloud.account(4).to_owned();
        for paging in [
            "",
            "?start=0&limit=2",
            "?start=1&limit=1",
            "?start=999",
            "?limit=0",
            "?limit=1000",
        ] {
            self.get(cloud, &format!("/group{paging}"), 200).await;
        }
        for asked in [
            "query=",
            "query=CONFLUENCE&shouldReturnTotalSize=true",
            "query=none",
            "query=%22%3C%25&limit=500",
        ] {
            self.get(cloud, &format!("/group/picker?{asked}"), 200).await;
        }
        self.get(cloud, &format!("/group/by-id?id={everybody}"), 200).await;
        for asked in [
            "",
            "?limit=200&shouldReturnTotalSize=true",
            "?start=3&limit=5&expand=operations,personalSpace",
        ] {
            self.get(cloud, &format!("/group/{everybody}/membersByGroupId{asked}"), 200)
                .await;
        }
        self.get(cloud, &format!("/user?accountId={account}"), 200).await;
        self.get(cloud, &format!("/user/memberof?accountId={account}&limit=1"), 200)
            .await;
        self.get(
            cloud,
            &format!("/user/bulk?accountId={account},{}", cloud.account(0)),
            200,
        )
        .await;
        self.get(cloud, &format!("/user/bulk?accountId={account}&accountId=nobody"), 200)
            .await;
        self.get(cloud, "/user/current", 200).await;
    }

    pub async fn writes(&mut self, cloud: &Cloud) {
        let created = self
            .post(cloud, "/group", json!({ "name": "a new \"group\"" }), 201)
            .await
            .json();
        let id = created["id"].as_str().unwrap().to_owned();
        let account = cloud.account(5).to_owned();
        let add = format!("/group/userByGroupId?groupId={id}");
        let remove = format!("/group/userByGroupId?groupId={id}&accountId={account}");
        self.post(cloud, &add, json!({ "accountId": account }), 201).await;
        self.get(cloud, &format!("/group/{id}/membersByGroupId"), 200).await;
        self.post(cloud, &add, json!({ "accountId": account }), 409).await;
        cloud.switch(json!({ "already_member": 400, "not_member": 404 })).await;
        self.post(cloud, &add, json!({ "accountId": account }), 400).await;
        cloud.switch(json!({ "already_member": 201 })).await;
        self.post(cloud, &add, json!({ "accountId": account }), 201).await;
        self.delete(cloud, &remove, 204).await;
        self.delete(cloud, &remove, 404).await;
        cloud
            .switch(json!({ "already_member": null, "not_member": null }))
            .await;
        self.delete(cloud, &remove, 204).await;
        self.delete(cloud, &format!("/group/by-id?id={id}"), 204).await;
        self.delete(cloud, &format!("/group/by-id?id={id}"), 404).await;
    }

    pub async fn errors(&mut self, cloud: &Cloud) {
        let group = cloud.group_id("site-admins").await;
        let account = cloud.account(5).to_owned();
        for (path, status) in [
            ("/group?start=-1", 400),
            ("/group?limit=ten", 400),
            ("/group/picker", 400),
            ("/group/picker?query=a&limit=9999999999", 400),
            ("/group/by-id", 400),
            ("/group/by-id?id=none", 404),
            ("/group/none/membersByGroupId", 404),
            (&format!("/group/{group}/membersByGroupId?limit=201"), 400),
            (&format!("/group/{group}/membersByGroupId?start=x"), 400),
            ("/user", 400),
            ("/user?accountId=nobody", 404),
            ("/user/bulk", 400),
            ("/user/memberof", 400),
            ("/user/memberof?accountId=nobody", 404),
        ] {
            self.get(cloud, path, status).await;
        }
        let add = format!("/group/userByGroupId?groupId={group}");
        self.post(cloud, "/group", json!({}), 400).await;
        self.post(cloud, "/group", json!({ "name": " " }), 400).await;
        self.post(cloud, "/group", json!({ "name": "SITE-admins" }), 400).await;
        self.post(cloud, &add, json!({ "accountId": "nobody" }), 400).await;
        self.post(cloud, &add, json!([]), 400).await;
        self.post(cloud, "/group/userByGroupId", json!({ "accountId": account }), 400)
            .await;
        self.post(
            cloud,
            "/group/userByGroupId?groupId=none",
            json!({ "accountId": account }),
            404,
        )
        .await;
        self.delete(cloud, &format!("{add}&accountId=nobody"), 404).await;
        self.delete(cloud, &add, 400).await;
        self.delete(cloud, &format!("/group/by-id?id={group}"), 400).await;
        self.delete(cloud, "/group/by-id", 400).await;
        for path in ["/group", &add] {
            let request = cloud
                .api(Method::POST, path)
                .body("{}")
                .header("content-type", "text/plain");
            self.check(request, 415).await;
            let huge = vec![b' '; (1 << 20) + 1];
            self.check(
                cloud
                    .api(Method::POST, path)
                    .body(huge)
                    .header("content-type", "application/json"),
                413,
            )
            .await;
            let url = format!("/wiki/rest/api{path}");
            self.check(
                cloud
                    .bare(Method::POST, &url)
                    .basic_auth("a", Some("b"))
                    .json(&json!({})),
                403,
            )
            .await;
        }
    }

    /// Every operation under a fault that leaves the call no chance.
    pub async fn everywhere(&mut self, cloud: &Cloud, fault: Value, statuses: &[u16]) {
        cloud.switch(fault).await;
        for path in [
            "/group",
            "/group/picker?query=",
            "/group/by-id?id=x",
            "/group/x/membersByGroupId",
            "/user?accountId=x",
        ] {
            self.any(cloud.api(Method::GET, path), statuses).await;
        }
        for path in ["/user/bulk?accountId=x", "/user/memberof?accountId=x", "/user/current"] {
            self.any(cloud.api(Method::GET, path), statuses).await;
        }
        self.any(
            cloud
                .api(Method::POST, "/group")
                .json(&json!({ "name": "site-admins" })),
            statuses,
        )
        .await;
        self.any(
            cloud
                .api(Method::POST, "/group/userByGroupId?groupId=x")
                .json(&json!({})),
            statuses,
        )
        .await;
        self.any(cloud.api(Method::DELETE, "/group/by-id?id=x"), statuses).await;
        self.any(
            cloud.api(Method::DELETE, "/group/userByGroupId?groupId=x&accountId=x"),
            statuses,
        )
        .await;
    }

    pub async fn any(&mut self, request: RequestBuilder, statuses: &[u16]) {
        let before = self.wrong.len();
        let reply = self.check(request, 0).await;
        // Only the status that was not known beforehand is forgiven.
        if statuses.contains(&reply.status) {
            self.wrong.remove(before);
        }
    }

    fn excused(&mut self, table: &'static [Row], method: &str, template: &str, status: u16) -> bool {
        let row = table.iter().find(|(methods, paths, excused, _)| {
            ["*", method].contains(methods) && ["*", template].contains(paths) && *excused == status
        });
        row.is_some_and(|row| {
            self.used.insert(row);
            true
        })
    }

    fn excused_body(&mut self, method: &str, path: &str, status: u16) -> bool {
        let template = self.document.operation(method, path).map(|(template, _)| template);
        self.excused(self.api.other_bodies, method, &template.unwrap_or_default(), status)
    }

    /// Nothing was wrong; every operation was seen to succeed, and every row of the tables was needed.
    pub fn end(mut self) {
        for (method, path) in self.document.operations() {
            let name = format!("{method} {path}");
            let succeeded = |status: &u16| (200..300).contains(status);
            if self.api.left_out.contains(&name.as_str()) {
                continue;
            }
            if !self
                .seen
                .iter()
                .any(|(seen, at, status)| *seen == method && *at == path && succeeded(status))
            {
                self.wrong.push(format!("{name} was never seen to succeed"));
            }
        }
        for row in self.api.undocumented.iter().chain(self.api.other_bodies) {
            if !self.used.contains(row) {
                self.wrong.push(format!("nothing needs the row {row:?}"));
            }
        }
        let known: Vec<_> = self.document.operations();
        for name in self.api.left_out {
            if !known.iter().any(|(method, path)| format!("{method} {path}") == *name) {
                self.wrong
                    .push(format!("{name} is left out, but the document has no such operation"));
            }
        }
        assert!(self.wrong.is_empty(), "\n{}", self.wrong.join("\n"));
    }
}
