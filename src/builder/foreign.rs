//! Checkpoints in formats that must be converted first.

use std::path::Path;

use super::BuildError;

/// Refuses NeMo archives, packed or not, and GGUF files, and says how to convert them.
///
/// # Errors
/// `model` is one of them.
pub(super) fn refuse(model: &Path) -> Result<(), BuildError> {
    let named = |end: &str| model.extension().is_some_and(|extension| extension.eq_ignore_ascii_case(end));
    let holds = |end: &str| {
        let entries = std::fs::read_dir(model).into_iter().flatten().flatten();
        entries.map(|entry| entry.path()).find(|path| path.extension().is_some_and(|found| found == end))
    };
    let converted = model.join("config.json").exists();
    let archive = if named("nemo") { Some(model.to_owned()) } else { holds("nemo") };
    if !converted && (archive.is_some() || model.join("model_config.yaml").exists()) {
        let archive = archive.unwrap_or_else(|| model.to_owned());
        let reason = format!(
            "it is a NeMo checkpoint; convert it first, with the script of that name in transformers' sources: \
             `python convert_nemotron_nemo_to_hf.py --input_name_or_path {} --hf_input_path BASE \
             --hf_output_path CHECKPOINT --cpu-only`, and add the reward head as docs/models.md says",
            archive.display()
        );
        return Err(BuildError::checkpoint(model, reason));
    }
    let gguf = if named("gguf") { Some(model.to_owned()) } else { holds("gguf") };
    if let Some(file) = gguf.filter(|_| !converted) {
        let reason =
            "it is a GGUF file, whose weights are quantized; use the original checkpoint in safetensors";
        return Err(BuildError::checkpoint(file, reason));
    }
    Ok(())
}
