//! Makes engines.
fn main() {}
