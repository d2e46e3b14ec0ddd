//! What is a conversation in rows of common data sets.

use serde_json::{Value, json};

use super::*;

#[test]
fn every_form_finds_the_conversations_of_its_own_example() {
    for form in FORMS.iter().filter(|form| form.name != "oasst-messages") {
        let row = Row::parse(form.example).unwrap();
        let layout = layout(&row);
        assert!(
            layout.identity().starts_with(&format!("{} ", form.name)),
            "{}: {}",
            form.name,
            layout.identity()
        );
        let found = layout.found(&row).unwrap();
        let (chosen, ratings, first_error) = (found.chosen, found.ratings.clone(), found.first_error);
        let turns: Vec<Turns> = turns_of(found).into_iter().map(Result::unwrap).collect();
        let expected = match form.holds {
            Holds::One => vec![answered("a")],
            Holds::Steps if form.name == "math-shepherd" => vec![answered("Step 1: a<step>Step 2: b<step>")],
            Holds::Steps => vec![answered("a<step>b<step>")],
            Holds::Group | Holds::Pair => vec![answered("a"), answered("b")],
            Holds::Lists => ["a", "c", "e", "b", "d", "f"].map(answered).into(),
        };
        assert_eq!(turns, expected, "{}", form.name);
        match form.holds {
            Holds::Pair => assert_eq!(chosen, 1, "{}", form.name),
            Holds::Lists => assert_eq!(chosen, 3, "{}", form.name),
            Holds::Steps => assert_eq!(first_error, Some(1), "{}", form.name),
            Holds::Group if !ratings.is_empty() => assert!(ratings[0] > ratings[1], "{}", form.name),
            _ => {}
        }
        assert_eq!(layout.unread(&row), Some(vec![]), "{}", form.name);
    }
}

