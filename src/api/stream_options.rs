//! `stream_options`: what a streamed response says about usage.

use serde_json::Value;

use super::error::ApiError;
use super::fields::Fields;
use utoipa::ToSchema;

/// What the chunks of a stream say about usage.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct StreamOptions {
    /// Whether a last chunk has the usage of the whole response.
    pub(super) include_usage: bool,
    /// Whether each chunk has the usage so far. It takes effect with `include_usage` only, as in vLLM.
    pub(super) continuous_usage: bool,
}

/// What the chunks of a stream say about usage.
#[derive(ToSchema)]
#[schema(as = StreamOptions)]
#[expect(dead_code, reason = "the schema of what `take_stream_options` reads")]
pub(super) struct StreamOptionsSchema {
    /// Whether a last chunk has the usage of the whole response.
    include_usage: Option<bool>,
    /// Whether each chunk has the usage so far; takes effect with `include_usage` only.
    continuous_usage_stats: Option<bool>,
    /// Accepted and ignored.
    include_obfuscation: Option<bool>,
}

/// Takes `stream_options` out of a request.
///
/// # Errors
/// The response is not streamed, or an option is unknown.
pub(super) fn take_stream_options(fields: &mut Fields, stream: bool) -> Result<StreamOptions, ApiError> {
    let Some(value) = fields.take::<Value>("stream_options")? else { return Ok(StreamOptions::default()) };
    if !stream {
        let reason = "is for streamed responses: send it with `stream` true, or leave it out";
        return Err(ApiError::invalid("stream_options", reason));
    }
    let mut options = Fields::from_value("stream_options".into(), value)?;
    let include_usage = options.take("include_usage")?.unwrap_or(false);
    let continuous_usage = options.take("continuous_usage_stats")?.unwrap_or(false) && include_usage;
    options.take::<bool>("include_obfuscation")?;
    options.end("this server knows no such option; leave it out")?;
    Ok(StreamOptions { include_usage, continuous_usage })
}
