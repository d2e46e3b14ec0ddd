//! A checkpoint, opened and recognised: what it is and what engines of it are for.

use std::path::Path;

use super::checkpoint::Checkpoint;
use super::config::{self, Config};
use super::heads::vocabulary_rows;
use super::json::Object;
use super::language::Generation;
use super::options::BuildOptions;
use super::plan::{self, EngineTensors, OutputHead};
use super::text::{self, Text};
use super::{BuildError, families, foreign, heads, language};
use crate::manifest::{Dtype, Head, PromptSpec, Task};

/// The checkpoint.
pub(super) struct Source {
    pub(super) config: Config,
    pub(super) text: Text,
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
        let model = options.model.as_path();
        foreign::refuse(model)?;
        let name = name(model, options.name.as_deref())?;
        let object = Object::read(&model.join("config.json"))?;
        let architecture = heads::architecture(&object)?;
        let mut config = config::read(object, architecture, name)?;
        let may_complete = config.architecture.class == "ForCausalLM" && options.task != Some(Task::Reward);
        let text = text::read(options, config.model.vocab_size, !may_complete)?;
        let mut checkpoint = Checkpoint::open(model)?;
        if config.architecture.multimodal {
            let left_out = checkpoint.rename(families::text_tensor);
            config.notes.push(format!(
                "{} takes images, too; only its text part is built, without the {left_out} tensors of the rest",
                config.architecture.name
            ));
        }
        let task = language::task(options.task, &config, &checkpoint, options.head.is_some(), &text)?;
        let (output_head, generation) = match task {
            Task::Reward => {
                let head = Box::new(heads::recognise(&config, &checkpoint, options.head.as_ref())?);
                (OutputHead::Scores(head), Generation::default())
            }
            Task::Chat | Task::Completion => (
                OutputHead::Vocabulary(vocabulary_rows::matrix(&config, &checkpoint)),
                language::generation(model, &config, &text)?,
            ),
        };
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
    pub(super) fn head(&self) -> Result<Head, BuildError> {
        match &self.output_head {
            OutputHead::Scores(head) => {
                (**head).clone().manifest(&self.config, &self.checkpoint, &self.text.encoder)
            }
            OutputHead::Vocabulary(_) => Ok(Head { softcap: self.softcap(), ..Head::default() }),
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
                step_token: head.step_token.map(str::to_owned),
                ..prompt
            },
            OutputHead::Vocabulary(_) => {
                let Generation { end_tokens, sampling } = self.generation.clone();
                PromptSpec { end_tokens, sampling, ..prompt }
            }
        }
    }

    /// What was recognised, and what the user should know about decoder and chat template, in lines.
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

/// The requested name, or the checkpoint's own.
fn name(model: &Path, requested: Option<&str>) -> Result<String, BuildError> {
    let shown = model.display();
    let name = match requested {
        Some(name) => Some(name.to_owned()),
        None => match std::fs::canonicalize(model) {
            Ok(path) => checkpoint_name(&path),
            Err(error) => {
                let reason = format!(
                    "--model {shown} cannot be found ({error}); it must be a directory on this machine, so download a \
                     model of the Hugging Face hub first (`hf download`)"
                );
                return Err(BuildError::Option(reason));
            }
        },
    };
    name.filter(|name| !name.trim().is_empty() && !name.contains(char::is_control)).ok_or_else(|| {
        BuildError::Option(format!("--model {shown} gives no name to serve it under; choose one with --name"))
    })
}

/// The directory's name; `owner/name` in the hub's cache, whose directories are named after commits:
/// `models--owner--name/snapshots/COMMIT`.
fn checkpoint_name(path: &Path) -> Option<String> {
    let name = |path: &Path| path.file_name().map(|name| name.to_string_lossy().into_owned());
    let parent = path.parent()?;
    if name(parent).as_deref() == Some("snapshots")
        && let Some(repository) = parent.parent().and_then(name)
        && let Some(repository) = repository.strip_prefix("models--")
    {
        return Some(repository.replace("--", "/"));
    }
    name(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checkpoint_in_the_hubs_cache_is_named_after_its_repository() {
        let name = |path| checkpoint_name(Path::new(path)).unwrap();
        assert_eq!(name("/cache/models--acme--judge-8b/snapshots/0123abcd"), "acme/judge-8b");
        assert_eq!(name("/models/snapshots/judge"), "judge");
        assert_eq!(name("/models/judge"), "judge");
    }
}
