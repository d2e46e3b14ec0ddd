//! Cache of finished scores; the least recently used go first.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::engine::{Job, Work};

type Logits = Arc<[f32]>;

/// What logits are a function of.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct ScoreKey {
    /// Token ids of the whole prompt.
    pub(super) tokens: Arc<[u32]>,
    /// The positions read.
    pub(super) read: Arc<[usize]>,
}

impl ScoreKey {
    /// What the job's score depends on; `None` if it generates.
    pub(super) fn scored_by(job: &Job) -> Option<Self> {
        match &job.work {
            Work::Score { read } => Some(Self { tokens: job.tokens.clone(), read: read.clone() }),
            Work::Generate(_) => None,
        }
    }
}

/// A bounded cache of the logits of texts.
#[derive(Debug)]
pub(super) struct ScoreCache {
    capacity: usize,
    scores: HashMap<ScoreKey, (Logits, u64)>,
    by_use: BTreeMap<u64, ScoreKey>,
    tick: u64,
}

impl ScoreCache {
    pub(super) fn new(capacity: usize) -> Self {
        Self { capacity, scores: HashMap::new(), by_use: BTreeMap::new(), tick: 0 }
    }

    pub(super) fn get(&mut self, text: &ScoreKey) -> Option<Logits> {
        let (logits, used) = self.scores.get_mut(text)?;
        self.tick += 1;
        let key = self.by_use.remove(used)?;
        self.by_use.insert(self.tick, key);
        *used = self.tick;
        Some(logits.clone())
    }

    pub(super) fn insert(&mut self, text: ScoreKey, logits: Logits) {
        if self.capacity == 0 {
            return;
        }
        self.tick += 1;
        if let Some((_, used)) = self.scores.insert(text.clone(), (logits, self.tick)) {
            self.by_use.remove(&used);
        }
        self.by_use.insert(self.tick, text);
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

    fn text(token: u32, read: usize) -> ScoreKey {
        ScoreKey { tokens: [token].into(), read: [read].into() }
    }

    #[test]
    fn the_score_used_longest_ago_goes_first() {
        let mut cache = ScoreCache::new(2);
        let insert = |cache: &mut ScoreCache, token: u32| cache.insert(text(token, 0), [token as f32].into());
        insert(&mut cache, 1);
        insert(&mut cache, 2);
        assert!(cache.get(&text(1, 0)).is_some());
        assert!(cache.get(&text(1, 1)).is_none(), "what is read elsewhere is another score");
        insert(&mut cache, 3);
        assert_eq!(cache.get(&text(2, 0)), None);
        assert_eq!(cache.get(&text(1, 0)).as_deref(), Some([1.0].as_slice()));
        cache.clear();
        assert_eq!(cache.get(&text(3, 0)), None);
    }

    #[test]
    fn a_cache_of_no_capacity_keeps_nothing() {
        let mut cache = ScoreCache::new(0);
        cache.insert(text(1, 0), [1.0].into());
        assert_eq!(cache.get(&text(1, 0)), None);
    }
}
