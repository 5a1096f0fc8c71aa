//! Everything that is logged on a test's thread, at the finest level, whoever logs it.

use std::io::Write;
use std::sync::{Arc, Mutex};
use tracing::Dispatch;
use tracing::subscriber::{DefaultGuard, NoSubscriber};
use tracing_subscriber::fmt::format::FmtSpan;

/// What has been logged; logging stops to be caught when it is dropped.
pub struct Logs {
    text: Arc<Mutex<Vec<u8>>>,
    _until: DefaultGuard,
    _other: Dispatch,
}

impl Logs {
    pub fn catch() -> Self {
        // Where there is but one subscriber, whoever logs at a place first decides for all threads whether it is of interest, and another
        // test's thread has none. Where there are two, both are asked.
        let other = Dispatch::new(NoSubscriber::default());
        let text = Arc::<Mutex<Vec<u8>>>::default();
        let sink = text.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(tracing::Level::TRACE)
            .with_span_events(FmtSpan::FULL)
            .with_ansi(false)
            .with_writer(move || Sink(sink.clone()))
            .finish();
        Self { text, _until: tracing::subscriber::set_default(subscriber), _other: other }
    }

    /// Panics where one of the secrets was logged, as text or as a list of bytes.
    pub fn hold_none_of(&self, secrets: &[&str]) {
        let text = String::from_utf8_lossy(&self.text.lock().expect("whole")).into_owned();
        assert!(!text.is_empty(), "nothing was caught");
        for secret in secrets {
            let bytes = format!("{:?}", secret.as_bytes());
            let bytes = bytes.trim_matches(['[', ']']);
            for line in text.lines() {
                assert!(!line.contains(secret) && !line.contains(bytes), "{line}");
            }
        }
    }
}

struct Sink(Arc<Mutex<Vec<u8>>>);

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("whole").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
