//! TLS: clients with certificates, files that change while the facade runs, and handshakes that take too long.

use std::path::Path;

use extender_facade::settings::Settings;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use reqwest::{Certificate, Client, Identity};

use crate::cloud::{Reply, send};
use crate::harness::{READER, World, options};
use crate::program::{Program, bare};
use crate::raw::Line;
use crate::worlds::refusal;

/// Signs certificates.
struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    fn pem(&self) -> String {
        self.0.pem()
    }

    /// A certificate for this machine, and its key.
    fn sign(&self) -> (String, String) {
        self.sign_for(3650)
    }

    /// One that ends at the beginning of the day so many days from now.
    fn sign_for(&self, days: i64) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        let date = jiff::Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC).date() + jiff::Span::new().days(days);
        let (month, day) = (date.month().unsigned_abs(), date.day().unsigned_abs());
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(i32::from(date.year()), month, day);
        (params.signed_by(&key, &self.0).unwrap().pem(), key.serialize_pem())
    }

    /// A client that trusts this authority alone, and shows what it signed if `identity` says so.
    fn client(&self, identity: Option<&(String, String)>) -> Client {
        let trusted = Certificate::from_pem(self.pem().as_bytes()).unwrap();
        let client = Client::builder().no_proxy().tls_certs_only([trusted]);
        let client = match identity {
            Some((cert, key)) => client.identity(Identity::from_pem(format!("{cert}{key}").as_bytes()).unwrap()),
            None => client,
        };
        client.build().unwrap()
    }
}

fn put(directory: &Path, (cert, key): &(String, String)) {
    for (name, text) in [("cert.pem", cert), ("key.pem", key)] {
        std::fs::write(directory.join("new"), text).unwrap();
        std::fs::rename(directory.join("new"), directory.join(name)).unwrap();
    }
}

async fn world(authority: &Authority, change: impl FnOnce(&mut Settings)) -> World {
    World::start(options(1, &[]), |settings| {
        let directory = settings.state_dir.parent().unwrap().to_owned();
        put(&directory, &authority.sign());
        settings.inbound.tls_cert_file = Some(directory.join("cert.pem"));
        settings.inbound.tls_key_file = Some(directory.join("key.pem"));
        settings.inbound.reload_s = 1;
        change(settings);
    })
    .await
}

async fn get(world: &World, client: &Client) -> reqwest::Result<Reply> {
    let url = format!(
        "https://localhost:{}/rest/extender/1.0/group/getGroups",
        world.facade.port()
    );
    crate::cloud::try_send(client.get(url).bearer_auth(READER)).await
}

