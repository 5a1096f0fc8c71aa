//! The configuration: valid by construction, every mistake told at once.
