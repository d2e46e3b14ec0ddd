//! The line that says what is served, once it is.

use std::net::{IpAddr, SocketAddr};

use crate::api::app::App;
use crate::config::Settings;
use crate::engine::Limits;
use crate::telemetry::logs::LogFormat;

/// Logs that the server is ready: a sentence for people, or fields for programs.
pub(super) fn log(app: &App, limits: &Limits, address: SocketAddr) {
    match app.settings.logging.log_format {
        LogFormat::Human => tracing::info!("{}", sentence(&app.settings, &app.models, address)),
        LogFormat::Json => tracing::info!(
            models = ?app.models,
            max_seq_len = limits.max_seq_len,
            max_batch_size = limits.max_batch_size,
            max_num_tokens = limits.max_num_tokens,
            kv_cache_tokens = limits.kv_blocks * limits.tokens_per_block,
            "ready"
        ),
    }
}

fn sentence(settings: &Settings, models: &[String], address: SocketAddr) -> String {
    let url = url(settings, address);
    let mut text = format!("ready: serving {} at {url}", models.join(", "));
    if settings.server.playground {
        text += &format!(" | playground {url}/");
    }
    text += &format!(" | API documentation {url}/docs");
    if settings.server.metrics_port.is_none() {
        text += &format!(" | metrics {url}/metrics");
    }
    let is_open = settings.security.api_keys_file.is_none() && settings.security.tls_client_ca.is_none();
    if is_open && !address.ip().is_loopback() {
        text += " | open to the network without an API key (see --api-keys-file and --host)";
    }
    text
}

/// Where a browser on this machine finds the server.
fn url(settings: &Settings, address: SocketAddr) -> String {
    let scheme = if settings.security.tls_cert.is_some() { "https" } else { "http" };
    let port = address.port();
    match address.ip() {
        ip if ip.is_unspecified() || ip.is_loopback() => format!("{scheme}://localhost:{port}"),
        IpAddr::V4(ip) => format!("{scheme}://{ip}:{port}"),
        IpAddr::V6(ip) => format!("{scheme}://[{ip}]:{port}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(address: &str, change: impl FnOnce(&mut Settings)) -> String {
        let mut settings = Settings::defaults("engine".into());
        change(&mut settings);
        sentence(&settings, &["demo".to_owned()], address.parse().unwrap())
    }

    #[test]
    fn the_line_says_what_is_served_where_and_to_whom() {
        assert_eq!(
            shown("0.0.0.0:8000", |_| {}),
            "ready: serving demo at http://localhost:8000 | playground http://localhost:8000/ | API documentation \
             http://localhost:8000/docs | metrics http://localhost:8000/metrics | open to the network without an API \
             key (see --api-keys-file and --host)"
        );
        let closed = shown("127.0.0.1:9000", |settings| {
            settings.server.playground = false;
            settings.server.metrics_port = Some(9001);
        });
        assert_eq!(
            closed,
            "ready: serving demo at http://localhost:9000 | API documentation http://localhost:9000/docs"
        );
        let with_tls = shown("[fd00::1]:443", |settings| {
            settings.security.tls_cert = Some("cert.pem".into());
            settings.security.api_keys_file = Some("keys".into());
        });
        assert!(with_tls.starts_with("ready: serving demo at https://[fd00::1]:443 |"), "{with_tls}");
        assert!(!with_tls.contains("open to the network"), "{with_tls}");
    }
}
