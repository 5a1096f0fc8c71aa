//! The one integration binary: linking the clients once is enough.

mod platform;
mod secrets;
mod servers;
