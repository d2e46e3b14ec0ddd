//! Signatures of HTTP responses, as RFC 9421 (HTTP Message Signatures) and RFC 9530 (Digest Fields) define them.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use http::{HeaderMap, HeaderName, HeaderValue};
use sha2::{Digest, Sha256};

use super::{Mismatch, PublicKey, SigningKey};

/// The profile id of the engine that gave a response.
pub(crate) const ENGINE: HeaderName = HeaderName::from_static("x-assay-engine");
/// A digest of everything that the scores of a response depend on.
pub(crate) const DIGEST: HeaderName = HeaderName::from_static("x-assay-digest");
/// The digest of the response's body.
const CONTENT_DIGEST: HeaderName = HeaderName::from_static("content-digest");
/// The digest of the request's body, in the form of `Content-Digest`.
const REQUEST_DIGEST: HeaderName = HeaderName::from_static("x-assay-request-digest");
const SIGNATURE_INPUT: HeaderName = HeaderName::from_static("signature-input");
const SIGNATURE: HeaderName = HeaderName::from_static("signature");
/// The name of this server's signature among those of a response.
const LABEL: &str = "assay";

/// The headers that a signed response has besides those of its engine.
pub(crate) const SIGNATURE_HEADERS: [HeaderName; 4] =
    [CONTENT_DIGEST, REQUEST_DIGEST, SIGNATURE_INPUT, SIGNATURE];

/// SHA-256 of the body of a request or of a response.
#[derive(Clone, Default)]
pub(crate) struct BodyDigest(Sha256);

impl BodyDigest {
    /// The digest of a whole body.
    pub(crate) fn from_body(body: &[u8]) -> Self {
        let mut digest = Self::default();
        digest.update(body);
        digest
    }

    /// Adds the next bytes.
    pub(crate) fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The digest as the value of `Content-Digest`.
    fn field(self) -> String {
        format!("sha-256=:{}:", BASE64.encode(self.0.finalize()))
    }
}

/// What a response says and answers, besides the two bodies.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SignedParts<'a> {
    pub(crate) status: u16,
    pub(crate) method: &'a str,
    /// The path of the request, without a slash at its end.
    pub(crate) path: &'a str,
    pub(crate) engine: &'a str,
    pub(crate) digest: &'a str,
}

/// The values of [`SIGNATURE_HEADERS`] for a response.
pub(crate) fn sign_response(
    key: &SigningKey,
    parts: SignedParts<'_>,
    request: BodyDigest,
    response: BodyDigest,
    seconds_since_1970: u64,
) -> [String; 4] {
    let (request, response) = (request.field(), response.field());
    let covered = Covered { parts, request_digest: &request, content_digest: &response };
    let parameters = format!("created={seconds_since_1970};keyid=\"{}\";alg=\"ed25519\"", key.id());
    let signature = BASE64.encode(key.sign(covered.base(&parameters).as_bytes()));
    let input = format!("{LABEL}={};{parameters}", Covered::list());
    [response, request, input, format!("{LABEL}=:{signature}:")]
}

/// What a signature covers: the components of RFC 9421.
struct Covered<'a> {
    parts: SignedParts<'a>,
    request_digest: &'a str,
    content_digest: &'a str,
}

impl Covered<'_> {
    /// The names of the components, as RFC 9421 spells them.
    const NAMES: [&'static str; 7] = [
        "\"@status\"",
        "\"content-digest\"",
        "\"x-assay-engine\"",
        "\"x-assay-digest\"",
        "\"x-assay-request-digest\"",
        "\"@method\";req",
        "\"@path\";req",
    ];

    fn list() -> String {
        format!("({})", Self::NAMES.join(" "))
    }

    /// The bytes that are signed.
    fn base(&self, parameters: &str) -> String {
        let SignedParts { status, method, path, engine, digest } = self.parts;
        let status = status.to_string();
        let values = [&status, self.content_digest, engine, digest, self.request_digest, method, path];
        let mut base = String::new();
        for (name, value) in Self::NAMES.iter().zip(values) {
            base += &format!("{name}: {value}\n");
        }
        base + &format!("\"@signature-params\": {};{parameters}", Self::list())
    }
}

