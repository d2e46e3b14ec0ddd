//! TensorRT-LLM checkpoints that NVIDIA's modelopt wrote. Their layers are taken as they are; their `lm_head` is replaced
//! by the model's own, which is not quantized, or by the head that scores.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use safetensors::SafeTensors;
use safetensors::tensor::TensorInfo;
use serde_json::Value;

use super::format::DATA_CENTER_BLACKWELL;
use super::rank_file::Writer;
use super::rank_tensor::{Entry, RankTensor};
use crate::builder::families::spec::TrtllmSpec;
use crate::builder::json::{Object, unreadable};
use crate::builder::{BuildError, Progress};
use crate::engine::mmap::map_file;
use crate::hardware::targets::{HardwareTarget, Precision};
use crate::manifest::Quantization;

/// Bytes copied at a time.
const BYTES_AT_ONCE: usize = 1 << 22;
/// Fields, in addition to the architecture, that must equal those of the model's own checkpoint.
const AGREEING: [&str; 9] = [
    "dtype",
    "vocab_size",
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "head_size",
    "intermediate_size",
    "hidden_act",
];

/// The checkpoint.
pub(super) struct Prequantized {
    directory: PathBuf,
    config: Value,
    algorithm: String,
}

/// A rank's file.
struct RankFile {
    path: PathBuf,
    file: File,
    data: usize,
    tensors: Vec<(String, TensorInfo)>,
}

impl Prequantized {
    /// Opens it. `expected` is the configuration that the model's own checkpoint gives.
    ///
    /// # Errors
    /// It is not such a checkpoint, or it is one of another model or for other ranks.
    pub(super) fn open(directory: &Path, trtllm: &TrtllmSpec, expected: &Value) -> Result<Self, BuildError> {
        let object = Object::read(&directory.join("config.json"))?;
        let quantization = object.nested("quantization")?;
        let Some(algorithm) = quantization.optional::<String>("quant_algo")? else {
            let reason = "it names no algorithm; --quantized needs a TensorRT-LLM checkpoint as written by modelopt's quantize.py \
                          --output_dir";
            return Err(quantization.error("quant_algo", reason));
        };
        let disagrees = |field: &str, found: &Value| {
            let wanted = &expected[field];
            object.error(field, &format!("it is {found} where the checkpoint of --model gives {wanted}"))
        };
        for field in AGREEING {
            let found: Value = object.required(field)?;
            if found != expected[field] {
                return Err(disagrees(field, &found));
            }
        }
        let architecture: Value = object.required("architecture")?;
        if ![Some(trtllm.architecture), trtllm.exported_as].contains(&architecture.as_str()) {
            return Err(disagrees("architecture", &architecture));
        }
        let mapping = object.nested("mapping")?;
        for (field, option) in [("tp_size", "--tp"), ("pp_size", "--pp")] {
            let found = mapping.optional::<u64>(field)?.unwrap_or(1);
            if Some(found) != expected["mapping"][field].as_u64() {
                return Err(mapping.error(field, &format!("it is {found}; give {option} {found}")));
            }
        }
        let mut config: Value =
            Value::Object(object.fields().map(|(name, value)| (name.to_owned(), value.clone())).collect());
        // The name by which trtllm-build fuses reductions, and what our lm_head needs, whatever the exporter wrote.
        for field in ["architecture", "logits_dtype", "final_logit_softcapping", "tie_word_embeddings"] {
            if let Some(value) = expected.get(field) {
                config[field] = value.clone();
            }
        }
        if let Value::Array(excluded) = &mut config["quantization"]["exclude_modules"]
            && !excluded.iter().any(|module| module.as_str().is_some_and(|module| module.contains("lm_head")))
        {
            excluded.push("lm_head".into());
        }
        Ok(Self { directory: directory.to_owned(), config, algorithm })
    }

    /// Its `config.json`, adapted to this head.
    pub(super) fn config(&self) -> &Value {
        &self.config
    }

    pub(super) fn quantization(&self) -> Quantization {
        Quantization::Checkpoint(self.algorithm.clone())
    }

