//! A manifest for tests to change to what they need.

use std::collections::BTreeMap;

use assay::manifest::{
    BuildLimits, BuiltWith, Dtype, FORMAT, Manifest, ManifestHead, Model, NUMERICS, Profile, PromptSpec,
    Rope, RopeScaling, Target, Task, Variant,
};

/// A reward model of the sizes of `tests/checkpoints/llama3-tiny` with one attribute, for a processor that
/// does not exist. Its files and profile id are left to the test.
pub(crate) fn manifest() -> Manifest {
    Manifest {
        format: FORMAT,
        numerics: NUMERICS,
        profile: Profile { id: String::new(), name: "onednn-avx2-f32".into() },
        model: Model {
            name: "tiny".into(),
            architecture: "LlamaForSequenceClassification".into(),
            family: "llama".into(),
            vocab_size: 640,
            hidden_size: 64,
            intermediate_size: 176,
            num_layers: 3,
            num_heads: 4,
            num_kv_heads: 2,
            head_dim: 16,
            norm_eps: 1e-5,
            qkv_bias: false,
            output_bias: false,
            mlp_bias: false,
            rope: Rope { theta: 500_000.0, scaling: RopeScaling::Default },
            variant: Variant::default(),
        },
        task: Task::Reward,
        target: Target::Cpu { instruction_set: "avx2".into() },
        built_with: BuiltWith { assay: "0.1.0".into(), onednn: "2.6.3".into() },
        dtype: Dtype::F32,
        limits: BuildLimits { max_seq_len: 1024, max_batch_size: 256, max_num_tokens: 2048 },
        head: ManifestHead { attributes: vec!["reward".into()], ..ManifestHead::default() },
        prompt: PromptSpec::default(),
        files: BTreeMap::new(),
    }
}