#[test]
fn common_data_sets_are_understood() {
    let messages = json!([{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]);
    let shared = json!([{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]);
    for row in [
        json!({"messages": messages}),
        json!({"conversations": shared}),
        json!({"conversation": [{"human": "q", "assistant": "a"}]}),
        json!({"conversation_id": "x", "model": "m", "conversation": messages, "language": "English"}),
        json!({"prompt": "q", "response": "a", "helpfulness": 3}),
        json!({"instruction": "q", "completions": [{"model": "m", "response": "a"}]}),
        json!({"prompt": [{"role": "user", "content": "q"}], "responses": ["a"]}),
        json!({"prompt": [{"role": "user", "content": "q"}], "completion": [{"role": "assistant", "content": "a"}], "label": true}),
        json!({"question": "q", "answer": "a"}),
        json!({"problem": "q", "solution": "a"}),
        json!({"input": [{"role": "user", "content": "q"}], "output": "a"}),
        json!({"instruction": "", "input": "q", "output": "a"}),
        json!({"instruction": "q", "input": "", "output": "a", "history": []}),
        json!({"messages": messages.to_string()}),
        json!({"messages": "[{'role': 'user', 'content': 'q'}\n {'role': 'assistant', 'content': 'a'}]"}),
        json!({"prompt": "\n\nHuman: q\n\nAssistant:", "response": "a"}),
        json!({"prompt": "Human: q\n\nAssistant:", "response": "a"}),
        json!({"text": "### Human: q### Assistant: a"}),
        json!({"transcript": "\n\nHuman: q\n\nAssistant: a", "rating": 1}),
        json!({"messages": [{"role": "user", "content": [{"type": "text", "text": "q"}]}, messages[1]]}),
    ] {
        assert_eq!(found(&row), [answered("a")], "{row}");
    }
}

#[test]
fn pairs_may_contain_their_prompt_or_share_one() {
    let pair = [answered("a"), answered("b")];
    let whole =
        |answer: &str| json!([{"role": "user", "content": "q"}, {"role": "assistant", "content": answer}]);
    let only = |answer: &str| json!([{"role": "assistant", "content": answer}]);
    let printed = |answer: &str| {
        format!("[{{'content': 'q', 'role': 'user'}}\n {{'content': '{answer}', 'role': 'assistant'}}]")
    };
    for row in [
        json!({"prompt": "q", "chosen": "a", "rejected": "b"}),
        json!({"prompt": "q", "chosen": whole("a"), "rejected": whole("b"), "messages": whole("a")}),
        json!({"prompt": "q", "chosen": only("a"), "rejected": only("b")}),
        json!({"prompt": [{"role": "user", "content": "q"}], "chosen": only("a"), "rejected": only("b")}),
        json!({"chosen": whole("a"), "rejected": whole("b"), "source": "s"}),
        json!({"chosen": "\n\nHuman: q\n\nAssistant: a", "rejected": "\n\nHuman: q\n\nAssistant: b"}),
        json!({"prompt": "q", "chosen": printed("a"), "rejected": printed("b")}),
        json!({"chosen": printed("a"), "rejected": printed("b")}),
        json!({"prompt": "q", "chosen": whole("a").to_string(), "rejected": whole("b").to_string()}),
        json!({"prompt": "[{'role': 'user', 'content': 'q'}]", "chosen": only("a").to_string(), "rejected": only("b").to_string()}),
        json!({"conversations": [{"from": "human", "value": "q"}], "chosen": {"from": "gpt", "value": "a"}, "rejected": {"from": "gpt", "value": "b"}}),
        json!({"query": "q", "response": "a", "rejected_response": "b"}),
        json!({"messages": whole("a"), "rejected_messages": whole("b")}),
        json!({"qid": 1, "question": "q", "response_j": "a", "response_k": "b"}),
    ] {
        assert_eq!(found(&row), pair, "{row}");
    }
}

#[test]
fn a_text_is_a_text_even_if_it_looks_like_a_list_or_is_a_chat_in_json() {
    for text in [
        "[1, 2, 3]",
        "[]",
        "[not JSON",
        "[{\"role\": \"x\"}]",
        "[{\"role\": \"user\", \"content\": \"hi\"}, {\"role\": \"assistant\", \"content\": \"x\"}]",
    ] {
        assert_eq!(found(&json!({"prompt": "q", "response": text})), [answered(text)], "{text}");
        let pair = json!({"prompt": "q", "chosen": text, "rejected": "b"});
        assert_eq!(found(&pair), [answered(text), answered("b")], "{text}");
        let group = json!({"prompt": "q", "responses": [text, {"text": text}]});
        assert_eq!(found(&group), [answered(text), answered(text)], "{text}");
    }
    let dialogue = "Human: x\n\nAssistant: y";
    assert_eq!(found(&json!({"prompt": "q", "response": dialogue})), [answered(dialogue)]);
}

#[test]
fn a_text_that_spells_a_list_is_several_responses_only_in_a_table() {
    let spelled = "['red', 'green']";
    let pair = json!({"prompt": "q", "chosen": spelled, "rejected": "['dog']"});
    let group = json!({"prompt": "q", "responses": "[\"red\", \"green\"]", "response": "a"});
    let arena = json!({"prompt": "q", "response_a": "[\"red\"]", "response_b": "b"});
    assert_eq!(found(&pair), [answered(spelled), answered("['dog']")]);
    assert_eq!(found(&group), [answered("a")]);
    assert_eq!(found(&arena), [answered("[\"red\"]"), answered("b")]);
    let inputs = crate::score::rows::InputKinds { lists_in_texts: true, ..Default::default() };
    let arguments = FormArgs { inputs, ..FormArgs::default() };
    for (value, count) in [(&pair, 3), (&group, 2)] {
        let row = row(value);
        let layout = RowLayout::detect(&row, &arguments).unwrap();
        assert_eq!(layout.count_conversations(&row), count, "{value}");
    }
    let named = FormArgs { form: Some("lists".into()), ..FormArgs::default() };
    let row = row(&pair);
    assert_eq!(RowLayout::detect(&row, &named).unwrap().count_conversations(&row), 3);
}

#[test]
fn a_prompt_of_several_turns_and_what_belongs_to_it_is_read() {
    let expected = [
        turn("system", "s"),
        turn("user", "q"),
        turn("assistant", "a"),
        turn("user", "r\ni"),
        turn("assistant", "b"),
    ];
    for row in [
        json!({"instruction": "r", "input": "i", "output": "b", "system": "s", "history": [["q", "a"]]}),
        json!({"query": "r\ni", "response": "b", "system_prompt": "s", "history": "[['q', 'a']]"}),
        json!({"prompt": "q\n<extra_id_1>Assistant\na\n<extra_id_1>User\nr\ni", "response": "b", "custom_system_prompt": "s"}),
        json!({"prompt": "<extra_id_0>System\ns\n<extra_id_1>User\nq\n<extra_id_1>Assistant\na\n<extra_id_1>User\nr\ni", "response": "b"}),
        json!({"prompt": "Human: q\n\nAssistant: a\n\nHuman: r\ni\n\nAssistant:", "response": "b", "system": "s"}),
        json!({"system": "s", "conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}, {"from": "human", "value": "r\ni"}, {"from": "gpt", "value": "b"}]}),
    ] {
        assert_eq!(found(&row), [expected.to_vec()], "{row}");
    }
    let two = json!({"system": "s", "messages": [{"role": "system", "content": "t"}, {"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]});
    assert!(error(&two).contains("system prompt"), "{}", error(&two));
    let pair = json!({"system": "s", "question": "q", "chosen": "a", "rejected": "b"});
    assert_eq!(found(&pair)[1][0], turn("system", "s"));
}

#[test]
fn each_completion_of_ultrafeedback_follows_its_own_system_prompt() {
    let completion = |system: &str, answer: &str| json!({"response": answer, "custom_system_prompt": system});
    let value = json!({"instruction": "q", "completions": [completion("s", "a"), completion("t", "b"), completion("", "c")]});
    let under = |system: &str, answer: &str| [vec![turn("system", system)], answered(answer)].concat();
    assert_eq!(found(&value), [under("s", "a"), under("t", "b"), answered("c")]);
}

#[test]
fn every_reply_of_the_assistant_in_a_tree_is_read_after_the_turns_that_lead_to_it() {
    let reply = |role: &str, text: &str, rank: Value, replies: Value| json!({"role": role, "text": text, "rank": rank, "replies": replies});
    let none = json!([]);
    let deep = reply(
        "prompter",
        "r",
        Value::Null,
        json!([
            reply("assistant", "c", json!(1), none.clone()),
            reply("assistant", "d", json!(0), none.clone()),
        ]),
    );
    let value = json!({"message_tree_id": "x", "prompt": {"text": "q", "role": "prompter", "replies": [
        reply("assistant", "a", json!(1), json!([deep])),
        reply("assistant", "b", json!(0), none),
    ]}});
    let follow_up =
        |answer: &str| [answered("a"), vec![turn("user", "r"), turn("assistant", answer)]].concat();
    assert_eq!(found(&value), [answered("a"), answered("b"), follow_up("c"), follow_up("d")]);
    let row = row(&value);
    let found = layout(&row).found(&row).unwrap();
    assert_eq!(found.prompts, [0, 0, 2, 2]);
    assert_eq!(crate::score::report_data::rated_pairs(&found), [(1, 0), (3, 2)]);
}

#[test]
fn the_solution_of_a_problem_is_scored_and_not_its_bare_answer() {
    let value = json!({"problem": "q", "solution": "a", "answer": "7"});
    assert_eq!(found(&value), [answered("a")]);
    let row = row(&value);
    assert_eq!(layout(&row).unread(&row).unwrap(), ["answer"]);
}
