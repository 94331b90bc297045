//! The secrets of OAuth: a client's, the codes, the access and the refresh tokens. At rest they stand in the one file that
//! keeps a consent, which is its owner's alone, and nowhere else.

use std::time::Duration;

use extender_facade::simulator::Options;
use reqwest::Method;
use serde_json::{Value, json};

use crate::bed::{Bed, Log, Serving, private};
use crate::cloud::{Cloud, send};
use crate::login::Login;
use crate::table::Secrets;

const SCOPES: [&str; 3] = [
    "read:confluence-groups",
    "write:confluence-groups",
    "read:confluence-user",
];

async fn register(cloud: &Cloud, secrets: &Secrets, kind: &str, secret: &str) {
    let registry = json!({ "credentials": [
        { "kind": kind, "client_id": "app", "client_secret": secret, "scopes": SCOPES },
        { "kind": "org_key", "token": secrets.of("cloud.admin.api_key") },
        { "kind": "scim_key", "token": secrets.of("cloud.scim.api_key") },
        { "kind": "api_token", "email": "jira@example.com", "token": secrets.of("cloud.jira.api_token") },
    ] });
    let answer = send(cloud.client.post(cloud.url("/_sim/credentials")).json(&registry)).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
}

/// Consents as somebody with a browser does; what the command says is kept.
async fn login(bed: &mut Bed, cloud: &Cloud) {
    // As the service's first start makes it: root, who may run this, is not to.
    let mut folder = std::fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut folder, 0o700);
    folder.create(bed.state()).unwrap();
    let command = || {
        let mut command = crate::program::bare();
        command.envs(bed.settings.iter().cloned());
        command
    };
    let login = Login::begin(command, &[]).await;
    let page = send(cloud.client.get(&login.address)).await;
    assert_eq!(page.status, 200);
    let ended = login.ended().await;
    assert_eq!(ended.code, 0, "{} {}", ended.said, ended.errors);
    bed.keep("the page that the browser sees", page.body.to_vec());
    bed.keep("the output of `credential login`", ended.said);
    bed.keep("the errors of `credential login`", ended.errors);
}

/// A few calls of every kind, and everything that an operator may look at.
async fn use_it(bed: &mut Bed, serving: &Serving, secrets: &Secrets) {
    let token = secrets.of("a bearer token");
    let body = json!({ "users": ["user000004", "open", "nobody"] }).to_string();
    for request in [
        serving.call(bed, Method::GET, "getGroups"),
        serving.call(bed, Method::GET, "getUsers/g"),
        serving.call(bed, Method::GET, "getUsers/missing"),
        serving.call(bed, Method::POST, "addUsers/g").body(body.clone()),
        serving.call(bed, Method::POST, "removeUsers/g").body(body),
    ] {
        bed.send("a call", request.bearer_auth(token)).await;
    }
    for path in ["/ready", "/metrics", "/operations"] {
        let request = serving.operator(bed, path).bearer_auth(secrets.of("admin.token"));
        bed.send(path, request).await;
    }
    bed.run(&["check", "--patience", "1"]);
    bed.run(&["check", "--json", "--patience", "1"]);
    bed.run(&["credential", "list"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_secrets_of_oauth_are_in_the_file_that_keeps_them_and_nowhere_else() {
    for (kind, log) in [
        ("oauth", Log::Text),
        ("oauth", Log::Json),
        ("service_account", Log::Json),
    ] {
        let mut secrets = Secrets::new();
        let secret: String = (0..40).map(|_| fastrand::alphanumeric()).collect();
        secrets.add("the client's secret", &secret);
        let cloud = Cloud::start(Options {
            seed: fastrand::u64(..),
            group: vec!["g=3".parse().unwrap()],
            ..Options::default()
        })
        .await;
        register(&cloud, &secrets, kind, &secret).await;
        let site = cloud.url("");
        let mut bed = Bed::new(&secrets, &site, &cloud.org_id, &cloud.directory_id, log);
        let file = bed.directory.path().join("client-secret");
        std::fs::write(&file, &secret).unwrap();
        private(&file);
        bed.settings
            .retain(|(key, _)| !key.contains("CLOUD__API_TOKEN") && !key.ends_with("CLOUD__EMAIL"));
        for (key, value) in [
            ("CLOUD__KIND", kind),
            ("CLOUD__CLIENT_ID", "app"),
            ("CLOUD__CLIENT_SECRET_COMMAND", &format!("cat '{}'", file.display())),
            ("CLOUD__GATEWAY_URL", &site),
            ("CLOUD__LOGIN_URL", &site),
        ] {
            bed.set(key, value);
        }
        cloud.switch(json!({ "access_token_s": 1 })).await;
        if kind == "oauth" {
            login(&mut bed, &cloud).await;
        }
        let serving = Serving::start(&bed);
        bed.set("ADMIN__LISTEN", &serving.admin.clone());
        let url = cloud.url("/_sim/tokens");
        // Until tokens were renewed, which is due after a second, however fast or slow the calls are.
        loop {
            use_it(&mut bed, &serving, &secrets).await;
            let texts = send(cloud.client.get(&url)).await.json()["texts"].clone();
            if texts["access_tokens"].as_array().unwrap().len() > 1 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        for fault in [
            json!({ "token_lost": 1 }),
            json!({ "unauthorized": "html" }),
            json!({ "unauthorized": null, "token_down": true }),
        ] {
            cloud.switch(fault).await;
            use_it(&mut bed, &serving, &secrets).await;
        }
        cloud.switch(json!({ "token_down": null })).await;
        // Taken back, then a client whose secret is another.
        send(cloud.client.post(&url).json(&json!({ "revoke": "app" }))).await;
        use_it(&mut bed, &serving, &secrets).await;
        register(&cloud, &secrets, kind, "another-secret").await;
        use_it(&mut bed, &serving, &secrets).await;
        serving.stop(&mut bed);
        let texts = send(cloud.client.get(&url)).await.json()["texts"].clone();
        let mut count = 0;
        for (name, key) in [
            ("an access token", "access_tokens"),
            ("a refresh token", "refresh_tokens"),
        ] {
            for text in texts[key].as_array().unwrap() {
                secrets.add(name, text.as_str().unwrap());
                count += 1;
            }
        }
        assert!(count > 1, "{texts}");
        bed.keep_files();
        let kept = |place: &str| place.contains("credentials") && place.ends_with("app.json");
        if kind == "oauth" {
            let (place, bytes) = bed.places.iter().find(|(place, _)| kept(place)).unwrap();
            let kept: Value = serde_json::from_slice(bytes).unwrap();
            assert!(
                kept["refresh_token"].as_str().is_some_and(|token| token.len() > 20),
                "{place}"
            );
        }
        bed.places.retain(|(place, _)| !kept(place));
        let leaks = secrets.leaks(&bed.places);
        assert!(leaks.is_empty(), "{kind}: {} leaks:\n{}", leaks.len(), leaks.join("\n"));
    }
}
