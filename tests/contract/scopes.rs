//! Does the simulator ask for the scopes that the official documents state?
use std::collections::{BTreeMap, BTreeSet};

use extender_facade::simulator::Options;
use reqwest::Method;
use serde_json::Value;

use crate::cloud::{Cloud, send};
use crate::openapi::Document;
use crate::tables::{ADMIN, Api, CONFLUENCE, CONFLUENCE_V2, JIRA};

/// Sets of which one will do.
type AnyOf = BTreeSet<BTreeSet<String>>;

fn texts(list: &Value) -> BTreeSet<String> {
    let texts = list.as_array().into_iter().flatten();
    texts.map(|text| text.as_str().unwrap().to_owned()).collect()
}

/// What the document states of an operation; empty if it states nothing.
fn stated(operation: &Value) -> AnyOf {
    let extension = operation["x-atlassian-oauth2-scopes"].as_array();
    let by_extension = extension.into_iter().flatten().map(|one| texts(&one["scopes"]));
    let security = operation["security"].as_array().into_iter().flatten();
    let by_security = security
        .flat_map(|one| one.as_object().into_iter().flatten())
        .map(|(_, scopes)| texts(scopes));
    // The Admin API states them in words.
    let words = operation["description"].as_str().unwrap_or_default();
    let in_words = words
        .split_once("required:** `")
        .and_then(|(_, rest)| rest.split_once('`'));
    let in_words = in_words.map(|(scope, _)| BTreeSet::from([scope.to_owned()]));
    let all = by_extension.chain(by_security).chain(in_words);
    all.filter(|scopes| !scopes.is_empty()).collect()
}

#[tokio::test]
async fn an_operation_needs_the_scopes_that_its_document_states() {
    let apis: [&Api; 4] = [&CONFLUENCE, &CONFLUENCE_V2, &JIRA, &ADMIN];
    let cloud = Cloud::start(Options::default()).await;
    let table = send(cloud.bare(Method::GET, "/_sim/scopes")).await.json();
    let mut ours: BTreeMap<(String, String), AnyOf> = BTreeMap::new();
    for row in table.as_array().unwrap() {
        let text = |name: &str| row[name].as_str().unwrap().to_owned();
        let sets = row["any_of"].as_array().unwrap().iter().map(texts).collect();
        ours.insert((text("method"), text("path")), sets);
    }
    let (mut wrong, mut held) = (Vec::new(), 0);
    for api in apis {
        let Some(document) = Document::from_environment(api.file) else {
            return;
        };
        let document = document.under(api.base);
        for (method, path) in document.operations() {
            if api.left_out.contains(&format!("{method} {path}").as_str()) {
                continue;
            }
            let (_, operation) = document.operation(&method, &path).unwrap();
            let stated = stated(operation);
            let pattern: Vec<_> = path
                .split('/')
                .map(|part| if part.starts_with('{') { "{}" } else { part })
                .collect();
            match ours.get(&(method.clone(), pattern.join("/"))) {
                None => wrong.push(format!("{method} {path}: the simulator asks for no scope")),
                // Nothing to hold it to.
                Some(_) if stated.is_empty() => {}
                Some(sets) if *sets == stated => held += 1,
                Some(sets) => wrong.push(format!("{method} {path}: {sets:?} instead of {stated:?}")),
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
    // Twelve of version 1, one of version 2, Jira's five, and three of the organisation.
    assert_eq!(held, 21);
}
