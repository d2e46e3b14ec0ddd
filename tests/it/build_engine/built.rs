//! What is in an engine directory.

use assay::builder::Silent;
use assay::builder::cpu::build;
use assay::manifest::{Dtype, Manifest, RopeScaling, TEMPLATE_FILE, WEIGHTS_FILE};
use safetensors::SafeTensors;
use serde_json::json;

use super::support::{CHECKPOINTS, Checkpoint};

#[test]
fn every_family_builds_into_an_engine_that_passes_its_own_check() {
    for name in CHECKPOINTS {
        for dtype in [Dtype::F32, Dtype::Bf16] {
            let checkpoint = Checkpoint::copy(name);
            let built = checkpoint.build(dtype).unwrap();
            let engine = checkpoint.beside("engine");
            let read = Manifest::read(&engine).unwrap();
            assert_eq!(read, built, "{name}");
            read.verify(&engine).unwrap();
            assert_eq!(checkpoint.neighbours(), ["engine"]);
        }
    }
}

#[test]
fn the_same_checkpoint_gives_the_same_bytes() {
    for (name, dtype) in [("llama2-tiny", Dtype::F32), ("qwen2-tiny", Dtype::Bf16)] {
        let checkpoint = Checkpoint::copy(name);
        let first = checkpoint.build(dtype).unwrap();
        let mut options = checkpoint.options(dtype);
        options.common.output = checkpoint.beside("again");
        assert_eq!(build(&options, &Silent).unwrap(), first);
        for entry in std::fs::read_dir(checkpoint.beside("engine")).unwrap() {
            let file = entry.unwrap().file_name();
            let read = |engine: &str| std::fs::read(checkpoint.beside(engine).join(&file)).unwrap();
            assert_eq!(read("engine"), read("again"), "{name}: {file:?}");
        }
    }
}

#[test]
fn every_tensor_starts_at_a_multiple_of_64_in_the_order_in_which_it_is_used() {
    let checkpoint = Checkpoint::copy("llama2-tiny");
    checkpoint.build(Dtype::F32).unwrap();
    let bytes = std::fs::read(checkpoint.beside("engine").join(WEIGHTS_FILE)).unwrap();
    let (header, metadata) = SafeTensors::read_metadata(&bytes).unwrap();
    let mut tensors: Vec<_> =
        metadata.tensors().into_iter().map(|(name, info)| (8 + header + info.data_offsets.0, name)).collect();
    tensors.retain(|(_, name)| !name.starts_with("pad."));
    tensors.sort();
    assert!(tensors.iter().all(|(offset, _)| offset % 64 == 0), "{tensors:?}");
    let order: Vec<_> = tensors.iter().map(|(_, name)| name.as_str()).collect();
    let layer = |layer: usize| {
        let names =
            "input_norm qkv qkv_bias output output_bias post_norm gate_up gate_up_bias down down_bias";
        names.split(' ').map(move |name| format!("layers.{layer}.{name}"))
    };
    let mut expected = vec!["embedding".to_owned()];
    expected.extend(layer(0).chain(layer(1)));
    expected.extend(["final_norm".to_owned(), "head".to_owned()]);
    assert_eq!(order, expected);
}

#[test]
fn what_is_not_packed_keeps_its_numbers() {
    let checkpoint = Checkpoint::copy("qwen2-tiny");
    checkpoint.build(Dtype::F32).unwrap();
    let original = checkpoint.tensors("model.safetensors");
    let bytes = std::fs::read(checkpoint.beside("engine").join(WEIGHTS_FILE)).unwrap();
    let weights = SafeTensors::deserialize(&bytes).unwrap();
    let source = |name: &str| original[name].2.clone();
    let qkv: Vec<u8> = ["q", "k", "v"]
        .iter()
        .flat_map(|part| source(&format!("model.layers.1.self_attn.{part}_proj.bias")))
        .collect();
    for (name, shape, expected) in [
        ("embedding", vec![608, 112], source("model.embed_tokens.weight")),
        ("layers.1.input_norm", vec![112], source("model.layers.1.input_layernorm.weight")),
        ("layers.1.qkv_bias", vec![112 + 16 + 16], qkv),
        ("final_norm", vec![112], source("model.norm.weight")),
        ("head", vec![1, 112], source("score.weight")),
    ] {
        let tensor = weights.tensor(name).unwrap();
        assert_eq!((tensor.shape(), tensor.data()), (&shape[..], &expected[..]), "{name}");
    }
}

