//! From the name of a model to an engine directory.

use std::path::{Path, PathBuf};

use super::download::download;
use super::named::{Named, recognise, to_download};
use super::store::{InUse, Store};
use super::{ModelError, ModelOptions, key};
use crate::builder::cpu::{self, CpuBuildOptions, DEFAULT_MAX_BATCH_SIZE, DEFAULT_MAX_NUM_TOKENS};
use crate::builder::{DEFAULT_MAX_SEQ_LEN, Progress};
use crate::hardware::targets::{HardwareTarget, Kind};
use crate::hardware::{Cpu, Gpus};
use crate::manifest::{Dtype, LimitOverrides, Manifest};

/// An engine to use. While this is held, an engine of the cache is not removed.
pub struct Prepared {
    /// The engine directory, or a folder of several.
    pub directory: PathBuf,
    _in_use: Option<InUse>,
}

/// Finds the engine that `model` names: an engine directory itself, or the engine in the cache for a checkpoint, which
/// is built if it is not there yet. `command` is the command line up to the model, for advice.
///
/// # Errors
/// The model cannot be used, or not in this way; see [`ModelError`].
pub fn prepare(
    model: &Path,
    options: &ModelOptions,
    limits: &LimitOverrides,
    command: &'static str,
    progress: &dyn Progress,
) -> Result<Prepared, ModelError> {
    if options.download
        && let Some(name) = to_download(model)
    {
        progress.note(&format!("downloading {name} from the Hugging Face hub"));
        download(&name)?;
    }
    match recognise(model, command)? {
        Named::Engine if options.build_only() => {
            Err(ModelError::AlreadyBuilt { directory: model.to_owned() })
        }
        Named::Engine => {
            check_dtype(model, options.dtype)?;
            Ok(Prepared { directory: model.to_owned(), _in_use: None })
        }
        Named::Checkpoint => {
            check_target(model, options.target.as_deref(), &Gpus::detect())?;
            build(model, options, limits, progress)
        }
    }
}

/// Whether `model` names engines, rather than a checkpoint from which [`prepare`] builds one with the same `options`.
///
/// # Errors
/// It names nothing that can be used.
pub fn is_engine(model: &Path, options: &ModelOptions, command: &'static str) -> Result<bool, ModelError> {
    match recognise(model, command) {
        Err(ModelError::NotDownloaded { .. }) if options.download => Ok(false),
        recognised => Ok(recognised? == Named::Engine),
    }
}

/// Refuses a checkpoint or a file where a folder of engines is needed.
///
/// # Errors
/// `folder` is one of them, or does not exist.
pub fn check_engines(folder: &Path, command: &'static str) -> Result<(), ModelError> {
    let model = folder.to_owned();
    match recognise(folder, command) {
        Ok(Named::Checkpoint) => Err(ModelError::NotBuilt { model }),
        Err(ModelError::NotDownloaded { .. } | ModelError::Missing { .. }) => {
            Err(ModelError::NoFolder { model })
        }
        // The search for engines says so in its own words.
        Err(ModelError::NoModel { .. } | ModelError::Checkpoints { .. }) | Ok(Named::Engine) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Refuses an engine of another type than the one that is wanted. In a folder of several, `--profile` names one.
fn check_dtype(engine: &Path, wanted: Option<Dtype>) -> Result<(), ModelError> {
    let directory = if engine.is_file() { engine.parent().unwrap_or(engine) } else { engine };
    match (wanted, Manifest::read(directory)) {
        (Some(wanted), Ok(Manifest { dtype: built, .. })) if built != wanted => {
            Err(ModelError::OtherDtype { directory: directory.to_owned(), built, wanted })
        }
        _ => Ok(()),
    }
}

/// Refuses to build for the processor if the user may want a GPU engine.
fn check_target(model: &Path, target: Option<&str>, gpus: &Gpus) -> Result<(), ModelError> {
    let model = model.to_owned();
    match target {
        Some(name) => match HardwareTarget::find(name)?.kind {
            Kind::Cpu => Ok(()),
            Kind::Gpu => Err(ModelError::GpuTarget { model, target: name.to_owned() }),
        },
        None => match gpus.gpus.first() {
            None => Ok(()),
            Some(gpu) => {
                let target = gpu.target()?.map_or_else(|| "NAME".to_owned(), |target| target.name);
                Err(ModelError::HasGpus { model, gpus: gpus.describe(), target })
            }
        },
    }
}

fn build(
    model: &Path,
    options: &ModelOptions,
    limits: &LimitOverrides,
    progress: &dyn Progress,
) -> Result<Prepared, ModelError> {
    let mut build = CpuBuildOptions::new(model, PathBuf::new());
    build.dtype = options.dtype;
    build.common.checkpoint = options.checkpoint.clone();
    // An engine also serves limits below its own, so these need no other engine.
    build.common.max_seq_len = limits.max_seq_len.filter(|wanted| *wanted > DEFAULT_MAX_SEQ_LEN);
    build.common.max_batch_size = limits.max_batch_size.filter(|wanted| *wanted > DEFAULT_MAX_BATCH_SIZE);
    build.common.max_num_tokens = limits.max_num_tokens.filter(|wanted| *wanted > DEFAULT_MAX_NUM_TOKENS);
    let name = key::key(&build, &Cpu::detect())?;
    let source = std::path::absolute(model).ok().filter(|path| path.exists());
    let source = source.unwrap_or_else(|| model.to_owned());
    let wait = || progress.note("another process builds this engine; waiting for it");
    let write = |output: &Path| {
        let output_shown = output.display();
        progress.note(&format!("building an engine from {} into {output_shown}", model.display()));
        let mut build = build.clone();
        build.common.output = output.to_owned();
        cpu::build(&build, progress)?;
        Ok(())
    };
    let (directory, in_use) = Store::from_environment()?.engine(&name, &source, &wait, &write)?;
    Ok(Prepared { directory, _in_use: Some(in_use) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hardware::Gpu;

    #[test]
    fn on_a_machine_with_gpus_the_command_for_them_is_named() {
        let gpu = Gpu {
            name: "NVIDIA H100 80GB HBM3".to_owned(),
            uuid: "GPU-1".to_owned(),
            device_id: 0x2330,
            compute_capability: "9.0".to_owned(),
            memory_bytes: 80 << 30,
            divided: false,
        };
        let gpus = Gpus { gpus: vec![gpu.clone(), gpu], ..Gpus::default() };
        let check =
            |target| check_target(Path::new("judge"), target, &gpus).map_err(|error| error.to_string());
        let sentence = check(None).unwrap_err();
        for part in
            ["2 x NVIDIA H100 80GB HBM3", "`build-engine --model judge --target h100-sxm --output DIR`"]
        {
            assert!(sentence.contains(part), "{sentence}");
        }
        assert_eq!(check(Some("cpu")), Ok(()));
        assert!(
            check(Some("h100"))
                .unwrap_err()
                .contains("`build-engine --model judge --target h100 --output DIR`")
        );
        assert!(check(Some("abacus")).unwrap_err().contains("abacus"));
        let none = Gpus::default();
        assert!(check_target(Path::new("judge"), None, &none).is_ok());
    }
}
