//! Routes of models that generate: chat and completions, streamed or whole.

mod chat;
mod choice;
pub(super) mod completions;
mod options;
mod stream;
pub(super) mod tokenize;
pub(super) mod wire;

use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::routing::post;

pub(super) use self::chat::completions as chat_completions;
use self::choice::Choice;
use self::options::Options;
use super::scoring::Urgency;
use super::{ApiError, App};
use crate::config::{OverloadStatus, Settings};
use crate::engine::Limits;
use crate::manifest::SamplingDefaults;
use crate::manifest::{Manifest, Task};
use crate::prompt::{Encoder, Vocabulary};
use crate::sampling::Sampling;
use crate::sampling::TextStream;
use crate::scheduler::{Handle, Job, Work};
use crate::telemetry::Metrics;

/// The routes that no reward model has a part in.
pub(super) fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/v1/completions", post(completions::completions))
        .route("/tokenize", post(tokenize::tokenize))
        .route("/detokenize", post(tokenize::detokenize))
}

/// A loaded engine that generates, with all that stands before and behind it.
pub struct Generator {
    encoder: Encoder,
    vocabulary: Arc<Vocabulary>,
    task: Task,
    end_tokens: Vec<u32>,
    /// How to sample where a request does not say.
    defaults: SamplingDefaults,
    /// Tokens that the engine knows.
    vocab_size: usize,
    scheduler: Handle,
    metrics: Arc<Metrics>,
    overload: OverloadStatus,
}

impl Generator {
    /// Puts the parts together.
    pub fn new(
        encoder: Encoder,
        manifest: &Manifest,
        scheduler: Handle,
        metrics: Arc<Metrics>,
        settings: &Settings,
    ) -> Self {
        let defaults = settings.engine.generation_config.then(|| manifest.prompt.sampling.clone());
        Self {
            vocabulary: encoder.vocabulary(),
            encoder,
            task: manifest.task,
            end_tokens: manifest.prompt.end_tokens.clone(),
            defaults: defaults.unwrap_or_default(),
            vocab_size: manifest.model.vocab_size,
            scheduler,
            metrics,
            overload: settings.server.overload_status,
        }
    }

    /// Whether requests can be answered.
    pub fn ready(&self) -> bool {
        self.scheduler.ready()
    }

    /// What the engine can hold.
    pub fn limits(&self) -> Limits {
        self.scheduler.limits()
    }

    /// How it samples where a request does not say.
    pub(super) fn defaults(&self) -> &SamplingDefaults {
        &self.defaults
    }

    /// What makes token ids.
    pub(super) fn encoder(&self) -> &Encoder {
        &self.encoder
    }

    /// Hands `n` sequences for each prompt to the scheduler: those of one prompt share its cache.
    ///
    /// # Errors
    /// The engine cannot generate so, or one of them was refused at once; none is begun then.
    fn begin(
        &self,
        prompts: Vec<Vec<u32>>,
        options: &Options,
        urgency: Urgency,
    ) -> Result<Vec<Choice>, ApiError> {
        self.scheduler
            .reach()
            .check(&options.sampling)
            .map_err(|(field, reason)| ApiError::Unsupported(field.into(), reason))?;
        let mut choices = Vec::with_capacity(prompts.len() * options.n);
        for prompt in prompts {
            let prompt: Arc<[u32]> = prompt.into();
            for index in 0..options.n {
                choices.push(self.begin_one(choices.len(), index, &prompt, options, urgency)?);
            }
        }
        Ok(choices)
    }

    fn begin_one(
        &self,
        place: usize,
        index: usize,
        prompt: &Arc<[u32]>,
        options: &Options,
        urgency: Urgency,
    ) -> Result<Choice, ApiError> {
        let refused = |rejection| ApiError::Rejected(rejection, self.overload);
        let longest = self.limits().longest();
        let room = longest.saturating_sub(prompt.len());
        let most = || self.defaults.max_tokens.unwrap_or(room).min(room).max(1);
        let max_tokens = options.max_tokens.unwrap_or_else(most);
        if max_tokens > room {
            let prompt = prompt.len();
            return Err(ApiError::NoRoom { prompt, wanted: max_tokens, max_seq_len: longest });
        }
        let sampling = Arc::new(Sampling {
            max_tokens,
            // Far apart, so that no two answers' draws run alongside each other.
            seed: options.sampling.seed.wrapping_add((index as u64).wrapping_mul(0xD1B5_4A32_D192_ED03)),
            ..options.sampling.clone()
        });
        let job = Job {
            tokens: prompt.clone(),
            work: Work::Generate(sampling.clone()),
            priority: urgency.priority,
            deadline: urgency.timeout.and_then(|timeout| urgency.arrived.checked_add(timeout)),
        };
        let ticket = self.scheduler.submit(job).map_err(refused)?;
        let text = TextStream::new(self.vocabulary.clone(), options.stop.clone(), options.skip_special);
        let choice = Choice::new(place, ticket, text, sampling, prompt.len(), self.overload);
        Ok(choice.prompt_only(options.prompt_only))
    }

    /// Counts a request that was answered.
    fn answered(&self, prompt_tokens: usize, choices: &[choice::Ending], arrived: Instant) {
        let reasons = choices.iter().map(|ending| ending.finish_reason);
        let tokens = choices.iter().map(|ending| ending.tokens).sum();
        self.metrics.generated(prompt_tokens, tokens, reasons, arrived.elapsed());
    }
}
