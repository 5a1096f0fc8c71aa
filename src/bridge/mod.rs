//! The shell that joins the pure parts to the IO.

pub mod publisher;
