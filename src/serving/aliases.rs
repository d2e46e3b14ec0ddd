//! The names of a loaded model. An alias may have only some of the head's attributes, in an order of its
//! own: to clients it is a model with a smaller head.

use super::Alias;
use crate::manifest::Manifest;
use crate::reward::{Head, Scores};

/// A model as a request named it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Model<'a> {
    /// The name in its responses.
    pub(crate) name: &'a str,
    /// The attributes that an alias has; all of the head's if `None`.
    attributes: Option<&'a [String]>,
}

impl<'a> Model<'a> {
    /// A model with all attributes of the head.
    fn whole(name: &'a str) -> Self {
        Self { name, attributes: None }
    }

    fn alias(alias: &'a Alias) -> Self {
        let attributes = (!alias.attributes.is_empty()).then_some(alias.attributes.as_slice());
        Self { name: &alias.name, attributes }
    }

    /// Names of its scores, in order; empty if the model scores steps.
    pub(crate) fn names(&self, head: &'a Head) -> Vec<&'a str> {
        match self.attributes {
            Some(attributes) => attributes.iter().map(String::as_str).collect(),
            None => head.names(),
        }
    }

    /// Every name that responses can be ranked by.
    pub(crate) fn ranking_names(&self, head: &Head) -> Vec<String> {
        match self.attributes {
            Some(attributes) => attributes.to_vec(),
            None => head.ranking_names(),
        }
    }

    /// Keeps those of the head's scores that this model has, in its order.
    pub(crate) fn select(&self, scores: &mut Scores) {
        self.select_pairs(&mut scores.pairs);
    }

    /// Keeps those of some numbers by attribute that this model has, in its order.
    pub(crate) fn select_pairs(&self, pairs: &mut Vec<(String, f32)>) {
        let Some(attributes) = self.attributes else { return };
        let mut kept = Vec::with_capacity(attributes.len());
        for name in attributes {
            kept.extend(pairs.iter().find(|(attribute, _)| attribute == name).cloned());
        }
        *pairs = kept;
    }

    /// The one score for clients that want one number: an alias's first, else the head's choice.
    pub(crate) fn single(&self, head: &Head, scores: &Scores) -> Option<f32> {
        match self.attributes {
            Some(_) => scores.pairs.first().map(|(_, score)| *score),
            None => head.single(scores),
        }
    }

    /// The name of that score.
    pub(crate) fn single_name(&self, head: &Head) -> String {
        match self.attributes {
            Some(attributes) => attributes.first().cloned().unwrap_or_default(),
            None => head.single_name(),
        }
    }
}

/// Why the options' names and aliases do not fit the model.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the messages name the fields")]
pub enum AliasError {
    /// Two models would have one name.
    #[error("alias: two models are called {0}; give the alias another name")]
    Duplicate(String),
    /// An alias has an attribute that the model has not.
    #[error("alias: {alias} has {attribute}, which is not an attribute of this model; it has {known}")]
    UnknownAttribute {
        alias: String,
        /// What is unknown.
        attribute: String,
        known: String,
    },
    /// An alias chooses among scores of steps, which have no names.
    #[error("alias: {alias} chooses {attribute}, but this model scores steps, which cannot be chosen among")]
    Steps {
        alias: String,
        /// What it chooses.
        attribute: String,
    },
    /// The model generates text.
    #[error(
        "alias: an alias has some of a reward model's scores, and this engine generates text; give it more names with \
         served_model_name"
    )]
    Generates,
}

/// The names under which a model is served: `names`, or its own if there are none. Responses have the first one.
pub(crate) fn served_names(names: &[String], manifest: &Manifest) -> Vec<String> {
    if names.is_empty() { vec![manifest.model.name.clone()] } else { names.to_vec() }
}

/// Checks aliases of a reward model against its names and its head.
///
/// # Errors
/// Two models have one name, or an alias has an attribute that the head has not.
pub(super) fn check(names: &[String], aliases: &[Alias], head: &Head) -> Result<(), AliasError> {
    let known = head.names();
    for (index, alias) in aliases.iter().enumerate() {
        let name = &alias.name;
        if names.contains(name) || aliases[..index].iter().any(|other| other.name == *name) {
            return Err(AliasError::Duplicate(name.clone()));
        }
        let Some(unknown) = alias.attributes.iter().find(|name| !known.contains(&name.as_str())) else {
            continue;
        };
        let (alias, attribute) = (name.clone(), unknown.clone());
        if known.is_empty() {
            return Err(AliasError::Steps { alias, attribute });
        }
        return Err(AliasError::UnknownAttribute { alias, attribute, known: known.join(", ") });
    }
    Ok(())
}

/// The model that a request asks for, the first if it asks for none; `None` if it is not served here.
pub(crate) fn find<'a>(names: &'a [String], aliases: &'a [Alias], asked: Option<&str>) -> Option<Model<'a>> {
    // [`served_names`] always gives one.
    let whole = Model::whole(&names[0]);
    let Some(asked) = asked else { return Some(whole) };
    let named = |is_it: &dyn Fn(&str) -> bool| {
        let whole = names.iter().any(|name| is_it(name)).then_some(whole);
        whole.or_else(|| aliases.iter().find(|alias| is_it(&alias.name)).map(Model::alias))
    };
    // litellm writes the names of NIM's rankers with dots in place of underscores.
    named(&|name| name == asked).or_else(|| named(&|name| name.replace('_', ".") == asked))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest;

    fn head() -> Head {
        let attributes = ["help", "safety", "length"].map(str::to_owned).to_vec();
        Head::new(&manifest::ManifestHead { attributes, ..Default::default() })
    }

    fn alias(text: &str) -> Alias {
        text.parse().unwrap()
    }

    #[test]
    fn an_alias_has_the_scores_it_names_in_its_order_and_its_first_stands_for_all() {
        let alias = alias("short=length,help");
        let model = Model::alias(&alias);
        let mut scores = head().scores(&[1.0, 2.0, 3.0]).unwrap();
        model.select(&mut scores);
        assert_eq!(scores.content(), "length:3.0,help:1.0");
        assert_eq!(
            (model.single(&head(), &scores), model.single_name(&head())),
            (Some(3.0), "length".into())
        );
        assert_eq!(Model::alias(&"all".parse().unwrap()).names(&head()), ["help", "safety", "length"]);
    }

    #[test]
    fn a_name_whose_underscores_a_client_wrote_as_dots_is_found_unless_another_is_called_so() {
        let names = ["my_ranker-1_0".to_owned()];
        let aliases = [alias("a_b=help"), alias("a.b=safety")];
        let found = |asked| find(&names, &aliases, Some(asked)).map(|model| model.name);
        assert_eq!(found("my.ranker-1.0"), Some("my_ranker-1_0"));
        assert_eq!((found("a.b"), found("a_b")), (Some("a.b"), Some("a_b")));
        assert_eq!((found("my.ranker-1_0"), found("my_ranker-1.0")), (None, None));
    }

    #[test]
    fn an_alias_of_an_unknown_attribute_or_a_name_given_twice_is_refused() {
        let names = ["model".to_owned()];
        assert_eq!(check(&names, &[alias("a=help"), alias("b")], &head()), Ok(()));
        for (aliases, words) in [
            (
                vec![alias("a=beauty")],
                "a has beauty, which is not an attribute of this model; it has help, safety, length",
            ),
            (vec![alias("model")], "two models are called model"),
            (vec![alias("a"), alias("a=help")], "two models are called a"),
        ] {
            let error = check(&names, &aliases, &head()).unwrap_err();
            assert!(error.to_string().contains(words), "{error}");
        }
    }
}
