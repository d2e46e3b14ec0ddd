//! Parses the statements of a template, each from the name of its tag on.

use std::sync::Arc;

use super::ast::{Expr, For, Macro, Name, SpecialVariables, StatementKind, Target};
use super::fault::SyntaxError;
use super::lexer::Token;
use super::parser::Parser;

impl Parser {
    pub(super) fn statement(&mut self) -> Result<StatementKind, SyntaxError> {
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
                    self.next();
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
}
