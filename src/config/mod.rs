//! The options of `assay serve`: one table, and what follows from it.
//!
//! [`ServeOptions`] holds what one source gives: the command line, the environment or a file.
//! [`Settings::load`] lays the sources over each other, and fills in the defaults.

mod environment;
mod error;
mod file;
mod invalid_value;
mod nim;
mod row;
mod score_values;
mod table;
mod template_variables;
mod values;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::engine::{EngineOptions, GpuOptions};
use crate::manifest::score_options::ScoreOptions;
use crate::manifest::{self, JudgeFile, LimitOverrides, Manifest};
use crate::reward::{Head, HeadError};
use crate::scheduler::SchedulerOptions;
use crate::serving::{LoadError, LoadOptions, load, served_names};

pub use error::{ConfigError, FileError};
pub use file::read;
pub use invalid_value::InvalidValue;
pub use score_values::{Clamp, LogitsRange, Named};
pub use table::{
    EngineSettings, GpuSettings, LoggingSettings, SchedulingSettings, ScoringSettings, SecuritySettings,
    ServeOptions, ServerSettings, Settings,
};
pub(crate) use template_variables::template_variables;
pub(crate) use values::thread_count;
pub use values::{FinishReason, OnEngineChange, OverloadStatus, RouteActivation, Seconds};

impl Settings {
    /// The default of every option, for the engine in `directory`.
    pub fn defaults(directory: PathBuf) -> Self {
        Self::fill(ServeOptions { directory: Some(directory), ..ServeOptions::default() })
    }

    /// The effective settings. The command line overrides the `ASSAY_*` variables, which override NIM's
    /// variables, which override the file. `variable` reads an environment variable.
    ///
    /// # Errors
    /// See [`ConfigError`].
    pub fn load(
        command_line: ServeOptions,
        file: Option<&Path>,
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, ConfigError> {
        let environment = ServeOptions::from_environment(&variable)?;
        let nim = ServeOptions::from_nim(&variable)?;
        let file = file.map(read).transpose()?.unwrap_or_default();
        Self::resolve(command_line.or(environment).or(nim).or(file))
    }

    /// Fills in the default of every option that is not given.
    ///
    /// # Errors
    /// [`ConfigError::NoModel`], or an error that names the options that contradict each other.
    pub fn resolve(options: ServeOptions) -> Result<Self, ConfigError> {
        if options.directory.is_none() {
            return Err(ConfigError::NoModel);
        }
        let settings = Self::fill(options);
        settings.security.check()?;
        settings.scoring.score_options()?;
        settings.scoring.check_buckets()?;
        Ok(settings)
    }

    /// Chooses the engine to serve, whose directory becomes `engine.directory`.
    ///
    /// # Errors
    /// None of the engines there runs on this machine.
    pub fn choose_engine(&mut self) -> Result<Manifest, LoadError> {
        let EngineSettings { directory, profile, simulate, .. } = &self.engine;
        let (directory, manifest) = load::choose(directory, profile, simulate.is_some())?;
        self.engine.directory = directory;
        Ok(manifest)
    }

    /// How the engine is put into service.
    ///
    /// # Errors
    /// [`ConfigError::Head`] if an option does not fit the engine's head.
    pub fn load_options(&self, manifest: &Manifest) -> Result<LoadOptions, ConfigError> {
        let head = self.head(manifest)?;
        Ok(LoadOptions {
            directory: self.engine.directory.clone(),
            names: served_names(&self.server.served_model_name, manifest),
            aliases: self.server.alias.clone(),
            head,
            engine: self.engine_options(),
            scheduler: self.scheduler(),
            simulate: self.engine.simulate,
            template_variables: self.server.chat_template_kwargs.clone().unwrap_or_default(),
            sampling_defaults: self.engine.generation_config,
        })
    }

    /// The head of a reward model, or of a language model that judges.
    fn head(&self, manifest: &Manifest) -> Result<Option<Head>, ConfigError> {
        match &self.scoring.judge {
            None if manifest.task.generates() => Ok(None),
            None => Ok(Some(self.scoring.head(&manifest.head)?)),
            Some(_) if manifest.head.judge.is_some() => Err(ConfigError::HasAJudge),
            Some(_) if !manifest.task.generates() => Err(ConfigError::NotALanguageModel),
            Some(file) => {
                let JudgeFile { attributes, weights, judge } = JudgeFile::read(file)?;
                let score = ScoreOptions { weights, ..ScoreOptions::default() };
                let head =
                    manifest::ManifestHead { attributes, judge: Some(judge), score, ..Default::default() };
                Ok(Some(self.scoring.head(&head)?))
            }
        }
    }

    /// The engine's options.
    pub fn engine_options(&self) -> EngineOptions {
        let Self { engine, gpu, scheduling, .. } = self;
        EngineOptions {
            threads: engine.threads,
            kv_cache_tokens: engine.kv_cache_tokens,
            limits: engine.limits(),
            gpu: GpuOptions {
                kv_cache_fraction: gpu.kv_cache_fraction as f32,
                kv_cache_host_bytes: gpu.kv_cache_host_bytes,
                block_reuse: scheduling.prefix_sharing,
                chunked_context: gpu.chunked_context,
                allotted: gpu.allotted_time.map(|time| time.0),
                logits_host_bytes: gpu.logits_host_bytes,
            },
        }
    }

    /// The scheduler's options.
    pub fn scheduler(&self) -> SchedulerOptions {
        let Self { engine, scheduling, .. } = self;
        SchedulerOptions {
            max_queue_requests: scheduling.max_queue_requests,
            max_queue_tokens: scheduling.max_queue_tokens,
            ageing: scheduling.ageing.0,
            max_prefix_wait: scheduling.max_prefix_wait.0,
            score_cache: scheduling.score_cache,
            stall_timeout: engine.stall_timeout.0,
            on_failure: engine.on_engine_failure,
            restart_attempts: engine.restart_attempts,
            restart_wait: engine.restart_wait.0,
            prefix_sharing: scheduling.prefix_sharing,
            max_chunk_tokens: scheduling.max_chunk_tokens,
        }
    }
}

impl EngineSettings {
    /// Limits that lower those the engine was built with.
    pub fn limits(&self) -> LimitOverrides {
        LimitOverrides {
            max_seq_len: self.max_seq_len,
            max_batch_size: self.max_batch_size,
            max_num_tokens: self.max_num_tokens,
        }
    }
}

impl SecuritySettings {
    fn check(&self) -> Result<(), ConfigError> {
        match (&self.tls_key, &self.tls_cert, &self.tls_client_ca) {
            (Some(_), None, _) => Err(ConfigError::NoCertificate),
            (None, Some(_), _) => Err(ConfigError::NoPrivateKey),
            (None, None, Some(_)) => Err(ConfigError::NoTls),
            _ => Ok(()),
        }
    }
}

impl ScoringSettings {
    /// The head of an engine, with its scores chosen, named and changed as these options say.
    ///
    /// # Errors
    /// [`ConfigError::Head`] if an option does not fit the engine.
    pub fn head(&self, head: &manifest::ManifestHead) -> Result<Head, ConfigError> {
        let rows = self.reward_logits_range.as_ref().map(|range| range.0.clone());
        let names = (!self.reward_model_string.is_empty()).then_some(self.reward_model_string.as_slice());
        Head::with_options(head, rows, names, self.score_options()?).map_err(conflict)
    }

