//! What other processes and a panic get to see.

use std::process::Command;

use extender_facade::cli::process;

use crate::bed::{Bed, Log, Serving};
use crate::cloud::Cloud;
use crate::table::Secrets;
use extender_facade::simulator::Options;

/// Set for the child process that panics.
const CANARY: &str = "SECRETS_TEST_CANARY";

/// Not a test by itself: the next one runs it in a process of its own.
#[test]
fn panics_for_the_next_test() {
    let Ok(secret) = std::env::var(CANARY) else { return };
    process::tell_panics();
    let quietly = |panics: fn(&str)| {
        let secret = secret.clone();
        assert!(std::thread::spawn(move || panics(&secret)).join().is_err());
    };
    quietly(|secret| panic!("{secret}"));
    quietly(|secret| panic!("cannot use {secret:?}"));
    quietly(|secret| {
        let parsed: Result<u8, String> = Err(secret.to_owned());
        parsed.unwrap();
    });
    quietly(|secret| {
        let parsed: Result<u8, String> = Err(secret.to_owned());
        parsed.expect("a promise");
    });
    // `str` indexing shows the whole text.
    quietly(|secret| assert!(format!("ä{secret}")[1..].is_empty()));
    quietly(|secret| assert_eq!(secret, "another"));
    quietly(|_| panic!("a literal message"));
    let log = tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .finish();
    tracing::subscriber::set_global_default(log).unwrap();
    quietly(|secret| panic!("{secret}"));
    quietly(|_| panic!("a message for the log"));
}

#[test]
fn a_panic_tells_its_place_and_no_value() {
    let secrets = Secrets::new();
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "process::panics_for_the_next_test", "--nocapture"])
        .env(CANARY, secrets.of("cloud.api_token"))
        .env("RUST_BACKTRACE", "1")
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    let places = told.matches("process.rs:").count();
    assert!(places >= 9, "{places} places: {told}");
    assert!(
        told.contains("a literal message") && told.contains("a message for the log"),
        "{told}"
    );
    let leaks = secrets.leaks(&[("what a panic tells".to_owned(), [output.stdout, output.stderr].concat())]);
    assert!(leaks.is_empty(), "{leaks:?}");
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn nothing_of_the_process_can_be_looked_into() {
    use std::os::unix::fs::MetadataExt as _;
    let secrets = Secrets::new();
    let cloud = Cloud::start(Options::default()).await;
    let mut bed = Bed::new(&secrets, &cloud.url(""), &cloud.org_id, &cloud.directory_id, Log::Json);
    let serving = Serving::start(&bed);
    let proc = std::path::PathBuf::from(format!("/proc/{}", serving.id()));
    let read = |name: &str| std::fs::read_to_string(proc.join(name)).unwrap();
    let limits = read("limits");
    let core = limits
        .lines()
        .find(|line| line.starts_with("Max core file size"))
        .unwrap();
    assert_eq!(core.split_whitespace().nth(4), Some("0"), "{core}");
    assert_eq!(core.split_whitespace().nth(5), Some("0"), "{core}");
    // The kernel gives what is below /proc to root where a process may not be dumped: nobody else may attach to it, or read
    // its memory and environment.
    assert_eq!(std::fs::metadata(proc.join("environ")).unwrap().uid(), 0);
    let arguments = read("cmdline");
    bed.keep("the process's arguments", arguments);
    serving.stop(&mut bed);
    let leaks = secrets.leaks(&bed.places);
    assert!(leaks.is_empty(), "{leaks:?}");
}
