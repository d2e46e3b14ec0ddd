//! [`Generator`]: a loaded model that generates text.

use std::sync::Arc;
use std::time::Instant;

use super::choice::{Choice, Ending};
use super::text_stream::{Stops, TextStream};
use super::{Scheduling, Scorer, ServingError};
use crate::engine::Limits;
use crate::manifest::{self, Judge, Manifest, SamplingDefaults, Task};
use crate::prompt::{Encoder, Vocabulary};
use crate::reward::Head;
use crate::sampling::Sampling;
use crate::scheduler::{Handle, Job, Work};
use crate::telemetry::Metrics;

/// Added to the seed for each further choice of a prompt: far apart, so that no two choices' draws run
/// alongside each other.
const SEED_STEP: u64 = 0xD1B5_4A32_D192_ED03;

/// A loaded model that generates text: its encoder, its vocabulary and the scheduler of its engine.
pub struct Generator {
    encoder: Arc<Encoder>,
    /// Scores by the rubrics of requests.
    scorer: Scorer,
    vocabulary: Arc<Vocabulary>,
    task: Task,
    end_tokens: Vec<u32>,
    defaults: SamplingDefaults,
    vocab_size: usize,
    scheduler: Handle,
    metrics: Arc<Metrics>,
}

/// How to continue a request's prompts.
#[derive(Debug)]
pub(crate) struct GenerateOptions {
    /// How tokens are chosen; its `max_tokens` is replaced by the field below.
    pub(crate) sampling: Sampling,
    /// Maximum number of tokens to generate; the model's own number, or as many as there is room for, unless given.
    pub(crate) max_tokens: Option<usize>,
    /// Whether to generate nothing; `max_tokens` is 1 then, because an engine generates something.
    pub(crate) prompt_only: bool,
    /// Choices of each prompt.
    pub(crate) n: usize,
    /// What ends a text.
    pub(crate) stops: Stops,
    /// Whether special tokens are left out of the text.
    pub(crate) skip_special: bool,
}

impl Generator {
    /// A generator on the engine that `scheduler` runs. `use_defaults` says whether the sampling defaults of
    /// the checkpoint apply where a request sets none.
    pub fn new(
        encoder: Encoder,
        manifest: &Manifest,
        scheduler: Handle,
        metrics: Arc<Metrics>,
        use_defaults: bool,
    ) -> Self {
        let defaults =
            if use_defaults { manifest.prompt.sampling.clone() } else { SamplingDefaults::default() };
        let encoder = Arc::new(encoder);
        // Without a request's rubric there is nothing to ask.
        let head =
            manifest::ManifestHead { judge: Some(Judge::default()), ..manifest::ManifestHead::default() };
        let scorer = Scorer::new(encoder.clone(), Head::new(&head), scheduler.clone(), metrics.clone())
            .with_vocabulary();
        Self {
            vocabulary: encoder.vocabulary(),
            encoder,
            scorer,
            task: manifest.task,
            end_tokens: manifest.prompt.end_tokens.clone(),
            defaults,
            vocab_size: manifest.model.vocab_size,
            scheduler,
            metrics,
        }
    }

    pub(crate) fn scheduler(&self) -> &Handle {
        &self.scheduler
    }

    /// Scores conversations by the rubrics of requests; it has no scores of its own.
    pub(crate) fn scorer(&self) -> &Scorer {
        &self.scorer
    }

    /// That scorer alone.
    pub(crate) fn into_scorer(self) -> Scorer {
        self.scorer
    }

    /// What the engine can hold.
    pub fn limits(&self) -> Limits {
        self.scheduler.limits()
    }

    /// Whether the model has a chat template, or only completes texts.
    pub(crate) fn task(&self) -> Task {
        self.task
    }

    /// Tokens that end a text by default.
    pub(crate) fn end_tokens(&self) -> &[u32] {
        &self.end_tokens
    }

    /// Sampling parameters that apply where a request sets none.
    pub(crate) fn defaults(&self) -> &SamplingDefaults {
        &self.defaults
    }

    /// Token ids of the model are below this.
    pub(crate) fn vocab_size(&self) -> usize {
        self.vocab_size
    }

    pub(crate) fn encoder(&self) -> &Encoder {
        &self.encoder
    }

    pub(crate) fn vocabulary(&self) -> &Vocabulary {
        &self.vocabulary
    }

    /// Hands `options.n` sequences for a prompt to the scheduler. They share its cache.
    ///
    /// # Errors
    /// The engine does not support the sampling parameters, or one of the sequences was refused at once; the
    /// others are cancelled then.
    pub(crate) fn start(
        &self,
        prompt: Vec<u32>,
        options: &GenerateOptions,
        scheduling: Scheduling,
    ) -> Result<Vec<Choice>, ServingError> {
        let max_tokens = self.max_tokens(prompt.len(), options)?;
        self.scheduler.capabilities().check(&Sampling { max_tokens, ..options.sampling.clone() })?;
        let prompt: Arc<[u32]> = prompt.into();
        let mut choices = Vec::with_capacity(options.n);
        for index in 0..options.n {
            let sampling = Arc::new(Sampling {
                max_tokens,
                seed: options.sampling.seed.wrapping_add((index as u64).wrapping_mul(SEED_STEP)),
                ..options.sampling.clone()
            });
            let job = Job {
                tokens: prompt.clone(),
                work: Work::Generate(sampling.clone()),
                priority: scheduling.priority,
            };
            let ticket = self.scheduler.submit(job, scheduling.deadline())?;
            let text = TextStream::new(self.vocabulary.clone(), options.stops.clone(), options.skip_special);
            choices.push(Choice::new(ticket, text, sampling, prompt.len(), options.prompt_only));
        }
        Ok(choices)
    }

    /// Tokens that may follow a prompt of `prompt` tokens. Without a number in the request, there is room for as many
    /// as the engine returns log-probabilities of, if these are wanted.
    fn max_tokens(&self, prompt: usize, options: &GenerateOptions) -> Result<usize, ServingError> {
        let max_seq_len = self.limits().longest();
        let room = max_seq_len.saturating_sub(prompt);
        let wanted = match (options.max_tokens, options.sampling.logprobs) {
            (Some(asked), _) => asked,
            (None, None) => self.defaults.max_tokens.unwrap_or(room).min(room).max(1),
            (None, Some(_)) => {
                let most = room.min(self.scheduler.capabilities().max_logprobs_tokens);
                self.defaults.max_tokens.unwrap_or(most).min(most).max(1)
            }
        };
        if wanted > room {
            return Err(ServingError::NoRoom { prompt, wanted, max_seq_len });
        }
        Ok(wanted)
    }

    /// Counts a request whose choices are complete.
    pub(crate) fn answered(&self, prompt_tokens: usize, endings: &[Ending], arrived: Instant) {
        let reasons = endings.iter().map(|ending| ending.finish_reason);
        let tokens = endings.iter().map(|ending| ending.tokens).sum();
        self.metrics.generated(prompt_tokens, tokens, reasons, arrived.elapsed());
    }
}
