//! Rows that are refused, and columns that are named because nothing reads them.

use serde_json::json;

use super::*;

#[test]
fn rows_that_are_single_messages_are_refused() {
    let row = Row::parse(oasst::MESSAGE.example).unwrap();
    assert!(layout(&row).found(&row).unwrap_err().to_string().contains("trees"));
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
fn a_step_that_contains_the_end_of_one_is_refused() {
    let sentence = error(&json!({"prompt": "q", "completions": ["a", "b<step>c"], "labels": [true, false]}));
    assert!(sentence.contains("step 2 of `completions` contains \"<step>\""), "{sentence}");
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
