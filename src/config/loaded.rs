//! A configuration with what it was made of, so that a later one can be compared with it key by key.
//!
//! Says which keys differ and which of them a running process can take; how they are brought into force is `reload`'s affair.

use super::mistakes::{Located, Mistakes, shown};
use super::schema::Schema;
use super::text::Text;
use super::tree::{Content, Node, Source, join};
use super::{Config, extract, load};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// Keys and tables that a running process takes over; all others need a new process.
const LIVE: [&[&str]; 4] =
    [&["genesys", "queues"], &["genesys", "topics"], &["log", "level"], &["privacy"]];

/// What stands for a value that may be a secret.
const HIDDEN: &str = "(hidden)";

/// What stands for a value that is not there.
const NONE: &str = "(none)";

/// A configuration without mistakes, and its layers.
#[derive(Clone)]
pub struct Loaded {
    /// What the program is told.
    pub config: Config,
    /// All layers on each other.
    pub(super) tree: Node,
    /// The file alone.
    pub(super) file: Node,
}

/// A key whose value differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The full path, such as `sink.kafka.topic`.
    pub key: String,
    /// The value in force as TOML, as a message may show it.
    pub was: String,
    /// The value asked for.
    pub now: String,
}

/// A key that the file changes in vain, because a variable stands above it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Overridden {
    /// The full path.
    pub key: String,
    /// The variable's name.
    pub variable: String,
}

/// How one configuration differs from another.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Difference {
    /// What a running process takes over.
    pub live: Vec<Change>,
    /// What only a new process takes up.
    pub pending: Vec<Change>,
    /// What the file changes in vain.
    pub overridden: Vec<Overridden>,
}

impl Loaded {
    /// Reads the layers: the file's `text`, when there is one, above the defaults, and `variables` above both.
    ///
    /// # Errors
    /// All mistakes at once, at least one.
    pub fn of(
        text: Option<&Text>,
        variables: impl Iterator<Item = (String, String)>,
    ) -> Result<Self, Mistakes> {
        load::load(text, variables)
    }

    /// How `new` differs from this. A value that is only written in another way ("60s", "1m") does not.
    pub fn difference(&self, new: &Self) -> Difference {
        let mut difference = Difference::default();
        for path in differing(&self.tree, &new.tree) {
            if self.means_the_same(&path, new) {
                continue;
            }
            let text = |tree: &Node| tree.get(&path).map_or(NONE.into(), |node| told(&path, node));
            let change = Change { key: join(&path), was: text(&self.tree), now: text(&new.tree) };
            match is_live(&path) {
                true => difference.live.push(change),
                false => difference.pending.push(change),
            }
        }
        if difference.pending.iter().any(is_of_platform) {
            let live = std::mem::take(&mut difference.live).into_iter();
            let (held, live): (Vec<_>, Vec<_>) = live.partition(is_of_platform);
            difference.live = live;
            difference.pending.extend(held);
        }
        for path in differing(&self.file, &new.file) {
            if let Source::Variable(variable) = &new.tree.nearest(&path).source {
                let (key, variable) = (join(&path), variable.clone());
                difference.overridden.push(Overridden { key, variable });
            }
        }
        difference
    }

    /// Takes over from `new` what a running process can.
    pub fn adopt(&mut self, new: &Self) {
        let is_held = self.difference(new).pending.iter().any(is_of_platform);
        for path in LIVE.iter().filter(|path| !is_held || path[0] != "genesys") {
            let path: Vec<String> = path.iter().map(|name| (*name).to_owned()).collect();
            match new.tree.get(&path) {
                Some(node) => self.tree.set(&path, node.clone()),
                None => drop(self.tree.remove(&path)),
            }
        }
        if !is_held {
            self.config.genesys.queues.clone_from(&new.config.genesys.queues);
            self.config.genesys.topics.clone_from(&new.config.genesys.topics);
        }
        self.config.log.level.clone_from(&new.config.log.level);
        self.config.privacy.clone_from(&new.config.privacy);
        self.file.clone_from(&new.file);
    }

