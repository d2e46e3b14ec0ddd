//! What a row says besides its turns: tools, template variables, and which response is better.

use serde_json::{Value, json};

use super::*;

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
