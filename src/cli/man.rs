//! Man pages, shell completions and the page of options, made from the description of a command line.

use std::io;
use std::path::PathBuf;

use clap::{Command, Subcommand};
use clap_complete::Shell;

use super::markdown;
use super::output::print;

/// Subcommands that document the command line itself.
#[derive(Clone, Debug, Subcommand)]
pub enum Manual {
    /// Print completions for a shell
    Completions {
        /// Shell to complete in
        shell: Shell,
    },
    /// Write man pages
    Man {
        /// Directory to write the pages to; it is created if needed
        directory: PathBuf,
    },
    /// Print every option as Markdown
    #[command(hide = true)]
    Markdown,
}

/// Man pages could not be written.
#[derive(Debug, thiserror::Error)]
#[error("cannot write man pages to {}: {source}", directory.display())]
pub struct ManualError {
    directory: PathBuf,
    source: io::Error,
}

impl Manual {
    /// Documents `command`.
    ///
    /// # Errors
    /// The directory for man pages cannot be written to.
    pub fn write(&self, mut command: Command) -> Result<(), ManualError> {
        match self {
            Self::Completions { shell } => {
                let name = command.get_name().to_owned();
                let mut text = Vec::new();
                clap_complete::generate(*shell, &mut command, name, &mut text);
                print(String::from_utf8_lossy(&text));
            }
            Self::Man { directory } => {
                // One page for the command and one for each subcommand, such as `assay-serve.1`.
                std::fs::create_dir_all(directory)
                    .and_then(|()| clap_mangen::generate_to(command, directory))
                    .map_err(|source| ManualError { directory: directory.clone(), source })?;
            }
            Self::Markdown => print(markdown::options(command)),
        }
        Ok(())
    }
}
