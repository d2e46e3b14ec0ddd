//! What one source of options said.

use std::path::PathBuf;

use clap::builder::BoolishValueParser;
use serde::Deserialize;

use super::{Alias, LogFormat, OnFailure, OverloadStatus, Seconds, Simulation};
use crate::manifest::score_options::ScoreActivation;
use crate::prompt::Truncation;

/// What one source said of each option; `None` where it said nothing. The doc comments are the
/// command line's help.
#[derive(Clone, Debug, Default, PartialEq, clap::Args, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Options {
    /// Engine directory, as `build-engine --output` wrote it, or a folder of several to choose from
    #[arg(long, visible_alias = "engines", env = "ASSAY_ENGINE", value_name = "DIR")]
    #[serde(alias = "engines")]
    pub engine: Option<PathBuf>,

    /// Id or name of the profile to serve, as `assay profiles` lists them [default: auto]
    #[arg(long, env = "ASSAY_PROFILE", value_name = "ID|NAME")]
    pub profile: Option<String>,

    /// Serve an engine that computes nothing: scores mean nothing, only the server is tested.
    #[arg(long, hide = true, env = "ASSAY_SIMULATE", num_args = 0..=1, default_missing_value = "instant")]
    pub simulate: Option<Simulation>,

    /// Address to listen on [default: 0.0.0.0]
    #[arg(long, env = "ASSAY_HOST", value_name = "ADDRESS")]
    pub host: Option<String>,

    /// Port to listen on, 0 for any that is free [default: 8000]
    #[arg(long, env = "ASSAY_PORT")]
    pub port: Option<u16>,

    /// Names the model answers to, several in a row or joined by commas; answers bear the first
    /// [default: the engine's own]
    #[arg(long, env = "ASSAY_SERVED_MODEL_NAME", value_name = "NAME", num_args = 1.., value_delimiter = ',')]
    pub served_model_name: Option<Vec<String>>,

    /// Another name for the model, NAME, or for some of its attributes, NAME=ATTRIBUTE,ATTRIBUTE;
    /// may be given several times [default: none]
    #[arg(long, env = "ASSAY_ALIAS", value_name = "NAME[=ATTRIBUTE,...]", num_args = 1.., value_delimiter = ' ')]
    pub alias: Option<Vec<Alias>>,

    /// Longest sequence in tokens; lowers the engine's limit, cannot raise it
    #[arg(long, env = "ASSAY_MAX_SEQ_LEN", value_name = "TOKENS")]
    pub max_seq_len: Option<usize>,

    /// Most sequences in one iteration; lowers the engine's limit
    #[arg(long, env = "ASSAY_MAX_BATCH_SIZE", value_name = "SEQUENCES")]
    pub max_batch_size: Option<usize>,

    /// Most tokens in one iteration; lowers the engine's limit
    #[arg(long, env = "ASSAY_MAX_NUM_TOKENS", value_name = "TOKENS")]
    pub max_num_tokens: Option<usize>,

    /// Longest piece of one prompt in an iteration; shorter pieces delay short requests less
    #[arg(long, env = "ASSAY_MAX_CHUNK_TOKENS", value_name = "TOKENS")]
    pub max_chunk_tokens: Option<usize>,

    /// Threads of the CPU engine [default: one for every core]
    #[arg(long, env = "ASSAY_THREADS", value_name = "COUNT")]
    pub threads: Option<usize>,

    /// Tokens whose keys and values the engine keeps [default: chosen by the engine]
    #[arg(long, env = "ASSAY_KV_CACHE_TOKENS", value_name = "TOKENS")]
    pub kv_cache_tokens: Option<usize>,

    /// Part of the free GPU memory that keys and values take, above 0 and below 1; GPUs only [default: 0.9]
    #[arg(long, env = "ASSAY_KV_CACHE_FRACTION", value_name = "FRACTION")]
    pub kv_cache_fraction: Option<f64>,

    /// Host memory for keys and values that no longer fit the GPU's; GPUs only [default: 0]
    #[arg(long, env = "ASSAY_KV_CACHE_HOST_BYTES", value_name = "BYTES")]
    pub kv_cache_host_bytes: Option<usize>,

    /// Spread a long prompt over iterations; GPUs only, the CPU engine always does [default: true]
    #[arg(long, env = "ASSAY_CHUNKED_CONTEXT", value_parser = BoolishValueParser::new(),
          num_args = 0..=1, default_missing_value = "true")]
    pub chunked_context: Option<bool>,

    /// Longest that the engine may work on one text, its own queue included; GPUs only [default: none]
    #[arg(long, env = "ASSAY_ALLOTTED_TIME", value_name = "SECONDS")]
    pub allotted_time: Option<Seconds>,

    /// Logits that are scores, FIRST,END without the last: `0,1` is the first logit of the model's head
    /// [default: the engine's own]
    #[arg(long, env = "ASSAY_REWARD_LOGITS_RANGE", value_name = "FIRST,END")]
    pub reward_logits_range: Option<String>,

    /// Names of the scores, as many as there are [default: the engine's own]
    #[arg(long, env = "ASSAY_REWARD_MODEL_STRING", value_name = "NAME", num_args = 1.., value_delimiter = ',')]
    pub reward_model_string: Option<Vec<String>>,

    /// Make probabilities of the scores [default: none]
    #[arg(long, env = "ASSAY_SCORE_ACTIVATION", value_enum)]
    pub score_activation: Option<ScoreActivation>,

    /// Mean and standard deviation of attributes, NAME=MEAN:STD: their scores become
    /// (score - mean) / std [default: none]
    #[arg(long, env = "ASSAY_SCORE_NORMALIZE", value_name = "NAME=MEAN:STD", num_args = 1..,
          value_delimiter = ',')]
    pub score_normalize: Option<Vec<String>>,

    /// Least and largest score; what lies outside becomes the nearer of them [default: none]
    #[arg(long, env = "ASSAY_SCORE_CLAMP", value_name = "LEAST,LARGEST", allow_hyphen_values = true)]
    pub score_clamp: Option<String>,

    /// Weights of attributes, NAME=WEIGHT, in a sum that is served as one more score [default: none]
    #[arg(long, env = "ASSAY_SCORE_WEIGHTS", value_name = "NAME=WEIGHT", num_args = 1.., value_delimiter = ',')]
    pub score_weights: Option<Vec<String>>,

    /// Name of that sum [default: weighted]
    #[arg(long, env = "ASSAY_SCORE_WEIGHTED_NAME", value_name = "NAME")]
    pub score_weighted_name: Option<String>,

    /// Largest request body [default: 16777216]
    #[arg(long, env = "ASSAY_MAX_BODY_BYTES", value_name = "BYTES")]
    pub max_body_bytes: Option<usize>,

    /// Most conversations in one request [default: 1024]
    #[arg(long, env = "ASSAY_MAX_REQUEST_ITEMS", value_name = "CONVERSATIONS")]
    pub max_request_items: Option<usize>,

    /// Refuse a conversation that does not end with the assistant's turn [default: false]
    #[arg(long, env = "ASSAY_REQUIRE_ASSISTANT_TURN", value_parser = BoolishValueParser::new(),
          num_args = 0..=1, default_missing_value = "true")]
    pub require_assistant_turn: Option<bool>,

    /// Serve a page to try the model with, at `/` [default: true]
    #[arg(long, env = "ASSAY_PLAYGROUND", value_parser = BoolishValueParser::new(),
          num_args = 0..=1, default_missing_value = "true")]
    pub playground: Option<bool>,

    /// What is done about a prompt that is too long, unless its request says [default: error]
    #[arg(long, env = "ASSAY_TRUNCATION", value_enum)]
    pub truncation: Option<Truncation>,

    /// Deadline of requests that bring none [default: none]
    #[arg(long, env = "ASSAY_TIMEOUT", value_name = "SECONDS")]
    pub timeout: Option<Seconds>,

    /// Status of the answer when the queue is full: 429, or 503 for clients that give up on any 4xx
    /// [default: 429]
    #[arg(long, env = "ASSAY_OVERLOAD_STATUS", value_name = "STATUS")]
    pub overload_status: Option<OverloadStatus>,

    /// Time that requests in flight have to finish in after SIGTERM [default: 30]
    #[arg(long, env = "ASSAY_SHUTDOWN_GRACE", value_name = "SECONDS")]
    pub shutdown_grace: Option<Seconds>,

    /// Most requests that wait [default: 4096]
    #[arg(long, env = "ASSAY_MAX_QUEUE_REQUESTS", value_name = "REQUESTS")]
    pub max_queue_requests: Option<usize>,

    /// Most tokens that wait [default: 4194304]
    #[arg(long, env = "ASSAY_MAX_QUEUE_TOKENS", value_name = "TOKENS")]
    pub max_queue_tokens: Option<usize>,

    /// Waiting time that lifts a request by one priority class [default: 5]
    #[arg(long, env = "ASSAY_AGEING", value_name = "SECONDS")]
    pub ageing: Option<Seconds>,

    /// Longest time that a request is held for another that computes the same prompt [default: 10]
    #[arg(long, env = "ASSAY_FOLLOWER_HOLD", value_name = "SECONDS")]
    pub follower_hold: Option<Seconds>,

    /// Finished conversations whose scores are kept, 0 for none [default: 0]
    #[arg(long, env = "ASSAY_SCORE_CACHE", value_name = "CONVERSATIONS")]
    pub score_cache: Option<usize>,

    /// Share the keys and values of common prefixes [default: true]
    #[arg(long, env = "ASSAY_PREFIX_SHARING", value_parser = BoolishValueParser::new(),
          num_args = 0..=1, default_missing_value = "true")]
    pub prefix_sharing: Option<bool>,

    /// Take from the engine how to sample where a request does not say: it has that of its checkpoint's
    /// generation_config.json [default: true]
    #[arg(long, env = "ASSAY_GENERATION_CONFIG", value_parser = BoolishValueParser::new(),
          num_args = 0..=1, default_missing_value = "true")]
    pub generation_config: Option<bool>,

    /// Time without progress after which the engine counts as failed [default: 60]
    #[arg(long, env = "ASSAY_STALL_TIMEOUT", value_name = "SECONDS")]
    pub stall_timeout: Option<Seconds>,

    /// What follows a failure of the engine [default: restart]
    #[arg(long, env = "ASSAY_ON_ENGINE_FAILURE", value_enum)]
    pub on_engine_failure: Option<OnFailure>,

    /// Times that an engine which fails is started again without having answered anything, before the server
    /// ends [default: 5]
    #[arg(long, env = "ASSAY_RESTART_ATTEMPTS", value_name = "COUNT")]
    pub restart_attempts: Option<u32>,

    /// Wait before the second of these starts; doubled before each further one [default: 1]
    #[arg(long, env = "ASSAY_RESTART_WAIT", value_name = "SECONDS")]
    pub restart_wait: Option<Seconds>,

    /// Most connections at a time; one more is answered 503 [default: 4096]
    #[arg(long, env = "ASSAY_MAX_CONNECTIONS", value_name = "CONNECTIONS")]
    pub max_connections: Option<usize>,

    /// Largest head of a request: its line and headers [default: 32768]
    #[arg(long, env = "ASSAY_MAX_HEADER_BYTES", value_name = "BYTES")]
    pub max_header_bytes: Option<usize>,

    /// Time that a client has to send a request's head in [default: 10]
    #[arg(long, env = "ASSAY_HEADER_TIMEOUT", value_name = "SECONDS")]
    pub header_timeout: Option<Seconds>,

    /// Time that a client has to send a request's body in [default: 60]
    #[arg(long, env = "ASSAY_BODY_TIMEOUT", value_name = "SECONDS")]
    pub body_timeout: Option<Seconds>,

    /// Time after which a client that takes nothing of its answer is cut off [default: 60]
    #[arg(long, env = "ASSAY_WRITE_TIMEOUT", value_name = "SECONDS")]
    pub write_timeout: Option<Seconds>,

    /// Time that a connection is kept for a next request [default: 75]
    #[arg(long, env = "ASSAY_KEEP_ALIVE", value_name = "SECONDS")]
    pub keep_alive: Option<Seconds>,

    /// Private key of the server, in PEM; with --tls-cert the port speaks HTTPS and nothing else
    #[arg(long, env = "ASSAY_TLS_KEY", value_name = "FILE")]
    pub tls_key: Option<PathBuf>,

    /// Certificates of the server, in PEM: its own first, then those that lead to the root
    #[arg(long, env = "ASSAY_TLS_CERT", value_name = "FILE")]
    pub tls_cert: Option<PathBuf>,

    /// Roots, in PEM, that a client's certificate must lead to; clients without one are refused
    #[arg(long, env = "ASSAY_TLS_CLIENT_CA", value_name = "FILE")]
    pub tls_client_ca: Option<PathBuf>,

    /// File of API keys, `KEY` or `KEY NAME` a line; requests without one are refused. Read again when
    /// it changes, and on SIGHUP
    #[arg(long, env = "ASSAY_API_KEYS_FILE", value_name = "FILE")]
    pub api_keys_file: Option<PathBuf>,

    /// Ask for an API key for the metrics too [default: false]
    #[arg(long, env = "ASSAY_PROTECT_METRICS", value_parser = BoolishValueParser::new(),
          num_args = 0..=1, default_missing_value = "true")]
    pub protect_metrics: Option<bool>,

    /// Serve the metrics at a port of their own, without TLS and keys, and nowhere else
    #[arg(long, env = "ASSAY_METRICS_PORT", value_name = "PORT")]
    pub metrics_port: Option<u16>,

    /// Serve the admin routes at this port of 127.0.0.1 [default: nowhere]
    #[arg(long, env = "ASSAY_ADMIN_PORT", value_name = "PORT")]
    pub admin_port: Option<u16>,

    /// Origins whose pages may call the server from a browser, `*` for any [default: none]
    #[arg(long, env = "ASSAY_CORS_ORIGIN", value_name = "ORIGIN", num_args = 1.., value_delimiter = ',')]
    pub cors_origin: Option<Vec<String>>,

    /// Log the body of every request: conversations are in it [default: false]
    #[arg(long, env = "ASSAY_LOG_REQUESTS", value_parser = BoolishValueParser::new(),
          num_args = 0..=1, default_missing_value = "true")]
    pub log_requests: Option<bool>,

    /// Log lines to write: error, warn, info, debug, trace, or directives such as
    /// `assay::scheduler=debug,warn` [default: info]
    #[arg(long, env = "ASSAY_LOG_LEVEL", value_name = "LEVEL")]
    pub log_level: Option<String>,

    /// How log lines are written [default: human]
    #[arg(long, env = "ASSAY_LOG_FORMAT", value_enum)]
    pub log_format: Option<LogFormat>,
}

