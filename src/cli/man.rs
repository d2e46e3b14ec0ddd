//! Man pages and shell completions, made of the command line's own description.

use std::io;
use std::path::{Path, PathBuf};

use clap::{Command, Subcommand};
use clap_complete::Shell;

use crate::cli::output::print;

/// Commands that tell of the command line itself.
#[derive(Clone, Debug, Subcommand)]
pub enum Manual {
    /// Print completions for a shell
    Completions {
        /// The shell
        shell: Shell,
    },
    /// Write man pages
    Man {
        /// Folder to write them to
        directory: PathBuf,
    },
}

impl Manual {
    /// Tells of `command`.
    ///
    /// # Errors
    /// The pages cannot be written; the text says where.
    pub fn tell(&self, command: Command) -> Result<(), String> {
        match self {
            Self::Completions { shell } => {
                print(completions(command, *shell));
                Ok(())
            }
            Self::Man { directory } => pages(command, directory)
                .map_err(|error| format!("{} cannot be written: {error}", directory.display())),
        }
    }
}

/// The completions of `command` for `shell`.
fn completions(mut command: Command, shell: Shell) -> String {
    let name = command.get_name().to_owned();
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut command, name, &mut text);
    String::from_utf8_lossy(&text).into_owned()
}

/// Writes a page for `command` and for each of its subcommands, such as `assay-serve.1`, to `directory`,
/// which is made if it is not there.
fn pages(command: Command, directory: &Path) -> io::Result<()> {
    std::fs::create_dir_all(directory)?;
    clap_mangen::generate_to(command, directory)
}
