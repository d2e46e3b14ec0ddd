//! Conditions of `--filter`, for example `helpfulness>=3 and (verbosity<2 or not complexity>1)`.

/// A condition on scores.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Filter {
    Or(Box<Filter>, Box<Filter>),
    And(Box<Filter>, Box<Filter>),
    Not(Box<Filter>),
    Compare(Operand, Operator, Operand),
}

/// One side of a comparison.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Operand {
    /// A score, by its name.
    Name(String),
    Number(f64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operator {
    /// `>=`
    AtLeast,
    /// `>`
    Above,
    /// `<=`
    AtMost,
    /// `<`
    Below,
    /// `==`
    Equal,
    /// `!=`
    Unequal,
}

/// A condition names a score that the row does not have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no score `{0}`")]
pub(super) struct UnknownName(pub(super) String);

impl Filter {
    /// Whether the condition is true. `score` returns the score of a name.
    ///
    /// # Errors
    /// The first name without a score.
    pub(super) fn matches(&self, score: &impl Fn(&str) -> Option<f64>) -> Result<bool, UnknownName> {
        Ok(match self {
            // Evaluates both sides, so that an unknown name on either one is found.
            Self::Or(a, b) => a.matches(score)? | b.matches(score)?,
            Self::And(a, b) => a.matches(score)? & b.matches(score)?,
            Self::Not(a) => !a.matches(score)?,
            Self::Compare(a, operator, b) => operator.compare(a.value(score)?, b.value(score)?),
        })
    }
}

impl Operand {
    fn value(&self, score: &impl Fn(&str) -> Option<f64>) -> Result<f64, UnknownName> {
        match self {
            Self::Number(number) => Ok(*number),
            Self::Name(name) => score(name).ok_or_else(|| UnknownName(name.clone())),
        }
    }
}

impl Operator {
    fn compare(self, a: f64, b: f64) -> bool {
        match self {
            Self::AtLeast => a >= b,
            Self::Above => a > b,
            Self::AtMost => a <= b,
            Self::Below => a < b,
            Self::Equal => a == b,
            Self::Unequal => a != b,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(filter: &str) -> Result<bool, UnknownName> {
        let score = |name: &str| match name {
            "helpfulness" => Some(3.5),
            "verbosity" => Some(-1.0),
            "step_1" => Some(0.25),
            _ => None,
        };
        filter.parse::<Filter>().unwrap().matches(&score)
    }

    #[test]
    fn conditions_mean_what_they_say() {
        for (filter, expected) in [
            ("helpfulness>=3 and verbosity<2", true),
            ("helpfulness > 3.5", false),
            ("not helpfulness > 3.5", true),
            ("helpfulness<0 or verbosity==-1", true),
            ("helpfulness<0 or helpfulness>0 and verbosity>0", false),
            ("(helpfulness<0 or helpfulness>0) and verbosity<0", true),
            ("not (verbosity<0 and helpfulness>0)", false),
            ("3 < helpfulness and step_1 != .5", true),
        ] {
            assert_eq!(matches(filter), Ok(expected), "{filter}");
        }
    }

    #[test]
    fn an_unknown_name_on_either_side_is_an_error() {
        assert_eq!(matches("verbosity<0 or kindness>1"), Err(UnknownName("kindness".into())));
    }
}
