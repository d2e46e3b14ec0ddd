//! `assay verify`: checks the signatures of a server's response, or of a file that `assay score` wrote.

mod response;
mod rows;

use std::path::PathBuf;

use self::response::SavedResponse;
use self::rows::SignedFile;
use super::ScoreError;
use super::scored_file::ScoredFileArgs;
use crate::cli::output::print;
use crate::signing::PublicKey;

/// Exit status if something differs from what was signed, or is not signed.
const DIFFERENT: u8 = 1;

/// Check the signatures of a scored file, or of a server's response
///
/// Exits with status 1 and says what differs if a signature does not fit. docs/signing.md says what is signed.
#[derive(Clone, Debug, clap::Args)]
#[group(skip)]
#[command(group = clap::ArgGroup::new("signed").args(["inputs", "response"]).multiple(false).required(true))]
pub struct VerifyArgs {
    /// Files that `assay score --signing-key` wrote
    #[arg(value_name = "INPUT")]
    inputs: Vec<PathBuf>,
    /// Public key of the signer, in PEM (Ed25519); `openssl pkey -in PRIVATE.pem -pubout` writes it
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// Body of a response, exactly as it came
    #[arg(long, requires = "request", requires = "headers", value_name = "FILE")]
    response: Option<PathBuf>,
    /// Body of the request, exactly as it was sent
    #[arg(long, requires = "response", value_name = "FILE")]
    request: Option<PathBuf>,
    /// Status line and headers of the response, as `curl --dump-header FILE` writes them
    #[arg(long, requires = "response", value_name = "FILE")]
    headers: Option<PathBuf>,
    /// Route that was asked
    #[arg(long, requires = "response", default_value = "/v1/rewards", value_name = "PATH")]
    path: String,
    #[command(flatten)]
    file: ScoredFileArgs,
}

/// Runs `assay verify`, and returns the exit status.
///
/// # Errors
/// A file cannot be read.
pub fn verify(arguments: &VerifyArgs) -> Result<u8, ScoreError> {
    let key = PublicKey::read(&arguments.key).map_err(|error| ScoreError::Setup(error.into()))?;
    if let (Some(response), Some(request), Some(headers)) =
        (&arguments.response, &arguments.request, &arguments.headers)
    {
        return check_response(&key, &SavedResponse::read(response, request, headers)?, &arguments.path);
    }
    let mut status = 0;
    for input in &arguments.inputs {
        let checked = SignedFile::check(&key, input, &arguments.file)?;
        print(checked.report(input));
        if !checked.is_valid() {
            status = DIFFERENT;
        }
    }
    Ok(status)
}

fn check_response(key: &PublicKey, saved: &SavedResponse, path: &str) -> Result<u8, ScoreError> {
    match saved.verify(key, path) {
        Ok(verified) => {
            print(format_args!(
                "valid: signed by the key {} at {} s since 1970, engine {}, digest {}\n",
                key.id(),
                verified.created,
                verified.engine,
                verified.digest
            ));
            Ok(0)
        }
        Err(mismatch) => {
            print(format_args!("not valid: {mismatch}\n"));
            Ok(DIFFERENT)
        }
    }
}
