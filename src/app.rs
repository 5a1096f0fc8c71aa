//! Assembly: every part made once from the configuration, and one way to stop them all.
