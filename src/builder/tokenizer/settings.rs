//! What `tokenizer_config.json`, `special_tokens_map.json` and `added_tokens.json` say about tokens.
//!
//! The rules of precedence are those of transformers' `PreTrainedTokenizerBase._from_pretrained`: where
//! `tokenizer_config.json` has `added_tokens_decoder`, the two older files are not read; otherwise
//! `special_tokens_map.json` overrides it.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;

use serde_json::{Map, Value, json};

use super::super::BuildError;
use super::super::json::Object;
use super::token::{Given, TokenFields};

const SPECIAL_TOKENS_MAP: &str = "special_tokens_map.json";
/// Where transformers saves tokens that a model names for itself.
const MODEL_SPECIFIC: &str = "model_specific_special_tokens";
const ADDED_TOKENS: &str = "added_tokens.json";

/// The special tokens that every tokenizer may name, in the order in which transformers adds them.
pub(super) const NAMED: [&str; 7] =
    ["bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"];

/// The settings from the files other than `tokenizer.json`.
#[derive(Default)]
pub(super) struct Settings {
    /// `tokenizer_class`, of `tokenizer_config.json` or else of `config.json`.
    pub(super) class: Option<String>,
    /// Whether the class is code of the checkpoint's own.
    pub(super) has_own_code: bool,
    /// Added tokens in the order of the ids that the file gives them. The ids only order them, as in transformers, and
    /// may be negative.
    pub(super) added: BTreeMap<i64, TokenFields>,
    /// Those of [`NAMED`] that a file has; `None` where it says null.
    pub(super) named: BTreeMap<&'static str, Option<Given>>,
    /// Further `..._token` fields and named extra tokens, in order.
    pub(super) specific: Vec<(String, Given)>,
    /// `extra_special_tokens` or, under its older name, `additional_special_tokens`.
    pub(super) extra: Vec<Given>,
    pub(super) add_prefix_space: Option<bool>,
    pub(super) legacy: bool,
    /// Whether BOS and EOS are put around texts, if the tokenizer has no file that says it.
    pub(super) add_bos_token: bool,
    pub(super) add_eos_token: bool,
}

impl Settings {
    /// Reads the files in `checkpoint`. `config` is `tokenizer_config.json`, `file` the content of
    /// `tokenizer.json`.
    ///
    /// # Errors
    /// A file is malformed, or asks for what is not supported.
    pub(super) fn read(
        checkpoint: &Path,
        config: Option<&Object>,
        file: Option<&Value>,
    ) -> Result<Self, BuildError> {
        let map = Object::read_if_present(&checkpoint.join(SPECIAL_TOKENS_MAP))?;
        let mut reader = Reader { config, map: None, fields: Map::new(), specific: Map::new() };
        for (name, value) in config.into_iter().flat_map(Object::fields) {
            reader.fields.insert(name.to_owned(), value.clone());
        }
        if reader.fields.get("split_special_tokens") == Some(&Value::Bool(true)) {
            let reason = "true splits every special token into pieces of text, also those of the template; set it to \
                          false";
            return Err(reader.error("split_special_tokens", reason));
        }
        reader.rename_additional_tokens();
        reader.take_specific_tokens()?;
        let mut added = reader.added_tokens_decoder()?;
        if !reader.fields.contains_key("added_tokens_decoder") {
            reader.map = map.as_ref();
            reader.merge_special_tokens_map();
            added = reader.older_added_tokens(checkpoint, file)?;
        }
        reader.finish(added)
    }
}

impl Settings {
    /// A named token's text: the files' if they have it, even if they say null, else `default`.
    pub(super) fn named_or<'a>(&'a self, name: &str, default: &'a str) -> Option<&'a str> {
        self.named.get(name).map_or(Some(default), |given| given.as_ref().map(Given::content))
    }

    /// Texts of all special tokens that the files name.
    pub(super) fn special_contents(&self) -> HashSet<String> {
        let named = self.named.values().flatten();
        named.chain(&self.extra).map(|given| given.content().to_owned()).collect()
    }
}

/// The fields of `tokenizer_config.json`, while those of other files are merged into them.
struct Reader<'a> {
    config: Option<&'a Object>,
    /// `special_tokens_map.json`, if it counts.
    map: Option<&'a Object>,
    fields: Map<String, Value>,
    /// Tokens under names other than [`NAMED`].
    specific: Map<String, Value>,
}