/// A response as a client received it, and what it had sent.
#[derive(Clone, Copy, Debug)]
pub struct ReceivedResponse<'a> {
    /// The status.
    pub status: u16,
    /// The headers.
    pub headers: &'a HeaderMap,
    /// The body, exactly as it came.
    pub body: &'a [u8],
    /// The method of the request.
    pub method: &'a str,
    /// The path of the request.
    pub path: &'a str,
    /// The body of the request, exactly as it was sent.
    pub request_body: &'a [u8],
}

/// What a valid signature says of a response.
#[derive(Debug, PartialEq, Eq)]
pub struct VerifiedResponse {
    /// The profile id of the engine that gave it.
    pub engine: String,
    /// The digest of everything that its scores depend on.
    pub digest: String,
    /// When it was signed, in seconds since 1970.
    pub created: u64,
}

/// Checks the signature of a response.
///
/// # Errors
/// What differs from what was signed.
pub fn verify_response(
    key: &PublicKey,
    received: ReceivedResponse<'_>,
) -> Result<VerifiedResponse, Mismatch> {
    let field = |name: HeaderName| field(received.headers, &name);
    let (content_digest, request_digest) = (field(CONTENT_DIGEST)?, field(REQUEST_DIGEST)?);
    let (engine, digest) = (field(ENGINE)?, field(DIGEST)?);
    if content_digest != BodyDigest::from_body(received.body).field() {
        return Err(Mismatch::ResponseBody);
    }
    if request_digest != BodyDigest::from_body(received.request_body).field() {
        return Err(Mismatch::RequestBody);
    }
    let signature = field(SIGNATURE)?;
    let signature = member(&signature, LABEL)
        .and_then(|value| value.strip_prefix(':')?.strip_suffix(':'))
        .and_then(|value| BASE64.decode(value).ok())
        .ok_or(Mismatch::Malformed("the header signature"))?;
    let inputs = field(SIGNATURE_INPUT)?;
    let parameters =
        member(&inputs, LABEL).and_then(|input| input.strip_prefix(&Covered::list())?.strip_prefix(';'));
    let parameters = parameters.ok_or(Mismatch::Malformed("the header signature-input"))?;
    let (created, signer) = created_and_key(parameters)?;
    if signer != key.id() {
        return Err(Mismatch::OtherKey { signer: signer.to_owned(), key: key.id().to_owned() });
    }
    let path = if received.path.len() > 1 { received.path.trim_end_matches('/') } else { received.path };
    let parts = SignedParts {
        status: received.status,
        method: received.method,
        path,
        engine: &engine,
        digest: &digest,
    };
    let covered = Covered { parts, request_digest: &request_digest, content_digest: &content_digest };
    if !key.verifies(covered.base(parameters).as_bytes(), &signature) {
        return Err(Mismatch::Response);
    }
    Ok(VerifiedResponse { engine: engine.into_owned(), digest: digest.into_owned(), created })
}

/// The value of a header. If it is there several times, its lines are one value, as RFC 9110 has it: a second line is
/// covered by the signature, and a proxy may add its own signature in one.
fn field<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Cow<'a, str>, Mismatch> {
    let mut lines = headers.get_all(name).iter();
    let first = lines.next().ok_or_else(|| Mismatch::Unsigned(name.to_string()))?;
    let mut value = Cow::Borrowed(text(first)?);
    for line in lines {
        value = format!("{value}, {}", text(line)?).into();
    }
    Ok(value)
}

fn text(value: &HeaderValue) -> Result<&str, Mismatch> {
    value.to_str().map(str::trim).map_err(|_| Mismatch::Malformed("a header"))
}

/// When a signature was made, and by which key.
fn created_and_key(parameters: &str) -> Result<(u64, &str), Mismatch> {
    let (mut created, mut key) = (None, None);
    for parameter in parameters.split(';') {
        match parameter.split_once('=') {
            Some(("created", seconds)) => created = seconds.parse().ok(),
            Some(("keyid", quoted)) => key = quoted.strip_prefix('"').and_then(|id| id.strip_suffix('"')),
            _ => {}
        }
    }
    created.zip(key).ok_or(Mismatch::Malformed("the header signature-input"))
}

/// The value of a member of a dictionary of structured fields (RFC 9651); proxies may add signatures of their own.
fn member<'a>(dictionary: &'a str, name: &str) -> Option<&'a str> {
    let mut in_string = false;
    let members = dictionary.split(|character| {
        in_string ^= character == '"';
        character == ',' && !in_string
    });
    members.map(str::trim).find_map(|member| member.strip_prefix(name)?.strip_prefix('='))
}

