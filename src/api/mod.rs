//! HTTP: one file per topic.
