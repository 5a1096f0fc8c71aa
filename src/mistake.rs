//! What is wrong with a configuration value: said by the part that owns the value, gathered by `config`.

/// One mistake within a part's table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// The key, relative to the part's table: `brokers`, `auth.role_id`.
    pub key: &'static str,
    /// What is wrong, as it fits after the value: "is not a URL".
    pub problem: String,
    /// What to do: "write an address such as nats://localhost:4222".
    pub fix: String,
}

impl Mistake {
    /// A mistake at `key`.
    pub fn new(key: &'static str, problem: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { key, problem: problem.into(), fix: fix.into() }
    }
}
