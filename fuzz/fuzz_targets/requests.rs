//! Request bodies of every route: `POST path`, a line break, the body.
//!
//! Each goes to a server that scores and to one that generates. No body may make a server fail (500), and an
//! error must be a JSON object with a code.
#![no_main]

use std::sync::LazyLock;

use assay::manifest::Task;
use assay_fuzz::Server;
use libfuzzer_sys::fuzz_target;

struct Servers([Server; 2]);

// SAFETY: libFuzzer runs the target on one thread; the servers are only shared because a static has to be `Sync`.
unsafe impl Sync for Servers {}
// SAFETY: as above.
unsafe impl Send for Servers {}

static SERVERS: LazyLock<Servers> = LazyLock::new(|| {
    Servers([Server::new("llama3-tiny", Task::Reward), Server::new("lm-head-tiny", Task::Chat)])
});

fuzz_target!(|data: &[u8]| {
    let Some(line) = data.iter().position(|&byte| byte == b'\n') else { return };
    let (head, body) = (&data[..line], &data[line + 1..]);
    let Some(path) = std::str::from_utf8(head).ok().and_then(|head| head.strip_prefix("POST /")) else {
        return;
    };
    for server in &SERVERS.0 {
        let Some((response, answer)) = server.post(&format!("/{path}"), body) else { return };
        let (status, text) = (response.status(), String::from_utf8(answer).expect("a response is UTF-8"));
        assert_ne!(status.as_u16(), 500, "/{path}: {text}");
        if status.is_client_error() || status.is_server_error() {
            let error: serde_json::Value = serde_json::from_str(&text).expect("an error is JSON");
            assert!(error.is_object(), "/{path}: {text}");
        }
    }
});
