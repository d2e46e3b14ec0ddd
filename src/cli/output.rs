//! Terminal output that ignores a closed pipe.

use std::fmt::Display;
use std::io::{self, Write};

/// Writes a line to standard error.
pub fn eprint_line(line: impl Display) {
    let _ = writeln!(io::stderr(), "{line}");
}

/// Writes a text to standard output.
pub fn print(text: impl Display) {
    let _ = write!(io::stdout(), "{text}");
}
