//! What both programs share on the terminal.

pub mod man;
pub mod output;