impl Options {
    /// These options, with those of `lower` where these say nothing.
    pub fn or(self, lower: Self) -> Self {
        macro_rules! first {
            ($($option:ident),* $(,)?) => { Self { $($option: self.$option.or(lower.$option)),* } };
        }
        first! {
            engine, profile, simulate, host, port, served_model_name, alias, max_seq_len, max_batch_size, max_num_tokens,
            max_chunk_tokens, threads, kv_cache_tokens, kv_cache_fraction, kv_cache_host_bytes,
            chunked_context, allotted_time, max_body_bytes, max_request_items, require_assistant_turn, playground, truncation, timeout,
            overload_status, shutdown_grace, max_queue_requests, max_queue_tokens, ageing, follower_hold,
            reward_logits_range, reward_model_string, score_activation, score_normalize, score_clamp,
            score_weights, score_weighted_name, score_cache, prefix_sharing, generation_config, stall_timeout,
            on_engine_failure, restart_attempts, restart_wait, log_level, log_format,
            max_connections, max_header_bytes, header_timeout, body_timeout, write_timeout, keep_alive, tls_key,
            tls_cert, tls_client_ca, api_keys_file, protect_metrics, metrics_port, admin_port, cors_origin,
            log_requests,
        }
    }

    /// What NIM's environment variables say; `variable` reads one. They rank below our own.
    ///
    /// # Errors
    /// A value cannot be read; the text names the variable.
    pub fn from_nim(variable: impl Fn(&str) -> Option<String>) -> Result<Self, String> {
        if flag(&variable, "NIM_REWARD_MODEL")? == Some(false) {
            tracing::warn!("NIM_REWARD_MODEL=0 changes nothing: what a model is, its engine says");
        }
        let tls = nim_tls(&variable)?;
        Ok(Self {
            engine: engine(&variable)?,
            profile: text(&variable, "NIM_MODEL_PROFILE"),
            tls_key: tls.key,
            tls_cert: tls.certs,
            tls_client_ca: tls.client_ca,
            log_requests: text(&variable, "NIM_DISABLE_LOG_REQUESTS")
                .map(|on| nim_requests(&on))
                .transpose()?,
            port: number(&variable, "NIM_SERVER_PORT")?,
            max_seq_len: number(&variable, "NIM_MAX_MODEL_LEN")?,
            served_model_name: text(&variable, "NIM_SERVED_MODEL_NAME").map(|names| list(&names)),
            reward_logits_range: text(&variable, "NIM_REWARD_LOGITS_RANGE"),
            reward_model_string: text(&variable, "NIM_REWARD_MODEL_STRING").map(|names| list(&names)),
            prefix_sharing: flag(&variable, "NIM_ENABLE_KV_CACHE_REUSE")?,
            log_level: text(&variable, "NIM_LOG_LEVEL").map(|level| nim_level(&level)).transpose()?,
            log_format: text(&variable, "NIM_JSONL_LOGGING").map(|on| nim_format(&on)).transpose()?,
            ..Self::default()
        })
    }
}