impl Reader<'_> {
    /// An error about a field, with the file that has it.
    fn error(&self, field: &str, reason: &str) -> BuildError {
        let has = |object: &&&Object| object.has(field);
        match self.map.as_ref().filter(has).or(self.config.as_ref()) {
            Some(object) => object.error(field, reason),
            None => BuildError::checkpoint(SPECIAL_TOKENS_MAP, format!("{field}: {reason}")),
        }
    }

    fn rename_additional_tokens(&mut self) {
        if self.fields.get("extra_special_tokens").is_none_or(is_empty)
            && let Some(additional) = self.fields.shift_remove("additional_special_tokens")
        {
            self.fields.insert("extra_special_tokens".into(), additional);
        }
    }

    /// Moves texts called `..._token` and extra tokens that have names.
    fn take_specific_tokens(&mut self) -> Result<(), BuildError> {
        let is_specific = |name: &str, value: &Value| {
            name.ends_with("_token") && !NAMED.contains(&name) && value.is_string()
        };
        let names: Vec<String> = (self.fields.iter())
            .filter(|(name, value)| is_specific(name, value))
            .map(|(name, _)| name.clone())
            .collect();
        for name in names {
            if let Some(value) = self.fields.shift_remove(&name) {
                self.specific.insert(name, value);
            }
        }
        self.take_named_extra_tokens();
        // Transformers reads the tokens that it saved under this name only where there are no others.
        match self.fields.shift_remove(MODEL_SPECIFIC) {
            None | Some(Value::Null) => {}
            Some(Value::Object(saved)) if self.specific.is_empty() => self.specific = saved,
            Some(Value::Object(_)) => {}
            Some(_) => return Err(self.error(MODEL_SPECIFIC, "it is not an object of named tokens")),
        }
        Ok(())
    }

    fn take_named_extra_tokens(&mut self) {
        if self.fields.get("extra_special_tokens").is_some_and(Value::is_object)
            && let Some(Value::Object(named)) = self.fields.shift_remove("extra_special_tokens")
        {
            self.specific.extend(named);
        }
    }

    fn added_tokens_decoder(&self) -> Result<BTreeMap<i64, TokenFields>, BuildError> {
        let field = "added_tokens_decoder";
        let mut added = BTreeMap::new();
        match self.fields.get(field) {
            None => {}
            Some(Value::Object(tokens)) => {
                for (written, token) in tokens {
                    let id = written.trim().parse::<i64>().ok().filter(|id| *id <= i64::from(u32::MAX));
                    let id = id.ok_or_else(|| {
                        let reason = format!("{written:?} is not a token id; ids are whole numbers");
                        self.error(field, &reason)
                    })?;
                    let token = TokenFields::read(token);
                    added.insert(id, token.map_err(|error| self.error(field, &error.to_string()))?);
                }
            }
            Some(_) => return Err(self.error(field, "it is not an object of tokens by their ids")),
        }
        Ok(added)
    }

    /// Merges the fields of `special_tokens_map.json`, which override those of `tokenizer_config.json`.
    fn merge_special_tokens_map(&mut self) {
        for (name, value) in self.map.into_iter().flat_map(Object::fields) {
            let mut value = value.clone();
            if let Value::Array(tokens) = &mut value {
                tokens.iter_mut().for_each(make_special);
            }
            let existing = match self.fields.get(name) {
                Some(Value::Array(existing)) => existing.clone(),
                _ => Vec::new(),
            };
            match &mut value {
                Value::Array(tokens) if name == "extra_special_tokens" => {
                    tokens.retain(|token| !existing.contains(token));
                    tokens.splice(..0, existing);
                }
                value if name != "extra_special_tokens" => make_special(value),
                _ => {}
            }
            self.fields.insert(name.to_owned(), value);
        }
        self.take_named_extra_tokens();
    }

    /// Added tokens of `added_tokens.json`, and over them those of `tokenizer.json`.
    fn older_added_tokens(
        &self,
        checkpoint: &Path,
        file: Option<&Value>,
    ) -> Result<BTreeMap<i64, TokenFields>, BuildError> {
        let mut added = BTreeMap::new();
        // Transformers overlooks the objects of `tokenizer_config.json` here.
        let content =
            |value: &Value| if value.get("__type").is_none() { value.get("content").cloned() } else { None };
        let text = |value: &Value| content(value).unwrap_or(value.clone()).as_str().map(str::to_owned);
        let mut special: Vec<String> =
            NAMED.iter().filter_map(|name| text(self.fields.get(*name)?)).collect();
        if let Some(Value::Array(extra)) = self.fields.get("extra_special_tokens") {
            special.extend(extra.iter().filter_map(text));
        }
        if let Some(listed) = Object::read_if_present(&checkpoint.join(ADDED_TOKENS))? {
            for (content, id) in listed.fields() {
                let id = token_id(id)
                    .ok_or_else(|| listed.error(content, "it must be a token id, a whole number"))?;
                let special = special.iter().any(|token| token == content);
                let normalized = Some(!special);
                added.insert(id, TokenFields { special, normalized, ..TokenFields::special(content) });
            }
        }
        for token in file.and_then(|file| file.get("added_tokens")?.as_array()).into_iter().flatten() {
            // The tokenizers crate reports what is wrong with `tokenizer.json`.
            if let (Some(id), Ok(token)) = (token.get("id").and_then(token_id), TokenFields::read(token)) {
                added.insert(id, token);
            }
        }
        Ok(added)
    }

    fn finish(mut self, added: BTreeMap<i64, TokenFields>) -> Result<Settings, BuildError> {
        let mut named = BTreeMap::new();
        for name in NAMED {
            if let Some(value) = self.fields.get(name) {
                let given = if value.is_null() { None } else { Some(self.given(name, value)?) };
                // The flags in a list of added tokens override those of the token itself.
                let listed =
                    |given: Given| match added.values().find(|token| token.content == given.content()) {
                        Some(token) => Given::Token(token.clone()),
                        None => given,
                    };
                named.insert(name, given.map(listed));
            }
        }
        let mut specific = Map::new();
        for (name, value) in &self.fields {
            let is_token = value.is_string() || value.get("content").is_some();
            if name.ends_with("_token") && !NAMED.contains(&name.as_str()) && is_token {
                specific.insert(name.clone(), value.clone());
            }
        }
        specific.extend(std::mem::take(&mut self.specific));
        let specific = (specific.iter())
            .map(|(name, value)| Ok((name.clone(), self.given(name, value)?)))
            .collect::<Result<_, BuildError>>()?;
        Ok(Settings {
            class: self.text("tokenizer_class"),
            has_own_code: self.fields.contains_key("auto_map"),
            added,
            named,
            specific,
            extra: self.extra_tokens()?,
            add_prefix_space: self.flag("add_prefix_space"),
            legacy: self.flag("legacy").unwrap_or(false),
            add_bos_token: self.flag("add_bos_token").unwrap_or(false),
            add_eos_token: self.flag("add_eos_token").unwrap_or(false),
        })
    }

    fn extra_tokens(&self) -> Result<Vec<Given>, BuildError> {
        let names = ["extra_special_tokens", "additional_special_tokens"];
        let Some(name) = names.into_iter().find(|name| self.fields.contains_key(*name)) else {
            return Ok(Vec::new());
        };
        match self.fields.get(name) {
            None | Some(Value::Null) => Ok(Vec::new()),
            Some(Value::Array(tokens)) => tokens.iter().map(|token| self.given(name, token)).collect(),
            Some(_) => Err(self.error(name, "it is neither a list of tokens nor an object of named tokens")),
        }
    }

    fn given(&self, field: &str, value: &Value) -> Result<Given, BuildError> {
        match value {
            Value::String(text) => Ok(Given::Text(text.clone())),
            Value::Object(_) => {
                let token = TokenFields::read(value);
                token.map(Given::Token).map_err(|error| self.error(field, &error.to_string()))
            }
            other => {
                Err(self.error(field, &format!("{other} is neither a token's text nor an object with it")))
            }
        }
    }

    fn text(&self, field: &str) -> Option<String> {
        self.fields.get(field)?.as_str().map(str::to_owned)
    }

    fn flag(&self, field: &str) -> Option<bool> {
        self.fields.get(field)?.as_bool()
    }
}

fn token_id(value: &Value) -> Option<i64> {
    value.as_u64().and_then(|id| u32::try_from(id).ok()).map(i64::from)
}

/// Sets the `special` flag of a token that is an object.
fn make_special(token: &mut Value) {
    if let Some(token) = token.as_object_mut() {
        token.remove("__type");
        token.insert("special".to_owned(), json!(true));
    }
}

/// Whether a value counts as false in Python.
fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::String(text) => text.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::Object(object) => object.is_empty(),
        _ => false,
    }
}
