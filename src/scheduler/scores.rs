//! Finished scores, least recently used out first.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

type Logits = Arc<[f32]>;

/// A bounded cache from the tokens of a conversation to its logits.
#[derive(Debug)]
pub(super) struct ScoreCache {
    capacity: usize,
    scores: HashMap<Arc<[u32]>, (Logits, u64)>,
    by_use: BTreeMap<u64, Arc<[u32]>>,
    tick: u64,
}

impl ScoreCache {
    pub(super) fn new(capacity: usize) -> Self {
        Self { capacity, scores: HashMap::new(), by_use: BTreeMap::new(), tick: 0 }
    }

    pub(super) fn get(&mut self, tokens: &[u32]) -> Option<Logits> {
        let (logits, used) = self.scores.get_mut(tokens)?;
        self.tick += 1;
        let key = self.by_use.remove(used)?;
        self.by_use.insert(self.tick, key);
        *used = self.tick;
        Some(logits.clone())
    }

    pub(super) fn insert(&mut self, tokens: Arc<[u32]>, logits: Logits) {
        if self.capacity == 0 {
            return;
        }
        self.tick += 1;
        if let Some((_, used)) = self.scores.insert(tokens.clone(), (logits, self.tick)) {
            self.by_use.remove(&used);
        }
        self.by_use.insert(self.tick, tokens);
        if self.scores.len() > self.capacity
            && let Some((_, oldest)) = self.by_use.pop_first()
        {
            self.scores.remove(&oldest);
        }
    }

    pub(super) fn clear(&mut self) {
        self.scores.clear();
        self.by_use.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_score_used_longest_ago_goes_first() {
        let mut cache = ScoreCache::new(2);
        let insert = |cache: &mut ScoreCache, token: u32| cache.insert([token].into(), [token as f32].into());
        insert(&mut cache, 1);
        insert(&mut cache, 2);
        assert!(cache.get(&[1]).is_some());
        insert(&mut cache, 3);
        assert_eq!(cache.get(&[2]), None);
        assert_eq!(cache.get(&[1]).as_deref(), Some([1.0].as_slice()));
        cache.clear();
        assert_eq!(cache.get(&[3]), None);
    }

    #[test]
    fn a_cache_of_no_capacity_keeps_nothing() {
        let mut cache = ScoreCache::new(0);
        cache.insert([1].into(), [1.0].into());
        assert_eq!(cache.get(&[1]), None);
    }
}
