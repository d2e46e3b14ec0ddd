/// What a value should have been, such as "expected a whole number from 0 to 65535".
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidValue(pub String);
