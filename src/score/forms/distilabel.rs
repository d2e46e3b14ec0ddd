//! distilabel's generations and their ratings.

use super::view::number;
use super::{Form, Found, Holds};

pub(super) static GENERATIONS: Form = Form {
    name: "distilabel",
    data_sets: &["distilabel, generations and ratings"],
    columns: "`instruction`, `input` or `prompt`, `generations`, `ratings` or `rating`",
    holds: Holds::Group,
    fits: |view| {
        view.has("generations") && view.prompt_column().is_some() && !view.has_all(&["chosen", "rejected"])
    },
    read: |view| {
        let prompt = match view.prompt_column() {
            Some(column) => view.prompt(column)?,
            None => view.no_prompt()?,
        };
        let generations = view.list("generations")?;
        let count = generations.len();
        let candidates =
            generations.into_iter().map(|item| view.answered(&prompt, item, "generations")).collect();
        let ratings =
            view.find("ratings").or_else(|| view.find("rating")).and_then(|value| view.items(value));
        let ratings = ratings.unwrap_or_default().iter().map(number).collect::<Vec<_>>();
        let found = Found::group(candidates, &["generations"]);
        Ok(if ratings.len() == count { found.rated(ratings) } else { found })
    },
    repeated: &[],
    example: r#"{"instruction": "q", "generations": ["a", "b"], "generation_models": ["m", "n"], "ratings": [5, 2], "rationales": ["r", "s"]}"#,
};
