//! Which file system holds a file, and what that means for what is written there. Read from Linux's own list of mounts.

use super::guarantee::{Guarantee, Level};
use std::fs;
use std::path::{Path, PathBuf};

/// Where Linux lists what is mounted.
const MOUNTS: &str = "/proc/self/mounts";

/// Adds what the file system of `path` gives. The file need not exist.
pub(super) fn describe(path: &Path, guarantee: &mut Guarantee) {
    let mounts = fs::read_to_string(MOUNTS).unwrap_or_default();
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    // Links are followed as far as the path exists.
    let there = absolute.ancestors().find_map(|above| fs::canonicalize(above).ok());
    match kind_of(&there.unwrap_or(absolute), &mounts) {
        None => guarantee.unknown("file_system", "which file system holds the file could not be read"),
        Some(kind) if matches!(kind, "tmpfs" | "ramfs") => guarantee.lowers(
            Level::BestEffort,
            "file_system",
            format!("the file is in memory ({kind}): it ends with the machine, or with its mount"),
        ),
        Some("overlay") => guarantee.weakens(
            "file_system",
            "the file is in a container's own layer (overlay): it ends with the container; mount a volume",
        ),
        Some(kind) if kind.starts_with("nfs") || kind.starts_with("fuse") || kind == "cifs" => {
            guarantee.weakens(
                "file_system",
                format!("the file is on {kind}: locks and syncs are worth what its server makes of them"),
            );
        }
        Some(kind) => guarantee.holds("file_system", format!("the file is on {kind}")),
    }
}

/// The type of the innermost mount that holds the path; of two mounts at one place the later.
fn kind_of<'m>(path: &Path, mounts: &'m str) -> Option<&'m str> {
    let lines = mounts.lines().filter_map(|line| {
        let mut words = line.split(' ').skip(1);
        // Spaces in a path are written \040.
        let at = PathBuf::from(words.next()?.replace("\\040", " "));
        let kind = words.next()?;
        path.starts_with(&at).then(|| (at.components().count(), kind))
    });
    lines.max_by_key(|(depth, _)| *depth).map(|(_, kind)| kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_innermost_mount_decides() {
        let mounts = "\
            overlay / overlay rw 0 0\n\
            /dev/sda1 /var/lib ext4 rw 0 0\n\
            old /run tmpfs rw 0 0\n\
            tmpfs /var/lib/my\\040data tmpfs rw 0 0\n";
        let kind = |path: &str| kind_of(Path::new(path), mounts);
        assert_eq!(kind("/var/lib/tieline/events.jsonl"), Some("ext4"));
        assert_eq!(kind("/var/lib/my data/events.jsonl"), Some("tmpfs"));
        assert_eq!(kind("/var/library"), Some("overlay"));
        assert_eq!(kind_of(Path::new("/a"), ""), None);
    }
}
