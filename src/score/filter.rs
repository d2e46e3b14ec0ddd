//! `--filter 'helpfulness>=3 and (verbosity<2 or not complexity>1)'`.
//!
//! Names stand for scores, numbers for themselves. `not` binds closest, then comparisons' `and`, then
//! `or`.

/// A condition on scores.
#[derive(Clone, Debug, PartialEq)]
pub enum Filter {
    /// One of the two, or both.
    Or(Box<Filter>, Box<Filter>),
    /// Both.
    And(Box<Filter>, Box<Filter>),
    /// Not this.
    Not(Box<Filter>),
    /// A comparison.
    Compare(Operand, Operator, Operand),
}

/// What is compared.
#[derive(Clone, Debug, PartialEq)]
pub enum Operand {
    /// A score, by its name.
    Name(String),
    /// A number.
    Number(f64),
}

/// How it is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operator {
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

impl std::str::FromStr for Filter {
    type Err = String;

    /// Reads a condition; an error names the column at fault, from 1.
    fn from_str(text: &str) -> Result<Self, String> {
        let mut parser = Parser { tokens: tokens(text)?, next: 0, end: text.chars().count() + 1 };
        let filter = parser.or(0)?;
        match parser.peek() {
            None => Ok(filter),
            Some(token) => {
                Err(format!("column {}: `and`, `or` or the end is due, not `{}`", token.column, token.text))
            }
        }
    }
}

impl Filter {
    /// Whether the condition holds, where `score` gives the score of a name.
    ///
    /// # Errors
    /// The first name that has none.
    pub fn holds(&self, score: &impl Fn(&str) -> Option<f64>) -> Result<bool, String> {
        let value = |operand: &Operand| match operand {
            Operand::Number(number) => Ok(*number),
            Operand::Name(name) => score(name).ok_or_else(|| name.clone()),
        };
        Ok(match self {
            // Both sides are looked at, so that an unknown name is found in whichever it stands.
            Self::Or(a, b) => a.holds(score)? | b.holds(score)?,
            Self::And(a, b) => a.holds(score)? & b.holds(score)?,
            Self::Not(a) => !a.holds(score)?,
            Self::Compare(a, operator, b) => {
                let (a, b) = (value(a)?, value(b)?);
                match operator {
                    Operator::AtLeast => a >= b,
                    Operator::Above => a > b,
                    Operator::AtMost => a <= b,
                    Operator::Below => a < b,
                    Operator::Equal => a == b,
                    Operator::Unequal => a != b,
                }
            }
        })
    }
}

/// Brackets and `not`s within each other; more would only exhaust the stack.
const DEEPEST: usize = 64;

struct Token {
    text: String,
    column: usize,
}

struct Parser {
    tokens: Vec<Token>,
    next: usize,
    /// Column behind the last character.
    end: usize,
}

impl Parser {
    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.next)
    }

    fn accept(&mut self, text: &str) -> bool {
        let accepted = self.peek().is_some_and(|token| token.text == text);
        self.next += usize::from(accepted);
        accepted
    }

    fn wrong<T>(&self, due: &str) -> Result<T, String> {
        match self.peek() {
            Some(token) => Err(format!("column {}: {due} is due, not `{}`", token.column, token.text)),
            None => Err(format!("column {}: {due} is due, not the end", self.end)),
        }
    }

    fn or(&mut self, depth: usize) -> Result<Filter, String> {
        let mut filter = self.and(depth)?;
        while self.accept("or") {
            filter = Filter::Or(filter.into(), self.and(depth)?.into());
        }
        Ok(filter)
    }

    fn and(&mut self, depth: usize) -> Result<Filter, String> {
        let mut filter = self.not(depth)?;
        while self.accept("and") {
            filter = Filter::And(filter.into(), self.not(depth)?.into());
        }
        Ok(filter)
    }

    fn not(&mut self, depth: usize) -> Result<Filter, String> {
        if depth > DEEPEST {
            return self.wrong("something less deep");
        }
        if self.accept("not") {
            return Ok(Filter::Not(self.not(depth + 1)?.into()));
        }
        if self.accept("(") {
            let filter = self.or(depth + 1)?;
            return if self.accept(")") { Ok(filter) } else { self.wrong("`)`") };
        }
        let left = self.operand()?;
        let operator = match self.peek().map(|token| token.text.as_str()) {
            Some(">=") => Operator::AtLeast,
            Some(">") => Operator::Above,
            Some("<=") => Operator::AtMost,
            Some("<") => Operator::Below,
            Some("==" | "=") => Operator::Equal,
            Some("!=") => Operator::Unequal,
            _ => return self.wrong("a comparison such as `>=`"),
        };
        self.next += 1;
        Ok(Filter::Compare(left, operator, self.operand()?))
    }

    fn operand(&mut self) -> Result<Operand, String> {
        let due = "the name of a score or a number";
        let Some(token) = self.peek() else { return self.wrong(due) };
        let first = token.text.chars().next().unwrap_or(' ');
        let operand = match token.text.parse() {
            Ok(number) if first.is_ascii_digit() || "+-.".contains(first) => Operand::Number(number),
            _ if is_name(first) && !["and", "or", "not"].contains(&token.text.as_str()) => {
                Operand::Name(token.text.clone())
            }
            _ => return self.wrong(due),
        };
        self.next += 1;
        Ok(operand)
    }
}

