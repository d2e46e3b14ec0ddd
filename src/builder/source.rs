//! A checkpoint, opened and recognised: what it is, what engines of it are for, and what stands behind
//! its last layer.

use std::path::{Path, PathBuf};

use super::checkpoint::Checkpoint;
use super::config::{self, Config};
use super::language::Generation;
use super::plan::{self, Ending, Tensors};
use super::text::{self, Text};
use super::{BuildError, foreign, head, language};
use crate::manifest::{Dtype, Head, PromptSpec, Task};

/// What was asked for of a checkpoint, whatever it is built for.
#[derive(Clone, Copy)]
pub(super) struct Wish<'w> {
    /// Its directory.
    pub(super) model: &'w Path,
    /// Name under which the engine is served; the directory's, if none is given.
    pub(super) name: Option<&'w str>,
    /// What to build it for; what it was made for, if nothing is said.
    pub(super) task: Option<Task>,
    /// File that says what the checkpoint leaves open of its head.
    pub(super) head: Option<&'w PathBuf>,
}

/// The checkpoint.
pub(super) struct Source {
    pub(super) config: Config,
    pub(super) text: Text,
    pub(super) checkpoint: Checkpoint,
    /// What engines of it are for.
    pub(super) task: Task,
    /// What stands behind its last layer.
    pub(super) ending: Ending,
    /// How it generates, if it does.
    generation: Generation,
}

impl Source {
    /// Opens it, and finds out what it is.
    ///
    /// # Errors
    /// It is not a checkpoint that can be built, or not for what was asked for.
    pub(super) fn open(wish: Wish<'_>) -> Result<Self, BuildError> {
        foreign::refuse(wish.model)?;
        let config = config::read(wish.model, name(wish.model, wish.name)?)?;
        let may_complete = config.rest == "ForCausalLM" && wish.task != Some(Task::Reward);
        let text = text::read(wish.model, config.model.vocab_size, !may_complete)?;
        let checkpoint = Checkpoint::open(wish.model)?;
        let task = language::task(wish.task, &config, &checkpoint, wish.head.is_some(), &text)?;
        let (ending, generation) = match task {
            Task::Reward => {
                let head = Box::new(head::recognise(&config, &checkpoint, wish.head)?);
                (Ending::Scores(head), Generation::default())
            }
            Task::Chat | Task::Completion => (
                Ending::Vocabulary(language::matrix(&config, &checkpoint)),
                language::generation(wish.model, &config, &text)?,
            ),
        };
        Ok(Self { config, text, checkpoint, task, ending, generation })
    }

    /// The engine's tensors; see [`plan::plan`].
    pub(super) fn plan(&self, dtype: Dtype, packed: bool) -> Result<Tensors<'_>, BuildError> {
        plan::plan(&self.checkpoint, &self.config.model, &self.ending, dtype, packed)
    }

    /// What the manifest says of the head, of a checkpoint whose tensors were found to be there.
    ///
    /// # Errors
    /// The tokenizer lacks a token that the head is read at, or one of its numbers is not finite.
    pub(super) fn head(&self) -> Result<Head, BuildError> {
        match &self.ending {
            Ending::Scores(head) => {
                (**head).clone().manifest(&self.config, &self.checkpoint, &self.text.encoder)
            }
            Ending::Vocabulary(_) => Ok(Head { softcap: self.softcap(), ..Head::default() }),
        }
    }

    /// What logits are capped at: those of a vocabulary, never a head's.
    pub(super) fn softcap(&self) -> Option<f32> {
        match self.ending {
            Ending::Scores(_) => None,
            Ending::Vocabulary(_) => self.config.final_softcap,
        }
    }

    /// What the manifest says of prompts.
    pub(super) fn prompt(&self) -> PromptSpec {
        let prompt = self.text.prompt.clone();
        match &self.ending {
            Ending::Scores(head) => PromptSpec {
                suffix: self.config.suffix.clone(),
                generation_prompt: head.generation_prompt,
                step_token: head.step_token.map(str::to_owned),
                ..prompt
            },
            Ending::Vocabulary(_) => {
                let Generation { end_tokens, sampling } = self.generation.clone();
                PromptSpec { end_tokens, sampling, ..prompt }
            }
        }
    }

    /// What was recognised, for whoever builds it.
    pub(super) fn describe(&self) -> String {
        match &self.ending {
            Ending::Scores(head) => head.describe(&self.config),
            Ending::Vocabulary(_) => language::describe(self.task, &self.config, &self.generation),
        }
    }
}

/// The name that was asked for, or the checkpoint's own.
fn name(model: &Path, asked: Option<&str>) -> Result<String, BuildError> {
    let shown = model.display();
    let name = match asked {
        Some(name) => Some(name.to_owned()),
        None => match std::fs::canonicalize(model) {
            Ok(path) => checkpoint_name(&path),
            Err(error) => {
                let reason = format!(
                    "--model {shown} cannot be found ({error}); it must be a directory on this machine, \
                     so a model of the Hugging Face hub is to be fetched first (`hf download`)"
                );
                return Err(BuildError::Option(reason));
            }
        },
    };
    name.filter(|name| !name.trim().is_empty() && !name.contains(char::is_control)).ok_or_else(|| {
        BuildError::Option(format!("--model {shown} gives no name to serve it under; say one with --name"))
    })
}

/// The directory's name; `owner/name` in the hub's cache, whose directories are called after commits:
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
