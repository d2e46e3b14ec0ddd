//! The settings of rotary embeddings, in all the forms that checkpoints have.

use assay::builder::cpu::build;
use assay::manifest::{Dtype, RopeScaling};
use serde_json::{Value, json};

use super::support::{Checkpoint, Notes, assert_names};

#[test]
fn the_build_says_which_of_two_rotary_settings_counts() {
    let said_with = |settings: &[(&str, Value)]| {
        let checkpoint = Checkpoint::copy("qwen2-tiny");
        for (field, value) in settings {
            checkpoint.set(field, value.clone());
        }
        let (manifest, said) = checkpoint.said();
        (manifest.model.rope, said)
    };
    let linear = json!({"rope_type": "linear", "factor": 2.0});
    let (rope, said) = said_with(&[
        ("rope_scaling", linear.clone()),
        ("rope_parameters", json!({"rope_type": "default", "rope_theta": 5.0})),
        ("rope_theta", json!(7000.0)),
    ]);
    assert_eq!((rope.theta, rope.scaling), (7000.0, RopeScaling::Linear { factor: 2.0 }));
    assert_names(&said, &["both rope_scaling and rope_parameters", "rope_scaling is used"]);

    let (rope, said) = said_with(&[
        ("rope_parameters", json!({"rope_type": "default", "rope_theta": 5000.0})),
        ("rope_theta", json!(7000.0)),
    ]);
    assert_eq!(rope.theta, 5000.0);
    assert_names(
        &said,
        &["rope_parameters.rope_theta 5000", "rope_theta 7000", "rope_parameters.rope_theta is used"],
    );

    let (rope, said) =
        said_with(&[("rope_scaling", json!({"rope_type": "linear", "type": "yarn", "factor": 2.0}))]);
    assert_eq!(rope.scaling, RopeScaling::Linear { factor: 2.0 });
    assert_names(&said, &["rope_scaling.rope_type linear", "rope_scaling.type yarn"]);

    let yarn = json!({"rope_type": "yarn", "factor": 8.0, "original_max_position_embeddings": 512});
    let (_, said) =
        said_with(&[("rope_scaling", yarn.clone()), ("original_max_position_embeddings", json!(256))]);
    assert_names(&said, &["original_max_position_embeddings 256 and", "512", "factor 8"]);

    let (rope, said) = said_with(&[("rope_scaling", json!({"rope_type": "default", "factor": 8.0}))]);
    assert_eq!(rope.scaling, RopeScaling::Default);
    assert_names(&said, &["rope_scaling.factor", "no effect"]);

    // One section for each kind of layer.
    let (rope, _) = said_with(&[(
        "rope_parameters",
        json!({"full_attention": {"rope_type": "linear", "factor": 2.0, "rope_theta": 5000.0}, "sliding_attention": {"rope_type": "default"}}),
    )]);
    assert_eq!((rope.theta, rope.scaling), (5000.0, RopeScaling::Linear { factor: 2.0 }));
}

#[test]
fn a_scaling_without_a_type_is_refused() {
    for section in ["rope_scaling", "rope_parameters"] {
        let checkpoint = Checkpoint::copy("qwen2-tiny");
        checkpoint.set(section, json!({"factor": 8.0}));
        assert_names(&checkpoint.refusal(), &[&format!("{section}.rope_type"), "missing", "factor"]);
        checkpoint.set(section, json!({"rope_theta": 5000.0}));
        assert_eq!(checkpoint.said().0.model.rope.theta, 5000.0);
    }
    let checkpoint = Checkpoint::copy("gemma3-tiny");
    checkpoint.set("rope_scaling", json!({"factor": 8.0}));
    assert_names(&checkpoint.refusal(), &["rope_scaling.rope_type", "factor"]);
}

#[test]
fn phi_3_scales_by_longrope_under_all_its_names() {
    let checkpoint = Checkpoint::copy("phi3-longrope");
    let (first, _) = checkpoint.said();
    let RopeScaling::LongRope { attention_factor, original_max_position_embeddings, .. } =
        &first.model.rope.scaling
    else {
        panic!("{:?}", first.model.rope)
    };
    // sqrt(1 + ln(1024 / 150) / ln 150), as transformers computes it.
    assert_eq!(*original_max_position_embeddings, 150);
    assert!((attention_factor - 1.176_160).abs() < 1e-6, "{attention_factor}");
    for name in ["su", "yarn"] {
        checkpoint.edit("config.json", |config| config["rope_scaling"]["type"] = json!(name));
        assert_eq!(checkpoint.said().0.model.rope, first.model.rope, "{name}");
    }
    checkpoint.edit("config.json", |config| config["rope_scaling"]["type"] = json!("linear"));
    assert_names(&checkpoint.refusal(), &["rope_scaling.rope_type", "linear", "longrope"]);
}

#[test]
fn generated_text_stops_at_the_length_where_the_rotation_would_change() {
    let checkpoint = Checkpoint::copy("phi3-longrope");
    checkpoint.set("architectures", json!(["Phi3ForCausalLM"]));
    checkpoint.retensor(|tensors| {
        tensors.remove("score.weight").unwrap();
        tensors.insert("lm_head.weight".to_owned(), tensors["model.embed_tokens.weight"].clone());
    });
    assert_eq!(checkpoint.said().0.limits.max_seq_len, 150);
    let mut options = checkpoint.options(Dtype::F32);
    options.common.max_seq_len = Some(151);
    let sentence = build(&options, &Notes::default()).unwrap_err().to_string();
    assert_names(&sentence, &["--max-seq-len 151", "more than 150 tokens", "use at most 150"]);
}
