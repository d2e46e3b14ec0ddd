//! `adapter_config.json`: how an adapter was trained.
//!
//! Fields are those of peft's `LoraConfig`.

use std::path::Path;

use regex::Regex;
use serde_json::Value;

use super::targets::Targets;
use crate::builder::BuildError;
use crate::builder::json::Object;

pub(in crate::builder) const ADAPTER_CONFIG: &str = "adapter_config.json";

/// Initialisations that leave the base model's weights unchanged. The others subtract the initial adapter from the base
/// model, so the adapter alone does not determine the merged weights.
const HARMLESS_STARTS: [&str; 4] = ["gaussian", "eva", "orthogonal", "mica"];
/// Fields that, if they are set, change how the adapter's tensors are applied.
const UNSUPPORTED: [&str; 12] = [
    "alora_invocation_tokens",
    "arrow_config",
    "kasa_config",
    "layer_replication",
    "megatron_config",
    "monteclora_config",
    "target_parameters",
    "trainable_token_indices",
    "use_bdlora",
    "use_qalora",
    "velora_config",
    "loftq_config",
];
/// The way to use what cannot be merged here.
const MERGE_ELSEWHERE: &str = "merge it into its base model with peft (`merge_and_unload`, then `save_pretrained`), and build the result";

/// What an adapter turns a language model into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::builder) enum AdapterTask {
    /// A classifier of texts.
    Sequence,
    /// A classifier of tokens.
    Token,
    /// What the base model is.
    Same,
}

impl AdapterTask {
    /// The architecture of the adapted model, given that of its base model.
    pub(in crate::builder) fn architecture(self, base: &str) -> String {
        let head = match self {
            Self::Sequence => "ForSequenceClassification",
            Self::Token => "ForTokenClassification",
            Self::Same => return base.to_owned(),
        };
        let family = base.strip_suffix("ForCausalLM").or_else(|| base.strip_suffix("Model"));
        family.map_or_else(|| base.to_owned(), |family| format!("{family}{head}"))
    }
}

pub(in crate::builder) struct AdapterConfig {
    object: Object,
    /// Path or name of the base model.
    pub(in crate::builder) base: Option<String>,
    pub(in crate::builder) task: AdapterTask,
    pub(in crate::builder) use_dora: bool,
    /// The modules that it changes.
    pub(super) targets: Targets,
    rank: usize,
    alpha: f64,
    use_rslora: bool,
    ranks: Vec<(Regex, f64)>,
    alphas: Vec<(Regex, f64)>,
}

impl AdapterConfig {
    /// Reads the configuration of the adapter in `directory`.
    ///
    /// # Errors
    /// It is malformed, or says that the adapter is of a kind that cannot be merged.
    pub(super) fn read(directory: &Path) -> Result<Self, BuildError> {
        let object = Object::read(&directory.join(ADAPTER_CONFIG))?;
        let kind: String = object.required("peft_type")?;
        if kind != "LORA" {
            let reason =
                format!("{kind} adapters cannot be merged by build-engine, only LORA; {MERGE_ELSEWHERE}");
            return Err(object.error("peft_type", &reason));
        }
        refuse_unsupported(&object)?;
        let task = match object.optional::<String>("task_type")?.as_deref() {
            Some("SEQ_CLS") => AdapterTask::Sequence,
            Some("TOKEN_CLS") => AdapterTask::Token,
            _ => AdapterTask::Same,
        };
        Ok(Self {
            base: object
                .optional::<String>("base_model_name_or_path")?
                .filter(|base| !base.trim().is_empty()),
            task,
            use_dora: object.optional("use_dora")?.unwrap_or(false),
            targets: Targets::read(&object)?,
            rank: object.size("r", Some(8))?,
            alpha: object.optional("lora_alpha")?.unwrap_or(8.0),
            use_rslora: object.optional("use_rslora")?.unwrap_or(false),
            ranks: patterns(&object, "rank_pattern")?,
            alphas: patterns(&object, "alpha_pattern")?,
            object,
        })
    }

    /// The factor on the change of a module whose matrices have this rank.
    ///
    /// # Errors
    /// The configuration gives the module another rank.
    pub(super) fn scale(&self, module: &str, rank: usize) -> Result<f32, OtherRank> {
        let of = |patterns: &[(Regex, f64)]| {
            patterns.iter().find(|(pattern, _)| pattern.is_match(module)).map(|(_, value)| *value)
        };
        let configured = of(&self.ranks).unwrap_or(self.rank as f64);
        if configured != rank as f64 {
            return Err(OtherRank { rank, configured });
        }
        let alpha = of(&self.alphas).unwrap_or(self.alpha);
        let divisor = if self.use_rslora { configured.sqrt() } else { configured };
        Ok((alpha / divisor) as f32)
    }

    /// An error about one field, or about a module.
    pub(in crate::builder) fn error(&self, field: &str, reason: &str) -> BuildError {
        self.object.error(field, reason)
    }
}

/// A module's matrices have another rank than the configuration gives it.
#[derive(Debug, thiserror::Error)]
#[error("the adapter's matrices have rank {rank}, but r or rank_pattern says {configured}")]
pub(super) struct OtherRank {
    rank: usize,
    configured: f64,
}

fn refuse_unsupported(object: &Object) -> Result<(), BuildError> {
    if let Some(Value::String(start)) = object.optional::<Value>("init_lora_weights")?
        && !HARMLESS_STARTS.contains(&start.to_lowercase().as_str())
    {
        let reason = format!(
            "an adapter that was initialised with {start} belongs to base weights that this initialisation changed; \
             save it with peft's path_initial_model_for_weight_conversion, or {MERGE_ELSEWHERE}"
        );
        return Err(object.error("init_lora_weights", &reason));
    }
    for field in UNSUPPORTED {
        let empty = match object.optional::<Value>(field)? {
            None | Some(Value::Bool(false)) => true,
            Some(Value::Array(list)) => list.is_empty(),
            Some(Value::Object(fields)) => fields.is_empty(),
            Some(_) => false,
        };
        if !empty {
            return Err(object.error(
                field,
                &format!("such an adapter cannot be merged by build-engine; {MERGE_ELSEWHERE}"),
            ));
        }
    }
    Ok(())
}

/// Values for modules whose name, or its end, matches a pattern; the first that matches is used.
fn patterns(object: &Object, field: &str) -> Result<Vec<(Regex, f64)>, BuildError> {
    let nested = object.nested(field)?;
    let mut patterns = Vec::new();
    for (pattern, value) in nested.fields() {
        let compiled = Regex::new(&format!(r"^(?:.*\.)?(?:{pattern})$"))
            .map_err(|error| nested.error(pattern, &format!("it is not a pattern ({error})")))?;
        let value = value.as_f64().filter(|value| value.is_finite() && *value > 0.0);
        let value = value.ok_or_else(|| nested.error(pattern, "it must be a positive number"))?;
        patterns.push((compiled, value));
    }
    Ok(patterns)
}
