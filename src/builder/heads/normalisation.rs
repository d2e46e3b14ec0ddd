//! The normalisation of scores that OpenRLHF writes into `config.json`.

use super::CheckpointHead;
use crate::builder::BuildError;
use crate::builder::config::Config;
use crate::manifest::score_options::Normal;

/// Adds `(score - mean) / std` to the head if `normalize_reward` is true, as OpenRLHF's own model does.
///
/// # Errors
/// The mean or the deviation is missing or unusable, or there are several scores.
pub(super) fn apply(config: &Config, head: &mut CheckpointHead) -> Result<(), BuildError> {
    let object = &config.object;
    let (mean, std) = (object.optional::<f64>("mean")?, object.optional::<f64>("std")?);
    if object.optional::<bool>("normalize_reward")? != Some(true) {
        if let (Some(mean), Some(std)) = (mean, std) {
            head.notes.push(format!(
                "config.json has mean {mean} and std {std}, and normalize_reward is not true: scores stay raw; \
                 --score-normalize applies them"
            ));
        }
        return Ok(());
    }
    let [attribute] = &head.attributes[..] else {
        let reason = format!("it is for one score, and this model has {}", head.attributes.len());
        return Err(object.error("normalize_reward", &reason));
    };
    let mean = mean.ok_or_else(|| object.error("mean", "it is missing, and normalize_reward is true"))?;
    let std = std.ok_or_else(|| object.error("std", "it is missing, and normalize_reward is true"))?;
    if !mean.is_finite() {
        return Err(object.error("mean", &format!("{mean} is not a finite number")));
    }
    let std = object.positive("std", std)?;
    head.notes.push(format!("scores become (score - {mean}) / {std}, because normalize_reward is true"));
    head.score.normalize.insert(attribute.clone(), Normal { mean, std });
    Ok(())
}
