//! The cases that docs/decisions/0003-arbitration.md argues about, one by one.
