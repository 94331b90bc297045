//! The canary test: every secret of a run is a known random text, and none of them stands in anything that the program
//! shows or keeps. `table.rs` has the secrets and their forms, `bed.rs` the program and what it shows, `echo.rs` a Cloud that
//! gives secrets back.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

#[path = "../support/cloud.rs"]
mod cloud;
#[path = "../support/login.rs"]
mod login;
#[path = "../support/program.rs"]
mod program;

mod bed;
mod echo;
mod process;
mod table;
mod tokens;

use bed::{Bed, Log, Serving};
use cloud::Cloud;
use extender_facade::simulator::Options;
use reqwest::Method;
use serde_json::json;
use table::Secrets;

fn assert_none(secrets: &Secrets, bed: &Bed) {
    let leaks = secrets.leaks(&bed.places);
    assert!(leaks.is_empty(), "{} leaks:\n{}", leaks.len(), leaks.join("\n"));
}

/// What an ordinary day brings, and every place where somebody may put a credential by mistake.
async fn a_day(bed: &mut Bed, serving: &Serving, secrets: &Secrets) {
    let admin = secrets.of("the administrator's password");
    let names = json!({ "users": ["user000004", "mapped", "open", "nobody", "who@example.com"] }).to_string();
    let mut reports = Vec::new();
    for path in [
        "addUsers/g",
        "addUsers/g?dryRun=true",
        "removeUsers/g",
        "addUsers/missing",
    ] {
        let request = serving.call(bed, Method::POST, path).basic_auth("admin", Some(admin));
        reports.push(bed.send(path, request.body(names.clone())).await.1);
    }
    for (path, list) in [
        ("addGroups", "new"),
        ("removeGroups", "new"),
        ("removeGroups", "site-admins"),
    ] {
        let request = serving
            .call(bed, Method::POST, path)
            .bearer_auth(secrets.of("a bearer token"));
        let body = json!({ "groups": [list] }).to_string();
        reports.push(bed.send(path, request.body(body)).await.1);
    }
    for path in ["getGroups", "getUsers/g?showExtendedDetails=true", "getUsers/missing"] {
        let reader = secrets.of("the reader's password");
        let request = serving.call(bed, Method::GET, path).basic_auth("reader", Some(reader));
        bed.send(path, request).await;
    }
    for id in reports.iter().filter(|id| !id.is_empty()) {
        for format in ["json", "html"] {
            let path = format!("/facade/v1/reports/{id}?format={format}");
            let request = serving.at(bed, &path).bearer_auth(secrets.of("a bearer token"));
            bed.send(&path, request).await;
        }
    }
    astray(bed, serving, secrets).await;
    for path in [
        "/live",
        "/ready",
        "/metrics",
        "/operations",
        "/operations?most=x",
        "/nowhere",
    ] {
        let request = serving.operator(bed, path).bearer_auth(secrets.of("admin.token"));
        bed.send(path, request).await;
        let wrong = secrets.of("a wrong bearer token");
        let request = serving
            .operator(bed, path)
            .bearer_auth(wrong)
            .query(&[("token", wrong)]);
        bed.send(path, request).await;
    }
}

/// Credentials that are wrong, or in wrong places.
async fn astray(bed: &mut Bed, serving: &Serving, secrets: &Secrets) {
    let (query, elsewhere) = (
        secrets.of("a password in a query"),
        secrets.of("a password in a cookie or another header"),
    );
    let in_body = secrets.of("a password in a body");
    let bodies = [
        json!({ "users": ["nobody"], "password": in_body }).to_string(),
        json!({ "users": in_body }).to_string(),
        json!({ "users": [{ "password": in_body }] }).to_string(),
        json!({ "password": { in_body: 1 } }).to_string(),
        json!(in_body).to_string(),
        format!("username=admin&password={in_body}"),
        format!("{{\"password\":\"{in_body}\",\"users\":[1]}}"),
    ];
    for authorised in [true, false] {
        for (method, path) in [
            (Method::GET, "getGroups"),
            (Method::GET, "getUsers/missing"),
            (Method::GET, "nowhere"),
            (Method::DELETE, "getGroups"),
        ] {
            let mut request = serving.call(bed, method, path);
            if authorised {
                request = request.basic_auth("admin", Some(secrets.of("the administrator's password")));
            }
            request = request
                .query(&[("os_username", "admin"), ("os_password", query), ("startAt", query)])
                .header(
                    "cookie",
                    format!("seraph.confluence={elsewhere}; JSESSIONID={elsewhere}"),
                )
                .header("x-api-key", elsewhere)
                .header("proxy-authorization", format!("Basic {elsewhere}"));
            bed.send(path, request).await;
        }
        for body in &bodies {
            let mut request = serving.call(bed, Method::POST, "addUsers/g").body(body.clone());
            if authorised {
                request = request.bearer_auth(secrets.of("a bearer token"));
            }
            bed.send("a bad body", request).await;
        }
    }
    let path = format!("getGroups;jsessionid={elsewhere}?os_password={query}");
    bed.send("a matrix parameter", serving.call(bed, Method::GET, &path))
        .await;
    let call = || serving.call(bed, Method::GET, "getGroups");
    let wrong = [
        call().basic_auth("admin", Some(secrets.of("a wrong password"))),
        call().basic_auth("stranger", Some(secrets.of("a wrong password"))),
        call().bearer_auth(secrets.of("a wrong bearer token")),
        call().header(
            "authorization",
            format!("Digest {}", secrets.of("a credential of an unknown scheme")),
        ),
        call().header("authorization", secrets.of("a credential of an unknown scheme")),
        call().basic_auth(secrets.of("a token sent as the name"), None::<&str>),
        call().basic_auth(secrets.of("a token sent as the name"), Some("x")),
    ];
    for request in wrong {
        bed.send("a wrong credential", request).await;
    }
}

