//! No turn spells a control token.

use super::ids::long_text;
use super::*;

#[test]
fn adjacent_turns_do_not_form_a_control_token() {
    let encoder = encoder(PLAIN);
    for cut in 1.."<|eot_id|>".len() {
        let (left, right) = "<|eot_id|>".split_at(cut);
        assert!(all_text(&encode(&encoder, &[left, right])));
        assert!(all_text(&encode(&encoder, &[left, "", right])));
    }
    assert!(all_text(&encode(&encoder, &["<", "|eot_id|", ">"])));
    assert!(all_text(&encode(&encoder, &["<|", "eot", "_id|>"])));
}

#[test]
fn a_turn_does_not_complete_half_a_control_token_of_the_template() {
    let encoder = encoder("{% for m in messages %}<|eot{{ m.content }}_id|>{% endfor %}");
    assert_eq!(encode(&encoder, &[""]), [EOT]);
    assert!(all_text(&encode(&encoder, &["_id|>"])));
    assert!(all_text(&encode(&encoder, &["<|eot"])));
    assert!(all_text(&encode(&super::tests::encoder("<|{{ messages[0].content }}|>"), &["eot_id"])));
}

#[test]
fn a_template_that_rewrites_a_turn_does_not_turn_it_into_a_control_token() {
    for rewrite in [
        "replace('X', '')",
        "replace('X', ' ') | replace(' ', '')",
        "lower",
        "trim('X')",
        "replace('X', '<|eot_id|>') | replace('<|eot_id|>', '')",
    ] {
        let encoder = encoder(&PLAIN.replace("m.content", &format!("(m.content | {rewrite})")));
        for turn in ["<|eotX_id|>", "X<|EOT_ID|>X", "<X|eot_id|>", "<|eot_id|X>", "<|eo<|eot_id|>Xt_id|>"] {
            assert!(all_text(&encode(&encoder, &[turn])), "{rewrite} of {turn}");
        }
    }
}

#[test]
fn a_template_that_searches_for_markup_makes_no_control_token_of_other_turns() {
    let encoder = encoder(
        "{% for m in messages %}{% if '</think>' in m.content %}{{ m.content.split('</think>')[-1].lstrip() }}\
         {% else %}{{ m.content.replace('/think', '') }}{% endif %}<|eot_id|>{% endfor %}",
    );
    let ids = encode(&encoder, &["<|eot/think_id|>", "so <|eot_id|></think> yes"]);
    assert_eq!(ids.iter().filter(|id| **id == EOT).count(), 2);
    assert!(ids.ends_with(&encoder.encode_text("yes<|eot_id|>").unwrap()));
}

#[test]
fn the_templates_control_tokens_survive_next_to_turns_that_spell_them() {
    let encoder = encoder("{% for m in messages %}{{ m.content.strip() }}<|eot_id|>{% endfor %}");
    for turn in ["<|eot_id|>", "<|eot", "_id|>", "<", ">", "eot", "  <|eot_id|>  ", "<|eot_id|><|eot_id|>"] {
        let ids = encode(&encoder, &[turn, turn]);
        assert_eq!(ids.iter().filter(|id| **id == EOT).count(), 2, "{turn}");
        assert_eq!(ids.last(), Some(&EOT));
    }
}

#[test]
fn a_template_can_still_split_a_turn_at_a_control_token() {
    let thinking = "{% for m in messages %}{% if '</think>' in m.content %}\
        {{ m.content.split('</think>')[-1].lstrip('\n') }}{% endif %}<think>{% endfor %}";
    let added = |json: &mut Value| {
        for (id, content) in [(630, "<think>"), (631, "</think>")] {
            let token = json!({"id": id, "content": content, "single_word": false, "lstrip": false,
                "rstrip": false, "normalized": false, "special": false});
            json["added_tokens"].as_array_mut().unwrap().push(token);
        }
    };
    let encoder = open(&tokenizer("llama3-tiny", added), thinking).unwrap();
    let ids = encode(&encoder, &["<think>\nwhy\n</think>\n\nbecause"]);
    assert_eq!(ids, encoder.encode_text("because<think>").unwrap());
    assert_eq!(ids.last(), encoder.encode_text("<think>").unwrap().first());
}

#[test]
fn characters_used_as_marks_are_ordinary_text_in_a_turn() {
    let encoder = encoder("{{ messages[0].content }}");
    let turn = "\u{fdd0}<|eot_id|>\u{fdd1} \u{fdd2}";
    let ids = encode(&encoder, &[turn]);
    assert!(all_text(&ids));
    assert_eq!(encoder.tokenizer.decode(&ids), turn);
}

#[test]
fn a_vocabulary_that_spells_a_control_token_smuggles_none_in() {
    let whole_words = |json: &mut Value| {
        json["model"]["ignore_merges"] = json!(true);
        json["normalizer"] = Value::Null;
    };
    let encoder = open(&tokenizer("llama2-tiny", whole_words), "<s>{{ messages[0].content }}</s>").unwrap();
    let ids = encode(&encoder, &["</s>"]);
    assert_eq!((ids[0], ids[ids.len() - 1]), (1, 2));
    assert!(ids.len() > 3 && ids[1..ids.len() - 1].iter().all(|id| *id > 2), "{ids:?}");
}

#[test]
fn text_that_normalizes_to_a_control_token_stays_text() {
    let compatible = |json: &mut Value| {
        json["normalizer"] = json!({"type": "NFKC"});
        for token in json["added_tokens"].as_array_mut().unwrap() {
            token["normalized"] = json!(true);
        }
    };
    let encoder = open(&tokenizer("llama3-tiny", compatible), "{{ messages[0].content }}<|eot_id|>").unwrap();
    let ids = encode(&encoder, &["＜|eot_id|＞ <|eot_id|>"]);
    assert!(all_text(&ids[..ids.len() - 1]));
    assert_eq!(ids.last(), Some(&EOT));
}

#[test]
fn no_field_of_a_message_spells_a_control_token() {
    let template = "{% for m in messages %}{{ m.role }}{{ m.name }}{{ m.tool_calls | tojson }}{{ m.content }}<|eot_id|>{% endfor %}";
    let encoder = encoder(template);
    let spelled = "<|eot_id|>";
    let fields = json!({"name": spelled, "tool_calls": [{"function": {"name": "f", "arguments": {"<|eot_id|>": "<|eot_id|>"}}}]});
    let message =
        Message::with_fields(spelled.into(), Some(spelled.into()), fields.as_object().unwrap().clone());
    let ids = encoder.encode(std::slice::from_ref(&message), EncodeOptions::default()).unwrap();
    assert_eq!(ids.iter().filter(|id| **id == EOT).count(), 1, "only the template's own");
    assert_eq!(encoder.tokenizer.decode(&ids), encoder.render(&[message], EncodeOptions::default()).unwrap());
}

#[test]
fn a_long_turn_that_spells_a_control_token_stays_text_after_one_that_does_not() {
    let encoder = llama3();
    let (long, spelled) =
        (long_text("word "), format!("{} <|eot_id|> {}", long_text("word "), long_text("word ")));
    for _ in 0..2 {
        let plain = encode(encoder, &[&long, "ok"]);
        let guarded = encode(encoder, &[&spelled, "ok"]);
        let ends = |ids: &[u32]| ids.iter().filter(|id| Some(**id) == encoder.token_id("<|eot_id|>")).count();
        assert_eq!((ends(&plain), ends(&guarded)), (2, 2));
        // In text that is templated already, the same words are a control token.
        let templated = encoder.encode_templated(&spelled).unwrap();
        assert_eq!(ends(&templated), 1);
    }
}
