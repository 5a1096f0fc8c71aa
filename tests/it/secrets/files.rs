//! Secret files that are not what they should be: none may hang the process or fill its memory, each is told, and each is
//! recovered from.

use super::{Watched, replace, watch_file};
use secrecy::ExposeSecret;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use tempfile::TempDir;
use tieline::clock::Clock;
use tieline::time::Time;

#[tokio::test]
async fn what_is_not_a_small_readable_file_is_refused_in_words_and_recovered_from() {
    let folder = TempDir::new().expect("a folder");
    let at = |name: &str| folder.path().join(name);
    replace(&at("good"), "one");
    link(&at("good"), &at("secret"));
    let mut watched = watch_file(&at("secret"));
    assert_eq!(watched.newest().await.client_secret.expose_secret(), "one");

    let made = Command::new("mkfifo").arg(at("pipe")).status();
    assert!(made.is_ok_and(|made| made.success()), "mkfifo");
    let huge = std::fs::File::create(at("huge")).expect("a file");
    huge.set_len(1 << 40).expect("a terabyte of nothing");
    std::fs::write(at("bytes"), [0xff, 0xfe, 0x00]).expect("written");
    for (target, problem) in [
        (at("pipe"), "is not a regular file"),
        (folder.path().to_owned(), "is not a regular file"),
        (PathBuf::from("/dev/zero"), "is not a regular file"),
        (at("huge"), "is larger than 65536 bytes"),
        (at("bytes"), "it is not text"),
        // A file that not even root may read.
        (PathBuf::from("/proc/sys/vm/compact_memory"), "permission denied"),
        (at("nowhere"), "there is no such file"),
    ] {
        link(&target, &at("secret"));
        let detail = watched.failed().await;
        assert!(detail.contains(problem), "{}: {detail}", target.display());
        assert_eq!(watched.newest().await.version, 1, "the last good one");
        link(&at("good"), &at("secret"));
        watched.recovered().await;
    }
}

#[tokio::test]
async fn a_secret_that_a_pod_or_an_agent_is_given_is_seen_within_two_seconds() {
    let folder = TempDir::new().expect("a folder");
    let path = folder.path().join("secret");
    replace(&path, "0");
    let watched = watch_file(&path);
    watched.changed(1).await;
    let mut took = Vec::new();
    for version in 2..=6 {
        let clock = Clock::start();
        replace(&path, &version.to_string());
        watched.changed(version).await;
        took.push(clock.now().since(Time::START));
        // One is enough: on a busy machine any may take longer.
        if took.last() < Some(&Duration::from_secs(2)) {
            return;
        }
    }
    panic!("a second lies between two looks: {took:?}");
}

#[tokio::test]
async fn the_end_of_the_watch_is_noticed() {
    let folder = TempDir::new().expect("a folder");
    let path = folder.path().join("secret");
    let Watched { secrets, observations, _end: end } = watch_file(&path);
    let error = secrets.newest().await.expect_err("no file").to_string();
    assert!(error.contains("there is no such file"), "{error}");
    drop(end);
    tokio::time::timeout(super::DEADLINE, secrets.ended()).await.expect("it ends");
    drop(observations);
    let error = secrets.newest().await.expect_err("nobody").to_string();
    assert!(error.contains("nobody looks at it any more"), "{error}");
}

/// Points a link elsewhere in one move.
fn link(target: &Path, link: &Path) {
    let new = link.with_extension("new");
    symlink(target, &new).expect("a link");
    std::fs::rename(new, link).expect("renamed");
}
