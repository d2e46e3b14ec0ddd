//! Signatures of a response and of a file's row, and files that should hold a key.
//!
//! The input is headers, an empty line, and a body. Of all inputs, only what the key signed may be valid.
#![no_main]

use std::path::Path;

use assay::signing::{PublicKey, ReceivedResponse, verify_response, verify_scores};
use assay_fuzz::memory_directory;
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use tempfile::TempDir;

const KEY: &[u8] = include_bytes!("../seeds/signatures/key");
const RESPONSE: &[u8] = include_bytes!("../seeds/signatures/response");
const ROW: &[u8] = include_bytes!("../seeds/signatures/row");
const REQUEST: &[u8] = b"{}";
/// The header with the signature of a row.
const ROW_SIGNATURE: HeaderName = HeaderName::from_static("row-signature");

thread_local! {
    static DIRECTORY: TempDir = memory_directory();
    static SIGNER: PublicKey = key(KEY).expect("the seed is a key");
}

fuzz_target!(|data: &[u8]| {
    // Most inputs are no key.
    let _ = key(data);
    let (headers, body) = split(data);
    SIGNER.with(|signer| {
        if is_valid_response(signer, &headers, body) {
            assert_eq!(body, split(RESPONSE).1, "another response is valid");
        }
        if let Some(row) = valid_row(signer, &headers, body) {
            let signed: Value = serde_json::from_slice(split(ROW).1).expect("the seed is JSON");
            assert_eq!(row, signed, "another row is valid");
        }
    });
});

fn key(pem: &[u8]) -> Option<PublicKey> {
    DIRECTORY.with(|directory| {
        let file = directory.path().join("key.pem");
        std::fs::write(&file, pem).expect("the file can be written");
        PublicKey::read(Path::new(&file)).ok()
    })
}

fn split(data: &[u8]) -> (HeaderMap, &[u8]) {
    let end = data.windows(2).position(|pair| pair == b"\n\n").unwrap_or(data.len());
    let (head, body) = (&data[..end], data.get(end + 2..).unwrap_or_default());
    let headers = head.split(|byte| *byte == b'\n').filter_map(|line| {
        let colon = line.iter().position(|byte| *byte == b':')?;
        let value = HeaderValue::from_bytes(line[colon + 1..].trim_ascii()).ok()?;
        Some((HeaderName::from_bytes(&line[..colon]).ok()?, value))
    });
    (headers.collect(), body)
}

fn is_valid_response(signer: &PublicKey, headers: &HeaderMap, body: &[u8]) -> bool {
    let received = ReceivedResponse {
        status: 200,
        headers,
        body,
        method: "POST",
        path: "/v1/rewards",
        request_body: REQUEST,
    };
    verify_response(signer, received).is_ok()
}

/// The row that the body holds, if its signature fits.
fn valid_row(signer: &PublicKey, headers: &HeaderMap, body: &[u8]) -> Option<Value> {
    let row: Value = serde_json::from_slice(body).ok()?;
    let scores: Option<Vec<(String, f64)>> = row["scores"]
        .as_object()?
        .iter()
        .map(|(name, score)| Some((name.clone(), score.as_f64()?)))
        .collect();
    let signature = headers.get(ROW_SIGNATURE)?.to_str().ok()?;
    verify_scores(signer, signature, &row["conversation"], &scores?).ok()?;
    Some(row)
}
