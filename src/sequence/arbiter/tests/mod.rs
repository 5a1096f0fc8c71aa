//! Cases a person can read, then properties over random worlds in virtual time.

mod cases;
mod properties;
mod world;
