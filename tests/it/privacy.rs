//! Personal fields are gone from everything that a process leaves behind: its file, its folder, its log and its doors.

use crate::harness::{Stand, brisk, eventually};
use std::path::Path;

#[tokio::test(flavor = "multi_thread")]
async fn under_the_shipped_profile_no_name_and_no_number_leaves_the_process() {
    let mut stand = Stand::new(brisk()).await;
    let key = stand.config.path("key");
    std::fs::write(&key, "the key of this test's hashes").unwrap();
    stand.config.set("privacy.profile", "personal");
    stand.config.set("privacy.key_file", key.display().to_string());
    let bridge = stand.ready().await;
    let since = stand.emitted().await + 1;
    stand.emits(60).await;
    eventually("a customer waits", async || {
        let held = std::fs::read_to_string(stand.config.events()).unwrap_or_default();
        held.contains("\"address\":\"hashed:").then_some(())
    })
    .await;
    stand.control("traffic", serde_json::json!({"state": "pause"})).await;
    stand.delivered_all(since).await;
    let log = bridge.finish(&stand).await;

    let emitted: String =
        stand.sim.journal().emissions.iter().map(|one| one.body.to_string()).collect();
    let personal = ["tel:+1555", "Caller "];
    for told in personal {
        assert!(emitted.contains(told), "the simulator no longer says {told}");
        assert!(!log.contains(told), "the log says {told}");
        for file in files(stand.config.folder.path()) {
            let held = String::from_utf8_lossy(&std::fs::read(&file).unwrap()).into_owned();
            assert!(!held.contains(told), "{} holds {told}", file.display());
        }
    }
}

/// Every file below a folder; a socket is none.
fn files(folder: &Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    entries
        .flat_map(|entry| {
            let kind = entry.file_type().unwrap();
            if kind.is_dir() {
                return files(&entry.path());
            }
            kind.is_file().then(|| entry.path()).into_iter().collect()
        })
        .collect()
}
