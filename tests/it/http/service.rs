//! What the server says of itself.

use assay::config::Settings;
use axum::http::StatusCode;

use super::engines::instant;
use super::server::{MODEL, Server, paris};

#[tokio::test]
async fn models_are_listed_with_their_longest_sequence() {
    let server = Server::start();
    let list = server.get("/v1/models").await.json();
    assert_eq!(list["object"], "list");
    let model = &list["data"][0];
    assert_eq!(model["id"], MODEL);
    assert_eq!(model["object"], "model");
    assert_eq!(model["max_model_len"], 256);
    assert_eq!(&server.get(&format!("/v1/models/{MODEL}")).await.json(), model);
    assert_eq!(server.get("/v1/models/other").await.code(), "model_not_found");
}

#[tokio::test]
async fn the_tokenizer_is_described_as_in_vllm() {
    let info = Server::start().get("/tokenizer_info").await.json();
    assert_eq!(info["tokenizer_class"], "PreTrainedTokenizerFast");
    assert_eq!(info["model_max_length"], 256);
    assert_eq!(info["bos_token"], "<|begin_of_text|>");
    assert!(info["chat_template"].as_str().unwrap().contains("messages"));
}

#[tokio::test]
async fn every_response_names_the_engine_that_computed_it() {
    let server = Server::start();
    let engine = "0".repeat(64);
    let answers = [
        server.chat(paris()).await,
        server.post("{}").await,
        server.get("/v1/models").await,
        server.get("/no").await,
    ];
    for answer in &answers {
        assert_eq!(answer.headers["x-assay-engine"], engine, "{}", answer.text);
        assert_eq!(answer.headers["x-assay-digest"], answers[0].headers["x-assay-digest"]);
    }
    assert_eq!(answers[0].headers["x-assay-digest"].len(), 64);
    assert!(!server.get("/v1/health/live").await.headers.contains_key("x-assay-engine"));
    assert!(!Server::starting(|_| {}).get("/v1/models").await.headers.contains_key("x-assay-engine"));
    let clamp = |settings: &mut Settings| settings.scoring.score_clamp = Some("-1,1".parse().unwrap());
    let other = Server::with(clamp, instant());
    let other = other.chat(paris()).await;
    assert_eq!(other.headers["x-assay-engine"], engine);
    assert_ne!(other.headers["x-assay-digest"], answers[0].headers["x-assay-digest"], "the options differ");
}