#[cfg(test)]
mod tests {
    use super::super::key::tests::keys;
    use super::*;

    const REQUEST: &[u8] = br#"{"messages": []}"#;
    const RESPONSE: &[u8] = br#"{"score": 1.5}"#;
    const PARTS: SignedParts<'_> =
        SignedParts { status: 200, method: "POST", path: "/v1/rewards", engine: "e1", digest: "d1" };

    fn signed() -> HeaderMap {
        let bodies = [REQUEST, RESPONSE].map(BodyDigest::from_body);
        let [request, response] = bodies;
        let values = sign_response(&keys().0, PARTS, request, response, 1_700_000_000);
        let mut headers: HeaderMap =
            SIGNATURE_HEADERS.into_iter().zip(values.map(|value| value.parse().unwrap())).collect();
        headers.insert(ENGINE, "e1".parse().unwrap());
        headers.insert(DIGEST, "d1".parse().unwrap());
        headers
    }

    fn check(
        headers: &HeaderMap,
        change: impl FnOnce(&mut ReceivedResponse<'_>),
    ) -> Result<VerifiedResponse, Mismatch> {
        let mut received = ReceivedResponse {
            status: 200,
            headers,
            body: RESPONSE,
            method: "POST",
            path: "/v1/rewards/",
            request_body: REQUEST,
        };
        change(&mut received);
        verify_response(&keys().1, received)
    }

    #[test]
    fn a_response_as_it_was_signed_is_verified_beside_other_signatures() {
        let due = VerifiedResponse { engine: "e1".into(), digest: "d1".into(), created: 1_700_000_000 };
        let mut headers = signed();
        assert_eq!(check(&headers, |_| {}).unwrap(), due);
        for (name, other) in
            [("signature-input", "proxy=(\"a,assay=\");keyid=\"x, y\", "), ("signature", "proxy=:AA==:, ")]
        {
            let value = format!("{other}{}", headers[name].to_str().unwrap());
            headers.insert(name, value.parse().unwrap());
        }
        assert_eq!(check(&headers, |_| {}).unwrap(), due);
        let mut headers = signed();
        for (name, other) in [("signature-input", "proxy=();keyid=\"x\""), ("signature", "proxy=:AA==:")] {
            let own = headers.insert(name, other.parse().unwrap()).unwrap();
            headers.append(name, own);
        }
        assert_eq!(check(&headers, |_| {}).unwrap(), due);
    }

    #[test]
    fn a_second_line_of_a_header_that_is_signed_is_found() {
        for name in ["x-assay-engine", "x-assay-digest", "content-digest", "x-assay-request-digest"] {
            let mut headers = signed();
            headers.append(name, "e2".parse().unwrap());
            assert!(check(&headers, |_| {}).is_err(), "{name}");
        }
    }

    #[test]
    fn whatever_differs_from_what_was_signed_is_found() {
        let headers = signed();
        let found = |change: fn(&mut ReceivedResponse<'_>)| check(&headers, change).unwrap_err();
        assert_eq!(found(|received| received.body = b"{\"score\": 1.6}"), Mismatch::ResponseBody);
        assert_eq!(found(|received| received.request_body = b"{}"), Mismatch::RequestBody);
        assert_eq!(found(|received| received.status = 201), Mismatch::Response);
        assert_eq!(found(|received| received.path = "/score"), Mismatch::Response);
        assert_eq!(found(|received| received.method = "PUT"), Mismatch::Response);
        for name in headers.keys() {
            let mut without = headers.clone();
            without.remove(name);
            assert_eq!(check(&without, |_| {}).unwrap_err(), Mismatch::Unsigned(name.to_string()));
            let text = headers[name].to_str().unwrap();
            for place in 0..text.len() {
                let mut bytes = text.as_bytes().to_vec();
                bytes[place] = if bytes[place] == b'4' { b'5' } else { b'4' };
                let mut changed = headers.clone();
                changed.insert(name, String::from_utf8(bytes).unwrap().parse().unwrap());
                assert!(check(&changed, |_| {}).is_err(), "{name} at {place}");
            }
        }
    }
}
