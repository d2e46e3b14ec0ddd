//! What the programs share on the terminal.

pub mod advice;
pub mod man;
mod markdown;
pub mod output;
