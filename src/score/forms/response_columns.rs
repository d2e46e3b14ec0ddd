//! Responses in columns of their own, such as `response_1`, `response_2` and so on.

use super::super::ConversationError;
use super::names::{RESPONSES, next_in_series};
use super::view::{RowView, number};
use super::{Form, Found, Holds};

/// What the names of the first two columns of a series end with.
const FIRST_TWO: [[&str; 2]; 6] =
    [["_1", "_2"], ["_0", "_1"], ["1", "2"], ["0", "1"], ["_a", "_b"], ["_A", "_B"]];

pub(super) static RESPONSE_COLUMNS: Form = Form {
    name: "response-columns",
    data_sets: &["AlpacaFarm preferences"],
    columns: "a prompt, and `output_1` and `output_2`, `answer_a` and `answer_b`, `completion1` and `completion2` and so on; `preference`",
    holds: Holds::Group,
    fits: |view| {
        let prompt = view.prompt_column();
        match view.options.names.responses_columns().len() {
            0 => {}
            named => return named > 1 && prompt.is_some(),
        }
        let has_response = RESPONSES.iter().any(|name| view.has(name) && Some(*name) != prompt);
        prompt.is_some() && !has_response && first_two(view).is_some()
    },
    read: |view| {
        let prompt = view.prompt_column().ok_or_else(|| ConversationError::Missing("prompt".into()))?;
        let named = view.options.names.responses_columns();
        if !named.is_empty() {
            return read_columns(view, prompt, &named, None);
        }
        let first_two = first_two(view).ok_or_else(|| ConversationError::Missing("response_1".into()))?;
        // AlpacaFarm counts the outputs from 1.
        let preference = match view.number("preference") {
            Some(1.0) => Some(1.0),
            Some(2.0) => Some(-1.0),
            _ => winner(view),
        };
        read_series(view, prompt, [&first_two[0], &first_two[1]], preference)
    },
    repeated: &[],
    example: r#"{"instruction": "q", "input": "", "output_1": "a", "output_2": "b", "preference": 1, "raw_preference": 1.2}"#,
};

/// The first two columns of a series of responses.
fn first_two(view: &RowView) -> Option<[String; 2]> {
    let mut names =
        RESPONSES.iter().flat_map(|stem| FIRST_TWO.map(|ends| ends.map(|end| format!("{stem}{end}"))));
    names.find(|[first, second]| view.has(first) && view.has(second))
}

/// What `winner` says: above 0 for the first response, 0 for a tie, `None` if nobody voted.
pub(super) fn winner(view: &RowView) -> Option<f64> {
    match view.text("winner").as_deref()? {
        "model_a" => Some(1.0),
        "model_b" => Some(-1.0),
        "both_bad" => Some(0.0),
        tie if tie.starts_with("tie") => Some(0.0),
        _ => None,
    }
}

/// The columns of a series that starts with `first_two`, without the empty ones at its end.
pub(super) fn series(view: &RowView, first_two: [&str; 2]) -> Vec<String> {
    let mut columns = first_two.map(str::to_owned).to_vec();
    let mut last = next_in_series(first_two[1]);
    while let Some(name) = last.filter(|name| view.has(name)) {
        last = next_in_series(&name);
        columns.push(name);
    }
    while columns.len() > 2
        && columns.last().is_some_and(|name| view.peek(name).is_none_or(|value| value == ""))
    {
        columns.pop();
    }
    columns
}

/// The responses of a series of columns. `preference` is positive if the first of two is better.
pub(super) fn read_series(
    view: &RowView,
    prompt: &str,
    first_two: [&str; 2],
    preference: Option<f64>,
) -> Result<Found, ConversationError> {
    let columns = series(view, first_two);
    let names: Vec<&str> = columns.iter().map(String::as_str).collect();
    read_columns(view, prompt, &names, preference)
}

