//! The parser of `--filter`. `not` binds most tightly, then `and`, then `or`.

use super::filter::{Filter, Operand, Operator};

/// Maximum depth of nested brackets and `not`s: more would exhaust the stack.
const MAX_DEPTH: usize = 64;

/// Why a condition cannot be parsed. Columns count characters from 1.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum FilterError {
    #[error("column {column}: expected {expected}, found `{found}`")]
    Unexpected { column: usize, expected: &'static str, found: String },
    #[error("column {column}: expected {expected}, found the end")]
    UnexpectedEnd { column: usize, expected: &'static str },
    #[error("column {column}: unexpected character `{character}`")]
    Character { column: usize, character: char },
    #[error("column {column}: nested more than {MAX_DEPTH} levels deep")]
    TooDeep { column: usize },
}

impl std::str::FromStr for Filter {
    type Err = FilterError;

    fn from_str(text: &str) -> Result<Self, FilterError> {
        let mut parser = Parser { tokens: tokenize(text)?, next: 0, end: text.chars().count() + 1 };
        let filter = parser.or(0)?;
        match parser.peek() {
            None => Ok(filter),
            Some(_) => Err(parser.expected("`and`, `or` or the end")),
        }
    }
}

struct Token {
    text: String,
    column: usize,
}

struct Parser {
    tokens: Vec<Token>,
    next: usize,
    /// Column after the last character.
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

    fn column(&self) -> usize {
        self.peek().map_or(self.end, |token| token.column)
    }

    fn expected(&self, expected: &'static str) -> FilterError {
        let column = self.column();
        match self.peek() {
            Some(token) => FilterError::Unexpected { column, expected, found: token.text.clone() },
            None => FilterError::UnexpectedEnd { column, expected },
        }
    }

    fn or(&mut self, depth: usize) -> Result<Filter, FilterError> {
        let mut filter = self.and(depth)?;
        while self.accept("or") {
            filter = Filter::Or(filter.into(), self.and(depth)?.into());
        }
        Ok(filter)
    }

    fn and(&mut self, depth: usize) -> Result<Filter, FilterError> {
        let mut filter = self.not(depth)?;
        while self.accept("and") {
            filter = Filter::And(filter.into(), self.not(depth)?.into());
        }
        Ok(filter)
    }

    fn not(&mut self, depth: usize) -> Result<Filter, FilterError> {
        if depth > MAX_DEPTH {
            return Err(FilterError::TooDeep { column: self.column() });
        }
        if self.accept("not") {
            return Ok(Filter::Not(self.not(depth + 1)?.into()));
        }
        if self.accept("(") {
            let filter = self.or(depth + 1)?;
            return if self.accept(")") { Ok(filter) } else { Err(self.expected("`)`")) };
        }
        let left = self.operand()?;
        let operator = match self.peek().map(|token| token.text.as_str()) {
            Some(">=") => Operator::AtLeast,
            Some(">") => Operator::Above,
            Some("<=") => Operator::AtMost,
            Some("<") => Operator::Below,
            Some("==" | "=") => Operator::Equal,
            Some("!=") => Operator::Unequal,
            _ => return Err(self.expected("a comparison such as `>=`")),
        };
        self.next += 1;
        Ok(Filter::Compare(left, operator, self.operand()?))
    }

    fn operand(&mut self) -> Result<Operand, FilterError> {
        let expected = "the name of a score or a number";
        let Some(token) = self.peek() else { return Err(self.expected(expected)) };
        let first = token.text.chars().next().unwrap_or(' ');
        let operand = match token.text.parse() {
            Ok(number) if first.is_ascii_digit() || "+-.".contains(first) => Operand::Number(number),
            _ if is_name(first) && !["and", "or", "not"].contains(&token.text.as_str()) => {
                Operand::Name(token.text.clone())
            }
            _ => return Err(self.expected(expected)),
        };
        self.next += 1;
        Ok(operand)
    }
}

/// Whether a name may start with a character. Inside, it may also have `-` and `.`, as attributes do.
fn is_name(character: char) -> bool {
    character.is_alphanumeric() || character == '_'
}

fn tokenize(text: &str) -> Result<Vec<Token>, FilterError> {
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
            _ => return Err(FilterError::Character { column: at + 1, character: first }),
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

    #[test]
    fn errors_name_the_column() {
        for (filter, message) in [
            ("", "column 1: expected the name of a score or a number, found the end"),
            ("helpfulness", "column 12: expected a comparison such as `>=`, found the end"),
            ("helpfulness >= and", "column 16: expected the name of a score or a number, found `and`"),
            ("(helpfulness > 1", "column 17: expected `)`, found the end"),
            (
                "helpfulness > 1 verbosity > 1",
                "column 17: expected `and`, `or` or the end, found `verbosity`",
            ),
            ("helpfulness & 1", "column 13: unexpected character `&`"),
        ] {
            assert_eq!(filter.parse::<Filter>().unwrap_err().to_string(), message, "{filter}");
        }
        let deep = "not ".repeat(100_000).parse::<Filter>();
        assert_eq!(deep, Err(FilterError::TooDeep { column: 4 * (MAX_DEPTH + 1) + 1 }));
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
        fn a_written_filter_parses_back(filter in filters()) {
            prop_assert_eq!(written(&filter).parse::<Filter>(), Ok(filter));
        }

        #[test]
        fn no_text_makes_the_parser_panic(text in "\\PC{0,40}") {
            let _ = text.parse::<Filter>();
        }
    }
}
