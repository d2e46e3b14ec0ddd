//! Every metric name, and tracing.