    /// A mistake in what a key names, found only when it is used.
    pub fn mistake(&self, key: &[&str], problem: String, fix: &str) -> Mistakes {
        let path: Vec<String> = key.iter().map(|name| (*name).to_owned()).collect();
        Mistakes::new(vec![Located {
            key: join(&path),
            value: self.tree.get(&path).map(|node| told(&path, node)),
            source: self.tree.nearest(&path).source.clone(),
            problem,
            fix: fix.into(),
        }])
    }

    /// Whether the key's new value makes the same configuration as the old one.
    fn means_the_same(&self, path: &[String], new: &Self) -> bool {
        let mut tree = self.tree.clone();
        match new.tree.get(path) {
            Some(node) => tree.set(path, node.clone()),
            None => drop(tree.remove(path)),
        }
        extract::extract::<Config>(&tree).is_ok_and(|config| config == self.config)
    }
}

/// Trees hold what may be secret: they are not shown.
impl fmt::Debug for Loaded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Loaded").finish_non_exhaustive()
    }
}

fn is_live(path: &[String]) -> bool {
    LIVE.iter().any(|live| path.len() >= live.len() && live.iter().zip(path).all(|(a, b)| a == b))
}

/// Whether the change is of the platform or its client. Queues and topics are theirs: where any of these waits for a new process, all
/// do, or a live session would be given the topics of another organisation.
fn is_of_platform(change: &Change) -> bool {
    matches!(change.key.split('.').next(), Some("genesys" | "secret"))
}

fn told(path: &[String], node: &Node) -> String {
    let known = Schema::get().key(&join(path)).is_some();
    shown(path, known, &node.to_string()).unwrap_or_else(|| HIDDEN.into())
}

/// The paths of all values that differ, wherever they were written.
fn differing(one: &Node, other: &Node) -> Vec<Vec<String>> {
    let (mut before, mut after) = (BTreeMap::new(), BTreeMap::new());
    leaves(one, &mut Vec::new(), &mut before);
    leaves(other, &mut Vec::new(), &mut after);
    let paths: BTreeSet<&Vec<String>> = before.keys().chain(after.keys()).collect();
    paths.into_iter().filter(|path| before.get(*path) != after.get(*path)).cloned().collect()
}