#[tokio::test]
async fn health_and_version_have_the_form_of_nim() {
    let server = Server::start();
    let ready = server.get("/v1/health/ready").await;
    assert_eq!(ready.text, r#"{"object":"health.response","message":"Service is ready."}"#);
    assert_eq!(server.get("/v1/health/live").await.json()["object"], "health.response");
    assert_eq!(server.get("/v1/version").await.json()["release"], env!("CARGO_PKG_VERSION"));
}

#[tokio::test]
async fn metrics_count_what_was_asked_and_answered() {
    let server = Server::start();
    let tokens = server.chat(paris()).await.json()["usage"]["prompt_tokens"].clone();
    server.post("{}").await;
    let metrics = server.get("/metrics").await;
    assert_eq!(metrics.status, StatusCode::OK);
    let label = format!("{{model_name=\"{MODEL}\"}}");
    for line in [
        format!("prompt_tokens_total{label} {tokens}"),
        format!("request_success_total{label} 1"),
        format!("request_failure_total{label} 1"),
        format!("request_errors_total{{reason=\"invalid_value\",model_name=\"{MODEL}\"}} 1"),
        format!("request_finish_total{{finished_reason=\"length\",model_name=\"{MODEL}\"}} 1"),
        format!("reward_score_count{{attribute=\"helpfulness\",model_name=\"{MODEL}\"}} 1"),
        format!("iterations_total{label} 1"),
        format!("num_request_max{label} {}", server.scheduler.limits().max_batch_size),
    ] {
        assert!(metrics.text.lines().any(|each| each == line), "{line} is not in\n{}", metrics.text);
    }
    assert!(server.get("/v1/metrics").await.text.contains("process_resident_memory_bytes"));
}

#[tokio::test]
async fn every_metric_of_nim_that_applies_is_there() {
    let server = Server::start();
    server.chat(paris()).await;
    let text = server.get("/v1/metrics").await.text;
    for name in [
        "num_requests_running",
        "num_requests_waiting",
        "num_request_max",
        "gpu_cache_usage_perc",
        "prompt_tokens_total",
        "generation_tokens_total",
        "request_finish_total",
        "request_success_total",
        "request_failure_total",
        "time_to_first_token_seconds",
        "time_per_output_token_seconds",
        "e2e_request_latency_seconds",
        "request_prompt_tokens",
        "request_generation_tokens",
    ] {
        assert!(text.contains(&format!("# TYPE {name} ")), "{name} is missing");
    }
}

#[tokio::test]
async fn the_playground_is_served_from_the_binary_and_loads_nothing_from_elsewhere() {
    let server = Server::start();
    let page = server.get("/").await;
    assert_eq!(page.status, StatusCode::OK);
    assert!(page.headers["content-security-policy"].to_str().unwrap().starts_with("default-src 'none'"));
    for file in ["playground.css", "playground.js"] {
        assert!(page.text.contains(file), "{}", page.text);
        assert_eq!(server.get(&format!("/{file}")).await.status, StatusCode::OK);
    }
    let mut texts = vec![page.text.replace("http://www.w3.org/2000/svg", "")];
    for file in ["playground.css", "playground.js", "dom.js", "form.js", "results.js"] {
        let answer = server.get(&format!("/{file}")).await;
        assert_eq!(answer.status, StatusCode::OK, "{file}");
        texts.push(answer.text);
    }
    for text in texts {
        assert!(!text.contains("http://") && !text.contains("https://"), "{text}");
    }
}

#[tokio::test]
async fn the_page_of_the_routes_may_load_its_own_files_only() {
    let server = Server::start();
    let policy = server.get("/docs/").await.headers["content-security-policy"].to_str().unwrap().to_owned();
    assert!(policy.starts_with("default-src 'none'; script-src 'self';"), "{policy}");
    // What it adds to Swagger's files is in one of them.
    let start = server.get("/docs/swagger-initializer.js").await.text;
    assert!(start.contains("SwaggerUIBundle") && start.contains("prefers-color-scheme: dark"), "{start}");
    // The page needs no script that a policy of its own files forbids.
    let page = server.get("/docs/").await.text;
    assert!(page.matches("<script").count() == page.matches("<script src=\"./").count(), "{page}");
}

#[tokio::test]
async fn the_playground_can_be_switched_off() {
    let server = Server::starting(|settings| settings.server.playground = false);
    // TEI's clients still post to `/`.
    assert_eq!(server.get("/").await.status, StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(server.get("/playground.js").await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn metadata_manifest_and_license_have_the_form_of_nim() {
    let server = Server::start();
    let metadata = server.get("/v1/metadata").await.json();
    assert_eq!(metadata["selectedModelProfileId"], "0".repeat(64));
    assert_eq!(metadata["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(metadata["modelInfo"][0]["shortName"], MODEL);
    assert!(metadata["assetInfo"].is_array());
    let license = server.get("/v1/license").await.json();
    assert_eq!(metadata["licenseInfo"], license);
    assert_eq!(license["content"].as_str().unwrap().len(), license["size"].as_u64().unwrap() as usize);
    let manifest = server.get("/v1/manifest").await.json();
    assert!(manifest["manifest_file"].as_str().unwrap().contains(&format!("name: {MODEL}")), "{manifest}");
}

#[tokio::test]
async fn every_route_described_is_there_and_the_page_that_shows_them_needs_no_network() {
    let server = Server::start();
    let api = server.get("/openapi.json").await.json();
    let paths = api["paths"].as_object().unwrap();
    assert!(paths.len() >= 20);
    for (path, methods) in paths {
        for method in methods.as_object().unwrap().keys() {
            let request = axum::http::Request::builder()
                .method(method.to_uppercase().as_str())
                .uri(path.replace("{name}", "x"));
            let answer = server.send(request.body("{}".into()).unwrap()).await;
            assert!(
                answer.status != StatusCode::METHOD_NOT_ALLOWED && !answer.text.contains("unknown_url"),
                "{method} {path}"
            );
        }
    }
    let page = server.get("/docs/").await;
    assert_eq!(page.status, StatusCode::OK);
    assert!(!page.text.contains("//cdn") && !page.text.contains("https://"), "{}", page.text);
    let docs = server.get("/docs").await;
    assert!(docs.status == StatusCode::OK || docs.status.is_redirection());
}
