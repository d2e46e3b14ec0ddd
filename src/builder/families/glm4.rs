//! GLM-4 of 2025 (`Glm4ForCausalLM`): GLM with norms after attention and feed-forward network too.

use super::glm;
use super::spec::*;

pub(super) const SPEC: FamilySpec = FamilySpec {
    name: "glm4",
    title: "GLM-4",
    architecture: "Glm4",
    model_type: "glm4",
    norms: Norms { outputs: Some(["post_self_attn_layernorm", "post_mlp_layernorm"]), ..glm::SPEC.norms },
    trtllm: Err(TrtllmSpec::NO_CLASS),
    ..glm::SPEC
};