#[test]
fn a_bf16_engine_keeps_its_norms_and_head_in_f32() {
    let checkpoint = Checkpoint::copy("llama3-tiny");
    if checkpoint.build(Dtype::Bf16).unwrap().dtype == Dtype::F32 {
        return; // This processor has no bf16.
    }
    let bytes = std::fs::read(checkpoint.beside("engine").join(WEIGHTS_FILE)).unwrap();
    let weights = SafeTensors::deserialize(&bytes).unwrap();
    let dtype = |name| weights.tensor(name).unwrap().dtype();
    assert_eq!(dtype("embedding"), safetensors::Dtype::BF16);
    assert_eq!(dtype("layers.0.qkv"), safetensors::Dtype::U8);
    for name in ["layers.0.input_norm", "final_norm", "head"] {
        assert_eq!(dtype(name), safetensors::Dtype::F32, "{name}");
    }
}

#[test]
fn shards_and_one_file_give_the_same_engine() {
    let sharded = Checkpoint::copy("llama-linear");
    let first = sharded.build(Dtype::F32).unwrap();
    let single = Checkpoint::copy("llama-linear");
    let mut tensors = single.tensors("model-00001-of-00002.safetensors");
    tensors.extend(single.tensors("model-00002-of-00002.safetensors"));
    std::fs::copy(single.file("model-00001-of-00002.safetensors"), single.file("model.safetensors")).unwrap();
    single.retensor(|all| *all = tensors);
    assert_eq!(single.build(Dtype::F32).unwrap(), first);
}

#[test]
fn the_manifest_says_what_the_checkpoint_says() {
    let manifest = |name| Checkpoint::copy(name).build(Dtype::F32).unwrap();

    let llama3 = manifest("llama3-tiny");
    let attributes = ["helpfulness", "correctness", "coherence", "complexity", "verbosity"];
    assert_eq!(llama3.head.attributes, attributes);
    assert_eq!(llama3.model.name, "llama3-tiny");
    assert_eq!((llama3.model.family.as_str(), llama3.model.head_dim), ("llama", 16));
    assert_eq!(llama3.model.rope.theta, 500_000.0);
    let scaling = RopeScaling::Llama3 {
        factor: 8.0,
        low_freq_factor: 1.0,
        high_freq_factor: 4.0,
        original_max_position_embeddings: 64,
    };
    assert_eq!(llama3.model.rope.scaling, scaling);
    let tokens = llama3.prompt.special_tokens;
    assert_eq!(tokens["bos_token"], "<|begin_of_text|>");
    assert_eq!(tokens["eos_token"], "<|eot_id|>");

    let llama2 = manifest("llama2-tiny");
    assert_eq!(llama2.head.attributes, ["reward"]);
    assert_eq!((llama2.model.qkv_bias, llama2.model.output_bias, llama2.model.mlp_bias), (true, true, true));

    // `rope_parameters` and a width of its own for the heads.
    let linear = manifest("llama-linear");
    assert_eq!(linear.head.attributes, ["first", "second", "third"]);
    assert_eq!(linear.model.rope.scaling, RopeScaling::Linear { factor: 4.0 });
    assert_eq!((linear.model.head_dim, linear.model.hidden_size, linear.model.num_heads), (64, 64, 2));

    let qwen2 = manifest("qwen2-tiny");
    assert_eq!(qwen2.head.attributes, ["reward"]);
    assert_eq!((qwen2.model.family.as_str(), qwen2.model.num_kv_heads), ("qwen2", 1));
    assert_eq!((qwen2.model.qkv_bias, qwen2.model.output_bias, qwen2.model.mlp_bias), (true, false, false));
    assert_eq!(qwen2.model.rope.scaling, RopeScaling::Default);
    assert_eq!(qwen2.limits.max_seq_len, 1024);

    // Two labels are transformers' default, and are not written down.
    let yarn = manifest("qwen2-yarn");
    assert_eq!(yarn.head.attributes, ["label_0", "label_1"]);
    let RopeScaling::Yarn { factor, beta_fast, beta_slow, attention_factor, truncate, .. } =
        yarn.model.rope.scaling
    else {
        panic!("{:?}", yarn.model.rope)
    };
    assert_eq!((factor, beta_fast, beta_slow, truncate), (4.0, 32.0, 1.0, true));
    assert!((attention_factor - 1.138_629_436).abs() < 1e-6, "{attention_factor}");
}