/// A variable's value; an empty one says nothing, as in a compose file that passes all of them on.
fn text(variable: impl Fn(&str) -> Option<String>, name: &str) -> Option<String> {
    variable(name).filter(|value| !value.trim().is_empty())
}

fn list(names: &str) -> Vec<String> {
    names.split(',').map(|name| name.trim().to_owned()).collect()
}

fn number<T: std::str::FromStr>(
    variable: impl Fn(&str) -> Option<String>,
    name: &str,
) -> Result<Option<T>, String> {
    text(variable, name)
        .map(|value| value.trim().parse().map_err(|_| format!("{name}=`{value}` is no number that fits")))
        .transpose()
}

fn flag(variable: impl Fn(&str) -> Option<String>, name: &str) -> Result<Option<bool>, String> {
    match text(variable, name).as_deref().map(str::trim) {
        None => Ok(None),
        Some("1") => Ok(Some(true)),
        Some("0") => Ok(Some(false)),
        Some(other) => Err(format!("{name}=`{other}` is unknown: give 0 or 1")),
    }
}

/// The folder that NIM is told its model lies in, or else the one that it keeps models in.
fn engine(variable: impl Fn(&str) -> Option<String>) -> Result<Option<PathBuf>, String> {
    let Some(name) = text(&variable, "NIM_MODEL_NAME") else {
        return Ok(text(&variable, "NIM_CACHE_PATH").map(|path| path.trim().into()));
    };
    if name.contains("://") {
        return Err(format!(
            "NIM_MODEL_NAME=`{name}` is no folder, and engines are not fetched: build one with `build-engine`, and \
             name its folder"
        ));
    }
    Ok(Some(name.trim().into()))
}

