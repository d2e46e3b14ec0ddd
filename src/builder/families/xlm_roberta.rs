//! XLM-RoBERTa, which is RoBERTa with another tokenizer.

use super::roberta;
use super::spec::*;

pub(super) const SPEC: FamilySpec = FamilySpec {
    name: "xlm_roberta",
    title: "XLM-RoBERTa",
    architecture: "XLMRoberta",
    model_type: "xlm-roberta",
    ..roberta::SPEC
};
