//! The syntax tree of a template.

use std::sync::Arc;

/// A variable's name: its index in [`Program::names`].
pub(super) type Name = u32;

/// A parsed template.
#[derive(Debug, Default)]
pub(super) struct Program {
    pub(super) names: Vec<Arc<str>>,
    pub(super) body: Vec<Statement>,
    /// Bodies of macros and of call blocks.
    pub(super) macros: Vec<Macro>,
    pub(super) loops: Vec<For>,
}

#[derive(Debug)]
pub(super) struct Statement {
    /// Line in the template, from 1.
    pub(super) line: u32,
    pub(super) kind: StatementKind,
}

#[derive(Debug)]
pub(super) enum StatementKind {
    Data(Arc<str>),
    Print(Expr),
    /// Conditions and their bodies in order, then the body of `else`.
    If(Vec<(Expr, Vec<Statement>)>, Vec<Statement>),
    /// Index in [`Program::loops`].
    For(usize),
    Set(Target, Expr),
    /// The filters are applied to [`Expr::Buffer`].
    SetBlock(Target, Option<Expr>, Vec<Statement>),
    With(Vec<(Target, Expr)>, Vec<Statement>),
    /// Index in [`Program::macros`].
    Macro(usize),
    /// A call, and the macro that it gets as `caller`.
    Call(Expr, usize),
    /// The filters are applied to [`Expr::Buffer`].
    Filter(Expr, Vec<Statement>),
    /// A body with variables of its own. Unless it is scoped, a block sees only those of the template's top level.
    Scope {
        body: Vec<Statement>,
        sees_outer: bool,
    },
    AutoEscape(Expr, Vec<Statement>),
    Break,
    Continue,
    /// A statement that needs another template; there is never one.
    NeedsLoader(&'static str),
}

#[derive(Debug)]
pub(super) struct For {
    pub(super) target: Target,
    pub(super) iterable: Expr,
    pub(super) test: Option<Expr>,
    pub(super) recursive: bool,
    pub(super) body: Vec<Statement>,
    pub(super) otherwise: Vec<Statement>,
}

#[derive(Debug)]
pub(super) struct Macro {
    /// None for a call block.
    pub(super) name: Option<Name>,
    pub(super) parameters: Vec<(Name, Option<Expr>)>,
    pub(super) body: Vec<Statement>,
    /// Whether the body uses the special variables of macros.
    pub(super) uses: SpecialVariables,
}

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct SpecialVariables {
    pub(super) caller: bool,
    pub(super) kwargs: bool,
    pub(super) varargs: bool,
}

/// What can be assigned to.
#[derive(Debug)]
pub(super) enum Target {
    Name(Name),
    Tuple(Vec<Target>),
    /// A namespace's attribute.
    Attribute(Name, Arc<str>),
}

#[derive(Debug)]
pub(super) enum Expr {
    None,
    Bool(bool),
    Int(i128),
    Float(f64),
    Str(Arc<str>),
    Name(Name),
    /// The text of the block that a filter is applied to.
    Buffer,
    Tuple(Vec<Expr>),
    List(Vec<Expr>),
    Dict(Vec<(Expr, Expr)>),
    Attribute(Box<Expr>, Arc<str>),
    Item(Box<Expr>, Box<Expr>),
    Slice(Box<Expr>, Box<[Option<Expr>; 3]>),
    Call(Box<Expr>, Box<Arguments>),
    Filter(Box<Expr>, Arc<str>, Box<Arguments>),
    Test(Box<Expr>, Arc<str>, Box<Arguments>),
    Not(Box<Expr>),
    Negative(Box<Expr>),
    Positive(Box<Expr>),
    Binary(Operator, Box<Expr>, Box<Expr>),
    Concat(Vec<Expr>),
    Compare(Box<Expr>, Vec<(Comparison, Expr)>),
    And(Box<Expr>, Box<Expr>),
    Or(Box<Expr>, Box<Expr>),
    /// Value, condition, and the value otherwise.
    If(Box<Expr>, Box<Expr>, Option<Box<Expr>>),
}

/// The arguments between the parentheses of a call.
#[derive(Debug, Default)]
pub(super) struct Arguments {
    pub(super) positional: Vec<Expr>,
    pub(super) named: Vec<(Arc<str>, Expr)>,
    /// `*expression`.
    pub(super) more_positional: Option<Expr>,
    /// `**expression`.
    pub(super) more_named: Option<Expr>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operator {
    Add,
    Sub,
    Mul,
    Div,
    FloorDiv,
    Mod,
    Pow,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Comparison {
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
    In,
    NotIn,
}

impl Expr {
    /// The expressions directly inside this one.
    pub(super) fn children(&self) -> Vec<&Expr> {
        match self {
            Self::None
            | Self::Bool(_)
            | Self::Int(_)
            | Self::Float(_)
            | Self::Str(_)
            | Self::Name(_)
            | Self::Buffer => {
                vec![]
            }
            Self::Tuple(items) | Self::List(items) | Self::Concat(items) => items.iter().collect(),
            Self::Dict(pairs) => pairs.iter().flat_map(|(key, value)| [key, value]).collect(),
            Self::Attribute(inner, _) | Self::Not(inner) | Self::Negative(inner) | Self::Positive(inner) => {
                vec![inner]
            }
            Self::Item(left, right)
            | Self::Binary(_, left, right)
            | Self::And(left, right)
            | Self::Or(left, right) => {
                vec![left, right]
            }
            Self::Slice(inner, parts) => [&**inner].into_iter().chain(parts.iter().flatten()).collect(),
            Self::Call(inner, arguments)
            | Self::Filter(inner, _, arguments)
            | Self::Test(inner, _, arguments) => {
                let mut children = vec![&**inner];
                children.extend(&arguments.positional);
                children.extend(arguments.named.iter().map(|(_, value)| value));
                children.extend(&arguments.more_positional);
                children.extend(&arguments.more_named);
                children
            }
            Self::Compare(first, rest) => {
                [&**first].into_iter().chain(rest.iter().map(|(_, value)| value)).collect()
            }
            Self::If(value, condition, otherwise) => {
                [&**value, &**condition].into_iter().chain(otherwise.as_deref()).collect()
            }
        }
    }
}
