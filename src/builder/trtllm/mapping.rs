//! Which part of a model each rank has.

use std::ops::Range;

use crate::manifest::GpuTarget;

/// How an engine is divided among ranks, one for each GPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mapping {
    /// Ranks that each have a part of every layer.
    pub tensor_parallel: usize,
    /// Groups of ranks, called stages, that each have some of the layers.
    pub pipeline_parallel: usize,
}

impl Mapping {
    /// The division of an engine.
    pub(super) fn from_gpus(gpus: &GpuTarget) -> Self {
        Self { tensor_parallel: gpus.tensor_parallel, pipeline_parallel: gpus.pipeline_parallel }
    }

    /// Number of ranks.
    pub fn ranks(self) -> usize {
        self.tensor_parallel * self.pipeline_parallel
    }

    /// The width of logits for a vocabulary: the runtime pads it for all ranks (`ModelConfig::getVocabSizePadded` of
    /// `WorldConfig::getSize`).
    pub(super) fn padded_vocab(self, vocab: usize) -> usize {
        vocab.next_multiple_of(self.ranks())
    }

    /// The `vocab_size` with which `trtllm-build`, which pads `lm_head` for the ranks of one stage, arrives at the
    /// width that the runtime expects: the vocabulary's own, or one that all ranks divide.
    pub(super) fn vocab_size(self, vocab: usize) -> usize {
        let padded = self.padded_vocab(vocab);
        if vocab.next_multiple_of(self.tensor_parallel) == padded { vocab } else { padded }
    }

    /// Every rank in order, those of the first stage first.
    pub(super) fn each_rank(self) -> impl Iterator<Item = Rank> {
        (0..self.ranks()).map(move |rank| Rank {
            mapping: self,
            tensor: rank % self.tensor_parallel,
            stage: rank / self.tensor_parallel,
        })
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rank {
    mapping: Mapping,
    /// Which part of every layer of its stage it has.
    tensor: usize,
    stage: usize,
}

impl Rank {
    pub(super) fn number(self) -> usize {
        self.stage * self.mapping.tensor_parallel + self.tensor
    }

    /// Whether it has the embedding.
    pub(super) fn is_first_stage(self) -> bool {
        self.stage == 0
    }

    /// Whether it has the last norm and the head.
    pub(super) fn is_last_stage(self) -> bool {
        self.stage + 1 == self.mapping.pipeline_parallel
    }

    /// Its layers of `count`. If the stages do not divide them, the first stages have one more.
    pub(super) fn layers(self, count: usize) -> Range<usize> {
        let stages = self.mapping.pipeline_parallel;
        let start = |stage: usize| stage * (count / stages) + stage.min(count % stages);
        start(self.stage)..start(self.stage + 1)
    }

    /// This rank's part of `count` rows or columns; the ranks of a stage must divide them.
    pub(super) fn share(self, count: usize) -> Range<usize> {
        let each = count / self.mapping.tensor_parallel;
        self.tensor * each..(self.tensor + 1) * each
    }

    /// This rank's part of `count` key-value heads. If there are fewer than ranks, several ranks have the same one.
    pub(super) fn kv_heads(self, count: usize) -> Range<usize> {
        let ranks = self.mapping.tensor_parallel;
        if count < ranks {
            let head = self.tensor * count / ranks;
            head..head + 1
        } else {
            self.share(count)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ranks(tensor_parallel: usize, pipeline_parallel: usize) -> Vec<Rank> {
        Mapping { tensor_parallel, pipeline_parallel }.each_rank().collect()
    }

    #[test]
    fn a_vocabulary_is_as_wide_for_the_runtime_as_for_the_build() {
        for (vocab, tensor_parallel, pipeline_parallel, size, padded) in [
            (128_256, 8, 2, 128_256, 128_256),
            (32_001, 2, 1, 32_001, 32_002),
            (32_001, 1, 2, 32_002, 32_002),
            (32_001, 2, 2, 32_004, 32_004),
            (32_003, 2, 2, 32_003, 32_004),
            (32_000, 1, 3, 32_001, 32_001),
        ] {
            let mapping = Mapping { tensor_parallel, pipeline_parallel };
            assert_eq!((mapping.vocab_size(vocab), mapping.padded_vocab(vocab)), (size, padded));
            assert_eq!(size.next_multiple_of(tensor_parallel), mapping.padded_vocab(size));
        }
    }

    #[test]
    fn layers_that_do_not_divide_go_to_the_first_stages() {
        let layers: Vec<_> = ranks(1, 3).iter().map(|rank| rank.layers(8)).collect();
        assert_eq!(layers, [0..3, 3..6, 6..8]);
        assert_eq!(ranks(2, 2)[3].layers(4), 2..4);
    }

    #[test]
    fn key_value_heads_are_repeated_if_there_are_fewer_than_ranks() {
        let heads = |tp, count| ranks(tp, 1).iter().map(|rank| rank.kv_heads(count)).collect::<Vec<_>>();
        assert_eq!(heads(4, 2), [0..1, 0..1, 1..2, 1..2]);
        assert_eq!(heads(2, 4), [0..2, 2..4]);
    }

    #[test]
    fn ranks_of_a_stage_follow_one_another() {
        let ranks = ranks(2, 2);
        assert!(ranks.iter().enumerate().all(|(number, rank)| rank.number() == number));
        assert!(ranks[1].is_first_stage() && !ranks[1].is_last_stage() && ranks[2].is_last_stage());
    }
}
