//! YAML as JSON values, with the line of each, in bounded time whatever a file holds.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use serde_saphyr::Spanned;
use serde_saphyr::options::NonFiniteFloatPolicy;

/// What errors call a file that is a list.
pub(super) const RUBRIC: &str = "rubric";
/// Most nodes that aliases may repeat. The largest judge has half of them.
const MAX_REPEATED: usize = 20_000;

/// A file's content.
#[derive(Debug)]
pub(super) struct Document {
    pub(super) value: Value,
    lines: Lines,
}

/// Lines, counted from 1, by the path of the value there, such as `attributes.safe.ask`.
#[derive(Debug, Default)]
struct Lines(BTreeMap<String, u64>);

/// Why a text is not YAML, and the line where that shows.
#[derive(Debug)]
pub(super) struct Malformed {
    pub(super) line: Option<u64>,
    pub(super) reason: String,
}

impl Document {
    /// Parses a text.
    ///
    /// # Errors
    /// It is not YAML, repeats a key, or repeats itself too often.
    pub(super) fn parse(text: &str) -> Result<Self, Malformed> {
        let options = serde_saphyr::options! {
            strict_booleans: true,
            non_finite_float_policy: NonFiniteFloatPolicy::AsString,
            alias_limits: serde_saphyr::alias_limits! { max_total_replayed_events: MAX_REPEATED },
        };
        // An empty document is YAML's null.
        let node: Option<Node> =
            serde_saphyr::from_str_with_options(text, options).map_err(|error| Malformed {
                line: error.location().map(|place| place.line()),
                reason: reason(error.without_snippet()),
            })?;
        let (mut value, mut lines) = (Value::Null, Lines::default());
        if let Some(node) = node {
            let root = if matches!(node.content, Content::List(_)) { RUBRIC } else { "" };
            value = node.into_value(root, &mut lines);
        }
        Ok(Self { value, lines })
    }

    /// The line of the value at `path`, or of the nearest one around it.
    pub(super) fn line(&self, mut path: &str) -> Option<u64> {
        loop {
            if let Some(line) = self.lines.0.get(path) {
                return Some(*line);
            }
            path = match path.rfind(['.', '[']) {
                Some(end) => &path[..end],
                None if path.is_empty() => return None,
                None => "",
            };
        }
    }
}

/// What is wrong with a text, in our words where these say more than the parser's.
fn reason(error: &serde_saphyr::Error) -> String {
    match error {
        serde_saphyr::Error::DuplicateMappingKey { key: Some(key), .. } => {
            format!("the key `{key}` appears twice; leave one out")
        }
        serde_saphyr::Error::AliasReplayLimitExceeded { .. } => {
            format!("aliases repeat more than {MAX_REPEATED} values; write them out")
        }
        serde_saphyr::Error::AliasError { error, .. } => reason(error),
        error => {
            let text = error.to_string();
            // The place is said with the name of the file.
            format!("it is not YAML: {}", text.split(" at line ").next().unwrap_or_default())
        }
    }
}

/// A value with its line.
struct Node {
    line: u64,
    content: Content,
}

enum Content {
    Scalar(Value),
    List(Vec<Node>),
    Map(Vec<(String, Node)>),
}

impl Node {
    /// The value, whose path is `path`. The lines of it and of what is in it are kept.
    fn into_value(self, path: &str, lines: &mut Lines) -> Value {
        lines.0.insert(path.to_owned(), self.line);
        match self.content {
            Content::Scalar(value) => value,
            Content::List(nodes) => {
                let nodes = nodes.into_iter().enumerate();
                nodes.map(|(index, node)| node.into_value(&format!("{path}[{index}]"), lines)).collect()
            }
            Content::Map(entries) => {
                let mut map = Map::new();
                for (name, node) in entries {
                    let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                    map.insert(name, node.into_value(&path, lines));
                }
                Value::Object(map)
            }
        }
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Spanned { value, referenced, .. } = Spanned::<Content>::deserialize(deserializer)?;
        Ok(Self { line: referenced.line(), content: value })
    }
}

impl<'de> Deserialize<'de> for Content {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ContentVisitor)
    }
}

struct ContentVisitor;

impl<'de> Visitor<'de> for ContentVisitor {
    type Value = Content;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E: Error>(self) -> Result<Content, E> {
        Ok(Content::Scalar(Value::Null))
    }

    fn visit_none<E: Error>(self) -> Result<Content, E> {
        self.visit_unit()
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Content, D::Error> {
        Content::deserialize(deserializer)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Content, E> {
        Ok(Content::Scalar(value.into()))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Content, E> {
        Ok(Content::Scalar(value.into()))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Content, E> {
        Ok(Content::Scalar(value.into()))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Content, E> {
        Ok(Content::Scalar(Number::from_f64(value).map_or_else(|| value.to_string().into(), Value::Number)))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Content, E> {
        Ok(Content::Scalar(text.into()))
    }

    fn visit_seq<S: SeqAccess<'de>>(self, mut list: S) -> Result<Content, S::Error> {
        let mut nodes = Vec::new();
        while let Some(node) = list.next_element()? {
            nodes.push(node);
        }
        Ok(Content::List(nodes))
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Content, M::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = map.next_entry()? {
            entries.push(entry);
        }
        Ok(Content::Map(entries))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_value_gets_the_line_of_what_contains_it() {
        let text = "attributes:\n  safe:\n    ask: Safe?\n    answers: {a: 1,\n      b: 0}\n";
        let document = Document::parse(text).unwrap();
        assert_eq!(document.value["attributes"]["safe"]["answers"]["b"], 0);
        for (path, line) in [
            ("attributes.safe.ask", 3),
            ("attributes.safe.answers.b", 5),
            ("attributes.safe.think", 3),
            ("layout", 1),
        ] {
            assert_eq!(document.line(path), Some(line), "{path}");
        }
        let list = Document::parse("- {name: a}\n- {name: b,\n   ask: 5}\n").unwrap();
        assert_eq!((list.line("rubric[1].ask"), list.line("rubric[1].weight")), (Some(3), Some(2)));
    }

    #[test]
    fn words_and_quoted_numbers_are_texts() {
        let value = Document::parse("{a: Yes, b: '1', c: 1, d: .nan, e: true, 0: ~}").unwrap().value;
        assert_eq!(value.to_string(), r#"{"a":"Yes","b":"1","c":1,"d":".nan","e":true,"0":null}"#);
        assert_eq!(Document::parse("").unwrap().value, Value::Null);
    }

    #[test]
    fn aliases_that_multiply_are_refused_before_they_are_all_repeated() {
        // Eleven levels of ten aliases each: all of them would repeat 100 billion values.
        let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for level in 1..12 {
            let before = format!("*a{}", level - 1);
            text += &format!("a{level}: &a{level} [{}]\n", [before.as_str(); 10].join(", "));
        }
        let error = Document::parse(&text).unwrap_err().reason;
        assert!(error.contains("aliases repeat more than 20000 values"), "{error}");
        let shared = "a: &digits {x: 1, y: 2}\nb: *digits\n";
        assert_eq!(Document::parse(shared).unwrap().value["b"]["y"], 2);
    }

    #[test]
    fn a_repeated_key_is_named_with_its_line() {
        let error = Document::parse("a:\n  Yes: 1\n  No: 0\n  Yes: 2\n").unwrap_err();
        assert_eq!((error.line, &*error.reason), (Some(4), "the key `Yes` appears twice; leave one out"));
    }
}
