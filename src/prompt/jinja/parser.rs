//! Parses the statements of a template.

use std::collections::HashMap;

use super::ast::{Expr, Name, Program, Statement, StatementKind};
use super::fault::SyntaxError;
use super::lexer::{Located, Token, tokenize};

/// Statements and expressions inside each other. Jinja itself fails at about 70.
const MAX_NESTING: usize = 64;
/// Depth of one expression, operators in a row included.
const MAX_EXPRESSION_DEPTH: usize = 200;

pub(super) struct Parser {
    tokens: Vec<Located>,
    at: usize,
    last_line: u32,
    pub(super) program: Program,
    names: HashMap<String, Name>,
    /// Every variable that is read, in the order of the template.
    pub(super) loaded: Vec<Name>,
    nesting: usize,
    /// Whether an unknown filter or test fails only when it runs: inside `if`, as in Jinja.
    pub(super) lenient: bool,
    /// Unknown filters and tests of the expression that is parsed.
    pub(super) unknown: Vec<SyntaxError>,
    /// Loops around what is parsed.
    pub(super) loops: usize,
}

/// Parses a template whose line ends are `\n`.
///
/// # Errors
/// It is malformed, or nested too deeply.
pub(super) fn parse(source: &str) -> Result<Program, SyntaxError> {
    let mut parser = Parser {
        tokens: tokenize(source)?,
        at: 0,
        last_line: source.lines().count().max(1) as u32,
        program: Program::default(),
        names: HashMap::new(),
        loaded: Vec::new(),
        nesting: 0,
        lenient: false,
        unknown: Vec::new(),
        loops: 0,
    };
    let (body, end) = parser.body(&[])?;
    debug_assert!(end.is_empty());
    parser.program.body = body;
    Ok(parser.program)
}

