//! Paths into a body: names from the root down, with `*` for any one name and `**` for any number of them.
//!
//! Lists are passed through: `participants.name` is the name of every participant. Names are compared without their case.

/// One step of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    Name(Box<str>),
    Any,
    AnyNumber,
}

/// A path that may fit several fields.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pattern(Box<[Step]>);

/// Deeper than any body; what a pattern costs is bounded by it.
const STEPS_MAX: usize = 32;

impl Pattern {
    /// Reads a path; none when a name is empty, there are too many, or it ends in `**`, which would fit everything below.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let step = |name: &str| match name {
            "" => None,
            "*" => Some(Step::Any),
            "**" => Some(Step::AnyNumber),
            name => Some(Step::Name(name.into())),
        };
        let steps: Box<[Step]> = text.split('.').map(step).collect::<Option<_>>()?;
        let ends_well = steps.last().is_some_and(|step| *step != Step::AnyNumber);
        (ends_well && steps.len() <= STEPS_MAX).then_some(Self(steps))
    }

    /// How far a path of names has got after the last of them, as the steps that may come next: bit `n` for step `n`. Bit
    /// `self.len()` means that the whole pattern fits.
    fn next(&self, places: u64, name: &str) -> u64 {
        let mut next = 0;
        for (at, step) in self.0.iter().enumerate().filter(|(at, _)| places & (1 << at) != 0) {
            next |= match step {
                Step::Name(wanted) if wanted.eq_ignore_ascii_case(name) => self.enter(at + 1),
                Step::Name(_) => 0,
                Step::Any => self.enter(at + 1),
                Step::AnyNumber => 1 << at | self.enter(at + 1),
            };
        }
        next
    }

    /// The places in which one stands when step `at` comes next: `**` may stand for nothing.
    fn enter(&self, at: usize) -> u64 {
        let skipped = matches!(self.0.get(at), Some(Step::AnyNumber));
        (1 << at) | if skipped { self.enter(at + 1) } else { 0 }
    }

    /// The places at the root of a body.
    pub(super) fn begin(&self) -> Place {
        Place(self.enter(0))
    }

    /// The places below `name`.
    pub(super) fn below(&self, place: Place, name: &str) -> Place {
        // What comes after `**` may begin at each name anew.
        Place(self.next(place.0, name))
    }

    /// Whether the whole pattern fits here.
    pub(super) fn fits(&self, place: Place) -> bool {
        place.0 & (1 << self.0.len()) != 0
    }
}

/// How far a pattern has got on the way to a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place(u64);

impl Place {
    /// Whether nothing below can fit.
    pub(super) const fn is_dead(self) -> bool {
        self.0 == 0
    }
}

/// What is wrong with a family as it is written; none when nothing is.
pub(super) fn wrong_family(family: &str) -> Option<&'static str> {
    let bare = family.strip_suffix(".*").unwrap_or(family);
    if family == "*" {
        None
    } else if bare.contains(['{', '}', '*']) {
        Some("has a place for an id")
    } else if !bare.starts_with("v2.") || bare.split('.').any(str::is_empty) {
        Some("is not a topic of the platform")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fits(pattern: &str, path: &str) -> bool {
        let pattern = Pattern::parse(pattern).expect("a path");
        let mut place = pattern.begin();
        for name in path.split('.') {
            place = pattern.below(place, name);
        }
        pattern.fits(place)
    }

    #[test]
    fn names_fit_whatever_their_case_and_nothing_else_does() {
        assert!(fits("participants.name", "participants.Name"));
        assert!(!fits("participants.name", "participants"));
        assert!(!fits("participants.name", "participants.name.first"));
        assert!(!fits("name", "queue.name"));
    }

    #[test]
    fn stars_stand_for_one_name_or_for_any_number() {
        assert!(fits("*.name", "queue.name") && !fits("*.name", "name"));
        for path in ["ani", "calls.ani", "participants.calls.ani", "ani.ani"] {
            assert!(fits("**.ani", path), "{path}");
        }
        assert!(fits("participants.**.self.name", "participants.calls.self.name"));
        assert!(fits("participants.**.self.name", "participants.self.name"));
        assert!(!fits("participants.**.self.name", "participants.calls.name"));
        assert!(fits("**.a.**.b", "x.a.y.a.z.b"));
    }

    #[test]
    fn what_is_no_path_is_refused() {
        for text in ["", ".", "a..b", "a.", "**", "a.**"] {
            assert_eq!(Pattern::parse(text), None, "{text}");
        }
        assert_eq!(Pattern::parse(&["a"; 33].join(".")), None);
    }

    #[test]
    fn a_family_is_a_topic_without_ids_a_prefix_or_everything() {
        for good in ["*", "v2.users.*", "v2.users.presence"] {
            assert_eq!(wrong_family(good), None, "{good}");
        }
        for bad in ["", "users", "v2.users.{id}.presence", "v2..x", "v2.*.presence"] {
            assert!(wrong_family(bad).is_some(), "{bad}");
        }
    }
}