/// What operators type about it, while it runs and afterwards.
fn commands(bed: &mut Bed) {
    for arguments in [
        &["check"][..],
        &["check", "--patience", "1"],
        &["operations", "list"],
        &["operations", "list", "--json"],
        &["audit", "verify"],
        &["audit", "show", "--json"],
        &["identities", "export", "--json"],
        &["identities", "resolve", "user000004", "open", "who@example.com"],
        &["healthcheck"],
        &["--help"],
        &["serve", "--help"],
        &["check", "--help"],
    ] {
        bed.run(arguments);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_is_in_anything_that_an_ordinary_day_leaves_behind() {
    for log in [Log::Text, Log::Json] {
        let mut secrets = Secrets::new();
        let cloud = Cloud::start(Options {
            group: vec!["g=3".parse().unwrap()],
            ..Options::default()
        })
        .await;
        let mut bed = Bed::new(&secrets, &cloud.url(""), &cloud.org_id, &cloud.directory_id, log);
        if matches!(log, Log::Json) {
            bed.set("ADMIN__TOKEN", "");
        }
        let serving = Serving::start(&bed);
        a_day(&mut bed, &serving, &secrets).await;
        bed.set("ADMIN__LISTEN", &serving.admin.clone());
        commands(&mut bed);
        let key = std::fs::read(bed.state().join("audit.key")).unwrap();
        // Made where no other is set.
        let token = std::fs::read_to_string(bed.state().join("operator.token")).unwrap_or_default();
        let listed = String::from_utf8(bed.run(&["operations", "list", "--json"]).stdout).unwrap();
        let listed: serde_json::Value = serde_json::from_str(&listed).unwrap();
        let id = listed["operations"][0]["id"].as_str().unwrap().to_owned();
        bed.run(&["operations", "show", &id, "--json"]);
        bed.run(&["operations", "undo", &id, "--yes"]);
        let page = bed.directory.path().join("readiness.html");
        bed.run(&["identities", "check", "--report", page.to_str().unwrap()]);
        bed.keep("the readiness report", std::fs::read(page).unwrap());
        for fault in [
            json!({ "unauthorized": "html" }),
            json!({ "unauthorized": null, "down": true }),
        ] {
            cloud.switch(fault).await;
            a_day(&mut bed, &serving, &secrets).await;
            bed.run(&["check", "--patience", "1"]);
        }
        serving.stop(&mut bed);
        commands(&mut bed);
        bed.keep_files();
        // Made by the program itself: they stand in their own files and nowhere else.
        if !token.is_empty() {
            secrets.add("operator.token", &token);
        }
        let hex: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
        assert!(
            bed.places.iter().all(|(place, bytes)| {
                place.ends_with("audit.key") || !String::from_utf8_lossy(bytes).contains(&hex)
            })
        );
        assert_none(&secrets, &bed);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_is_told_although_cloud_gives_it_back() {
    for shape in 0..echo::SHAPES.len() {
        let secrets = Secrets::new();
        let log = if shape % 2 == 0 { Log::Text } else { Log::Json };
        let mut bed = Bed::new(&secrets, &echo::start(shape), "an-org", "a-directory", log);
        let serving = Serving::start(&bed);
        let token = secrets.of("a bearer token");
        let names = json!({ "users": ["open", "who@example.com", "5b10a2844c20165700ede21g"] }).to_string();
        let calls = [
            serving.call(&bed, Method::GET, "getGroups"),
            serving.call(&bed, Method::GET, "getUsers/g?showExtendedDetails=true"),
            serving.call(&bed, Method::POST, "addUsers/g").body(names.clone()),
            serving
                .call(&bed, Method::POST, "addGroups")
                .body("{\"groups\":[\"x\"]}"),
        ];
        for call in calls {
            bed.send("a call", call.bearer_auth(token)).await;
        }
        for path in ["/ready", "/metrics"] {
            let request = serving.operator(&bed, path).bearer_auth(secrets.of("admin.token"));
            bed.send(path, request).await;
        }
        serving.stop(&mut bed);
        bed.run(&["check", "--patience", "1"]);
        bed.keep_files();

        // The same with the caller's own credential.
        bed.set("INBOUND__MODE", "passthrough");
        let serving = Serving::start(&bed);
        for (name, secret) in [
            ("ann@example.com", "a caller's API token"),
            ("bob@example.com", "a caller's wrong API token"),
        ] {
            for path in ["getGroups", "getUsers/g"] {
                let request = serving
                    .call(&bed, Method::GET, path)
                    .basic_auth(name, Some(secrets.of(secret)));
                bed.send(path, request).await;
            }
            let request = serving
                .call(&bed, Method::POST, "addUsers/g")
                .basic_auth(name, Some(secrets.of(secret)));
            bed.send("addUsers", request.body(names.clone())).await;
        }
        let request = serving.call(&bed, Method::GET, "getGroups");
        let request = request.basic_auth(secrets.of("a token sent as the name"), Some("x"));
        bed.send("a token sent as the name", request).await;
        serving.stop(&mut bed);
        bed.keep_files();
        assert!(bed.places.len() > 20, "{}", bed.places.len());
        let leaks = secrets.leaks(&bed.places);
        assert!(
            leaks.is_empty(),
            "shape {shape}, {} leaks:\n{}",
            leaks.len(),
            leaks.join("\n")
        );
    }
}

#[test]
fn no_secret_is_told_by_a_fault_of_the_settings() {
    let secrets = Secrets::new();
    let mut bed = Bed::new(&secrets, "http://127.0.0.1:1", "an-org", "a-directory", Log::Text);
    let secret = secrets.of("cloud.api_token").to_owned();
    let texts = [
        format!("[cloud]\napi_token = \"{secret}\nx = 1"),
        format!("[cloud]\napi_token = {secret}"),
        format!("[cloud]\napi_token = [\"{secret}\"]"),
        format!("[cloud]\napi_token = {{ value = \"{secret}\" }}"),
        format!("[cloud]\nadmin = \"{secret}\""),
        format!("cloud = \"{secret}\""),
        format!("[cloud]\nmax_in_flight = \"{secret}\""),
        format!("[cloud]\nbase_url = \"https://robot:{secret}@example.atlassian.net\""),
        format!(
            "[cloud]\nbase_url = \"https://robot:{}@example.atlassian.net\"",
            secret.replace('/', "")
        ),
        format!(
            "[cloud]\nbase_url = \"http://{}@example.atlassian.net\"",
            secret.replace('/', "")
        ),
        format!("[cloud]\nbase_url = \"https://example.atlassian.net?token={secret}\""),
        format!("[admin]\nlisten = \"{secret}\""),
        format!("[cloud]\napi_token_file = \"/nowhere/x\"\napi_token = \"{secret}\""),
        format!("[cloud]\napi_token = \"{secret}\"\napi_token = \"{secret}\""),
        format!("[cloud]\nemail = \"robot@example.com:{secret}\""),
    ];
    bed.settings.retain(|(key, _)| key.ends_with("STATE_DIR"));
    for (number, text) in texts.iter().enumerate() {
        let path = bed.directory.path().join(format!("{number}.toml"));
        std::fs::write(&path, text).unwrap();
        bed::private(&path);
        let path = path.to_str().unwrap().to_owned();
        for command in ["serve", "check"] {
            let output = bed.run(&[command, "--config", &path]);
            assert_ne!(output.status.code(), Some(0), "{text}");
        }
    }
    for key in [
        "CLOUD",
        "CLOUD__ADMIN",
        "CLOUD__MAX_IN_FLIGHT",
        "ADMIN__LISTEN",
        "STATE_DIR__TOKEN",
    ] {
        let mut bed_of_one = program_with(key, &secret);
        let output = bed_of_one.output().unwrap();
        bed.keep(
            format!("the output of check with {key}"),
            [output.stdout, output.stderr].concat(),
        );
    }
    let hash = "$argon2id$v=19$m=8,t=1,p=1$c29tZXNhbHQ$AAAAAAAAAAAAAAAAAAAAAA";
    for text in [
        format!("[[account]]\nname = \"a\"\npassword = \"{secret}\"\nrole = \"reader\""),
        format!("[[account]]\nname = \"a\"\npassword = \"{secret}"),
        format!("[[account]]\nname = \"a\"\npassword = {secret}\nrole = \"reader\""),
        format!("[[account]]\nname = \"a\"\npassword = \"{hash}\"\nrole = \"{secret}\""),
        format!("[[token]]\nname = \"a\"\nsha256 = \"{secret}\"\nrole = \"reader\"\nexpires = \"{secret}\""),
        format!("[[token]]\nname = \"a\"\nsha256 = [\"{secret}\"]\nweight = \"{secret}\""),
        format!("token = \"{secret}\""),
    ] {
        let path = bed.directory.path().join("accounts.toml");
        std::fs::write(&path, &text).unwrap();
        bed.settings.retain(|(key, _)| key.ends_with("STATE_DIR"));
        bed.set("INBOUND__ACCOUNTS_FILE", path.to_str().unwrap());
        let output = bed.run(&["check"]);
        assert_eq!(output.status.code(), Some(1), "{text}");
    }
    assert_none(&secrets, &bed);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_key_of_the_listener_is_told_by_nobody() {
    let mut secrets = Secrets::new();
    let signed = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned(), "localhost".to_owned()]).unwrap();
    let (cert, key) = (signed.cert.pem(), signed.signing_key.serialize_pem());
    let body: String = key.lines().filter(|line| !line.starts_with('-')).collect();
    // Its middle: the beginning says what kind of key it is, and stands in many places.
    secrets.add("the TLS key", &body[body.len() - 60..body.len() - 20]);
    let cloud = Cloud::start(Options::default()).await;
    let mut bed = Bed::new(&secrets, &cloud.url(""), &cloud.org_id, &cloud.directory_id, Log::Json);
    let put = |bed: &Bed, name: &str, text: &str| {
        let path = bed.directory.path().join(name);
        std::fs::write(&path, text).unwrap();
        bed::private(&path);
        path.to_str().unwrap().to_owned()
    };
    let (cert_file, key_file) = (put(&bed, "cert.pem", &cert), put(&bed, "key.pem", &key));
    bed.set("INBOUND__TLS_CERT_FILE", &cert_file);
    bed.set("INBOUND__TLS_KEY_FILE", &key_file);
    let serving = Serving::start(&bed);
    let trusted = reqwest::Certificate::from_pem(cert.as_bytes()).unwrap();
    let client = reqwest::Client::builder()
        .no_proxy()
        .tls_certs_only([trusted])
        .build()
        .unwrap();
    let port = serving.inbound.rsplit(':').next().unwrap();
    let url = format!("https://localhost:{port}/rest/extender/1.0/group/getGroups");
    let request = client
        .get(url)
        .basic_auth("reader", Some(secrets.of("the reader's password")));
    assert_eq!(bed.send("a call", request).await.0, 200);
    let plain = serving.call(&bed, Method::GET, "getGroups");
    assert_eq!(bed.send("a call in the clear", plain).await.0, 0);
    serving.stop(&mut bed);
    // Files in each other's place, and a key that is none.
    let broken = put(&bed, "broken.pem", &key.replace('\n', "!\n"));
    let bare = put(&bed, "bare.pem", &body);
    for (cert, key) in [
        (&key_file, &cert_file),
        (&key_file, &key_file),
        (&cert_file, &broken),
        (&cert_file, &bare),
        (&broken, &broken),
    ] {
        bed.set("INBOUND__TLS_CERT_FILE", cert);
        bed.set("INBOUND__TLS_KEY_FILE", key);
        for command in ["serve", "check"] {
            assert_ne!(bed.run(&[command]).status.code(), Some(0), "{cert} {key}");
        }
    }
    bed.keep_files();
    assert_none(&secrets, &bed);
}

fn program_with(key: &str, secret: &str) -> std::process::Command {
    let mut command = bed::program(&["check"]);
    command.env(format!("FACADE__{key}"), secret);
    command
}
