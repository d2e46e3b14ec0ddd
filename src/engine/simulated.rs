//! An engine that computes nothing: for tests of what stands before it, and for planning.
