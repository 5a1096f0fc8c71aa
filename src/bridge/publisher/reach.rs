//! Whether any of a sink's brokers is connected, where its library mends connections by itself and no call of ours fails for want of them.
//!
//! Only says when that changes; what follows from it is told, and nothing is sent again.

use crate::observation::BrokerFigures;
use std::future;
use tokio::sync::watch;

/// What the library counts, and what was made of it last.
#[derive(Debug)]
pub(super) struct Reach {
    figures: Option<watch::Receiver<BrokerFigures>>,
    is_out: bool,
}

impl Reach {
    pub(super) const fn of(figures: Option<watch::Receiver<BrokerFigures>>) -> Self {
        Self { figures, is_out: false }
    }

    /// The sink was opened: what was counted before is of no interest.
    pub(super) fn begin(&mut self) {
        self.is_out = false;
        if let Some(figures) = &mut self.figures {
            figures.mark_unchanged();
        }
    }

    /// Waits until the last of the brokers is gone (true), or the first is back (false). For ever where nothing is counted. Cancel-safe.
    pub(super) async fn changed(&mut self) -> bool {
        let Some(figures) = &mut self.figures else {
            return future::pending().await;
        };
        loop {
            if figures.changed().await.is_err() {
                return future::pending().await;
            }
            let counted = *figures.borrow_and_update();
            // One that nothing was wanted of yet is not away.
            let is_out = counted.brokers_up == 0 && counted.brokers_down > 0;
            // Between the two it is neither: a broker that is idle may be there or not.
            let is_known = is_out || counted.brokers_up > 0;
            if is_known && is_out != self.is_out {
                self.is_out = is_out;
                return is_out;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn only_the_last_broker_that_goes_and_the_first_that_comes_are_told() {
        let (counts, figures) = watch::channel(BrokerFigures::default());
        let mut reach = Reach::of(Some(figures));
        let mut told = Vec::new();
        for (up, idle, down) in
            [(2, 0, 0), (1, 0, 1), (0, 0, 2), (0, 1, 1), (0, 2, 0), (1, 0, 1), (1, 1, 0)]
        {
            let counted = BrokerFigures {
                brokers_up: up,
                brokers_idle: idle,
                brokers_down: down,
                ..BrokerFigures::default()
            };
            counts.send_replace(counted);
            let changed = tokio::time::timeout(std::time::Duration::ZERO, reach.changed()).await;
            told.push(changed.ok());
        }
        assert_eq!(told, [None, None, Some(true), None, None, Some(false), None]);
    }
}
