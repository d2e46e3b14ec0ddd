//! Builds the C++ engines.
fn main() {}
