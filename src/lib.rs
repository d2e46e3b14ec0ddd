//! Assay serves reward models: a request brings a conversation, and the response says how good its last turn is,
//! with one score for each attribute that the model knows.
//!
//! The modules, in the order of a request:
//!
//! - [`api`] is the HTTP server: routes, wire formats, status codes. [`score`] scores files instead of requests.
//! - [`serving`] is a loaded model, free of HTTP: conversations in, scores or generated text out.
//! - [`prompt`] turns conversations into token ids.
//! - [`scheduler`] batches sequences in flight and shares their prefixes.
//! - [`engine`] computes logits: on the CPU, through TensorRT-LLM, or simulated. [`sampling`] draws tokens from them.
//! - [`reward`] turns logits into scores.
//!
//! A module uses only those below it. Beside them, [`builder`] makes an engine from a Hugging Face checkpoint,
//! [`cache`] keeps the engines that are built from checkpoints when they are first used,
//! [`manifest`] describes an engine, [`hardware`] finds out which engines run on this machine, [`config`] holds the
//! options of the programs, [`telemetry`] the metrics, logs and traces, and [`bench`](mod@bench) measures.
//!
//! # Example
//!
//! Build the demo engine, load it and score a conversation:
//!
//! ```
//! use std::sync::Arc;
//!
//! use assay::builder::Silent;
//! use assay::builder::cpu::{CpuBuildOptions, build};
//! use assay::config::Settings;
//! use assay::prompt::Message;
//! use assay::serving::load::load;
//! use assay::serving::{LengthPolicy, LoadedModel, Scheduling};
//! use assay::telemetry::Metrics;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let directory = tempfile::tempdir()?;
//! let engine = directory.path().join("engine");
//! let manifest = build(&CpuBuildOptions::new("engines/demo", &engine), &Silent)?;
//!
//! let metrics = Arc::new(Metrics::new("demo", &manifest.profile.name)?);
//! let options = Settings::defaults(engine).load_options(&manifest)?;
//! let LoadedModel::Scorer(scorer) = load(&options, &manifest, metrics)? else {
//!     panic!("the demo model is a reward model");
//! };
//! let conversation = [
//!     Message::new("user", "What is the capital of France?"),
//!     Message::new("assistant", "The capital of France is Paris."),
//! ];
//! let prompt = scorer.encode(&conversation, LengthPolicy::default())?;
//! let scored = scorer.score(prompt, Scheduling::now()).await?;
//! let (attribute, score) = &scored.scores.pairs[0];
//! assert_eq!(attribute, "helpfulness");
//! assert!(score.is_finite());
//! # Ok(())
//! # }
//! ```

// So that what tests share can be compiled into the library's own.
#[cfg(test)]
extern crate self as assay;

pub mod api;
pub mod bench;
pub mod builder;
pub mod cache;
pub mod cli;
pub mod config;
pub mod engine;
pub mod hardware;
pub mod manifest;
pub mod prompt;
mod report;
pub mod reward;
pub mod sampling;
pub mod scheduler;
pub mod score;
pub mod serving;
pub mod signing;
pub mod telemetry;
