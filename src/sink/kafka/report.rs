//! What librdkafka's threads tell: what became of each message, what ails the client, and its statistics.
//!
//! Judges nothing; the link does.

use super::statistics::figures;
use super::topic::Heard;
use crate::observation::BrokerFigures;
use rdkafka::ClientContext;
use rdkafka::Statistics;
use rdkafka::error::KafkaError;
use rdkafka::message::DeliveryResult;
use rdkafka::producer::ProducerContext;
use rdkafka::types::RDKafkaErrorCode;
use tokio::sync::{mpsc, watch};

/// The ticket of a cursor's record, which is nobody's event.
pub(super) const CURSOR: usize = usize::MAX;

/// What librdkafka tells of a message, or of itself.
#[derive(Debug)]
pub(super) enum Report {
    Delivered(usize),
    /// `bytes` are those of key and value.
    Failed {
        ticket: usize,
        code: RDKafkaErrorCode,
        bytes: usize,
    },
    Fatal(String),
}

/// Where librdkafka's thread reports to.
pub(super) struct Reports {
    /// Room for more than may be in flight: a report is never turned away.
    sender: mpsc::Sender<Report>,
    pub(super) heard: Heard,
    figures: watch::Sender<BrokerFigures>,
    /// What earlier producers had come to: totals go on.
    before: BrokerFigures,
}

impl Reports {
    pub(super) fn new(sender: mpsc::Sender<Report>, figures: watch::Sender<BrokerFigures>) -> Self {
        let before = *figures.borrow();
        Self { sender, heard: Heard::default(), figures, before }
    }

    fn tell(&self, report: Report) {
        // Fails only when the link has been given up, and then nobody wants to know.
        drop(self.sender.try_send(report));
    }
}

impl ClientContext for Reports {
    fn error(&self, error: KafkaError, reason: &str) {
        if error.rdkafka_error_code() == Some(RDKafkaErrorCode::Fatal) {
            self.tell(Report::Fatal(reason.to_owned()));
        }
        self.heard.error(error, reason);
    }

    fn stats(&self, statistics: Statistics) {
        self.figures.send_replace(figures(&statistics, &self.before));
    }
}

impl ProducerContext for Reports {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, ticket: usize) {
        self.tell(match result {
            Ok(_) => Report::Delivered(ticket),
            Err((error, message)) => Report::Failed {
                ticket,
                code: error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Fail),
                bytes: message.payload_len() + message.key_len(),
            },
        });
    }
}
