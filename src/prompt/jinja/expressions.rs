//! Parses expressions, with the precedence of Jinja's operators.

use super::ast::{Comparison, Expr, Operator};
use super::fault::SyntaxError;
use super::lexer::Token;
use super::parser::Parser;

/// Operators and filters in a row, which make as many levels.
const MAX_CHAIN: usize = 100;

/// How tightly an operator binds.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Level {
    Or,
    And,
    Not,
    Comparison,
    Sum,
    Concat,
    Product,
    Power,
}

impl Parser {
    pub(super) fn expression(&mut self) -> Result<Expr, SyntaxError> {
        self.nested(|parser| parser.maybe_conditional(true))
    }

    fn maybe_conditional(&mut self, with_condition: bool) -> Result<Expr, SyntaxError> {
        let unknown = self.unknown.len();
        let mut value = self.operators(Level::Or)?;
        let mut count = 0;
        while with_condition && self.skip_name("if") {
            // A value under a condition may name an unknown filter.
            self.unknown.truncate(unknown);
            count = self.count_chain(count)?;
            let lenient = std::mem::replace(&mut self.lenient, true);
            let condition = self.operators(Level::Or)?;
            let otherwise = if self.skip_name("else") { Some(Box::new(self.expression()?)) } else { None };
            self.lenient = lenient;
            value = Expr::If(Box::new(value), Box::new(condition), otherwise);
        }
        Ok(value)
    }

    pub(super) fn count_chain(&self, count: usize) -> Result<usize, SyntaxError> {
        if count >= MAX_CHAIN {
            return self
                .error(format!("more than {MAX_CHAIN} operators are in a row; use parentheses or `set`"));
        }
        Ok(count + 1)
    }

    /// Operands and the operators between them that bind at least as tightly as `lowest`. One function for all levels
    /// keeps the stack small.
    fn operators(&mut self, lowest: Level) -> Result<Expr, SyntaxError> {
        let mut left = if lowest <= Level::Not && self.skip_name("not") {
            Expr::Not(Box::new(self.nested(|parser| parser.operators(Level::Not))?))
        } else {
            self.unary(true)?
        };
        let mut count = 0;
        while let Some(level) = self.level().filter(|level| *level >= lowest) {
            count = self.count_chain(count)?;
            left = match level {
                Level::Or => {
                    self.next();
                    Expr::Or(Box::new(left), Box::new(self.operators(Level::And)?))
                }
                Level::And => {
                    self.next();
                    Expr::And(Box::new(left), Box::new(self.operators(Level::Not)?))
                }
                Level::Comparison => self.comparison(left)?,
                Level::Concat => self.concatenation(left)?,
                Level::Not | Level::Sum | Level::Product | Level::Power => self.binary(left, level)?,
            };
        }
        Ok(left)
    }

    /// How tightly the next operator binds; None if there is none.
    fn level(&self) -> Option<Level> {
        Some(match self.peek()? {
            Token::Op("+" | "-") => Level::Sum,
            Token::Op("~") => Level::Concat,
            Token::Op("*" | "/" | "//" | "%") => Level::Product,
            Token::Op("**") => Level::Power,
            Token::Op("==" | "!=" | "<" | "<=" | ">" | ">=") => Level::Comparison,
            Token::Name(name) => match name.as_str() {
                "or" => Level::Or,
                "and" => Level::And,
                "in" => Level::Comparison,
                "not" if matches!(self.peek_second(), Some(Token::Name(second)) if second == "in") => {
                    Level::Comparison
                }
                _ => return None,
            },
            _ => return None,
        })
    }

    fn binary(&mut self, left: Expr, level: Level) -> Result<Expr, SyntaxError> {
        let operator = match self.next() {
            Some(Token::Op("+")) => Operator::Add,
            Some(Token::Op("-")) => Operator::Sub,
            Some(Token::Op("*")) => Operator::Mul,
            Some(Token::Op("/")) => Operator::Div,
            Some(Token::Op("//")) => Operator::FloorDiv,
            Some(Token::Op("%")) => Operator::Mod,
            _ => Operator::Pow,
        };
        // Operators of one level are joined from left to right.
        let right = match level {
            Level::Sum => self.operators(Level::Concat)?,
            Level::Product => self.operators(Level::Power)?,
            _ => self.unary(true)?,
        };
        Ok(Expr::Binary(operator, Box::new(left), Box::new(right)))
    }

    fn comparison(&mut self, first: Expr) -> Result<Expr, SyntaxError> {
        let mut rest = Vec::new();
        while let Some(comparison) = self.comparison_operator() {
            rest.push((comparison, self.operators(Level::Sum)?));
        }
        Ok(Expr::Compare(Box::new(first), rest))
    }

