//! The help that teaches: examples, and what is not plain from a list of options.

pub(super) const EXAMPLES: &str = "\
Examples:
  tieline demo                           see it work, without an account
  tieline check /etc/tieline.toml        every mistake at once, or what would run
  tieline explain /etc/tieline.toml      what each sink guarantees, and what weakens it
  tieline run /etc/tieline.toml          run it
  tieline state /etc/tieline.toml        how is the one that runs?
  tieline tap /etc/tieline.toml          watch its events go by

Every key can be given by a variable as well: TIELINE_SINK__KAFKA__BROKERS=localhost:9092
Exit codes: 0 done, 64 usage, 69 unreachable, 70 a bug, 78 configuration";

pub(super) const RUN: &str = "\
Examples:
  tieline run config/kafka.toml
  TIELINE_GENESYS__REGION=mypurecloud.ie tieline run tieline.toml
  tieline run tieline.toml --handover    a new version or configuration without a gap: takes over from the one that runs
  tieline run tieline.toml --fail-fast   in a pipeline: 69 instead of waiting

While it runs: the status page is http://127.0.0.1:9464/ (admin.listen); `tieline state` says the same here.";

#[cfg(feature = "demo")]
pub(super) const DEMO: &str = "\
Examples:
  tieline demo
  tieline demo --sink nats --for 5m
  tieline demo --seed 7 --json           for a script; exits 1 if an event is lost, doubled or out of order";

pub(super) const CHECK: &str = "\
Examples:
  tieline check tieline.toml
  tieline check tieline.toml --output json | jq .mistakes
  tieline check tieline.toml --online    ask Genesys, the secret's source and the brokers too

--online logs in, lists queues, asks for every topic on a channel of its own while the OAuth client has room for one (it ends by
itself within a day), and asks each broker what `explain` asks. It publishes nothing.

Exits 0 when it would run, 78 when it has mistakes or something is refused, 69 when something is not reached.";

pub(super) const TOPICS: &str = "\
Examples:
  tieline topics tieline.toml                                what can be had over the socket, and what is taken
  tieline topics tieline.toml --output json | jq '.offered[] | select(.taken)'

Exits 0, 69 when Genesys or the secret's source is not reached, 78 when the secret is refused.";

pub(super) const STATE: &str = "\
Examples:
  tieline state tieline.toml
  tieline state --url http://127.0.0.1:9464 --output json | jq .verdict

Exits 0 when the process answers, whatever it says; 69 when none does, 78 when it asks for another token.";

pub(super) const GAPS: &str = "\
Examples:
  tieline gaps tieline.toml
  tieline gaps tieline.toml --output json | jq '.recent[] | select(.seconds > 10)'";

pub(super) const TAP: &str = "\
Examples:
  tieline tap tieline.toml
  tieline tap tieline.toml --family routing.queues --key 7f1d8a3e-4c52-4b0e-9d3a-0c5b6e1f2a4d
  tieline tap tieline.toml --count 100 --output json | jq -r .type | sort | uniq -c

JSON is one event a line. Ends with Ctrl-C, or after --count events.";

pub(super) const COMPLETIONS: &str = "\
Examples:
  tieline completions bash >/etc/bash_completion.d/tieline
  tieline completions zsh >/usr/local/share/zsh/site-functions/_tieline
  tieline completions fish >~/.config/fish/completions/tieline.fish";

pub(super) const EXPLAIN: &str = "\
Examples:
  tieline explain tieline.toml
  tieline explain tieline.toml --output json | jq '.sinks[] | {name, level, problem}'

Exits 0 when every sink gives what its `required` asks for, 69 when a broker does not answer, 78 when one gives less.";
