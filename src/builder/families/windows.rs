//! Sliding windows: which layers see the newest keys only, and how many.

use super::spec::{FamilySpec, WindowFields};
use crate::builder::BuildError;
use crate::builder::json::Object;
use crate::manifest::SlidingWindow;

/// Reads the windows of a checkpoint. Their rotary embedding is left to the caller.
///
/// # Errors
/// A field is malformed, or layers are to have windows that the family or the configuration does not have.
pub(super) fn read(
    config: &Object,
    family: &FamilySpec,
    num_layers: usize,
) -> Result<Option<SlidingWindow>, BuildError> {
    let default_keys = match &family.windows {
        Some(windows) if !config.has("sliding_window") => windows.default_keys,
        _ => None,
    };
    let keys = config.optional::<usize>("sliding_window")?.or(default_keys);
    if keys == Some(0) {
        return Err(config.error("sliding_window", "0 is not a number of tokens"));
    }
    let fields = WindowFields { keys, listed: layer_types(config, num_layers)?, num_layers };
    let layers = match &family.windows {
        Some(windows) => (windows.layers)(config, &fields)?,
        None => None,
    };
    let Some(layers) = layers else {
        // The model has no windows, whatever `sliding_window` says.
        if fields.listed.is_some_and(|listed| !listed.is_empty()) {
            let reason = "sliding_attention is not supported here; every layer must have full_attention";
            return Err(config.error("layer_types", reason));
        }
        return Ok(None);
    };
    if layers.is_empty() {
        return Ok(None);
    }
    match keys {
        Some(keys) => Ok(Some(SlidingWindow { keys, layers, rope: None })),
        None => Err(config.error("sliding_window", "it is missing, but layers of the model have a window")),
    }
}

/// Every layer has a window, if `sliding_window` is set.
pub(super) fn every_layer(_: &Object, fields: &WindowFields) -> Result<Option<Vec<usize>>, BuildError> {
    Ok(fields.keys.map(|_| (0..fields.num_layers).collect()))
}

/// Layers from `max_window_layers` on have a window, if `use_sliding_window` is set.
pub(super) fn last_layers(config: &Object, fields: &WindowFields) -> Result<Option<Vec<usize>>, BuildError> {
    if !config.optional("use_sliding_window")?.unwrap_or(false) {
        return Ok(None);
    }
    let first = config.optional("max_window_layers")?.unwrap_or(28);
    Ok(Some(fields.listed.clone().unwrap_or_else(|| (first..fields.num_layers).collect())))
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
            "full_attention" => {}
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
