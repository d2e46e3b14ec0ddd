//! What a user of `build-engine` relies on.

mod adapters;
mod built;
mod directories;
mod families;
mod frameworks;
mod gpu;
mod heads;
mod hub_table;
mod layouts;
mod output;
mod padding;
mod reading;
mod refused;
mod rotary;
pub(crate) mod support;
mod templates;
mod tokenizer;
mod weights;