/// All values as TOML, by their paths.
fn leaves(node: &Node, path: &mut Vec<String>, found: &mut BTreeMap<Vec<String>, String>) {
    match &node.content {
        Content::Table(table) => {
            for (name, node) in table {
                path.push(name.clone());
                leaves(node, path, found);
                path.pop();
            }
        }
        Content::Array(_)
        | Content::String(_)
        | Content::Integer(_)
        | Content::Float(_)
        | Content::Boolean(_) => {
            found.insert(path.clone(), node.to_string());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASE: &str = r#"
        data_dir = "/var/lib/tieline"
        [genesys]
        region = "mypurecloud.ie"
        queues = ["all"]
        client_id = "7f1d8a3e-4c52-4b0e-9d3a-0c5b6e1f2a4d"
        [secret.file]
        path = "/run/secrets/genesys"
        [sink.jsonl]
        path = "events.jsonl"
    "#;

    fn loaded(text: &str, variables: &[(&str, &str)]) -> Loaded {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tieline.toml");
        std::fs::write(&path, text).unwrap();
        let variables = variables.iter().map(|(name, value)| ((*name).into(), (*value).into()));
        Loaded::of(Some(&Text::read(&path)), variables).unwrap()
    }

    fn keys(changes: &[Change]) -> Vec<&str> {
        changes.iter().map(|change| change.key.as_str()).collect()
    }

    #[test]
    fn what_a_running_process_takes_over_is_told_apart_from_what_it_does_not() {
        let old = loaded(BASE, &[]);
        let new = format!(
            "{}\n[log]\nlevel = \"debug\"\nformat = \"json\"\n[privacy.drop]\n\"*\" = [\"**.ani\"]\n",
            BASE.replace("events.jsonl", "other.jsonl")
        );
        let difference = old.difference(&loaded(&new, &[]));
        assert_eq!(keys(&difference.live), ["log.level", "privacy.drop.*"]);
        assert_eq!(keys(&difference.pending), ["log.format", "sink.jsonl.path"]);
        let path = &difference.pending[1];
        assert_eq!((path.was.as_str(), path.now.as_str()), ("\"events.jsonl\"", "\"other.jsonl\""));
        assert_eq!(difference.live[1].was, "(none)");
        assert_eq!(difference.overridden, []);
    }

    #[test]
    fn another_way_of_writing_the_same_is_no_change() {
        let old = loaded(&format!("{BASE}\n[process]\ndrain_timeout = \"60s\""), &[]);
        let new = loaded(&format!("# a word\n{BASE}\n[process]\ndrain_timeout = \"1m\""), &[]);
        assert_eq!(old.difference(&new), Difference::default());
    }

    #[test]
    fn what_was_taken_over_is_no_longer_a_change_and_what_was_not_stays_one() {
        let mut in_force = loaded(BASE, &[]);
        let text = format!("{BASE}\n[log]\nlevel = \"debug\"\nformat = \"json\"");
        let new = loaded(&text, &[]);
        in_force.adopt(&new);
        assert_eq!(in_force.config.log.level, "debug");
        let difference = in_force.difference(&new);
        assert_eq!(
            (keys(&difference.live), keys(&difference.pending)),
            (vec![], vec!["log.format"])
        );
        assert_eq!(keys(&in_force.difference(&loaded(BASE, &[])).live), ["log.level"]);
    }

    #[test]
    fn topics_wait_for_the_platform_that_they_belong_to() {
        let mut in_force = loaded(BASE, &[]);
        let text = BASE.replace("mypurecloud.ie", "mypurecloud.de").replace("all", "Billing");
        let new = loaded(&format!("{text}\n[log]\nlevel = \"debug\""), &[]);
        let difference = in_force.difference(&new);
        assert_eq!(keys(&difference.live), ["log.level"]);
        assert_eq!(keys(&difference.pending), ["genesys.region", "genesys.queues"]);
        in_force.adopt(&new);
        assert_eq!(in_force.config.log.level, "debug");
        assert_eq!(in_force.config.genesys.queues, loaded(BASE, &[]).config.genesys.queues);
        assert_eq!(in_force.difference(&new).pending, difference.pending, "and are still named");
        // Once the platform is the old one again, they are taken over.
        let new = loaded(&BASE.replace("all", "Billing"), &[]);
        assert_eq!(keys(&in_force.difference(&new).live), ["genesys.queues", "log.level"]);
    }

    #[test]
    fn a_variable_stays_above_the_file_and_is_named() {
        let variables = [("TIELINE_LOG__LEVEL", "warn")];
        let old = loaded(BASE, &variables);
        let new = loaded(&format!("{BASE}\n[log]\nlevel = \"debug\""), &variables);
        let difference = old.difference(&new);
        assert_eq!((difference.live.len(), difference.pending.len()), (0, 0));
        let overridden =
            Overridden { key: "log.level".into(), variable: "TIELINE_LOG__LEVEL".into() };
        assert_eq!(difference.overridden, [overridden]);
    }

    #[cfg(feature = "nats")]
    #[test]
    fn a_sink_that_joins_needs_a_restart_and_shows_no_password() {
        let old = loaded(BASE, &[]);
        let new = format!("{BASE}\n[sink.nats]\nurl = \"nats://me:word@host:4222\"");
        let difference = old.difference(&loaded(&new, &[]));
        let url = difference.pending.iter().find(|change| change.key == "sink.nats.url").unwrap();
        assert_eq!(url.now, "\"nats://[REDACTED]@host:4222\"");
        assert!(!format!("{difference:?}").contains("word@"));
    }

    #[cfg(feature = "kafka")]
    #[test]
    fn a_changed_password_is_named_and_not_shown() {
        let text = |password: &str| {
            format!(
                "{BASE}\n[sink.kafka]\nbrokers = \"a:9092\"\n[sink.kafka.options]\n\"sasl.password\" = \"{password}\"\n"
            )
        };
        let difference = loaded(&text("alpha"), &[]).difference(&loaded(&text("omega"), &[]));
        let change = Change {
            key: "sink.kafka.options.\"sasl.password\"".into(),
            was: HIDDEN.into(),
            now: HIDDEN.into(),
        };
        assert_eq!(difference.pending, [change]);
    }
}
