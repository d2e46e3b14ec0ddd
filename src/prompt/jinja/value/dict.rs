//! Dictionaries, which keep the order in which their keys were added.

use std::collections::HashMap;
use std::sync::Arc;

use super::super::fault::Fault;
use super::{Value, check_depth};

/// What makes two keys the same: in Python, `1`, `1.0` and `True` are one key.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(in crate::prompt::jinja) enum Key {
    None,
    Int(i128),
    /// Bits of a float that is not a whole number.
    Float(u64),
    Str(Arc<str>),
    Tuple(Vec<Key>),
}

#[derive(Clone, Debug, Default)]
pub(in crate::prompt::jinja) struct Dict {
    entries: Vec<(Value, Value)>,
    index: HashMap<Key, usize>,
    depth: u32,
}

impl Dict {
    /// Adds or replaces an item.
    ///
    /// # Errors
    /// The key cannot be one, or the value is nested too deeply.
    pub(in crate::prompt::jinja) fn insert(&mut self, key: Value, value: Value) -> Result<(), Fault> {
        self.depth = self.depth.max(1 + value.depth().max(key.depth()));
        check_depth(self.depth)?;
        match self.index.get(&key.key()?) {
            Some(at) => self.entries[*at].1 = value,
            None => {
                self.index.insert(key.key()?, self.entries.len());
                self.entries.push((key, value));
            }
        }
        Ok(())
    }

    /// The value of a key; None too if it cannot be one.
    pub(in crate::prompt::jinja) fn get(&self, key: &Value) -> Option<&Value> {
        let at = self.index.get(&key.key().ok()?)?;
        Some(&self.entries[*at].1)
    }

    /// The value of a text.
    pub(in crate::prompt::jinja) fn get_name(&self, key: &Arc<str>) -> Option<&Value> {
        let at = self.index.get(&Key::Str(key.clone()))?;
        Some(&self.entries[*at].1)
    }

    pub(in crate::prompt::jinja) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(in crate::prompt::jinja) fn depth(&self) -> u32 {
        self.depth.max(1)
    }

    pub(in crate::prompt::jinja) fn entries(&self) -> &[(Value, Value)] {
        &self.entries
    }

    pub(in crate::prompt::jinja) fn keys(&self) -> impl Iterator<Item = &Value> {
        self.entries.iter().map(|(key, _)| key)
    }

    pub(in crate::prompt::jinja) fn equals(&self, other: &Self) -> bool {
        self.len() == other.len()
            && self.entries.iter().all(|(key, value)| other.get(key).is_some_and(|found| found.equals(value)))
    }
}
