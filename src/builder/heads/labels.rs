//! Names of a classifier's scores.

use std::collections::BTreeMap;

use serde_json::Value;

use super::ONE_SCORE;
use crate::builder::BuildError;
use crate::builder::json::Object;
use crate::manifest::check_attribute_names;

/// More scores than this are those of a vocabulary, or a mistake.
const MOST: usize = 1024;
/// What to do about names that cannot be used.
const RENAME: &str =
    "correct them in config.json, or name the scores with --head FILE, where FILE has `attributes: [...]`";

/// Names of the scores of a head of the shape `[rows, width]`, one for each row.
///
/// The number of rows decides: `num_labels` and labels that transformers made up (`LABEL_0`) are often those of a
/// default. A single score without a name is called `reward`.
pub(super) fn names(config: &Object, rows: usize, width: usize) -> Result<Vec<String>, BuildError> {
    check_count(config, rows)?;
    match listed(config)? {
        None => Ok(made_up(rows)),
        Some(names) if names.len() == rows => Ok(names),
        Some(names) => {
            let labels = names.len();
            let reason = format!(
                "it names {labels} labels, which asks for the shape [{labels}, {width}], and score.weight has the \
                 shape [{rows}, {width}]; {RENAME}"
            );
            Err(config.error("id2label", &reason))
        }
    }
}

/// The labels that `config.json` names, in lower case; `None` if it names none, or only made-up ones.
pub(super) fn listed(config: &Object) -> Result<Option<Vec<String>>, BuildError> {
    let Some(labels) = config.optional::<BTreeMap<usize, Value>>("id2label")? else { return Ok(None) };
    if labels.is_empty() || !labels.keys().copied().eq(0..labels.len()) {
        let reason = "its keys must be the numbers from 0 on, one for each row of score.weight";
        return Err(config.error("id2label", reason));
    }
    if labels.iter().all(|(index, label)| is_made_up(*index, label)) {
        return Ok(None);
    }
    check_count(config, labels.len())?;
    let mut names = Vec::new();
    for label in labels.values() {
        match label {
            Value::String(label) => names.push(label.to_lowercase()),
            other => {
                return Err(config.error("id2label", &format!("the label {other} is not a text; {RENAME}")));
            }
        }
    }
    match check_attribute_names(&names) {
        Ok(()) => Ok(Some(names)),
        Err(error) => Err(config.error("id2label", &format!("{error}; {RENAME}"))),
    }
}

fn check_count(config: &Object, count: usize) -> Result<(), BuildError> {
    if count <= MOST {
        return Ok(());
    }
    let reason = format!(
        "there are {count} labels, more than the {MOST} scores that a model can have; choose some with --head FILE, \
         where FILE has `rows: [...]` and `attributes: [...]`"
    );
    Err(config.error("id2label", &reason))
}

fn is_made_up(index: usize, label: &Value) -> bool {
    label.as_str().is_some_and(|label| label.eq_ignore_ascii_case(&format!("LABEL_{index}")))
}

/// Names for scores that have none.
pub(super) fn made_up(count: usize) -> Vec<String> {
    if count == 1 {
        vec![ONE_SCORE.to_owned()]
    } else {
        (0..count).map(|index| format!("label_{index}")).collect()
    }
}
