//! Heads that `--head` describes, for checkpoints that do not say which logits are scores.

use std::path::Path;

use serde::Deserialize;

use super::{Head, labels};
use crate::builder::BuildError;
use crate::manifest::check_attribute_names;
use crate::manifest::score_options::ScoreOptions;

/// The file's content.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct HeadFile {
    /// Names of the scores; by default those of the checkpoint, or made up.
    attributes: Option<Vec<String>>,
    /// Rows of the head's matrix, or of `lm_head`, where they are token ids; by default those that the checkpoint
    /// serves.
    rows: Option<Vec<usize>>,
    /// A row that is subtracted from each.
    minus: Option<usize>,
    /// Whether the start of a response follows the conversation.
    #[serde(default)]
    generation_prompt: bool,
    /// What is done to the scores.
    #[serde(default)]
    score: ScoreOptions,
}

/// Changes the checkpoint's own head as the file says.
///
/// # Errors
/// The file cannot be read, is malformed, or does not fit the head.
pub(super) fn read(path: &Path, head: Head) -> Result<Head, BuildError> {
    let wrong = |reason: String| BuildError::Option(format!("--head {}: {reason}", path.display()));
    let text =
        std::fs::read_to_string(path).map_err(|error| wrong(format!("it cannot be read ({error})")))?;
    let file: HeadFile =
        serde_saphyr::from_str(&text).map_err(|error| wrong(error.without_snippet().to_string()))?;
    let rows = file.rows.unwrap_or_else(|| head.rows.clone());
    let attributes = match file.attributes {
        Some(names) => names.iter().map(|name| name.to_lowercase()).collect(),
        None if rows.len() == head.attributes.len() => head.attributes.clone(),
        None => labels::made_up(rows.len()),
    };
    if rows.is_empty() || attributes.len() != rows.len() {
        let (rows, names) = (rows.len(), attributes.len());
        return Err(wrong(format!(
            "`rows` has {rows} entries and `attributes` has {names}; give each row one name"
        )));
    }
    check_attribute_names(&attributes).map_err(|error| wrong(format!("attributes: {error}")))?;
    if let Some(row) = rows.iter().chain(&file.minus).find(|row| **row >= head.outputs) {
        let Head { outputs, matrix, .. } = &head;
        return Err(wrong(format!("row {row} does not exist: {matrix} has {outputs} rows")));
    }
    crate::reward::check_options(&file.score, &attributes, true)
        .map_err(|error| wrong(format!("`score.{}`: {error}", error.field())))?;
    Ok(Head {
        attributes,
        rows,
        subtract: file.minus,
        generation_prompt: file.generation_prompt,
        score: file.score,
        ..head
    })
}
