//! Keys that are not there, disks that are full, directories that cannot be written.

use std::fs;
use std::path::Path;
use std::process::Command;

use extender_facade::audit::{Error, Evidence, FILE};

use crate::bed::{ROOMY, good, hand_over, made, names, open, program, said, verify};

#[tokio::test]
async fn a_key_that_is_missing_or_not_ours_is_a_refusal_and_never_replaced() {
    let (dir, head) = made(ROOMY, 3).await;
    let key = dir.path().join("audit.key");
    let kept = fs::read(&key).unwrap();
    fs::remove_file(&key).unwrap();
    let refused = open(dir.path(), ROOMY, None).unwrap_err();
    assert!(matches!(refused, Error::KeyMissing { .. }), "{refused}");
    let output = program(&["verify"], dir.path());
    assert_eq!(output.status.code(), Some(2), "{}", said(&output));
    assert!(said(&output).contains("audit.key is missing"), "{}", said(&output));
    // Not even with the lines gone, too, if somebody knows that there were some.
    fs::remove_file(dir.path().join(FILE)).unwrap();
    assert!(matches!(
        open(dir.path(), ROOMY, Some(head)),
        Err(Error::KeyMissing { .. })
    ));
    assert!(!key.exists());
    fs::write(&key, &kept[..20]).unwrap();
    assert!(matches!(open(dir.path(), ROOMY, None), Err(Error::Key { .. })));
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        fs::write(&key, &kept).unwrap();
        fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
        let refused = open(dir.path(), ROOMY, None).unwrap_err().to_string();
        assert!(refused.contains("chmod 600"), "{refused}");
    }
    // Another key: no line holds.
    let (other, _) = made(ROOMY, 3).await;
    fs::write(other.path().join("audit.key"), [7; 32]).unwrap();
    assert!(!verify(other.path(), None).1.is_empty());
}

/// Set for the child of the test below: where its state directory is.
const CHILD: &str = "AUDIT_FULL_CHILD";

/// Not a test of its own: writes until there is no room, and goes on once there is.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn child() {
    let Ok(dir) = std::env::var(CHILD) else { return };
    let audit = open(Path::new(&dir), ROOMY, None).unwrap();
    let mut written = 0;
    while audit.check().await {
        hand_over(&audit, &names(written, 1), Evidence::Witnessed).await;
        written += 1;
        assert!(written < 10_000, "there is no end to the disk");
    }
    // An operation that was running goes on, and its lines wait.
    hand_over(&audit, &names(written, 50), Evidence::Witnessed).await;
    assert!(!audit.flush().await && !audit.check().await);
    let (walked, damages) = verify(Path::new(&dir), Some(audit.head()));
    // What the head says is on the disk; the file may be ahead of it.
    assert!(damages.is_empty() && walked.head.seq >= audit.head().seq, "{damages:?}");
    let id = std::process::id().to_string();
    let lifted = Command::new("prlimit")
        .args(["--pid", &id, "--fsize=unlimited:"])
        .status()
        .unwrap();
    assert!(lifted.success());
    assert!(audit.flush().await && audit.check().await);
    let (walked, damages) = verify(Path::new(&dir), Some(audit.head()));
    assert!(damages.is_empty(), "{damages:?}");
    assert_eq!(walked.lines as usize, written + 50);
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_says_no_and_loses_no_line() {
    let dir = tempfile::tempdir().unwrap();
    let ran = Command::new("sh")
        .args([
            "-c",
            "trap '' XFSZ; ulimit -S -f 64; exec \"$0\" --exact refusals::child --nocapture",
        ])
        .arg(std::env::current_exe().unwrap())
        .env(CHILD, dir.path())
        .output()
        .unwrap();
    assert!(ran.status.success(), "{}", said(&ran));
    assert!(good(dir.path()).lines > 50);
}

#[cfg(unix)]
#[tokio::test]
async fn a_directory_that_cannot_be_written_is_a_refusal() {
    use std::os::unix::fs::PermissionsExt as _;
    let (dir, _) = made(ROOMY, 3).await;
    fs::set_permissions(dir.path().join(FILE), fs::Permissions::from_mode(0o400)).unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o500)).unwrap();
    let is_root = fs::write(dir.path().join("probe"), "").is_ok();
    let refused = open(dir.path(), ROOMY, None).err();
    let read = verify(dir.path(), None);
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o700)).unwrap();
    assert!(read.1.is_empty() && read.0.lines == 3, "reading needs no writing");
    // Permissions do not hold root up.
    if !is_root {
        assert!(refused.unwrap().to_string().contains("denied"));
    }
    // A file where the directory should be holds everybody up.
    let file = tempfile::NamedTempFile::new().unwrap();
    let refused = open(file.path(), ROOMY, None).unwrap_err();
    assert!(matches!(refused, Error::Io { .. }), "{refused}");
}
