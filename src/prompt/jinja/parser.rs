//! Parses the statements of a template.

use std::collections::HashMap;
use std::sync::Arc;

use super::ast::{Expr, For, Macro, Name, Program, SpecialVariables, Statement, StatementKind, Target};
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
    loops: usize,
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

    fn expect_word(&mut self, name: &str) -> Result<(), SyntaxError> {
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

    /// Statements up to a tag of one of `ends`, whose name is passed and returned. With no `ends`, up to the end of
    /// the template.
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
    fn block(&mut self, ends: &[&'static str]) -> Result<(Vec<Statement>, &'static str), SyntaxError> {
        self.skip_op(":");
        self.expect(&Token::BlockEnd, "`%}`")?;
        self.body(ends)
    }

    /// Like [`Self::block`], for a body that has variables of its own.
    fn scoped_block(&mut self, ends: &[&'static str]) -> Result<(Vec<Statement>, &'static str), SyntaxError> {
        let lenient = std::mem::take(&mut self.lenient);
        let block = self.block(ends);
        self.lenient = lenient;
        block
    }

    fn statement(&mut self) -> Result<StatementKind, SyntaxError> {
        let tag = self.expect_name()?;
        match tag.as_str() {
            "if" => self.conditional(),
            "for" => self.for_loop(),
            "set" => self.set(),
            "macro" => self.macro_definition(),
            "call" => self.call_block(),
            "with" => self.with(),
            "filter" => {
                let filters = self.filter_names(Expr::Buffer)?;
                Ok(StatementKind::Filter(filters, self.scoped_block(&["endfilter"])?.0))
            }
            "generation" => {
                Ok(StatementKind::Scope { body: self.scoped_block(&["endgeneration"])?.0, sees_outer: true })
            }
            "block" => {
                let name = self.expect_name()?;
                let sees_outer = self.skip_name("scoped");
                self.skip_name("required");
                let (body, _) = self.scoped_block(&["endblock"])?;
                self.skip_name(&name);
                Ok(StatementKind::Scope { body, sees_outer })
            }
            "autoescape" => {
                let on = self.checked(Self::expression)?;
                Ok(StatementKind::AutoEscape(on, self.scoped_block(&["endautoescape"])?.0))
            }
            "break" => Ok(StatementKind::Break),
            "continue" => Ok(StatementKind::Continue),
            "include" | "import" | "from" | "extends" => {
                while !matches!(self.peek(), None | Some(Token::BlockEnd)) {
                    self.at += 1;
                }
                let tags = ["include", "import", "from", "extends"];
                Ok(StatementKind::NeedsLoader(
                    tags.into_iter().find(|known| **known == tag).unwrap_or("import"),
                ))
            }
            "print" => {
                let mut values = vec![self.checked(Self::expression)?];
                while self.skip_op(",") {
                    values.push(self.checked(Self::expression)?);
                }
                Ok(StatementKind::Print(Expr::Concat(values)))
            }
            tag => self.error(format!("unknown tag `{tag}`")),
        }
    }

    fn conditional(&mut self) -> Result<StatementKind, SyntaxError> {
        let lenient = std::mem::replace(&mut self.lenient, true);
        let mut branches = Vec::new();
        let mut otherwise = Vec::new();
        loop {
            let condition = self.checked(|parser| parser.tuple(false, &[]))?;
            let (body, end) = self.block(&["elif", "else", "endif"])?;
            branches.push((condition, body));
            match end {
                "elif" => continue,
                "else" => otherwise = self.block(&["endif"])?.0,
                _ => {}
            }
            break;
        }
        self.lenient = lenient;
        Ok(StatementKind::If(branches, otherwise))
    }

    fn for_loop(&mut self) -> Result<StatementKind, SyntaxError> {
        self.loops += 1;
        let target = self.target(&["in"], false)?;
        self.expect_word("in")?;
        let iterable = self.checked(|parser| parser.tuple(false, &["recursive"]))?;
        let test = if self.skip_name("if") { Some(self.checked(Self::expression)?) } else { None };
        let recursive = self.skip_name("recursive");
        let (body, end) = self.scoped_block(&["endfor", "else"])?;
        let otherwise = if end == "else" { self.scoped_block(&["endfor"])?.0 } else { Vec::new() };
        self.loops -= 1;
        self.program.loops.push(For { target, iterable, test, recursive, body, otherwise });
        Ok(StatementKind::For(self.program.loops.len() - 1))
    }

    fn set(&mut self) -> Result<StatementKind, SyntaxError> {
        let target = self.target(&[], true)?;
        if self.skip_op("=") {
            return Ok(StatementKind::Set(target, self.checked(|parser| parser.tuple(true, &[]))?));
        }
        let filters = if self.skip_op("|") { Some(self.filter_names(Expr::Buffer)?) } else { None };
        Ok(StatementKind::SetBlock(target, filters, self.scoped_block(&["endset"])?.0))
    }

    fn with(&mut self) -> Result<StatementKind, SyntaxError> {
        let mut values = Vec::new();
        while !matches!(self.peek(), None | Some(Token::BlockEnd)) {
            if !values.is_empty() {
                self.expect_op(",")?;
            }
            let target = self.target(&[], false)?;
            self.expect_op("=")?;
            values.push((target, self.checked(Self::expression)?));
        }
        Ok(StatementKind::With(values, self.scoped_block(&["endwith"])?.0))
    }

    fn macro_definition(&mut self) -> Result<StatementKind, SyntaxError> {
        let name = self.expect_name()?;
        let name = self.intern(name);
        let parameters = self.parameters()?;
        Ok(StatementKind::Macro(self.macro_body(Some(name), parameters, "endmacro")?))
    }

    fn call_block(&mut self) -> Result<StatementKind, SyntaxError> {
        let parameters = if self.is_op("(") { self.parameters()? } else { Vec::new() };
        let call = self.checked(Self::expression)?;
        if !matches!(call, Expr::Call(..)) {
            return self.error("`call` needs a call, such as `{% call my_macro() %}`");
        }
        Ok(StatementKind::Call(call, self.macro_body(None, parameters, "endcall")?))
    }

    fn macro_body(
        &mut self,
        name: Option<Name>,
        parameters: Vec<(Name, Option<Expr>)>,
        end: &'static str,
    ) -> Result<usize, SyntaxError> {
        let first = self.loaded.len();
        let (body, _) = self.scoped_block(&[end])?;
        let names = &self.program.names;
        let uses = |special: &str| self.loaded[first..].iter().any(|name| &*names[*name as usize] == special);
        let uses =
            SpecialVariables { caller: uses("caller"), kwargs: uses("kwargs"), varargs: uses("varargs") };
        self.program.macros.push(Macro { name, parameters, body, uses });
        Ok(self.program.macros.len() - 1)
    }

    fn parameters(&mut self) -> Result<Vec<(Name, Option<Expr>)>, SyntaxError> {
        let mut parameters: Vec<(Name, Option<Expr>)> = Vec::new();
        self.expect_op("(")?;
        while !self.is_op(")") {
            if !parameters.is_empty() {
                self.expect_op(",")?;
            }
            let name = self.expect_name()?;
            let name = self.intern(name);
            let default = if self.skip_op("=") { Some(self.checked(Self::expression)?) } else { None };
            if default.is_none() && parameters.last().is_some_and(|(_, default)| default.is_some()) {
                return self.error("a parameter without a default follows one with a default");
            }
            parameters.push((name, default));
        }
        self.expect_op(")")?;
        Ok(parameters)
    }

    /// What is assigned to, up to one of the words `ends`.
    fn target(&mut self, ends: &[&str], with_attributes: bool) -> Result<Target, SyntaxError> {
        let mut targets = Vec::new();
        let mut is_tuple = false;
        loop {
            let at_end = matches!(self.peek(), Some(Token::BlockEnd)) || self.is_op(")") || self.is_op("=");
            if at_end || ends.iter().any(|end| self.is_name(end)) {
                break;
            }
            targets.push(self.one_target(with_attributes)?);
            if !self.skip_op(",") {
                break;
            }
            is_tuple = true;
        }
        match targets.pop() {
            None => self.unexpected("a variable"),
            Some(target) if !is_tuple => Ok(target),
            Some(target) => {
                targets.push(target);
                Ok(Target::Tuple(targets))
            }
        }
    }

    fn one_target(&mut self, with_attributes: bool) -> Result<Target, SyntaxError> {
        if self.skip_op("(") {
            let target = self.nested(|parser| parser.target(&[], with_attributes))?;
            self.expect_op(")")?;
            return Ok(target);
        }
        let name = self.expect_name()?;
        if ["true", "false", "none", "True", "False", "None"].contains(&name.as_str())
            || (name == "loop" && self.loops > 0)
        {
            return self.error(format!("`{name}` cannot be assigned to"));
        }
        let name = self.intern(name);
        if with_attributes && self.skip_op(".") {
            let attribute: Arc<str> = self.expect_name()?.into();
            return Ok(Target::Attribute(name, attribute));
        }
        Ok(Target::Name(name))
    }

    /// An expression that is not too deep to evaluate.
    fn checked(
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