#[test]
fn rotary_settings_mean_the_same_in_both_layouts() {
    let rope = |settings: &[(&str, serde_json::Value)]| {
        let checkpoint = Checkpoint::copy("qwen2-yarn");
        for (field, value) in settings {
            checkpoint.set(field, value.clone());
        }
        checkpoint.build(Dtype::F32).unwrap().model.rope
    };
    let yarn = json!({"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 128});
    let with = |field: &str, value: serde_json::Value| {
        let mut settings = yarn.clone();
        settings[field] = value;
        settings
    };
    let old = rope(&[("rope_scaling", yarn.clone()), ("rope_theta", json!(5000))]);
    assert_eq!(old.theta, 5000.0);
    let none = ("rope_scaling", json!(null));
    let new = with("rope_theta", json!(5000));
    assert_eq!(rope(&[none, ("rope_theta", json!(null)), ("rope_parameters", new)]), old);
    let mut older = yarn.clone();
    older["type"] = older.as_object_mut().unwrap().remove("rope_type").unwrap();
    assert_eq!(rope(&[("rope_scaling", older), ("rope_theta", json!(5000))]), old);

    // Bare of everything: transformers' defaults.
    let bare = Checkpoint::copy("qwen2-yarn");
    bare.edit("config.json", |config| {
        config
            .as_object_mut()
            .unwrap()
            .retain(|field, _| !["rope_scaling", "rope_theta"].contains(&field.as_str()));
    });
    let plain = bare.build(Dtype::F32).unwrap().model.rope;
    assert_eq!((plain.theta, plain.scaling), (10_000.0, RopeScaling::Default));

    let attention_factor = |settings| match rope(&[("rope_scaling", settings)]).scaling {
        RopeScaling::Yarn { attention_factor, .. } => attention_factor,
        other => panic!("{other:?}"),
    };
    assert_eq!(attention_factor(with("attention_factor", json!(0.75))), 0.75);
    let mut scaled = with("mscale", json!(0.707));
    scaled["mscale_all_dim"] = json!(1.0);
    let expected = (0.1 * 0.707 * 4f64.ln() + 1.0) / (0.1 * 4f64.ln() + 1.0);
    assert!((attention_factor(scaled) - expected).abs() < 1e-12);
}

#[test]
fn labels_are_lower_cased_in_the_order_of_their_numbers() {
    let checkpoint = Checkpoint::copy("llama3-tiny");
    checkpoint.retensor(|tensors| {
        let (_, shape, bytes) = tensors.get_mut("score.weight").unwrap();
        *shape = vec![11, 64];
        bytes.resize(11 * 64 * 4, 0);
    });
    let names: serde_json::Map<_, _> =
        (0..11).rev().map(|index| (index.to_string(), json!(format!("Axis_{index}")))).collect();
    checkpoint.set("id2label", names.into());
    let expected: Vec<String> = (0..11).map(|index| format!("axis_{index}")).collect();
    assert_eq!(checkpoint.build(Dtype::F32).unwrap().head.attributes, expected);
}

#[test]
fn options_win_over_the_checkpoint() {
    let checkpoint = Checkpoint::copy("llama3-tiny");
    let mut options = checkpoint.options(Dtype::F32);
    options.common.name = Some("acme/judge".to_owned());
    options.common.max_seq_len = Some(300);
    options.common.max_batch_size = Some(7);
    options.common.max_num_tokens = Some(512);
    let manifest = build(&options, &Silent).unwrap();
    assert_eq!(manifest.model.name, "acme/judge");
    let limits = manifest.limits;
    assert_eq!((limits.max_seq_len, limits.max_batch_size, limits.max_num_tokens), (300, 7, 512));
}

#[test]
fn the_template_file_wins_and_of_named_templates_the_default_is_taken() {
    let template = |change: &dyn Fn(&Checkpoint)| {
        let checkpoint = Checkpoint::copy("llama3-tiny");
        change(&checkpoint);
        checkpoint.build(Dtype::F32).unwrap();
        std::fs::read_to_string(checkpoint.beside("engine").join(TEMPLATE_FILE)).unwrap()
    };
    let named = json!([
        {"name": "tool_use", "template": "{{ 'tools' }}"},
        {"name": "default", "template": "{{ messages[0].content }}!"},
    ]);
    let set = |checkpoint: &Checkpoint| {
        checkpoint.edit("tokenizer_config.json", |config| config["chat_template"] = named.clone());
    };
    assert_eq!(template(&set), "{{ messages[0].content }}!");
    let file = |checkpoint: &Checkpoint| {
        std::fs::write(checkpoint.file("chat_template.jinja"), "{{ messages[0].role }}\n").unwrap();
    };
    assert_eq!(template(&file), "{{ messages[0].role }}\n");
}

#[test]
fn special_tokens_come_as_text_or_as_objects_from_either_file() {
    let map = json!({"pad_token": "<|start_header_id|>", "sep_token": {"content": "<|end_header_id|>"}});
    // As in transformers, the older file counts only where the configuration lists no added tokens.
    for (lists_tokens, pad, sep) in [
        (true, "<|end_of_text|>", None),
        (false, "<|start_header_id|>", Some(("sep_token", "<|end_header_id|>"))),
    ] {
        let checkpoint = Checkpoint::copy("llama3-tiny");
        checkpoint.edit("tokenizer_config.json", |config| {
            config["eos_token"] = json!({"content": "<|eot_id|>", "lstrip": false, "special": true});
            config["unk_token"] = json!(null);
            config["add_bos_token"] = json!(true);
            if !lists_tokens {
                config.as_object_mut().unwrap().remove("added_tokens_decoder");
            }
        });
        std::fs::write(checkpoint.file("special_tokens_map.json"), map.to_string()).unwrap();
        let tokens = checkpoint.build(Dtype::F32).unwrap().prompt.special_tokens;
        let expected =
            [("bos_token", "<|begin_of_text|>"), ("eos_token", "<|eot_id|>"), ("pad_token", pad)].into_iter();
        let expected = expected.chain(sep).map(|(name, text)| (name.to_owned(), text.to_owned()));
        assert_eq!(tokens, expected.collect());
    }
}

#[test]
fn a_language_models_head_and_old_rotary_buffers_are_left_out() {
    let checkpoint = Checkpoint::copy("llama3-tiny");
    let plain = checkpoint.build(Dtype::F32).unwrap();
    let with = Checkpoint::copy("llama3-tiny");
    with.retensor(|tensors| {
        let embedding = tensors["model.embed_tokens.weight"].clone();
        tensors.insert("lm_head.weight".to_owned(), embedding);
        let frequencies = (safetensors::Dtype::F32, vec![8], vec![0; 32]);
        tensors.insert("model.layers.0.self_attn.rotary_emb.inv_freq".to_owned(), frequencies);
    });
    assert_eq!(with.build(Dtype::F32).unwrap(), plain);
}

/// A value head called `score`, OpenRLHF's default.
#[test]
fn a_value_head_is_found_under_either_of_its_names() {
    for (architecture, tensor) in [
        ("RewardModel", "value_head.weight"),
        ("CriticModel", "value_head.weight"),
        ("RewardModel", "score.weight"),
        ("LlamaModel", "score.weight"),
    ] {
        let checkpoint = Checkpoint::copy("openrlhf-tiny");
        checkpoint.set("architectures", json!([architecture])).retensor(|tensors| {
            let head = tensors.remove("value_head.weight").unwrap();
            tensors.insert(tensor.to_owned(), head);
        });
        let manifest = checkpoint.build(Dtype::F32).unwrap();
        assert_eq!(manifest.head.attributes, ["reward"], "{architecture} {tensor}");
        assert_eq!((manifest.head.products(), manifest.head.bias), (1, false));
    }
}

/// The score of the Principle models: yes minus no after the start of an answer.
#[test]
fn a_principle_model_is_known_by_its_name() {
    let checkpoint = Checkpoint::copy("nemotron-reward-tiny");
    let name = "nvidia/Llama-3.3-Nemotron-70B-Reward-Principle";
    let mut options = checkpoint.options(Dtype::F32);
    options.common.name = Some(name.to_owned());
    let build_it = || build(&options, &Silent);
    let small = build_it().unwrap_err().to_string();
    assert!(small.contains("vocab_size") && small.contains("9642"), "{small}");
    checkpoint.set("vocab_size", json!(9700)).retensor(|tensors| {
        for name in ["model.embed_tokens.weight", "lm_head.weight"] {
            let (_, shape, bytes) = tensors.get_mut(name).unwrap();
            let row = bytes.len() / shape[0];
            *shape = vec![9700, shape[1]];
            bytes.resize(9700 * row, 0);
        }
    });
    let manifest = build_it().unwrap();
    assert_eq!(
        (&manifest.head.attributes[..], &manifest.head.rows[..]),
        (&["reward".to_owned()][..], &[9642][..])
    );
    assert!(manifest.prompt.generation_prompt);
}