fn nim_level(level: &str) -> Result<String, String> {
    match level.trim().to_ascii_uppercase().as_str() {
        "DEFAULT" | "INFO" => Ok("info"),
        "TRACE" => Ok("trace"),
        "DEBUG" => Ok("debug"),
        "WARNING" | "WARN" => Ok("warn"),
        "ERROR" | "CRITICAL" => Ok("error"),
        _ => Err(format!(
            "NIM_LOG_LEVEL=`{level}` is unknown: give DEFAULT, TRACE, DEBUG, INFO, WARNING, ERROR or CRITICAL"
        )),
    }
    .map(str::to_owned)
}

fn nim_format(on: &str) -> Result<LogFormat, String> {
    match on.trim() {
        "1" => Ok(LogFormat::Json),
        "0" => Ok(LogFormat::Human),
        _ => Err(format!("NIM_JSONL_LOGGING=`{on}` is unknown: give 0 or 1")),
    }
}

fn nim_requests(off: &str) -> Result<bool, String> {
    match off.trim() {
        "1" => Ok(false),
        "0" => Ok(true),
        _ => Err(format!("NIM_DISABLE_LOG_REQUESTS=`{off}` is unknown: give 0 or 1")),
    }
}

/// Files that NIM's variables name for TLS.
#[derive(Default)]
struct NimTls {
    key: Option<PathBuf>,
    certs: Option<PathBuf>,
    client_ca: Option<PathBuf>,
}

/// The mode decides which of the files are asked for; without it, or with `disabled`, none is.
fn nim_tls(variable: impl Fn(&str) -> Option<String>) -> Result<NimTls, String> {
    let mode = text(&variable, "NIM_SSL_MODE").unwrap_or_default();
    let file = |name: &str| {
        text(&variable, name)
            .map(|path| Some(path.trim().into()))
            .ok_or_else(|| format!("NIM_SSL_MODE is `{mode}`, and {name} names no file: set it"))
    };
    let served = || -> Result<NimTls, String> {
        Ok(NimTls { key: file("NIM_SSL_KEY_PATH")?, certs: file("NIM_SSL_CERTS_PATH")?, client_ca: None })
    };
    match mode.trim().to_ascii_lowercase().as_str() {
        "" | "disabled" => Ok(NimTls::default()),
        "tls" => served(),
        "mtls" => Ok(NimTls { client_ca: file("NIM_SSL_CA_CERTS_PATH")?, ..served()? }),
        _ => Err(format!("NIM_SSL_MODE=`{mode}` is unknown: give DISABLED, TLS or MTLS")),
    }
}
