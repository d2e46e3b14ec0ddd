//! Variables for the chat template as the value of an option: a JSON object in a text.

use serde::{Serialize, Serializer};

use super::InvalidValue;
use super::values::Value;
use crate::prompt::TemplateVariables;

/// Reads variables for chat templates.
pub(crate) fn template_variables(text: &str) -> Result<TemplateVariables, InvalidValue> {
    let object = match serde_json::from_str(text) {
        Ok(serde_json::Value::Object(object)) => object,
        Ok(_) => {
            return Err(InvalidValue(
                "expected a JSON object, such as {\"enable_thinking\": false}".to_owned(),
            ));
        }
        Err(error) => return Err(InvalidValue(format!("expected a JSON object: {error}"))),
    };
    TemplateVariables::new(object).map_err(|(name, error)| InvalidValue(format!("`{name}` {error}")))
}

impl Value for TemplateVariables {
    fn parse(text: &str) -> Result<Self, InvalidValue> {
        template_variables(text)
    }

    fn shown(&self) -> Option<String> {
        Some(self.to_json().to_string())
    }
}

impl Serialize for TemplateVariables {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.to_json())
    }
}