/// The responses in these columns. A list `scores` may say what is thought of each.
fn read_columns(
    view: &RowView,
    prompt: &str,
    names: &[&str],
    preference: Option<f64>,
) -> Result<Found, ConversationError> {
    let prompt = view.prompt(prompt)?;
    let mut candidates: Vec<_> = names.iter().map(|column| view.candidate(&prompt, column)).collect();
    view.check_same_prompt(&prompt, &mut candidates);
    let count = candidates.len();
    let found = Found::group(candidates, names);
    if count == 2 && preference.is_some() {
        return Ok(found.preferred(preference));
    }
    let scores = view.find("scores").and_then(|scores| view.items(scores)).unwrap_or_default();
    let ratings: Vec<Option<f64>> = scores.iter().take(count).map(number).collect();
    Ok(if ratings.len() == count { found.rated(ratings) } else { found })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::tests::{answered, found, layout, row};

    #[test]
    fn every_response_of_a_series_is_read() {
        let prompts = json!({"prompt": "q", "question": "q"});
        let letters = |stem: &str, ends: &[&str]| {
            let mut value = prompts.clone();
            for (end, answer) in ends.iter().zip(["a", "b", "c", "d"]) {
                value[format!("{stem}{end}")] = answer.into();
            }
            value
        };
        for (value, form) in [
            (letters("response_", &["1", "2", "3", "4"]), "helpsteer2-preference"),
            (letters("response_", &["0", "1", "2", "3"]), "pku-saferlhf"),
            (letters("response_", &["A", "B", "C", "D"]), "judgebench"),
            (letters("response_", &["a", "b", "c", "d"]), "arena-responses"),
            (letters("answer_", &["0", "1", "2", "3"]), "webgpt"),
            (letters("answer", &["1", "2", "3", "4"]), "response-columns"),
            (letters("completion_", &["a", "b", "c", "d"]), "response-columns"),
            (letters("output_", &["1", "2", "3", "4"]), "response-columns"),
        ] {
            assert_eq!(found(&value), ["a", "b", "c", "d"].map(answered), "{value}");
            let row = row(&value);
            assert_eq!(
                layout(&row).to_string(),
                format!("a prompt and several responses (form {form})"),
                "{value}"
            );
        }
    }

    #[test]
    fn a_series_of_32_with_scores_is_read_and_its_empty_end_is_left_out() {
        let mut value = json!({"prompt": "q", "scores": [true, false, true]});
        for number in 1..=32 {
            value[format!("response_{number}")] =
                if number < 4 { json!(format!("r{number}")) } else { Value::Null };
        }
        assert_eq!(found(&value), ["r1", "r2", "r3"].map(answered));
        let few = row(&value);
        assert_eq!(layout(&few).found(&few).unwrap().ratings, [Some(1.0), Some(0.0), Some(1.0)]);
        value["response_32"] = "last".into();
        let all = row(&value);
        assert_eq!(layout(&all).count_conversations(&all), 32);
    }

    #[test]
    fn a_response_outside_of_a_series_is_named() {
        for (value, unread) in [
            (json!({"prompt": "q", "response_1": "a", "response_2": "b", "response_4": "d"}), "response_4"),
            (json!({"prompt": "q", "response": "a", "answer_2": "d"}), "answer_2"),
            (json!({"instruction": "q", "output": "f", "orig_response": "a"}), "orig_response"),
        ] {
            let row = row(&value);
            assert_eq!(layout(&row).unread(&row).unwrap(), [unread], "{value}");
        }
    }

    #[test]
    fn alpacafarm_says_which_output_is_preferred() {
        for (preference, ratings) in
            [(json!(1), [Some(1.0), Some(-1.0)]), (json!("2"), [Some(-1.0), Some(1.0)])]
        {
            let value = json!({"instruction": "q", "input": "", "output_1": "a", "output_2": "b", "preference": preference});
            let row = row(&value);
            assert_eq!(layout(&row).found(&row).unwrap().ratings, ratings, "{value}");
        }
    }
}