async fn wait_for(world: &World, result: &str) {
    let wanted = format!("facade_file_reloads_total{{file=\"certificate\",result=\"{result}\"}}");
    for _ in 0..600 {
        if world.metrics().await.contains(&wanted) {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    panic!("the certificate was not {result}");
}

#[tokio::test(flavor = "multi_thread")]
async fn with_an_authority_for_clients_nobody_else_gets_through_the_handshake() {
    let (own, clients, others) = (Authority::new(), Authority::new(), Authority::new());
    let world = world(&own, |settings| {
        let file = settings.state_dir.parent().unwrap().join("clients.pem");
        std::fs::write(&file, clients.pem()).unwrap();
        settings.inbound.tls_client_ca_file = Some(file);
    })
    .await;
    assert_eq!(
        get(&world, &own.client(Some(&clients.sign()))).await.unwrap().status,
        200
    );
    assert!(get(&world, &own.client(None)).await.is_err());
    assert!(get(&world, &own.client(Some(&others.sign()))).await.is_err());
    assert!(get(&world, &own.client(Some(&own.sign()))).await.is_err());
    assert_eq!(world.calls().await.len(), 1);
    // A certificate opens the handshake, and takes the place of no credential.
    let url = format!(
        "https://localhost:{}/rest/extender/1.0/group/getGroups",
        world.facade.port()
    );
    assert_eq!(send(own.client(Some(&clients.sign())).get(url)).await.status, 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_certificate_is_used_without_a_restart_and_a_faulty_one_never() {
    let (first, second) = (Authority::new(), Authority::new());
    let world = world(&first, |_| {}).await;
    assert_eq!(get(&world, &first.client(None)).await.unwrap().status, 200);
    // One that goes with another key.
    std::fs::write(world.path("cert.pem"), second.sign().0).unwrap();
    wait_for(&world, "refused").await;
    assert_eq!(get(&world, &first.client(None)).await.unwrap().status, 200);
    put(world.directory.path(), &second.sign());
    wait_for(&world, "done").await;
    assert_eq!(get(&world, &second.client(None)).await.unwrap().status, 200);
    assert!(get(&world, &first.client(None)).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_the_certificate_is_told_before_it_comes() {
    let authority = Authority::new();
    let world = world(&authority, |_| {}).await;
    let ready = async || {
        let answer = send(world.client.get(format!("http://{}/ready", world.admin))).await;
        assert_eq!(answer.status, 200, "it makes nothing unready: {answer:?}");
        answer.json()["certificate"].clone()
    };
    assert_eq!(ready().await["state"], "good");
    // The figure comes with the first look.
    let figure = async || {
        let page = world.metrics().await;
        let line = page
            .lines()
            .find_map(|line| line.strip_prefix("facade_certificate_seconds_left{file=\"inbound.tls_cert_file\"} "));
        line.map(|seconds| seconds.parse::<i64>().unwrap())
    };
    let left = loop {
        match figure().await {
            Some(left) => break left,
            None => tokio::time::sleep(std::time::Duration::from_millis(20)).await,
        }
    };
    assert!((3648 * 86_400..=3650 * 86_400).contains(&left), "{left}");
    for (days, state) in [(20, "ends_soon"), (-1, "over"), (31 * 2, "good")] {
        put(world.directory.path(), &authority.sign_for(days));
        while ready().await["state"] != state {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
        assert!(ready().await["ends"].as_str().unwrap().ends_with("T00:00:00Z"));
    }
    let without = World::with(1, &[]).await;
    let body = send(without.client.get(format!("http://{}/ready", without.admin)))
        .await
        .json();
    assert_eq!(body["certificate"], serde_json::Value::Null);
    assert!(!without.metrics().await.contains("facade_certificate_seconds_left{"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_the_certificate_stands_in_the_log_and_in_check() {
    let authority = Authority::new();
    let cloud = crate::cloud::Cloud::start(options(1, &[])).await;
    for (days, level, word) in [(20, "WARN", "warn"), (-1, "ERROR", "FAIL"), (60, "", "ok")] {
        let directory = tempfile::tempdir().unwrap();
        put(directory.path(), &authority.sign_for(days));
        let (cert, key) = (directory.path().join("cert.pem"), directory.path().join("key.pem"));
        let files = [
            ("FACADE__INBOUND__TLS_CERT_FILE", cert.to_str().unwrap()),
            ("FACADE__INBOUND__TLS_KEY_FILE", key.to_str().unwrap()),
        ];
        let program = Program::start(&directory.path().join("state"), &cloud.url(""), &files);
        tokio::task::block_in_place(|| program.serves());
        let told = || {
            let log = program.log();
            let line = log
                .iter()
                .find(|line| line["message"].to_string().contains("the certificate of"));
            line.map(|line| line["level"].as_str().unwrap().to_owned())
        };
        while !level.is_empty() && told().as_deref() != Some(level) {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        drop(program);
        let checked = tokio::task::block_in_place(|| {
            let mut check = bare();
            check.args(["check", "--patience", "5"]).envs(files);
            check.env("FACADE__INBOUND__MODE", "open");
            check.env("FACADE__STATE_DIR", directory.path().join("state"));
            check.env("FACADE__CLOUD__BASE_URL", cloud.url(""));
            check.output().unwrap()
        });
        let lines = String::from_utf8(checked.stdout).unwrap();
        let line = lines.lines().find(|line| line.contains("inbound.tls_cert_file end"));
        assert!(line.is_some_and(|line| line.starts_with(word)), "{lines}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_gone_is_told_once_and_what_was_read_of_it_stays_in_use() {
    let (first, second) = (Authority::new(), Authority::new());
    let world = world(&first, |_| {}).await;
    for name in ["key.pem", "accounts.toml"] {
        std::fs::remove_file(world.path(name)).unwrap();
    }
    let refused =
        |file: &str, times: u64| format!("facade_file_reloads_total{{file=\"{file}\",result=\"refused\"}} {times}\n");
    let told = async {
        loop {
            let page = world.metrics().await;
            if page.contains(&refused("certificate", 1)) && page.contains(&refused("accounts", 1)) {
                return;
            }
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(30), told)
        .await
        .unwrap();
    assert_eq!(get(&world, &first.client(None)).await.unwrap().status, 200);
    put(world.directory.path(), &second.sign());
    wait_for(&world, "done").await;
    assert!(
        world.metrics().await.contains(&refused("certificate", 1)),
        "it is said once"
    );
    assert_eq!(get(&world, &second.client(None)).await.unwrap().status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handshake_that_does_not_end_is_ended() {
    let world = world(&Authority::new(), |settings| {
        settings.inbound.tls_handshake_timeout_s = 1;
        settings.inbound.header_timeout_s = 600;
    })
    .await;
    for bytes in [&b""[..], b"\x16\x03\x01\x02\x00\x01"] {
        let mut line = Line::to(world.facade).await;
        line.say(bytes).await;
        while !line.is_closed().await {}
    }
}

#[tokio::test]
async fn it_does_not_start_with_files_that_are_none() {
    let authority = Authority::new();
    for (name, text, part) in [
        ("cert.pem", "", "inbound.tls_cert_file"),
        ("cert.pem", "nonsense", "inbound.tls_cert_file"),
        ("key.pem", "", "inbound.tls_key_file"),
        ("clients.pem", "", "inbound.tls_client_ca_file"),
        (
            "clients.pem",
            "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
            "inbound.tls_client_ca_file",
        ),
    ] {
        let directory = tempfile::tempdir().unwrap();
        put(directory.path(), &authority.sign());
        std::fs::write(directory.path().join("clients.pem"), authority.pem()).unwrap();
        std::fs::write(directory.path().join(name), text).unwrap();
        let said = refusal(|settings| {
            settings.inbound.tls_cert_file = Some(directory.path().join("cert.pem"));
            settings.inbound.tls_key_file = Some(directory.path().join("key.pem"));
            settings.inbound.tls_client_ca_file = Some(directory.path().join("clients.pem"));
        })
        .await;
        assert!(said.contains(part), "{name}: {said}");
    }
}
