//! Turns the list of sinks in `sink` into their tables, their names and their making, so that a new sink is one line.

/// Declares `Tables`, `NAMES` and `ALL_NAMES` for the kinds listed, each a module with a `Config`.
macro_rules! registry {
    ($($(#[$cfg:meta])* $kind:ident),+ $(,)?) => {
        /// The `[sink.*]` tables: a sink is on when its table is there.
        #[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
        #[serde(default, deny_unknown_fields)]
        pub struct Tables {
            $(
                $(#[$cfg])*
                #[doc = concat!("The `[sink.", stringify!($kind), "]` table.")]
                pub $kind: Option<$kind::Config>,
            )+
        }

        impl Tables {
            /// What cannot work, with the kind of the sink whose table says so.
            pub fn mistakes(&self) -> Vec<(&'static str, Mistake)> {
                let mut mistakes = Vec::new();
                $(
                    $(#[$cfg])*
                    if let Some(config) = &self.$kind {
                        let filter = filter_mistake(config.filter.as_deref());
                        let of_kind = config.mistakes().into_iter().chain(filter);
                        mistakes.extend(of_kind.map(|mistake| (stringify!($kind), mistake)));
                    }
                )+
                mistakes
            }

            /// What is wanted of every sink whose table is there, in the order of `build`. A filter with a mistake is none.
            pub fn terms(&self) -> Vec<Terms> {
                let mut terms = Vec::new();
                $(
                    $(#[$cfg])*
                    if let Some(config) = &self.$kind {
                        let filter = config.filter.as_deref();
                        terms.push(Terms {
                            kind: stringify!($kind),
                            filter: filter.and_then(|text| route::Filter::parse(text).ok()),
                            required: config.required,
                        });
                    }
                )+
                terms
            }

            /// Makes every sink whose table is there, not yet open. `source` is the address of the platform's API, which
            /// every event names.
            pub fn build(self, source: &str) -> Vec<(&'static str, Box<dyn Sink>)> {
                let mut sinks: Vec<(&'static str, Box<dyn Sink>)> = Vec::new();
                $(
                    $(#[$cfg])*
                    if let Some(config) = self.$kind {
                        sinks.push((stringify!($kind), config.build(source)));
                    }
                )+
                sinks
            }
        }

        /// The kinds that this build can make.
        pub const NAMES: &[&str] = &[$($(#[$cfg])* stringify!($kind)),+];

        /// All kinds there are, also those whose feature this build lacks.
        pub const ALL_NAMES: &[&str] = &[$(stringify!($kind)),+];
    };
}

pub(super) use registry;