/// Names are as attributes are: letters, digits, `_`, `-` inside, `.`.
fn is_name(character: char) -> bool {
    character.is_alphanumeric() || character == '_'
}

fn tokens(text: &str) -> Result<Vec<Token>, String> {
    let characters: Vec<char> = text.chars().collect();
    let mut tokens = Vec::new();
    let mut at = 0;
    while let Some(&first) = characters.get(at) {
        let rest = &characters[at..];
        let length = match first {
            _ if first.is_whitespace() => {
                at += 1;
                continue;
            }
            '(' | ')' => 1,
            '<' | '>' | '=' | '!' => 1 + usize::from(rest.get(1) == Some(&'=')),
            _ if is_name(first) || "+-.".contains(first) => {
                1 + rest[1..].iter().take_while(|c| is_name(**c) || "-.".contains(**c)).count()
            }
            _ => return Err(format!("column {}: `{first}` has no meaning here", at + 1)),
        };
        tokens.push(Token { text: rest[..length].iter().collect(), column: at + 1 });
        at += length;
    }
    Ok(tokens)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn holds(filter: &str) -> Result<bool, String> {
        let score = |name: &str| match name {
            "helpfulness" => Some(3.5),
            "verbosity" => Some(-1.0),
            "step_1" => Some(0.25),
            _ => None,
        };
        filter.parse::<Filter>()?.holds(&score)
    }

    #[test]
    fn conditions_hold_as_they_read() {
        for (filter, due) in [
            ("helpfulness>=3 and verbosity<2", true),
            ("helpfulness > 3.5", false),
            ("not helpfulness > 3.5", true),
            ("helpfulness<0 or verbosity==-1", true),
            ("helpfulness<0 or helpfulness>0 and verbosity>0", false),
            ("(helpfulness<0 or helpfulness>0) and verbosity<0", true),
            ("not (verbosity<0 and helpfulness>0)", false),
            ("3 < helpfulness and step_1 != .5", true),
        ] {
            assert_eq!(holds(filter), Ok(due), "{filter}");
        }
    }

    #[test]
    fn errors_point_at_the_column() {
        for (filter, words) in [
            ("", "column 1: the name of a score or a number is due, not the end"),
            ("helpfulness", "column 12: a comparison such as `>=` is due, not the end"),
            ("helpfulness >= and", "column 16: the name of a score or a number is due, not `and`"),
            ("(helpfulness > 1", "column 17: `)` is due, not the end"),
            ("helpfulness > 1 verbosity > 1", "column 17: `and`, `or` or the end is due, not `verbosity`"),
            ("helpfulness & 1", "column 13: `&` has no meaning here"),
        ] {
            assert_eq!(holds(filter).unwrap_err(), words, "{filter}");
        }
        assert_eq!(holds("verbosity<0 or kindness>1").unwrap_err(), "kindness");
        assert!("not ".repeat(100_000).parse::<Filter>().is_err());
    }

    fn written(filter: &Filter) -> String {
        let operand = |operand: &Operand| match operand {
            Operand::Name(name) => name.clone(),
            Operand::Number(number) => format!("{number}"),
        };
        match filter {
            Filter::Or(a, b) => format!("({} or {})", written(a), written(b)),
            Filter::And(a, b) => format!("({} and {})", written(a), written(b)),
            Filter::Not(a) => format!("not {}", written(a)),
            Filter::Compare(a, operator, b) => {
                let operator = match operator {
                    Operator::AtLeast => ">=",
                    Operator::Above => ">",
                    Operator::AtMost => "<=",
                    Operator::Below => "<",
                    Operator::Equal => "==",
                    Operator::Unequal => "!=",
                };
                format!("{}{operator} {}", operand(a), operand(b))
            }
        }
    }

    fn filters() -> impl Strategy<Value = Filter> {
        let operand = || {
            prop_oneof![
                (-1e3..1e3f64).prop_map(Operand::Number),
                "[a-z][a-z_0-9]{0,8}x".prop_map(Operand::Name),
            ]
        };
        let operator = prop_oneof![
            Just(Operator::AtLeast),
            Just(Operator::Above),
            Just(Operator::AtMost),
            Just(Operator::Below),
            Just(Operator::Equal),
            Just(Operator::Unequal),
        ];
        let leaf =
            (operand(), operator, operand()).prop_map(|(a, operator, b)| Filter::Compare(a, operator, b));
        leaf.prop_recursive(4, 24, 2, |inner| {
            prop_oneof![
                (inner.clone(), inner.clone()).prop_map(|(a, b)| Filter::Or(a.into(), b.into())),
                (inner.clone(), inner.clone()).prop_map(|(a, b)| Filter::And(a.into(), b.into())),
                inner.prop_map(|a| Filter::Not(a.into())),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_is_written_out_reads_back(filter in filters()) {
            prop_assert_eq!(written(&filter).parse::<Filter>(), Ok(filter));
        }

        #[test]
        fn no_text_is_too_strange(text in "\\PC{0,40}") {
            let _ = text.parse::<Filter>();
        }
    }
}
