//! A checkpoint, opened and recognised: what it is and what engines of it are for.

use super::adapter::{AdapterTask, Axes};
use super::checkpoint::Checkpoint;
use super::config::{self, Config};
use super::heads::{quantiles, vocabulary_rows};
use super::json::Object;
use super::language::Generation;
use super::location::Location;
use super::options::BuildOptions;
use super::plan::{self, EngineTensors, OutputHead};
use super::text::{self, CheckpointText};
use super::{BuildError, families, heads, language};
use crate::manifest::{Dtype, ManifestHead, PromptSpec, Task};

/// The checkpoint.
pub(super) struct Source {
    pub(super) config: Config,
    pub(super) text: CheckpointText,
    pub(super) checkpoint: Checkpoint,
    /// What engines of it are for.
    pub(super) task: Task,
    pub(super) output_head: OutputHead,
    /// How it generates; empty for a reward model.
    generation: Generation,
}

impl Source {
    /// Opens and recognises it.
    ///
    /// # Errors
    /// It is not a checkpoint that can be built, or not for what the options ask for.
    pub(super) fn open(options: &BuildOptions) -> Result<Self, BuildError> {
        let Location { base, text, head, adapter, name } = Location::find(options)?;
        let object = Object::read(&base.join("config.json"))?;
        let adapted = adapter.as_ref().map_or(AdapterTask::Same, |adapter| adapter.config.task);
        let architecture = heads::architecture(&object, adapted, options.checkpoint.head.as_ref())?;
        let mut config = config::read(object, architecture, name)?;
        let mut checkpoint = Checkpoint::open(&base, &head)?;
        if config.architecture.multimodal {
            let left_out = checkpoint.rename(families::text_tensor);
            config.notes.push(format!(
                "{} takes images, too; only its text part is built, without the {left_out} tensors of the rest",
                config.architecture.name
            ));
        }
        checkpoint.name_as_whole_model(config.architecture.family);
        if let Some(adapter) = &adapter {
            let name = if config.architecture.multimodal { families::text_tensor } else { unchanged };
            let tensors = &config.architecture.family.tensors;
            checkpoint.adapt(adapter, name, |name| {
                if tensors.are_inputs_by_outputs(name) {
                    Axes::InputsByOutputs
                } else {
                    Axes::OutputsByInputs
                }
            })?;
            config.notes.push(adapter.describe());
        }
        quantiles::fold(&config, &mut checkpoint)?;
        if let Some(embedding) = checkpoint.adapted_rows(config.architecture.family.tensors.embedding) {
            config.model.vocab_size = embedding;
        }
        let may_complete =
            config.architecture.class == "ForCausalLM" && options.checkpoint.task != Some(Task::Reward);
        let must_chat = !may_complete && !heads::may_bring_prompt(&config.architecture);
        let text_files = text;
        let mut text = text::read(&text_files, options, &config, must_chat)?;
        let task = language::task(
            options.checkpoint.task,
            &config,
            &checkpoint,
            options.checkpoint.head.is_some(),
            &text,
        )?;
        if let Some(parts) = &mut config.model.variant.bidirectional
            && let Some(segments) = &mut parts.segments
        {
            segments.separator = text.separator.filter(|_| segments.rows > 1);
        }
        let (output_head, generation) = match task {
            Task::Reward => {
                let file = options.checkpoint.head.as_ref();
                let mut head = heads::recognise(&config, &checkpoint, &text.encoder, file)?;
                head.suffix.extend_from_slice(&text.suffix);
                (OutputHead::Scores(Box::new(head)), Generation::default())
            }
            Task::Chat | Task::Completion => (
                OutputHead::Vocabulary(vocabulary_rows::matrix(&config, &checkpoint)),
                language::generation(&base, &config, &text)?,
            ),
        };
        if let OutputHead::Scores(head) = &output_head {
            match head.template {
                Some(template) if !text.template.contains(head.template_mark) => {
                    text.replace_template(template, config.model.vocab_size)?;
                }
                None if !text.has_template && !may_complete => return Err(text::no_template(&text_files)),
                _ => {}
            }
        }
        Ok(Self { config, text, checkpoint, task, output_head, generation })
    }

    /// The engine's tensors; see [`plan::plan`].
    pub(super) fn plan(&self, dtype: Dtype, packed: bool) -> Result<EngineTensors<'_>, BuildError> {
        plan::plan(&self.checkpoint, &self.config, &self.output_head, dtype, packed)
    }

    /// The head as the manifest describes it, once its tensors were found.
    ///
    /// # Errors
    /// The tokenizer lacks a token that the head is read at, or one of its numbers is not finite.
    pub(super) fn head(&self) -> Result<ManifestHead, BuildError> {
        match &self.output_head {
            OutputHead::Scores(head) => {
                (**head).clone().manifest(&self.config, &self.checkpoint, &self.text.encoder)
            }
            OutputHead::Vocabulary(_) => {
                Ok(ManifestHead { softcap: self.softcap(), ..ManifestHead::default() })
            }
        }
    }

    /// The cap on logits; only those of a vocabulary have one.
    pub(super) fn softcap(&self) -> Option<f32> {
        match self.output_head {
            OutputHead::Scores(_) => None,
            OutputHead::Vocabulary(_) => self.config.final_softcap,
        }
    }

    /// How the manifest says that prompts are made.
    pub(super) fn prompt(&self) -> PromptSpec {
        let prompt = self.text.prompt.clone();
        match &self.output_head {
            OutputHead::Scores(head) => PromptSpec {
                suffix: head.suffix.clone(),
                generation_prompt: head.generation_prompt,
                step_token: head.step_token(&self.text.encoder).map(str::to_owned),
                steps: head.separate_steps().cloned(),
                ..prompt
            },
            OutputHead::Vocabulary(_) => {
                let Generation { end_tokens, sampling } = self.generation.clone();
                PromptSpec { end_tokens, sampling, ..prompt }
            }
        }
    }

    /// What was recognised, and what the user should know about it, a line for each.
    pub(super) fn describe(&self) -> String {
        let recognised = match &self.output_head {
            OutputHead::Scores(head) => head.describe(&self.config),
            OutputHead::Vocabulary(_) => language::describe(self.task, &self.config, &self.generation),
        };
        let mut lines = vec![recognised];
        lines.extend_from_slice(&self.config.notes);
        lines.extend_from_slice(&self.text.notes);
        lines.join("\n")
    }
}

/// The name of a tensor of an adapter in a model of text alone.
fn unchanged(name: &str) -> Option<String> {
    Some(name.to_owned())
}