    /// Refuses a GPU that does not compute in this format, or for which `trtllm-build` does not build it.
    pub(super) fn check(&self, target: &HardwareTarget) -> Result<(), BuildError> {
        let algorithm = self.algorithm.as_str();
        let capability = target.compute_capability.as_deref().unwrap_or_default();
        if capability.starts_with(DATA_CENTER_BLACKWELL)
            && !["FP8", "NVFP4", "MIXED_PRECISION"].contains(&algorithm)
        {
            return Err(BuildError::Option(format!(
                "--quantized: trtllm-build of TensorRT-LLM 1.2.1 does not build {algorithm} for {}; quantize to FP8 or NVFP4",
                target.title
            )));
        }
        let precision = match algorithm {
            name if name.starts_with("NVFP4") => Precision::Fp4,
            name if name.starts_with("FP8") || name == "W4A8_AWQ" => Precision::Fp8,
            _ => return Ok(()),
        };
        target.rate(precision).map(|_| ()).map_err(BuildError::from)
    }

    /// The size of a rank's file.
    pub(super) fn bytes(&self, rank: usize) -> Result<u64, BuildError> {
        let path = self.rank_path(rank);
        let metadata = std::fs::metadata(&path).map_err(|error| unreadable(&path, &error))?;
        Ok(metadata.len())
    }

    /// Copies a rank's file to `path`, tensor by tensor, with `head` in place of its `lm_head`.
    pub(super) fn write(
        &self,
        rank: usize,
        path: &Path,
        head: Option<&RankTensor<'_>>,
        progress: &dyn Progress,
    ) -> Result<(), BuildError> {
        let source = RankFile::open(self.rank_path(rank))?;
        let kept = || source.tensors.iter().filter(|(name, _)| !name.starts_with("lm_head."));
        let mut entries = Vec::new();
        for (name, info) in kept() {
            let (start, end) = info.data_offsets;
            entries.push(Entry {
                name: name.clone(),
                dtype: info.dtype.to_string(),
                shape: info.shape.clone(),
                bytes: end - start,
            });
        }
        entries.extend(head.iter().flat_map(|head| head.entries()));
        let mut writer = Writer::new(path, &entries, progress)?;
        for (name, info) in kept() {
            source.copy(info, &mut writer, progress)?;
            progress.tensor(name);
        }
        if let Some(head) = head {
            writer.tensor(head)?;
        }
        writer.finish()
    }

    fn rank_path(&self, rank: usize) -> PathBuf {
        self.directory.join(format!("rank{rank}.safetensors"))
    }
}

impl RankFile {
    fn open(path: PathBuf) -> Result<Self, BuildError> {
        let map = map_file(&path).map_err(|error| unreadable(&path, &error))?;
        let (header, metadata) = SafeTensors::read_metadata(&map).map_err(|error| {
            BuildError::checkpoint(&path, format!("it is cut off or not a safetensors file ({error})"))
        })?;
        let by_offset: BTreeMap<usize, (String, TensorInfo)> = metadata
            .tensors()
            .into_iter()
            .map(|(name, info)| (info.data_offsets.0, (name, info.clone())))
            .collect();
        let file = File::open(&path).map_err(|error| unreadable(&path, &error))?;
        Ok(Self { path, file, data: header + size_of::<u64>(), tensors: by_offset.into_values().collect() })
    }

    fn copy(
        &self,
        info: &TensorInfo,
        writer: &mut Writer<'_>,
        progress: &dyn Progress,
    ) -> Result<(), BuildError> {
        let (start, end) = info.data_offsets;
        let mut bytes = Vec::new();
        for position in (start..end).step_by(BYTES_AT_ONCE) {
            if progress.interrupted() {
                return Err(BuildError::Interrupted);
            }
            bytes.resize(BYTES_AT_ONCE.min(end - position), 0);
            let offset = (self.data + position) as u64;
            self.file.read_exact_at(&mut bytes, offset).map_err(|error| unreadable(&self.path, &error))?;
            writer.put(&bytes)?;
            progress.written(bytes.len() as u64);
        }
        Ok(())
    }
}
