use serde_json::{Value, json};

use super::*;
use crate::score::Row;

type Turns = Vec<(String, String)>;

fn row(value: &Value) -> Row {
    Row::parse(&value.to_string()).unwrap()
}

fn layout(row: &Row) -> RowLayout {
    let mut layout = RowLayout::detect(row, &FormArgs::default()).unwrap();
    layout.set_step_token(Some("<step>"));
    layout
}

fn turns_of(found: Found) -> Vec<Result<Turns, ConversationError>> {
    let turn = |message: crate::prompt::Message| (message.role, message.content);
    let turns = found.candidates.into_iter().map(|candidate| candidate.turns);
    turns.map(|turns| turns.map(|turns| turns.into_iter().map(turn).collect())).collect()
}

/// Role and content of each turn of each conversation in a row.
fn found(value: &Value) -> Vec<Turns> {
    let row = row(value);
    turns_of(layout(&row).found(&row).unwrap()).into_iter().map(Result::unwrap).collect()
}

fn turn(role: &str, content: &str) -> (String, String) {
    (role.into(), content.into())
}

fn answered(answer: &str) -> Turns {
    vec![turn("user", "q"), turn("assistant", answer)]
}

/// The first error of a row.
fn error(value: &Value) -> String {
    let row = row(value);
    let found = match layout(&row).found(&row) {
        Ok(found) => turns_of(found).into_iter().find_map(Result::err),
        Err(error) => Some(error),
    };
    found.expect("the row has an error").to_string()
}

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
fn rows_that_are_single_messages_are_refused() {
    let row = Row::parse(oasst::MESSAGE.example).unwrap();
    assert!(layout(&row).found(&row).unwrap_err().to_string().contains("trees"));
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
fn a_list_that_python_printed_only_in_part_is_refused() {
    let cut = "[{'role': 'user', 'content': 'q'} ... {'role': 'assistant', 'content': 'a'}]";
    for row in [
        json!({"messages": cut}),
        json!({"prompt": cut, "response": "a"}),
        json!({"prompt": "q", "response": cut}),
    ] {
        assert!(error(&row).contains("Python printed"), "{row}");
    }
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
    assert_eq!(super::super::report_data::rated_pairs(&found), [(1, 0), (3, 2)]);
}

#[test]
fn a_conversation_that_ends_with_a_question_is_refused_unless_it_is_allowed() {
    let unanswered = [
        json!({"messages": [{"role": "user", "content": "q"}]}),
        json!({"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}, {"role": "system", "content": "s"}]}),
        json!({"conversations": [{"from": "human", "value": "q"}]}),
        json!({"prompt": "q", "response": [{"role": "assistant", "content": "a"}, {"role": "user", "content": "r"}]}),
    ];
    for value in unanswered {
        assert!(error(&value).contains("--allow-unanswered"), "{value}");
        let row = row(&value);
        let arguments = FormArgs { allow_unanswered: true, ..FormArgs::default() };
        let layout = RowLayout::detect(&row, &arguments).unwrap();
        assert!(layout.found(&row).unwrap().candidates[0].turns.is_ok(), "{value}");
    }
}

#[test]
fn columns_that_look_like_a_part_of_the_conversation_and_are_not_read_are_named() {
    for (value, unread) in [
        (
            json!({"prompt": "q", "response": "a", "context": "c", "functions": "[1]", "tools": [{}], "documents": ""}),
            vec!["context", "functions"],
        ),
        (json!({"question": "q", "context": "c", "answer": "a"}), vec!["context"]),
        (json!({"prompt": "q", "response": "a", "system": "s", "helpfulness": 1}), vec![]),
        (
            json!({"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}], "prompt": "q"}),
            vec![],
        ),
        (
            json!({"instruction": "q", "completions": [{"response": "a", "custom_system_prompt": "s"}]}),
            vec![],
        ),
        (json!({"prompt": "q", "responses": ["a"], "input": "i"}), vec!["input"]),
    ] {
        let row = row(&value);
        assert_eq!(layout(&row).unread(&row).unwrap(), unread, "{value}");
    }
}

#[test]
fn tools_and_variables_of_a_row_are_given_to_the_chat_template() {
    let tool =
        json!({"type": "function", "function": {"name": "f", "parameters": {"a": {"type": "string"}}}});
    let padded = json!({"type": "function", "strict": null,
        "function": {"name": "f", "parameters": {"a": {"type": "string", "enum": null}, "b": null}}});
    let variables = |columns: Value| {
        let mut value = json!({"prompt": "q", "response": "a"});
        value.as_object_mut().unwrap().extend(columns.as_object().unwrap().clone());
        let row = row(&value);
        layout(&row).found(&row).map(|found| found.variables.to_json())
    };
    let given = json!({"enable_thinking": false, "tools": [tool]});
    for columns in [
        json!({"tools": [tool], "chat_template_kwargs": {"enable_thinking": false}}),
        json!({"tools": [padded], "chat_template_kwargs": {"enable_thinking": false, "tools": [1]}}),
        json!({"tools": json!([tool]).to_string(), "chat_template_kwargs": "{\"enable_thinking\": false}"}),
    ] {
        assert_eq!(variables(columns.clone()).unwrap(), given, "{columns}");
    }
    for columns in [
        json!({}),
        json!({"tools": null, "chat_template_kwargs": null}),
        json!({"tools": [], "chat_template_kwargs": {}}),
        json!({"tools": " ", "chat_template_kwargs": ""}),
        json!({"tools": "[]", "chat_template_kwargs": "{}"}),
    ] {
        assert_eq!(variables(columns.clone()).unwrap(), json!({}), "{columns}");
    }
    for (columns, named) in [
        (json!({"tools": "a hammer"}), "`tools`"),
        (json!({"tools": ["a hammer"]}), "`tools`"),
        (json!({"chat_template_kwargs": [1]}), "`chat_template_kwargs`"),
        (json!({"chat_template_kwargs": {"messages": []}}), "`chat_template_kwargs.messages`"),
    ] {
        let sentence = variables(columns).unwrap_err().to_string();
        assert!(sentence.starts_with(named), "{sentence}");
    }
}

#[test]
fn a_step_that_contains_the_end_of_one_is_refused() {
    let sentence = error(&json!({"prompt": "q", "completions": ["a", "b<step>c"], "labels": [true, false]}));
    assert!(sentence.contains("step 2 of `completions` contains \"<step>\""), "{sentence}");
}

#[test]
fn columns_with_other_names_are_found_when_they_are_named() {
    let read = |columns: &[&str], value: &Value| {
        let names = ColumnNames {
            columns: columns.iter().map(|name| name.parse().unwrap()).collect(),
            ..ColumnNames::default()
        };
        let row = row(value);
        let layout = RowLayout::detect(&row, &FormArgs { names, ..FormArgs::default() });
        layout.map(|layout| {
            turns_of(layout.found(&row).unwrap()).into_iter().map(Result::unwrap).collect::<Vec<_>>()
        })
    };
    let nested = json!({"task": {"text": "q"}, "result": "a", "better": "a", "worse": "b", "list": ["a", "b"], "rules": "s"});
    assert_eq!(read(&["prompt=task.text", "response=result"], &nested).unwrap(), [answered("a")]);
    assert_eq!(
        read(&["prompt=task.text", "chosen=better", "rejected=worse"], &nested).unwrap(),
        [answered("a"), answered("b")]
    );
    assert_eq!(
        read(&["prompt=task.text", "responses=list"], &nested).unwrap(),
        [answered("a"), answered("b")]
    );
    let with_system = read(&["prompt=task.text", "response=result", "system=rules"], &nested).unwrap();
    assert_eq!(with_system[0][0], turn("system", "s"));
    let missing = read(&["prompt=nope", "response=result"], &nested).unwrap_err().to_string();
    assert!(missing.contains("no column `nope`") && missing.contains("task"), "{missing}");
    assert!("prompt".parse::<ColumnName>().is_err() && "colour=x".parse::<ColumnName>().is_err());
}

#[test]
fn a_form_can_be_chosen_where_two_fit() {
    let value = json!({"prompt": "q", "completions": ["a", "b"], "labels": [1, 0]});
    let row = row(&value);
    assert_eq!(layout(&row).holds(), Holds::Steps);
    let arguments = FormArgs { form: Some("responses".into()), ..FormArgs::default() };
    assert_eq!(RowLayout::detect(&row, &arguments).unwrap().holds(), Holds::Group);
    let arguments = FormArgs { form: Some("nope".into()), ..FormArgs::default() };
    let unknown = RowLayout::detect(&row, &arguments).unwrap_err().to_string();
    assert!(unknown.contains("`nope`") && unknown.contains("stepwise"), "{unknown}");
}

#[test]
fn labels_say_which_response_is_better() {
    let ratings = |value: &Value| {
        let row = row(value);
        layout(&row).found(&row).unwrap().ratings
    };
    let order = |value: &Value| {
        let ratings = ratings(value);
        ratings[0].zip(ratings[1]).and_then(|(a, b)| a.partial_cmp(&b))
    };
    use std::cmp::Ordering::{Equal, Greater, Less};
    let pku =
        |id: Value| json!({"prompt": "q", "response_0": "a", "response_1": "b", "better_response_id": id});
    assert_eq!([order(&pku(json!(0))), order(&pku(json!("1")))], [Some(Greater), Some(Less)]);
    assert!(ratings(&pku(Value::Null)).is_empty());
    let judge = |label: &str| json!({"question": "q", "response_A": "a", "response_B": "b", "label": label});
    assert_eq!([order(&judge("A>B")), order(&judge("B>A"))], [Some(Greater), Some(Less)]);
    let helpsteer = |strength: i64| json!({"prompt": "q", "response_1": "a", "response_2": "b", "preference_strength": strength});
    assert_eq!([-3, 0, 1].map(|s| order(&helpsteer(s))), [Some(Greater), Some(Equal), Some(Less)]);
    let voted = |winner: &str| json!({"prompt": "q", "response_1": "a", "response_2": "b", "winner": winner});
    assert_eq!(
        ["model_a", "model_b", "tie (bothbad)"].map(|winner| order(&voted(winner))),
        [Some(Greater), Some(Less), Some(Equal)]
    );
    let searched = |role: &str| json!([{"role": "user", "content": "q"}, {"role": role, "content": "a"}]);
    let search = json!({"messages_a": searched("assistant"), "messages_b": searched("assistant"), "winner": "model_b"});
    assert_eq!(order(&search), Some(Less));
    let arena = |a: i64, b: i64| json!({"prompt": "[\"q\"]", "response_a": "[\"a\"]", "response_b": "[null]", "winner_model_a": a, "winner_model_b": b});
    assert_eq!(
        [(1, 0), (0, 1), (0, 0)].map(|(a, b)| order(&arena(a, b))),
        [Some(Greater), Some(Less), Some(Equal)]
    );
    let shp = |label: i64| json!({"history": "q", "human_ref_A": "a", "human_ref_B": "b", "labels": label});
    assert_eq!([order(&shp(1)), order(&shp(0))], [Some(Greater), Some(Less)]);
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
fn a_prompt_is_never_scored_without_a_part_that_is_not_text() {
    let doubled = json!({"instruction": "q", "input": 5.10, "output": "a"});
    assert_eq!(found(&doubled), [[turn("user", "q\n5.1"), turn("assistant", "a")]]);
    let system = json!({"prompt": "q", "response": "a", "system": 12345678901234567890_u64});
    assert_eq!(found(&system)[0][0], turn("system", "12345678901234567890"));
    for none in [json!(null), json!(""), json!([])] {
        let row = json!({"instruction": "q", "input": none, "output": "a", "system": none});
        assert_eq!(found(&row), [answered("a")], "{row}");
    }
    for other in [json!(["5"]), json!({"role": "system", "content": "s"}), json!(true)] {
        let input = error(&json!({"instruction": "q", "input": other, "output": "a"}));
        assert!(input.starts_with("`input` is neither a text nor a number"), "{input}");
        for row in [
            json!({"prompt": "q", "response": "a", "system": other}),
            json!({"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}], "system": other}),
            json!({"question": {"full_text": "q"}, "answer_0": "a", "answer_1": "b", "system": other}),
        ] {
            assert!(error(&row).starts_with("`system` is neither"), "{row}");
        }
    }
}

#[test]
fn the_solution_of_a_problem_is_scored_and_not_its_bare_answer() {
    let value = json!({"problem": "q", "solution": "a", "answer": "7"});
    assert_eq!(found(&value), [answered("a")]);
    let row = row(&value);
    assert_eq!(layout(&row).unread(&row).unwrap(), ["answer"]);
}

#[test]
fn a_row_that_cannot_be_read_says_what_is_there() {
    let surrogate = Row::parse(r#"{"prompt": "q", "response": "\ud83d"}"#).unwrap();
    let found = layout(&surrogate).found(&surrogate).unwrap();
    let reason = turns_of(found).remove(0).unwrap_err().to_string();
    assert!(reason.starts_with("`response` cannot be read"), "{reason}");
    let system = Row::parse(r#"{"prompt": "q", "response": "a", "system": "\ud83d"}"#).unwrap();
    let reason = layout(&system).found(&system).unwrap_err().to_string();
    assert!(reason.starts_with("`system` cannot be read"), "{reason}");
    let null = json!({"instruction": "q", "completions": [{"response": "a"}, {"response": null}]});
    assert_eq!(error(&null), "the row has no `completions.response`");
    let dialogue = row(&json!({"text": "### Human: q### Assistant: a"}));
    let plain = row(&json!({"text": "plain"}));
    let reason = layout(&dialogue).found(&plain).unwrap_err().to_string();
    assert!(reason.starts_with("`text` is not a dialogue"), "{reason}");
    let failed = row(&json!({"prompt": null, "response": "a", "output": "b"}));
    assert_eq!(layout(&failed).unread(&failed), None);
    let bytes = error(&json!({"prompt": "q", "response": {"hex": "ff"}}));
    assert!(bytes.starts_with("`response` holds bytes"), "{bytes}");
}

#[test]
fn a_column_that_is_named_is_read_even_beside_a_pair() {
    let columns = vec!["response=response".parse().unwrap()];
    let names = ColumnNames { columns, ..ColumnNames::default() };
    let row = row(&json!({"prompt": "q", "chosen": "c", "rejected": "d", "response": "a"}));
    let layout = RowLayout::detect(&row, &FormArgs { names, ..FormArgs::default() }).unwrap();
    assert_eq!(turns_of(layout.found(&row).unwrap()), [Ok(answered("a"))]);
}
