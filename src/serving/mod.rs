//! A loaded model, free of HTTP: conversations in, scores or text out.
//!
//! [`load`] puts an engine directory into service as a [`LoadedModel`]: a [`Scorer`] of a reward model or a
//! [`Generator`] of a language model. Both report what goes wrong as a [`ServingError`]; naming the field of
//! a request or choosing a status is up to the caller.

mod alias;
mod aliases;
mod choice;
mod compare;
mod error;
mod generator;
mod identity;
pub mod load;
mod questions;
mod rubric;
mod scorable;
mod scored;
mod scorer;
mod step_positions;
mod text_stream;
pub(crate) mod timings;

pub use alias::{Alias, NotAnAlias};
pub use aliases::AliasError;
pub(crate) use aliases::{Model, find as find_model, served_names};
pub(crate) use choice::{Choice, Delta, Ending};
pub(crate) use error::SHORTEN_OR_TRUNCATE;
pub use error::ServingError;
pub(crate) use generator::GenerateOptions;
pub use generator::Generator;
pub use load::{LoadError, LoadOptions};
pub(crate) use rubric::RubricError;
pub use scorable::Scorable;
pub use scored::Scored;
pub use scorer::{LengthPolicy, Scheduling, Scorer};
pub(crate) use text_stream::{StopReason, Stops};

use crate::engine::Limits;
use crate::prompt::Encoder;
use crate::scheduler::{Handle, Job, Priority, Rejection, Work};

/// A model in service.
pub enum LoadedModel {
    /// A reward model.
    Scorer(Box<Scorer>),
    /// A model that generates text.
    Generator(Box<Generator>),
}

impl LoadedModel {
    /// The encoder of the model's prompts.
    pub fn encoder(&self) -> &Encoder {
        match self {
            Self::Scorer(scorer) => scorer.encoder(),
            Self::Generator(generator) => generator.encoder(),
        }
    }

    /// The scheduler that runs the model's engine.
    pub fn scheduler(&self) -> &Handle {
        match self {
            Self::Scorer(scorer) => scorer.scheduler(),
            Self::Generator(generator) => generator.scheduler(),
        }
    }

    /// Whether requests can be answered now.
    pub fn ready(&self) -> bool {
        self.scheduler().ready()
    }

    /// What the engine can hold.
    pub fn limits(&self) -> Limits {
        self.scheduler().limits()
    }

    /// Lets the engine compute one token, before all other work.
    ///
    /// # Errors
    /// The scheduler refused it, or the engine failed.
    pub async fn compute_one_token(&self) -> Result<(), Rejection> {
        let work = match self {
            Self::Scorer(_) => Work::score(1),
            Self::Generator(_) => Work::greedy(1, Vec::new()),
        };
        let job = Job { tokens: [0].into(), work, priority: Priority(i8::MIN) };
        self.scheduler().submit(job, None)?.await?;
        Ok(())
    }
}

impl From<Scorer> for LoadedModel {
    fn from(scorer: Scorer) -> Self {
        Self::Scorer(Box::new(scorer))
    }
}

impl From<Generator> for LoadedModel {
    fn from(generator: Generator) -> Self {
        Self::Generator(Box::new(generator))
    }
}
