//! Man pages and shell completions, made of the command line's own description.

use std::io::{self, Write};
use std::path::Path;

use clap::Command;
use clap_complete::Shell;

/// Writes the completions of `command` for `shell`.
pub fn completions(mut command: Command, shell: Shell, out: &mut dyn Write) {
    let name = command.get_name().to_owned();
    clap_complete::generate(shell, &mut command, name, out);
}

/// Writes a page for `command` and for each of its subcommands, such as `assay-serve.1`, to `directory`,
/// which is made if it is not there.
///
/// # Errors
/// The directory cannot be made or written to.
pub fn pages(command: Command, directory: &Path) -> io::Result<()> {
    std::fs::create_dir_all(directory)?;
    clap_mangen::generate_to(command, directory)
}
