//! The table of models by their names on the hub, in docs/models.md. Each row is built from the tiny checkpoint that it
//! names, under the model's own name, class and tensors.

use std::fmt::Write;
use std::path::Path;

use assay::builder::Silent;
use assay::builder::cpu::build;
use assay::manifest::{Dtype, Manifest, Pooling};
use serde_json::json;

use super::support::Checkpoint;
use crate::generated_page::check_table;

/// What a model is built as.
#[derive(Clone, Copy)]
enum BuiltAs {
    Classifier,
    /// A linear head under this name.
    Head(&'static str),
    /// A head under this name whose score is a cost.
    Cost(&'static str),
    ValueHeadOfTwoLayers,
    TwoLayers,
    /// A head that is read at a token which follows the conversation.
    OwnToken,
    /// A row of `lm_head`.
    Row(usize),
    /// One row of `lm_head` minus another.
    TwoRows,
    YesMinusNo,
    FiveAttributes,
    /// This number of objectives, and their mixture.
    Mixture(&'static str, usize),
    /// Steps that end with a token.
    Steps(&'static str),
    StepOfEachTurn,
    /// Steps that are encoded one by one.
    EncodedSteps,
    Encoder,
}

impl BuiltAs {
    fn text(self) -> String {
        match self {
            Self::Classifier => "[classifier](#heads)".to_owned(),
            Self::Head(name) => format!("`{name}`"),
            Self::Cost(name) => format!("`{name}`, as `cost`"),
            Self::ValueHeadOfTwoLayers => "value head of two layers".to_owned(),
            Self::TwoLayers => "two layers".to_owned(),
            Self::OwnToken => "`v_head` at its own token".to_owned(),
            Self::Row(row) => format!("`lm_head` row {row}"),
            Self::TwoRows => "`lm_head`, two rows".to_owned(),
            Self::YesMinusNo => "\"yes\" minus \"no\", with its card's prompt".to_owned(),
            Self::FiveAttributes => "five attributes, after [conversion](#convert-a-nemo-archive)".to_owned(),
            Self::Mixture(what, _) => format!("{what} and their mixture"),
            Self::Steps(how) => format!("[steps](#score-steps){how}"),
            Self::StepOfEachTurn => "a [step](#score-steps) each turn, by \"+\" and \"-\"".to_owned(),
            Self::EncodedSteps => "[steps](#steps-that-end-with-a-line-break), one per line".to_owned(),
            Self::Encoder => "[encoder](#encoders)".to_owned(),
        }
    }

    /// Whether the engine is that.
    fn is(self, manifest: &Manifest) -> bool {
        let head = &manifest.head;
        let one = head.attributes == ["reward"] && head.gating.is_none();
        let last = matches!(head.pooling, Pooling::LastToken | Pooling::LastNonPad { .. });
        match self {
            Self::Classifier => {
                matches!(head.pooling, Pooling::LastNonPad { .. } | Pooling::LastToken)
                    && head.hidden.is_empty()
            }
            Self::Head(_) => one && last && head.hidden.is_empty(),
            Self::Cost(_) => head.attributes == ["cost"] && head.hidden.is_empty(),
            Self::ValueHeadOfTwoLayers | Self::TwoLayers => one && last && head.hidden.len() == 1,
            Self::OwnToken => one && manifest.prompt.suffix.len() == 1,
            Self::Row(row) => one && head.rows == [row],
            Self::TwoRows => one && head.rows.len() == 1 && manifest.prompt.generation_prompt,
            Self::YesMinusNo => one && head.rows.len() == 1 && !manifest.prompt.generation_prompt,
            Self::FiveAttributes => head.attributes.len() == 5 && head.rows == [4, 5, 6, 7, 8],
            Self::Mixture(_, objectives) => head.gating.is_some() && head.attributes.len() == objectives + 1,
            Self::Steps(_) => matches!(head.pooling, Pooling::EachStep { .. }),
            Self::StepOfEachTurn => matches!(head.pooling, Pooling::EachTurn { .. }),
            Self::EncodedSteps => matches!(head.pooling, Pooling::EachEncodedStep { .. }),
            Self::Encoder => manifest.model.variant.bidirectional.is_some(),
        }
    }
}

/// A change that gives a tiny checkpoint the form of the model.
#[derive(Clone, Copy)]
enum Change {
    Class(&'static str),
    /// The class gets another name, and so do the head's tensors, whose names start with `head`.
    Renamed {
        head: &'static str,
        to: &'static str,
        class: &'static str,
    },
    /// A vocabulary with this number of rows.
    Rows(usize),
    /// The tokenizer has a token that the tiny one lacks.
    Token(&'static str),
    /// Its configuration has a field.
    Field(&'static str, &'static str),
}

/// A model: its name, how it is built, its weights in bf16, and the tiny checkpoint with what makes it the model's.
struct Row {
    name: &'static str,
    as_: BuiltAs,
    weights: &'static str,
    tiny: &'static str,
    changes: &'static [Change],
    /// Whether its weights are published as `.bin` only.
    bin: bool,
}

const fn row(
    name: &'static str,
    as_: BuiltAs,
    weights: &'static str,
    tiny: &'static str,
    changes: &'static [Change],
) -> Row {
    Row { name, as_, weights, tiny, changes, bin: false }
}

const fn bin(row: Row) -> Row {
    Row { bin: true, ..row }
}

use BuiltAs::{
    Classifier, Cost, EncodedSteps, Encoder, FiveAttributes, Head, Mixture, OwnToken, StepOfEachTurn, Steps,
    TwoLayers, TwoRows, ValueHeadOfTwoLayers, YesMinusNo,
};
use Change::{Class, Field, Renamed, Rows, Token};

const MODELS: &[Row] = &[
    row("Skywork/Skywork-Reward-V2-Llama-3.1-8B", Classifier, "15 GB", "llama3-tiny", &[]),
    row("Skywork/Skywork-Reward-V2-Llama-3.2-1B", Classifier, "2.5 GB", "llama3-tiny", &[]),
    row("Skywork/Skywork-Reward-V2-Llama-3.2-3B", Classifier, "6.4 GB", "llama3-tiny", &[]),
    row("Skywork/Skywork-Reward-V2-Qwen3-0.6B", Classifier, "1.2 GB", "qwen3-tiny", &[]),
    row("Skywork/Skywork-Reward-V2-Qwen3-1.7B", Classifier, "3.4 GB", "qwen3-tiny", &[]),
    row("Skywork/Skywork-Reward-V2-Qwen3-4B", Classifier, "8 GB", "qwen3-tiny", &[]),
    row("Skywork/Skywork-Reward-V2-Qwen3-8B", Classifier, "15 GB", "qwen3-tiny", &[]),
    row("Skywork/Skywork-Reward-Llama-3.1-8B-v0.2", Classifier, "15 GB", "llama3-tiny", &[]),
    row("Skywork/Skywork-Reward-Gemma-2-27B-v0.2", Classifier, "54 GB", "gemma2-tiny", &[]),
    row("allenai/Llama-3.1-Tulu-3-8B-RM", Classifier, "15 GB", "llama3-tiny", &[]),
    row("allenai/OLMo-2-1124-7B-RM", Classifier, "14 GB", "olmo2-tiny", &[]),
    row("sfairXC/FsfairX-LLaMA3-RM-v0.1", Classifier, "15 GB", "llama3-tiny", &[]),
    row("NCSOFT/Llama-3-OffsetBias-RM-8B", Classifier, "15 GB", "llama3-tiny", &[]),
    row("Ray2333/GRM-Llama3-8B-rewardmodel-ft", Classifier, "15 GB", "llama3-tiny", &[]),
    row(
        "Ray2333/GRM-Llama3-8B-sftreg",
        ValueHeadOfTwoLayers,
        "16 GB",
        "math-rm-tiny",
        &[Renamed { head: "score.", to: "v_head.summary.", class: "Qwen2ForCausalLM" }],
    ),
    row("nvidia/AceMath-7B-RM", Classifier, "14 GB", "qwen2-tiny", &[]),
    row("nvidia/Llama-3.1-Nemotron-70B-Reward-HF", BuiltAs::Row(0), "141 GB", "nemotron-reward-tiny", &[]),
    row("nvidia/Llama-3.3-Nemotron-70B-Reward-Principle", TwoRows, "141 GB", "lm-head-tiny", &[Rows(9700)]),
    row("nvidia/Nemotron-4-340B-Reward", FiveAttributes, "680 GB", "nemo-tiny", &[]),
    row("RLHFlow/ArmoRM-Llama3-8B-v0.1", Mixture("19 objectives", 19), "15 GB", "armo-tiny", &[]),
    row("internlm/internlm2-1_8b-reward", OwnToken, "3.4 GB", "internlm2-tiny", &[]),
    row("internlm/internlm2-7b-reward", OwnToken, "15 GB", "internlm2-tiny", &[]),
    row("internlm/internlm2-20b-reward", OwnToken, "39 GB", "internlm2-tiny", &[]),
    row("Qwen/Qwen2.5-Math-RM-72B", TwoLayers, "143 GB", "math-rm-tiny", &[]),
    row("Qwen/WorldPM-72B", TwoLayers, "143 GB", "math-rm-tiny", &[]),
    row("Qwen/Qwen2.5-Math-PRM-7B", Steps(""), "14 GB", "math-prm-tiny", &[]),
    row("Qwen/Qwen2.5-Math-7B-PRM800K", Steps(""), "14 GB", "math-prm-tiny", &[]),
    row(
        "peiyi9979/math-shepherd-mistral-7b-prm",
        Steps(", by \"+\" and \"-\""),
        "15 GB",
        "lm-head-tiny",
        &[Token("ки")],
    ),
    row("RLHFlow/Llama3.1-8B-PRM-Deepseek-Data", StepOfEachTurn, "16 GB", "lm-head-tiny", &[]),
    row("RLHFlow/Llama3.1-8B-PRM-Mistral-Data", StepOfEachTurn, "16 GB", "lm-head-tiny", &[]),
    row("Skywork/Skywork-o1-Open-PRM-Qwen-2.5-1.5B", EncodedSteps, "3.1 GB", "skywork-prm-tiny", &[]),
    row("Skywork/Skywork-o1-Open-PRM-Qwen-2.5-7B", EncodedSteps, "14 GB", "skywork-prm-tiny", &[]),
    row("Qwen/Qwen3-Reranker-0.6B", YesMinusNo, "1.2 GB", "lm-head-tiny", &[]),
    row("Qwen/Qwen3-Reranker-4B", YesMinusNo, "8 GB", "lm-head-tiny", &[]),
    row("Qwen/Qwen3-Reranker-8B", YesMinusNo, "16 GB", "lm-head-tiny", &[]),
    row(
        "infly/INF-ORM-Llama3.1-70B",
        TwoLayers,
        "141 GB",
        "math-rm-tiny",
        &[Class("INFORMForSequenceClassification")],
    ),
    bin(row(
        "openbmb/UltraRM-13b",
        Head("regression_head"),
        "26 GB",
        "openrlhf-tiny",
        &[Renamed { head: "value_head.", to: "regression_head.", class: "LlamaRewardModel" }],
    )),
    row(
        "openbmb/Eurus-RM-7b",
        Head("regression_head"),
        "14 GB",
        "openrlhf-tiny",
        &[Renamed { head: "value_head.", to: "regression_head.", class: "EurusRewardModel" }],
    ),
    bin(row(
        "berkeley-nest/Starling-RM-7B-alpha",
        Head("v_head"),
        "13 GB",
        "openrlhf-tiny",
        &[Renamed { head: "value_head.", to: "v_head.", class: "GPTRewardModel" }],
    )),
    row(
        "PKU-Alignment/beaver-7b-v1.0-reward",
        Head("score_head"),
        "13 GB",
        "openrlhf-tiny",
        &[Renamed { head: "value_head.", to: "score_head.", class: "LlamaForScore" }],
    ),
    row(
        "PKU-Alignment/beaver-7b-v1.0-cost",
        Cost("score_head"),
        "13 GB",
        "openrlhf-tiny",
        &[
            Renamed { head: "value_head.", to: "score_head.", class: "LlamaForScore" },
            Field("score_type", "cost"),
        ],
    ),
    row(
        "TIGER-Lab/AceCodeRM-7B",
        Head("v_head.summary"),
        "15 GB",
        "openrlhf-tiny",
        &[Renamed { head: "value_head.", to: "v_head.summary.", class: "LlamaForCausalRM" }],
    ),
    row(
        "Nexusflow/Athene-RM-8B",
        OwnToken,
        "15 GB",
        "openrlhf-tiny",
        &[
            Rows(128_256),
            Renamed { head: "value_head.", to: "v_head.", class: "AtheneForSequenceClassification" },
        ],
    ),
    row("nicolinho/QRM-Llama3.1-8B-v2", Mixture("means of quantiles", 5), "15 GB", "qrm-tiny", &[]),
    row("LxzGordon/URM-LLaMa-3.1-8B", Mixture("five means", 5), "15 GB", "urm-tiny", &[]),
    bin(row(
        "ShikaiChen/LDL-Reward-Gemma-2-27B-v0.1",
        Mixture("means of distributions", 4),
        "55 GB",
        "ldl-tiny",
        &[],
    )),
    bin(row("OpenAssistant/reward-model-deberta-v3-large-v2", Encoder, "0.9 GB", "deberta-tiny", &[])),
];

/// Models that are refused, their classes, and why.
const REFUSED: &[(&str, &str, &str)] = &[(
    "llm-blender/PairRM",
    "DebertaV2PairRM",
    "**refused**: it compares two responses in one text, and its classes are its own",
)];

fn apply(change: Change, checkpoint: &Checkpoint) {
    match change {
        Change::Class(class) => {
            checkpoint.set("architectures", json!([class]));
        }
        Change::Renamed { head, to, class } => {
            checkpoint.set("architectures", json!([class]));
            let path = checkpoint.file("model.safetensors");
            checkpoint.rewrite(&path, |name| match name.strip_prefix(head) {
                Some(rest) => format!("{to}{rest}"),
                None => name.to_owned(),
            });
        }
        Change::Rows(rows) => {
            checkpoint.set("vocab_size", json!(rows));
            checkpoint.retensor(|tensors| {
                for name in ["lm_head.weight", "model.embed_tokens.weight"] {
                    let Some((_, shape, bytes)) = tensors.get_mut(name) else { continue };
                    bytes.resize(bytes.len() / shape[0] * rows, 0);
                    shape[0] = rows;
                }
            });
        }
        Change::Token(token) => {
            checkpoint.edit("tokenizer.json", |file| {
                let added = file["added_tokens"].as_array_mut().unwrap();
                let id = added.iter().filter_map(|token| token["id"].as_u64()).max().unwrap() + 1;
                added.push(json!({"id": id, "content": token, "single_word": false, "lstrip": false,
                    "rstrip": false, "normalized": false, "special": false}));
            });
        }
        Change::Field(name, value) => {
            checkpoint.set(name, json!(value));
        }
    }
}

#[test]
fn every_model_of_the_table_is_built_as_the_table_says() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    for Row { name, as_, tiny, changes, .. } in MODELS {
        let checkpoint = Checkpoint::copy(tiny);
        for change in *changes {
            apply(*change, &checkpoint);
        }
        let mut options = checkpoint.options(Dtype::F32);
        options.common.name = Some((*name).to_owned());
        let manifest = build(&options, &Silent).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(as_.is(&manifest), "{name} is not built as {}: {:?}", as_.text(), manifest.head);
        let compared = ["scores", "steps"].map(|kind| golden.join(kind).join(format!("{tiny}.json")));
        assert!(compared.iter().any(|path| path.exists()), "{name}: no scores of {tiny} were recorded");
    }
}

#[test]
fn every_model_that_the_table_refuses_is_refused_for_its_class() {
    for &(name, class, _) in REFUSED {
        let checkpoint = Checkpoint::copy("deberta-tiny");
        apply(Class(class), &checkpoint);
        let error = build(&checkpoint.options(Dtype::F32), &Silent).unwrap_err().to_string();
        assert!(error.contains(class), "{name}: {error}");
    }
}

fn table() -> String {
    let mut table = String::from(
        "| model on the hub | built as | weights in bf16 | structure checked on |\n|---|---|---|---|\n",
    );
    for Row { name, as_, weights, tiny, changes, bin } in MODELS {
        let after = if *bin { ", after [conversion](#convert-bin-weights)" } else { "" };
        let renamed =
            changes.iter().any(|change| matches!(change, Change::Renamed { .. } | Change::Class(_)));
        let renamed = if renamed { ", renamed" } else { "" };
        // Writing to a String cannot fail.
        let _ = writeln!(table, "| `{name}` | {}{after} | {weights} | `{tiny}`{renamed} |", as_.text());
    }
    for (name, _, reason) in REFUSED {
        let _ = writeln!(table, "| `{name}` | {reason} |  |  |");
    }
    table
}

#[test]
fn the_page_lists_every_model() {
    check_table("models.md", ("hub", "end of hub"), &table(), "hub_table");
}