    fn check_buckets(&self) -> Result<(), ConfigError> {
        match self.score_buckets.windows(2).find(|pair| pair[0] >= pair[1]) {
            None => Ok(()),
            Some(pair) => Err(ConfigError::BucketOrder { before: pair[0], after: pair[1] }),
        }
    }

    fn score_options(&self) -> Result<ScoreOptions, ConfigError> {
        Ok(ScoreOptions {
            activation: self.score_activation,
            normalize: by_name("score_normalize", &self.score_normalize)?,
            clamp: self.score_clamp.map(|clamp| clamp.0),
            weights: by_name("score_weights", &self.score_weights)?,
            weighted_name: self.score_weighted_name.clone(),
        })
    }
}

/// Names the option that does not fit the engine.
fn conflict(source: HeadError) -> ConfigError {
    let option = match &source {
        HeadError::NoRows | HeadError::UnknownRows { .. } => "reward_logits_range".to_owned(),
        HeadError::NameCount { .. } | HeadError::UnusableName(_) => "reward_model_string".to_owned(),
        HeadError::Options(error) => format!("score_{}", error.field()),
    };
    ConfigError::Head { option, source }
}

fn by_name<T: Clone>(option: &'static str, values: &[Named<T>]) -> Result<BTreeMap<String, T>, ConfigError> {
    let mut map = BTreeMap::new();
    for Named { name, value } in values {
        if map.insert(name.clone(), value.clone()).is_some() {
            return Err(ConfigError::NamedTwice { option, name: name.clone() });
        }
    }
    Ok(map)
}

#[cfg(test)]
mod tests;
