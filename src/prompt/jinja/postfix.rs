//! Parses what follows a value: attributes, subscripts, calls, filters and tests.

use super::ast::{Arguments, Expr};
use super::fault::SyntaxError;
use super::lexer::Token;
use super::parser::Parser;
use super::{builtin_tests, filters};

impl Parser {
    /// Filters, tests and calls that follow a value.
    pub(super) fn filters(&mut self, mut value: Expr) -> Result<Expr, SyntaxError> {
        let mut count = 0;
        loop {
            count = self.count_chain(count)?;
            value = if self.skip_op("|") {
                self.filter(value)?
            } else if self.skip_name("is") {
                self.test(value)?
            } else if self.is_op("(") {
                Expr::Call(Box::new(value), Box::new(self.arguments()?))
            } else {
                return Ok(value);
            };
        }
    }

    /// Attributes, subscripts and calls.
    pub(super) fn postfix(&mut self, mut value: Expr) -> Result<Expr, SyntaxError> {
        let mut count = 0;
        loop {
            count = self.count_chain(count)?;
            value = if self.skip_op(".") {
                if let Some(Token::Int(index)) = self.peek() {
                    let index = *index;
                    self.next();
                    Expr::Item(Box::new(value), Box::new(Expr::Int(index)))
                } else {
                    Expr::Attribute(Box::new(value), self.expect_name()?.into())
                }
            } else if self.skip_op("[") {
                self.subscript(value)?
            } else if self.is_op("(") {
                Expr::Call(Box::new(value), Box::new(self.arguments()?))
            } else {
                return Ok(value);
            };
        }
    }

    fn subscript(&mut self, value: Expr) -> Result<Expr, SyntaxError> {
        let mut parts: [Option<Expr>; 3] = [None, None, None];
        let mut colons = 0;
        while !self.is_op("]") {
            if self.skip_op(":") {
                colons += 1;
                if colons > 2 {
                    return self.unexpected("`]`");
                }
            } else if self.is_op(",") {
                return self.error("several subscripts are not supported");
            } else if parts[colons].is_some() {
                return self.unexpected("`]`");
            } else {
                parts[colons] = Some(self.expression()?);
            }
        }
        self.expect_op("]")?;
        match parts {
            [Some(index), None, None] if colons == 0 => Ok(Expr::Item(Box::new(value), Box::new(index))),
            _ if colons == 0 => self.error("a subscript is empty"),
            parts => Ok(Expr::Slice(Box::new(value), Box::new(parts))),
        }
    }

    fn arguments(&mut self) -> Result<Arguments, SyntaxError> {
        let mut arguments = Arguments::default();
        self.expect_op("(")?;
        let mut first = true;
        while !self.is_op(")") {
            if !first {
                self.expect_op(",")?;
                if self.is_op(")") {
                    break;
                }
            }
            first = false;
            let no_more = arguments.more_named.is_some();
            let only_named = no_more || arguments.more_positional.is_some();
            if self.is_op("*") && !only_named {
                self.next();
                arguments.more_positional = Some(self.expression()?);
            } else if self.is_op("**") && !no_more {
                self.next();
                arguments.more_named = Some(self.expression()?);
            } else if matches!(self.peek_second(), Some(Token::Op("="))) && !no_more {
                let name = self.expect_name()?;
                self.expect_op("=")?;
                arguments.named.push((name.into(), self.expression()?));
            } else if !only_named && arguments.named.is_empty() {
                arguments.positional.push(self.expression()?);
            } else {
                return self.error("the arguments of a call are in the wrong order");
            }
        }
        self.expect_op(")")?;
        Ok(arguments)
    }

    /// The filters of a `filter` or `set` block, whose first has no `|` before it.
    pub(super) fn filter_names(&mut self, value: Expr) -> Result<Expr, SyntaxError> {
        let mut value = self.filter(value)?;
        while self.skip_op("|") {
            value = self.filter(value)?;
        }
        Ok(value)
    }

    fn dotted_name(&mut self) -> Result<String, SyntaxError> {
        let mut name = self.expect_name()?;
        while self.skip_op(".") {
            name = format!("{name}.{}", self.expect_name()?);
        }
        Ok(name)
    }

    fn filter(&mut self, value: Expr) -> Result<Expr, SyntaxError> {
        let name = self.dotted_name()?;
        if !self.lenient && !filters::exists(&name) {
            self.unknown.push(self.failure(format!("there is no filter `{name}`")));
        }
        let arguments = if self.is_op("(") { self.arguments()? } else { Arguments::default() };
        Ok(Expr::Filter(Box::new(value), name.into(), Box::new(arguments)))
    }

    fn test(&mut self, value: Expr) -> Result<Expr, SyntaxError> {
        let negated = self.skip_name("not");
        let name = self.dotted_name()?;
        if !self.lenient && !builtin_tests::exists(&name) {
            self.unknown.push(self.failure(format!("there is no test `{name}`")));
        }
        let mut arguments = Arguments::default();
        if self.is_op("(") {
            arguments = self.arguments()?;
        } else if self.test_argument_follows() {
            if self.is_name("is") {
                return self.error("tests cannot follow each other; join them with `and`");
            }
            let argument = self.primary()?;
            arguments.positional.push(self.postfix(argument)?);
        }
        let test = Expr::Test(Box::new(value), name.into(), Box::new(arguments));
        Ok(if negated { Expr::Not(Box::new(test)) } else { test })
    }

    fn test_argument_follows(&self) -> bool {
        match self.peek() {
            Some(Token::Name(name)) => !["else", "or", "and"].contains(&name.as_str()),
            Some(Token::Str(_) | Token::Int(_) | Token::Float(_) | Token::Op("[" | "{")) => true,
            _ => false,
        }
    }
}
