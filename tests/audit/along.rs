//! Who reads the file while it is written, as a log shipper does.

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};

use extender_facade::audit::{Evidence, FILE};

use crate::bed::{ROOMY, hand_over, names, open};

/// Every change asks whether there is room for its lines, and none of that may be seen.
#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn the_file_only_ever_grows_by_its_lines_whoever_asks_for_room() {
    let dir = tempfile::tempdir().unwrap();
    let audit = open(dir.path(), ROOMY, None).unwrap();
    let (path, is_over) = (dir.path().join(FILE), AtomicBool::new(false));
    let readings = std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let (mut before, mut readings) = (Vec::new(), 0);
            while !is_over.load(Ordering::Acquire) {
                let now = fs::read(&path).unwrap();
                assert!(now.starts_with(&before), "what was read is not there any more");
                // The last line may be under way.
                assert!(!now.ends_with(b"  "), "{} blanks", now.len() - before.len());
                before = now;
                readings += 1;
            }
            readings
        });
        tokio::task::block_in_place(|| {
            tokio::runtime::Handle::current().block_on(async {
                for round in 0..400 {
                    assert!(audit.check().await);
                    hand_over(&audit, &names(round, 1), Evidence::Witnessed).await;
                }
                assert!(audit.flush().await);
            });
        });
        is_over.store(true, Ordering::Release);
        reader.join().unwrap()
    });
    assert!(readings > 20, "{readings}");
}
