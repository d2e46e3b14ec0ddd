//! [`QueryItem`]: token ids in two parts, as SGLang's `/v1/score` sends them.

use std::sync::Arc;

use serde_json::Value;

use crate::api::error::ApiError;
use crate::api::token_ids;

/// Token ids of a query and of an item.
pub(super) struct QueryItem {
    /// Empty if there is none.
    pub(super) query: Arc<[Value]>,
    pub(super) item: Vec<Value>,
    pub(super) item_first: bool,
}

impl QueryItem {
    /// The joined token ids of an item at `path`.
    ///
    /// # Errors
    /// One of them is not a token id of the model, or the item has none.
    pub(super) fn read(&self, path: &str, vocab_size: usize) -> Result<Vec<u32>, ApiError> {
        let mut query = Vec::new();
        if !self.query.is_empty() {
            query = token_ids::read("query", &self.query, vocab_size)?;
        }
        let item = token_ids::read(path, &self.item, vocab_size)?;
        Ok(if self.item_first { [item, query].concat() } else { [query, item].concat() })
    }
}
