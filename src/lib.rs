//! tieline
