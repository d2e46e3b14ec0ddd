//! What a user of `build-engine` relies on.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod built;
mod gpu;
mod output;
mod reading;
mod refused;
mod support;
