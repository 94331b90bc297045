//! Audits to work with, and what is asked of them.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Output;
use std::sync::OnceLock;
use std::time::Duration;

use extender_facade::audit::{self, Audit, Damage, Error, Evidence, Expected, Head, Limits, Record, Walked};
use extender_facade::metrics::Metrics;
use extender_facade::model::{
    AccountId, Caller, Context, GroupId, OperationId, OperationKind, RequestId, Skip, Verdict,
};

pub const ROOMY: Limits = Limits {
    max_file_bytes: 1 << 30,
    keep_files: 0,
};

/// So small that a few lines fill a file.
pub const TIGHT: Limits = Limits {
    max_file_bytes: 2000,
    keep_files: 0,
};

pub fn open(dir: &Path, limits: Limits, expected: Option<Head>) -> Result<Audit, Error> {
    Audit::open(dir, limits, expected, Metrics::new())
}

pub fn context() -> Context {
    Context::new(
        RequestId::new("request"),
        Caller::named("alice"),
        Duration::from_secs(1),
    )
}

/// Hands over lines about these names, and waits until they are on disk.
pub async fn write(audit: &Audit, names: &[String]) {
    hand_over(audit, names, Evidence::Witnessed).await;
    assert!(audit.flush().await);
}

pub async fn hand_over(audit: &Audit, names: &[String], evidence: Evidence) {
    let operation = OperationId::parse(&"0f".repeat(16)).unwrap();
    let (group, account) = (GroupId::new("g-1"), AccountId::new("a-1"));
    for (index, name) in names.iter().enumerate() {
        let record = Record {
            operation: &operation,
            kind: OperationKind::AddMembers,
            index,
            group: "team",
            group_id: Some(&group),
            name,
            account: Some(&account),
            verdict: if index % 3 == 2 {
                Verdict::skipped(Skip::NoSeat)
            } else {
                Verdict::DONE
            },
            evidence,
        };
        audit.write(&context(), &[record]).await;
    }
}

pub fn names(from: usize, count: usize) -> Vec<String> {
    (from..from + count).map(|n| format!("user{n:06}")).collect()
}

pub fn verify(dir: &Path, head: Option<Head>) -> (Walked, Vec<Damage>) {
    let mut damages = Vec::new();
    let walked = audit::verify(dir, head.map(Expected::from).as_ref(), None, |damage| {
        damages.push(damage)
    })
    .unwrap();
    (walked, damages)
}

/// The audit is good; how it ends.
pub fn good(dir: &Path) -> Walked {
    let (walked, damages) = verify(dir, None);
    assert!(damages.is_empty(), "{damages:?}");
    walked
}

pub fn file_names(dir: &Path) -> Vec<String> {
    let names = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.filter(|name| name.ends_with(".jsonl")).collect();
    names.sort();
    names
}

pub fn lines(path: &Path) -> Vec<String> {
    fs::read_to_string(path).unwrap().lines().map(str::to_owned).collect()
}

pub fn put(path: &Path, lines: &[String]) {
    fs::write(path, lines.iter().map(|line| format!("{line}\n")).collect::<String>()).unwrap();
}

/// A directory with an audit of `count` lines.
pub async fn made(limits: Limits, count: usize) -> (tempfile::TempDir, Head) {
    let dir = tempfile::tempdir().unwrap();
    let audit = open(dir.path(), limits, None).unwrap();
    for name in names(1, count) {
        write(&audit, &[name]).await;
    }
    let head = audit.head();
    close(audit).await;
    (dir, head)
}

/// Waits until everything is on disk, and lets go of it.
pub async fn close(audit: Audit) {
    audit.flush().await;
    drop(audit);
}

pub fn program(arguments: &[&str], dir: &Path) -> Output {
    let mut command = crate::program::bare();
    crate::seclude::seclude(dir);
    let (sub, more) = arguments.split_first().unwrap();
    command
        .args(["audit", sub])
        .arg("--state-dir")
        .arg(dir)
        .args(more)
        .output()
        .unwrap()
}

pub fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// All files of an audit over three of them, made once.
pub fn sample() -> &'static (BTreeMap<String, Vec<u8>>, Head) {
    static SAMPLE: OnceLock<(BTreeMap<String, Vec<u8>>, Head)> = OnceLock::new();
    SAMPLE.get_or_init(|| {
        // In a thread of its own: whoever comes first may be a runtime's.
        let make = || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(made(TIGHT, 13))
        };
        let (dir, head) = std::thread::spawn(make).join().unwrap();
        let read = |name: &str| fs::read(dir.path().join(name)).unwrap();
        let mut files: BTreeMap<String, Vec<u8>> = BTreeMap::new();
        for name in file_names(dir.path()) {
            files.insert(name.clone(), read(&name));
        }
        assert!(files.len() >= 3, "{:?}", files.keys());
        files.insert("audit.key".to_owned(), read("audit.key"));
        (files, head)
    })
}

pub fn spread(files: &BTreeMap<String, Vec<u8>>) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (name, bytes) in files {
        fs::write(dir.path().join(name), bytes).unwrap();
        #[cfg(unix)]
        if name == "audit.key" {
            use std::os::unix::fs::PermissionsExt as _;
            fs::set_permissions(dir.path().join(name), fs::Permissions::from_mode(0o600)).unwrap();
        }
    }
    dir
}