impl Parser {
    pub(super) fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at).map(|(token, _)| token)
    }

    pub(super) fn peek_second(&self) -> Option<&Token> {
        self.tokens.get(self.at + 1).map(|(token, _)| token)
    }

    pub(super) fn next(&mut self) -> Option<Token> {
        let token = self.peek().cloned();
        self.at += 1;
        token
    }

    fn line(&self) -> u32 {
        self.tokens.get(self.at).map_or(self.last_line, |(_, line)| *line)
    }

    pub(super) fn failure(&self, reason: impl Into<String>) -> SyntaxError {
        SyntaxError { line: self.line(), reason: reason.into() }
    }

    pub(super) fn error<T>(&self, reason: impl Into<String>) -> Result<T, SyntaxError> {
        Err(self.failure(reason))
    }

    pub(super) fn unexpected<T>(&self, expected: &str) -> Result<T, SyntaxError> {
        let found = match self.peek() {
            None => "the end of the template".to_owned(),
            Some(Token::Name(name)) => format!("`{name}`"),
            Some(Token::Op(operator)) => format!("`{operator}`"),
            Some(Token::Str(_)) => "a string".to_owned(),
            Some(Token::Int(_) | Token::Float(_)) => "a number".to_owned(),
            Some(Token::VariableEnd) => "`}}`".to_owned(),
            Some(Token::BlockEnd) => "`%}`".to_owned(),
            Some(Token::Data(_) | Token::VariableBegin | Token::BlockBegin) => "text".to_owned(),
        };
        self.error(format!("expected {expected}, found {found}"))
    }

    pub(super) fn is_op(&self, operator: &str) -> bool {
        matches!(self.peek(), Some(Token::Op(found)) if *found == operator)
    }

    pub(super) fn is_name(&self, name: &str) -> bool {
        matches!(self.peek(), Some(Token::Name(found)) if found == name)
    }

    pub(super) fn skip_op(&mut self, operator: &str) -> bool {
        let found = self.is_op(operator);
        self.at += usize::from(found);
        found
    }

    pub(super) fn skip_name(&mut self, name: &str) -> bool {
        let found = self.is_name(name);
        self.at += usize::from(found);
        found
    }

    pub(super) fn expect_op(&mut self, operator: &str) -> Result<(), SyntaxError> {
        if self.skip_op(operator) { Ok(()) } else { self.unexpected(&format!("`{operator}`")) }
    }

    pub(super) fn expect_word(&mut self, name: &str) -> Result<(), SyntaxError> {
        if self.skip_name(name) { Ok(()) } else { self.unexpected(&format!("`{name}`")) }
    }

    pub(super) fn expect_name(&mut self) -> Result<String, SyntaxError> {
        match self.peek() {
            Some(Token::Name(name)) => {
                let name = name.clone();
                self.at += 1;
                if name.starts_with(|c: char| c.is_numeric()) {
                    return self.error(format!("`{name}` is not a name"));
                }
                Ok(name)
            }
            _ => self.unexpected("a name"),
        }
    }

    fn expect(&mut self, token: &Token, shown: &str) -> Result<(), SyntaxError> {
        if self.peek() == Some(token) {
            self.at += 1;
            Ok(())
        } else {
            self.unexpected(shown)
        }
    }

    pub(super) fn intern(&mut self, name: String) -> Name {
        if let Some(found) = self.names.get(&name) {
            return *found;
        }
        let index = self.program.names.len() as Name;
        self.program.names.push(name.as_str().into());
        self.names.insert(name, index);
        index
    }

    pub(super) fn load(&mut self, name: String) -> Expr {
        let name = self.intern(name);
        self.loaded.push(name);
        Expr::Name(name)
    }

    /// Runs `parse` one level deeper.
    pub(super) fn nested<T>(
        &mut self,
        parse: impl FnOnce(&mut Self) -> Result<T, SyntaxError>,
    ) -> Result<T, SyntaxError> {
        self.nesting += 1;
        if self.nesting > MAX_NESTING {
            return self.error(format!("more than {MAX_NESTING} levels are nested; simplify the template"));
        }
        let parsed = parse(self);
        self.nesting -= 1;
        parsed
    }

    /// Statements up to a tag of one of `ends`, whose name is consumed and returned. With no `ends`, up to
    /// the end of the template.
    fn body(&mut self, ends: &[&'static str]) -> Result<(Vec<Statement>, &'static str), SyntaxError> {
        let mut body = Vec::new();
        loop {
            let line = self.line();
            let kind = match self.next() {
                None if ends.is_empty() => return Ok((body, "")),
                None => {
                    return self
                        .error(format!("the template ends where `{}` is needed", ends.join("` or `")));
                }
                Some(Token::Data(text)) => StatementKind::Data(text.into()),
                Some(Token::VariableBegin) => {
                    let value = self.checked(|parser| parser.tuple(true, &[]))?;
                    self.expect(&Token::VariableEnd, "`}}`")?;
                    StatementKind::Print(value)
                }
                Some(Token::BlockBegin) => {
                    let end = ends.iter().find(|end| self.is_name(end));
                    if let Some(end) = end {
                        self.at += 1;
                        return Ok((body, end));
                    }
                    let kind = self.nested(Self::statement)?;
                    self.expect(&Token::BlockEnd, "`%}`")?;
                    kind
                }
                Some(_) => return self.error("unexpected token"),
            };
            body.push(Statement { line, kind });
        }
    }

    /// The body of a statement whose tag ends here.
    pub(super) fn block(
        &mut self,
        ends: &[&'static str],
    ) -> Result<(Vec<Statement>, &'static str), SyntaxError> {
        self.skip_op(":");
        self.expect(&Token::BlockEnd, "`%}`")?;
        self.body(ends)
    }

    /// Like [`Self::block`], for a body that has variables of its own.
    pub(super) fn scoped_block(
        &mut self,
        ends: &[&'static str],
    ) -> Result<(Vec<Statement>, &'static str), SyntaxError> {
        let lenient = std::mem::take(&mut self.lenient);
        let block = self.block(ends);
        self.lenient = lenient;
        block
    }

    /// An expression that is not too deep to evaluate.
    pub(super) fn checked(
        &mut self,
        parse: impl FnOnce(&mut Self) -> Result<Expr, SyntaxError>,
    ) -> Result<Expr, SyntaxError> {
        let expression = parse(self)?;
        if let Some(unknown) = self.unknown.drain(..).next() {
            return Err(unknown);
        }
        let mut level = vec![&expression];
        for _ in 0..MAX_EXPRESSION_DEPTH {
            level = level.into_iter().flat_map(Expr::children).collect();
            if level.is_empty() {
                return Ok(expression);
            }
        }
        self.error("an expression is nested too deeply; simplify the template")
    }
}
