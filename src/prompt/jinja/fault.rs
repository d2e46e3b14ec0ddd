//! Why a template cannot be parsed or rendered.

/// Why a rendering failed. The interpreter adds the line.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Fault {
    /// The template called `raise_exception`.
    Raised(String),
    /// An error of the template, as Jinja would raise one.
    Error(String),
    /// It took too many steps.
    TooLong,
    /// It made too much text.
    TooLarge,
}

impl Fault {
    pub(super) fn new(reason: impl Into<String>) -> Self {
        Self::Error(reason.into())
    }

    pub(super) fn at(self, line: u32) -> RenderError {
        match self {
            Self::Raised(message) => RenderError::Raised(message),
            Self::Error(reason) => RenderError::Failed { line, reason },
            Self::TooLong => RenderError::TooLong,
            Self::TooLarge => RenderError::TooLarge,
        }
    }
}

/// A fault with a formatted reason.
macro_rules! fault {
    ($($format:tt)*) => { Err($crate::prompt::jinja::fault::Fault::Error(format!($($format)*))) };
}
pub(super) use fault;

/// Why a template cannot be parsed.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("line {line}: {reason}")]
pub(crate) struct SyntaxError {
    /// Line in the template, from 1.
    pub(super) line: u32,
    pub(super) reason: String,
}

/// Why a template gives no text.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub(in crate::prompt) enum RenderError {
    /// The template refused the conversation in these words.
    #[error("{0}")]
    Raised(String),
    #[error("line {line}: {reason}")]
    Failed { line: u32, reason: String },
    #[error("it ran for too long; send fewer or shorter messages")]
    TooLong,
    #[error("it makes too much text; send fewer or shorter messages")]
    TooLarge,
}
