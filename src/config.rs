//! Every option and its default.
