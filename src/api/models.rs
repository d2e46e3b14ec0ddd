//! Names that one engine answers to. An alias may be of some of the head's attributes, in an order of
//! its own: to clients it is a model with a smaller head.

use super::ApiError;
use crate::config::Alias;
use crate::reward::{Head, Scores};

/// A model as a request named it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Model<'a> {
    /// What its answers are signed with.
    pub name: &'a str,
    /// The attributes it has; all of the head's unless it is an alias of some.
    attributes: Option<&'a [String]>,
}

impl<'a> Model<'a> {
    /// One with all attributes of the head.
    pub fn whole(name: &'a str) -> Self {
        Self { name, attributes: None }
    }

    /// An alias.
    pub fn alias(alias: &'a Alias) -> Self {
        let attributes = (!alias.attributes.is_empty()).then_some(alias.attributes.as_slice());
        Self { name: &alias.name, attributes }
    }

    /// Names of its scores, in order; none of a model that scores steps.
    pub fn names(&self, head: &'a Head) -> Vec<&'a str> {
        match self.attributes {
            Some(attributes) => attributes.iter().map(String::as_str).collect(),
            None => head.names(),
        }
    }

    /// The scores that it has, of all.
    pub fn select(&self, scores: Scores) -> Scores {
        let Some(attributes) = self.attributes else { return scores };
        let pair = |name: &String| scores.pairs.iter().find(|(attribute, _)| attribute == name).cloned();
        Scores { pairs: attributes.iter().filter_map(pair).collect() }
    }

    /// The score that stands for all, of those it has: an alias's first, else what the head says.
    pub fn single(&self, head: &Head, scores: &Scores) -> Option<f32> {
        match self.attributes {
            Some(_) => scores.pairs.first().map(|(_, score)| *score),
            None => head.single(scores),
        }
    }

    /// What that score is called.
    pub fn single_name(&self, head: &Head) -> String {
        match self.attributes {
            Some(attributes) => attributes.first().cloned().unwrap_or_default(),
            None => head.single_name(),
        }
    }
}

/// Refuses aliases of what a head does not have, and names given twice.
///
/// # Errors
/// A sentence that names the alias.
pub(super) fn check(names: &[String], aliases: &[Alias], head: &Head) -> Result<(), String> {
    let known = head.names();
    for (index, alias) in aliases.iter().enumerate() {
        let name = &alias.name;
        if names.contains(name) || aliases[..index].iter().any(|other| other.name == *name) {
            return Err(format!("alias: two models are called {name}; give the alias another name"));
        }
        if let Some(unknown) = alias.attributes.iter().find(|name| !known.contains(&name.as_str())) {
            let has = match known.as_slice() {
                [] => "whose scores are of steps and cannot be chosen among".to_owned(),
                known => format!("which has {}", known.join(", ")),
            };
            return Err(format!("alias: {name} wants {unknown} of a model {has}"));
        }
    }
    Ok(())
}

/// Finds the model that a request asks for, the first if it asks for none.
///
/// # Errors
/// No such model is served here; the sentence names those that are.
pub(super) fn find<'a>(
    names: &'a [String],
    aliases: &'a [Alias],
    asked: Option<&str>,
) -> Result<Model<'a>, ApiError> {
    let first = names.first().map_or("", String::as_str);
    let Some(asked) = asked else { return Ok(Model::whole(first)) };
    if names.iter().any(|name| name == asked) {
        return Ok(Model::whole(first));
    }
    aliases.iter().find(|alias| alias.name == asked).map(Model::alias).ok_or_else(|| {
        let served: Vec<_> = names.iter().chain(aliases.iter().map(|alias| &alias.name)).cloned().collect();
        ApiError::UnknownModel { asked: asked.to_owned(), served: served.join(", ") }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest;

    fn head() -> Head {
        let attributes = ["help", "safety", "length"].map(str::to_owned).to_vec();
        Head::new(&manifest::Head { attributes, ..Default::default() })
    }

    fn alias(text: &str) -> Alias {
        text.parse().unwrap()
    }

    #[test]
    fn an_alias_has_the_scores_it_names_in_its_order_and_its_first_stands_for_all() {
        let alias = alias("short=length,help");
        let model = Model::alias(&alias);
        let scores = model.select(head().scores(&[1.0, 2.0, 3.0]).unwrap());
        assert_eq!(scores.content(), "length:3.0,help:1.0");
        assert_eq!(
            (model.single(&head(), &scores), model.single_name(&head())),
            (Some(3.0), "length".into())
        );
        assert_eq!(Model::alias(&"all".parse().unwrap()).names(&head()), ["help", "safety", "length"]);
    }

    #[test]
    fn an_alias_of_what_is_not_there_or_a_name_given_twice_is_refused() {
        let names = ["model".to_owned()];
        assert_eq!(check(&names, &[alias("a=help"), alias("b")], &head()), Ok(()));
        for (aliases, words) in [
            (vec![alias("a=beauty")], "a wants beauty of a model which has help, safety, length"),
            (vec![alias("model")], "two models are called model"),
            (vec![alias("a"), alias("a=help")], "two models are called a"),
        ] {
            let error = check(&names, &aliases, &head()).unwrap_err();
            assert!(error.contains(words), "{error}");
        }
    }
}