    fn comparison_operator(&mut self) -> Option<Comparison> {
        let comparison = match (self.peek()?, self.peek_second()) {
            (Token::Op("=="), _) => Comparison::Eq,
            (Token::Op("!="), _) => Comparison::Ne,
            (Token::Op("<"), _) => Comparison::Lt,
            (Token::Op("<="), _) => Comparison::Le,
            (Token::Op(">"), _) => Comparison::Gt,
            (Token::Op(">="), _) => Comparison::Ge,
            (Token::Name(name), _) if name == "in" => Comparison::In,
            (Token::Name(name), Some(Token::Name(second))) if name == "not" && second == "in" => {
                self.next();
                Comparison::NotIn
            }
            _ => return None,
        };
        self.next();
        Some(comparison)
    }

    fn concatenation(&mut self, first: Expr) -> Result<Expr, SyntaxError> {
        let mut parts = vec![first];
        while self.skip_op("~") {
            parts.push(self.operators(Level::Product)?);
        }
        Ok(Expr::Concat(parts))
    }

    fn unary(&mut self, with_filters: bool) -> Result<Expr, SyntaxError> {
        let mut value = if self.skip_op("-") {
            Expr::Negative(Box::new(self.nested(|parser| parser.unary(false))?))
        } else if self.skip_op("+") {
            Expr::Positive(Box::new(self.nested(|parser| parser.unary(false))?))
        } else {
            self.primary()?
        };
        value = self.postfix(value)?;
        if with_filters { self.filters(value) } else { Ok(value) }
    }

    pub(super) fn primary(&mut self) -> Result<Expr, SyntaxError> {
        match self.peek() {
            Some(Token::Name(name)) => {
                let constant = match name.as_str() {
                    "true" | "True" => Some(Expr::Bool(true)),
                    "false" | "False" => Some(Expr::Bool(false)),
                    "none" | "None" => Some(Expr::None),
                    _ => None,
                };
                let name = self.expect_name()?;
                Ok(constant.unwrap_or_else(|| self.load(name)))
            }
            Some(Token::Str(_)) => {
                let mut text = String::new();
                while let Some(Token::Str(part)) = self.peek() {
                    text.push_str(part);
                    self.next();
                }
                Ok(Expr::Str(text.into()))
            }
            Some(Token::Int(value)) => {
                let value = *value;
                self.next();
                Ok(Expr::Int(value))
            }
            Some(Token::Float(value)) => {
                let value = *value;
                self.next();
                Ok(Expr::Float(value))
            }
            Some(Token::Op("(")) => {
                self.next();
                let value = if self.is_op(")") { Expr::Tuple(Vec::new()) } else { self.tuple(true, &[])? };
                self.expect_op(")")?;
                Ok(value)
            }
            Some(Token::Op("[")) => {
                self.next();
                Ok(Expr::List(self.items("]", Self::expression)?))
            }
            Some(Token::Op("{")) => {
                self.next();
                let pairs = self.items("}", |parser| {
                    let key = parser.expression()?;
                    parser.expect_op(":")?;
                    Ok((key, parser.expression()?))
                })?;
                Ok(Expr::Dict(pairs))
            }
            _ => self.unexpected("an expression"),
        }
    }

    /// Items between commas up to `end`, which is consumed.
    fn items<T>(
        &mut self,
        end: &str,
        item: impl Fn(&mut Self) -> Result<T, SyntaxError>,
    ) -> Result<Vec<T>, SyntaxError> {
        let mut items = Vec::new();
        while !self.is_op(end) {
            if !items.is_empty() {
                self.expect_op(",")?;
                if self.is_op(end) {
                    break;
                }
            }
            items.push(item(self)?);
        }
        self.expect_op(end)?;
        Ok(items)
    }

    /// An expression, or a tuple of several with commas between them, up to the end of the tag, a closing parenthesis
    /// or one of the words `ends`.
    pub(super) fn tuple(&mut self, with_condition: bool, ends: &[&str]) -> Result<Expr, SyntaxError> {
        let mut items = Vec::new();
        let mut is_tuple = false;
        loop {
            let at_end = matches!(self.peek(), None | Some(Token::VariableEnd | Token::BlockEnd));
            if at_end || self.is_op(")") || ends.iter().any(|end| self.is_name(end)) {
                break;
            }
            items.push(self.nested(|parser| parser.maybe_conditional(with_condition))?);
            if !self.skip_op(",") {
                break;
            }
            is_tuple = true;
        }
        match items.pop() {
            None => self.unexpected("an expression"),
            Some(item) if !is_tuple => Ok(item),
            Some(item) => {
                items.push(item);
                Ok(Expr::Tuple(items))
            }
        }
    }
}
