//! What happens around the handlers of every route.

pub(super) mod auth;
pub(super) mod cors;
pub(super) mod engine;
pub(super) mod keys;
pub(super) mod limits;
pub(super) mod observe;
pub(super) mod sign;
mod trace;
