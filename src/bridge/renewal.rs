//! A changed configuration on its way to the driver, which takes it over between two events.
//!
//! Where it comes from, and what of a file may change while the process runs, is `reload`'s affair.

use super::status::Configuration;
use crate::genesys::Choice;
use crate::observation::Observation;
use crate::privacy::Privacy;

/// What has changed, and what is told and shown of it.
#[derive(Debug)]
pub struct Renewal {
    /// The rules for all that is published from now on.
    pub privacy: Option<Privacy>,
    /// The queues and topics that are wanted from now on.
    pub choice: Option<Choice>,
    /// What is told, in order.
    pub told: Vec<Observation>,
    /// What the status shows.
    pub shown: Configuration,
}
