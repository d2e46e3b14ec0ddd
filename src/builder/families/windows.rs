//! Sliding windows: which layers see only the newest keys, and how many of them.

use serde_json::Value;

use super::spec::{FamilySpec, WindowFields};
use crate::builder::BuildError;
use crate::builder::json::Object;
use crate::manifest::SlidingWindow;

/// Reads the windows of a checkpoint. The caller sets their rotary embedding.
///
/// # Errors
/// A field is malformed, or gives layers windows that the family or the configuration does not have.
pub(super) fn read(
    config: &Object,
    family: &FamilySpec,
    num_layers: usize,
    notes: &mut Vec<String>,
) -> Result<Option<SlidingWindow>, BuildError> {
    let default_keys = match &family.windows {
        Some(windows) if !config.has("sliding_window") => windows.default_keys,
        _ => None,
    };
    let has_keys = default_keys.is_some() || config.optional::<Value>("sliding_window")?.is_some();
    let fields = WindowFields { has_keys, listed: layer_types(config, num_layers)?, num_layers };
    let layers = match &family.windows {
        Some(windows) => (windows.layers)(config, &fields)?,
        None => vec![],
    };
    if let Some(listed) = &fields.listed
        && *listed != layers
    {
        notes.push(format!(
            "layer_types in config.json has no effect: in a {} every layer is alike, as in transformers",
            family.title
        ));
    }
    if layers.is_empty() {
        return Ok(None);
    }
    match config.optional::<usize>("sliding_window")?.or(default_keys) {
        Some(0) => Err(config.error("sliding_window", "0 is not a number of tokens")),
        Some(keys) => Ok(Some(SlidingWindow { keys, layers, rope: None })),
        None => Err(config.error("sliding_window", "it is missing, but layers of the model have a window")),
    }
}

/// Every layer has a window, if `sliding_window` is set.
pub(super) fn every_layer(_: &Object, fields: &WindowFields) -> Result<Vec<usize>, BuildError> {
    let layers = if fields.has_keys { fields.num_layers } else { 0 };
    Ok((0..layers).collect())
}

/// Every layer has a window, if `use_sliding_window` is set.
pub(super) fn every_layer_if_used(config: &Object, fields: &WindowFields) -> Result<Vec<usize>, BuildError> {
    let used = config.optional("use_sliding_window")?.unwrap_or(false);
    if used { every_layer(config, fields) } else { Ok(vec![]) }
}

/// The layers that `layer_types` lists, else all but each `sliding_window_pattern`th.
pub(super) fn all_but_every_nth(
    config: &Object,
    fields: &WindowFields,
    default: usize,
) -> Result<Vec<usize>, BuildError> {
    let period = config.size("sliding_window_pattern", Some(default))?;
    let windowed = |layer: &usize| !(layer + 1).is_multiple_of(period);
    Ok(fields.listed.clone().unwrap_or_else(|| (0..fields.num_layers).filter(windowed).collect()))
}

/// The layers that `layer_types` lists, else as [`every_layer`].
pub(super) fn listed_or_every_layer(
    config: &Object,
    fields: &WindowFields,
) -> Result<Vec<usize>, BuildError> {
    fields.listed.clone().map_or_else(|| every_layer(config, fields), Ok)
}

/// The layers that `layer_types` lists, else those from `max_window_layers` on, if `use_sliding_window` is set.
pub(super) fn last_layers(config: &Object, fields: &WindowFields) -> Result<Vec<usize>, BuildError> {
    let used = config.optional("use_sliding_window")?.unwrap_or(false);
    if let Some(listed) = &fields.listed {
        if !used && !listed.is_empty() {
            let reason = "it is not set, but layer_types has layers with sliding_attention; set it to true, or list \
                          full_attention";
            return Err(config.error("use_sliding_window", reason));
        }
        return Ok(listed.clone());
    }
    let first = config.optional("max_window_layers")?.unwrap_or(28);
    Ok(if used { (first..fields.num_layers).collect() } else { vec![] })
}

fn layer_types(config: &Object, num_layers: usize) -> Result<Option<Vec<usize>>, BuildError> {
    let Some(kinds) = config.optional::<Vec<String>>("layer_types")? else { return Ok(None) };
    if kinds.len() != num_layers {
        let reason = format!("it has {} entries for {num_layers} layers", kinds.len());
        return Err(config.error("layer_types", &reason));
    }
    let mut windowed = Vec::new();
    for (layer, kind) in kinds.iter().enumerate() {
        match kind.as_str() {
            // `attention` is the older name.
            "full_attention" | "attention" => {}
            "sliding_attention" => windowed.push(layer),
            other => {
                let reason =
                    format!("{other} is not supported; known are full_attention and sliding_attention");
                return Err(config.error("layer_types", &reason));
            }
        }
    }
    Ok(Some(windowed))
}
