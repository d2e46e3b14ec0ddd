//! Process reward models whose classes say where they are read: at the end of every step.

use super::network::Layer;
use super::steps::{PLAIN_PROMPT, PROMPT_LINE};
use super::{CheckpointHead, Context, HeadKind, StepToken, Steps, two_layers};
use crate::builder::BuildError;
use crate::manifest::StepValue;

const QWEN: &str = "Qwen2ForProcessRewardModel";
/// Skywork-o1-Open-PRM's class, with a value head as TRL names it.
const SKYWORK: &str = "Qwen2ForPrmModel";

pub(super) const KIND: HeadKind = HeadKind {
    architectures: &[QWEN, SKYWORK, "...ForTokenClassification"],
    fits: |architecture| {
        architecture.name == QWEN
            || architecture.name == SKYWORK
            || architecture.class == "ForTokenClassification" && architecture.family.in_transformers
    },
    read,
};

/// Ends a step of Qwen2.5-Math-PRM.
const QWEN_STEP: &str = "<extra_0>";
/// Ends a step of Skywork-o1-Open-PRM, and of TRL's process reward models by default.
const NEW_LINE: &str = "\n";

fn read(context: &Context<'_>) -> Result<Option<CheckpointHead>, BuildError> {
    let checkpoint = context.checkpoint;
    let name = context.config.architecture.name.as_str();
    if name == QWEN {
        let steps = Steps { token: StepToken::Control(QWEN_STEP.to_owned()), value: StepValue::Softmax };
        return Ok(Some(CheckpointHead::from_steps(two_layers::layers(context), vec![0, 1], steps)));
    }
    let token = StepToken::encoded(NEW_LINE, context.encoder)
        .map_err(|error| context.config.object.error("architectures", &error.to_string()))?;
    if name == SKYWORK {
        let steps = Steps { token, value: StepValue::Sigmoid };
        let head = CheckpointHead::from_steps(vec![Layer::new("v_head.summary", checkpoint)], vec![0], steps);
        return Ok(Some(CheckpointHead { template: Some(PROMPT_LINE), ..head }));
    }
    // TRL's PRMTrainer: the second of two classes is a good step. Other numbers of classes are other tasks.
    let layer = Layer::new("score", checkpoint);
    if checkpoint.has(&layer.matrix) && layer.outputs(checkpoint)? != 2 {
        return Err(super::unknown(&context.config.object, name, true));
    }
    let steps = Steps { token, value: StepValue::Softmax };
    let mut head = CheckpointHead::from_steps(vec![layer], vec![0, 1], steps);
    head.template = Some(PLAIN_PROMPT);
    head.notes.push(
        "steps end with a line break and follow the prompt's own text, as TRL's PRMTrainer encodes them by default; \
         `step_token` and `step_prompt` in the file that --head names say otherwise"
            .to_owned(),
    );
    Ok(Some(head))
}
