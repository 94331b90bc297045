//! What is not done, and what is not told.

use crate::program::bare;
use crate::stub::{Reply, Stub, good};
use crate::{SHORT, against, loadtest, text};

#[test]
fn what_looks_like_clouds_address_is_refused_and_nobody_is_asked() {
    // Whoever would connect, or take the machine's proxy, would come here.
    let stub = Stub::start(good);
    for target in [
        "https://example.atlassian.net",
        "https://EXAMPLE.ATLASSIAN.NET./wiki",
        "http://api.atlassian.com/ex/confluence/1",
        "http://x.jira.com",
        "http://x.jira-dev.com",
        "http://127.0.0.1@example.atlassian.net",
        "http://example.atlassian.net.gateway.example",
    ] {
        for words in [
            &["--target", target][..],
            &["--target", stub.url.as_str(), "--admin", target],
        ] {
            let output = bare()
                .arg("loadtest")
                .args(words)
                .args([
                    "--group",
                    "g",
                    "--change-group",
                    "g",
                    "--mix",
                    "getUsers=1",
                    "--rate",
                    "1",
                ])
                .envs(
                    ["http_proxy", "https_proxy", "all_proxy", "HTTPS_PROXY", "ALL_PROXY"]
                        .map(|name| (name, &stub.url)),
                )
                .output()
                .unwrap();
            assert_eq!(output.status.code(), Some(2), "{words:?}");
            let told = text(&output.stderr);
            assert!(told.contains("looks like Atlassian's Cloud"), "{words:?}: {told}");
        }
    }
    assert!(stub.asked().is_empty());
    // And who answers as Cloud does, under whatever name, is asked once and no more.
    let edge = Stub::start(|_| Reply::Status("200 OK\r\nServer: AtlassianEdge"));
    let output = against(&edge, "1", &[]);
    assert_eq!(output.status.code(), Some(2));
    assert!(
        text(&output.stderr).contains("answers as Atlassian's Cloud"),
        "{}",
        text(&output.stderr)
    );
    assert_eq!(edge.asked().len(), 1);
}

#[test]
fn nothing_is_changed_where_no_group_is_named_for_it() {
    let stub = Stub::start(good);
    let refused = |more: &[&str]| {
        let output = against(&stub, "0.4", more);
        assert_eq!(output.status.code(), Some(2), "{more:?}");
        text(&output.stderr).to_owned()
    };
    let told = refused(&["--mix", "getUsers=90,addUsers=1"]);
    assert!(told.contains("--change-group"), "{told}");
    refused(&["--mix", "removeGroups=1"]);
    let told = refused(&["--mix", "addUsers=1", "--change-group", "g"]);
    assert!(told.contains("--map"), "{told}");
    assert!(stub.asked().is_empty());
    // Without a mix, reads alone are sent, whatever may be changed.
    assert_eq!(against(&stub, "0.4", &["--change-group", "g"]).status.code(), Some(0));
    assert!(stub.asked().iter().all(|asked| asked.line.starts_with("GET ")));
    // Nobody is there; the credential is refused.
    let told = loadtest(&["--target", "http://127.0.0.1:1", "--group", "g"]);
    assert_eq!(told.status.code(), Some(2));
    assert!(text(&told.stderr).contains("nobody listens"), "{}", text(&told.stderr));
    let locked = Stub::start(|_| Reply::Status("401 Unauthorized"));
    assert_eq!(against(&locked, "1", &[]).status.code(), Some(2));
    assert_eq!(locked.asked().len(), 1);
}

#[test]
fn a_credential_is_sent_as_scripts_send_it_and_stands_in_no_report() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("secret");
    std::fs::write(&file, "s3cret-of-mine\n").unwrap();
    let stub = Stub::start(good);
    let secret = ["--secret-file", file.to_str().unwrap()];
    let with_user = [&secret[..], &["--user", "jdoe"]].concat();
    for (words, header) in [
        (&with_user[..], "authorization: basic amrvztpzm2nyzxqtb2ytbwluzq=="),
        (&secret[..], "authorization: bearer s3cret-of-mine"),
    ] {
        stub.asked.lock().unwrap().clear();
        let output = against(&stub, "0.1", words);
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        let printed = format!("{}{}", text(&output.stdout), text(&output.stderr));
        assert!(!printed.contains("s3cret"), "{printed}");
        let asked = stub.asked();
        assert!(
            asked.len() >= 5 && asked.iter().all(|asked| asked.head.contains(header)),
            "{asked:?}"
        );
    }
    // The environment is the other way, and an address is none.
    stub.asked.lock().unwrap().clear();
    let mut command = bare();
    command
        .env("LOADTEST_SECRET", "from-env")
        .args(["loadtest", "--target", &stub.url, "--group", "g"]);
    assert!(
        command
            .args(SHORT)
            .args(["--steady", "0.1"])
            .output()
            .unwrap()
            .status
            .success()
    );
    assert!(stub.asked().iter().all(|asked| asked.head.contains("bearer from-env")));
    let told = loadtest(&["--target", "http://jdoe:s3cret@127.0.0.1:1", "--group", "g"]);
    assert_eq!(told.status.code(), Some(2));
    assert!(!text(&told.stderr).contains("s3cret"));
}
