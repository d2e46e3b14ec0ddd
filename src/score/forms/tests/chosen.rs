//! Columns and forms that the user names.

use serde_json::{Value, json};

use super::*;

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
    assert_eq!(
        read(&["prompt=task.text", "responses=better", "responses=worse", "responses=result"], &nested)
            .unwrap(),
        [answered("a"), answered("b"), answered("a")]
    );
    let missing = read(&["prompt=task.text", "responses=better", "responses=C"], &nested).unwrap_err();
    assert!(missing.to_string().contains("no column `C` for the responses"), "{missing}");
    let missing = read(&["prompt=nope", "response=result"], &nested).unwrap_err().to_string();
    assert!(missing.contains("no column `nope`") && missing.contains("task"), "{missing}");
    assert!("prompt".parse::<ColumnName>().is_err() && "colour=x".parse::<ColumnName>().is_err());
}

#[test]
fn a_column_that_is_named_is_read_even_beside_a_pair() {
    let columns = vec!["response=response".parse().unwrap()];
    let names = ColumnNames { columns, ..ColumnNames::default() };
    let row = row(&json!({"prompt": "q", "chosen": "c", "rejected": "d", "response": "a"}));
    let layout = RowLayout::detect(&row, &FormArgs { names, ..FormArgs::default() }).unwrap();
    assert_eq!(turns_of(layout.found(&row).unwrap()), [Ok(answered("a"))]);
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
