//! The modules that an adapter changes, as `adapter_config.json` names them.
//!
//! Peft applies the tensors of these modules only, whatever else the adapter's file has.

use regex::Regex;
use serde_json::Value;

use crate::builder::BuildError;
use crate::builder::json::Object;

/// Peft's name for every linear layer.
const ALL_LINEAR: &str = "all-linear";

/// Which modules an adapter changes.
pub(super) struct Targets {
    /// `None` if the configuration does not say.
    included: Option<Names>,
    excluded: Option<Names>,
    /// Numbers of layers; empty for all.
    layers: Vec<usize>,
}

/// Names of modules.
enum Names {
    /// The ends of names.
    Ends(Vec<String>),
    /// A pattern that whole names have.
    Pattern(Regex),
}

impl Targets {
    /// # Errors
    /// A field is malformed.
    pub(super) fn read(config: &Object) -> Result<Self, BuildError> {
        let field = "layers_to_transform";
        let layers = match config.optional::<Value>(field)? {
            Some(Value::Number(_)) => vec![config.required(field)?],
            _ => config.optional(field)?.unwrap_or_default(),
        };
        let included = Names::read(config, "target_modules")?;
        Ok(Self { included, excluded: Names::read(config, "exclude_modules")?, layers })
    }

    pub(super) fn include(&self, module: &str) -> bool {
        let Some(included) = &self.included else { return true };
        if !included.has(module) || self.excluded.as_ref().is_some_and(|excluded| excluded.has(module)) {
            return false;
        }
        let mut numbers = module.split('.').filter_map(|part| part.parse::<usize>().ok());
        self.layers.is_empty() || numbers.any(|number| self.layers.contains(&number))
    }
}

impl Names {
    /// `None` if the field names no modules, or in a pattern of Python's that Rust's syntax lacks.
    fn read(config: &Object, field: &str) -> Result<Option<Self>, BuildError> {
        match config.optional::<Value>(field)? {
            None => Ok(None),
            Some(Value::String(all)) if all.eq_ignore_ascii_case(ALL_LINEAR) => Ok(None),
            Some(Value::String(pattern)) => {
                Ok(Regex::new(&format!("^(?:{pattern})$")).ok().map(Self::Pattern))
            }
            Some(_) => {
                let ends: Vec<String> = config.required(field)?;
                Ok((!ends.is_empty()).then_some(Self::Ends(ends)))
            }
        }
    }

    fn has(&self, module: &str) -> bool {
        match self {
            Self::Ends(ends) => ends.iter().any(|end| {
                module.strip_suffix(end.as_str()).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
            }),
            // A base model without its head has names without what is before the first dot.
            Self::Pattern(pattern) => {
                pattern.is_match(module)
                    || module.split_once('.').is_some_and(|(_, bare)| pattern.is_match(bare))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn included(config: &Value, module: &str) -> bool {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("adapter_config.json");
        std::fs::write(&path, config.to_string()).unwrap();
        Targets::read(&Object::read(&path).unwrap()).unwrap().include(module)
    }

    #[test]
    fn a_module_is_changed_if_peft_would_change_it() {
        let module = "model.layers.1.self_attn.v_proj";
        for (config, expected) in [
            (json!({}), true),
            (json!({"target_modules": null}), true),
            (json!({"target_modules": ["q_proj"]}), false),
            (json!({"target_modules": ["q_proj", "v_proj"]}), true),
            (json!({"target_modules": ["proj"]}), false),
            (json!({"target_modules": "all-linear"}), true),
            (json!({"target_modules": r".*\.self_attn\.(q|v)_proj"}), true),
            (json!({"target_modules": r".*\.self_attn\.q_proj"}), false),
            (json!({"target_modules": ["v_proj"], "exclude_modules": ["self_attn.v_proj"]}), false),
            (json!({"target_modules": ["v_proj"], "layers_to_transform": 1}), true),
            (json!({"target_modules": ["v_proj"], "layers_to_transform": [0, 2]}), false),
        ] {
            assert_eq!(included(&config, module), expected, "{config}");
        }
    }
}
