//! The route that a request may have meant: for an unknown path the most similar one, for a known path its methods.

use utoipa::openapi::OpenApi;

use super::fields::nearest;

/// Paths of other servers, and the routes that take their place here.
const ELSEWHERE: [(&str, &str); 14] = [
    ("/generate", "/v1/completions"),
    ("/generate_stream", "/v1/completions"),
    ("/v1/responses", "/v1/chat/completions"),
    ("/v1/messages", "/v1/chat/completions"),
    ("/chat", "/v1/chat/completions"),
    ("/embed", "/v1/embeddings"),
    ("/encode", "/v1/embeddings"),
    ("/v2/embed", "/v1/embeddings"),
    ("/embeddings", "/v1/embeddings"),
    ("/v1/embed", "/v1/embeddings"),
    ("/v1/encode", "/v1/embeddings"),
    ("/reward", "/v1/rewards"),
    ("/rewards", "/v1/rewards"),
    ("/healthz", "/health"),
];

/// The paths of the server and the methods of each.
pub(super) struct RouteIndex(Vec<(String, &'static str)>);

impl RouteIndex {
    pub(super) fn new(document: &OpenApi) -> Self {
        let mut routes = Vec::new();
        for (path, item) in &document.paths.paths {
            let methods = match (&item.get, &item.post) {
                (Some(_), Some(_)) => "GET or POST",
                (Some(_), None) => "GET",
                _ => "POST",
            };
            if path.len() > 1 && !path.contains('{') {
                routes.push((path.clone(), methods));
            }
        }
        Self(routes)
    }

    fn paths(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(path, _)| path.as_str())
    }

    /// The methods of a path.
    pub(super) fn methods(&self, path: &str) -> Option<String> {
        self.0.iter().find(|(known, _)| known == path).map(|(_, methods)| (*methods).to_owned())
    }

    /// The path that is most like `path`, if one may have been meant.
    pub(super) fn nearest(&self, path: &str) -> Option<&str> {
        let plain = path.trim_end_matches('/').to_lowercase();
        let known = |wanted: &str| self.paths().find(|known| *known == wanted);
        if let Some((_, place)) = ELSEWHERE.iter().find(|(other, _)| *other == plain) {
            return known(place);
        }
        // A base URL with a version or a prefix of its own: the longest end of the path that is a route, and the
        // route under a version or without it.
        let mut rest = plain.as_str();
        loop {
            let versioned = format!("/v1{rest}");
            if let Some(found) = known(rest).or_else(|| known(&versioned)) {
                return Some(found);
            }
            match rest.trim_start_matches('/').find('/') {
                Some(slash) => rest = &rest[slash + 1..],
                None => break,
            }
        }
        nearest(&plain, self.paths())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_path_is_answered_with_the_route_that_was_meant() {
        let paths = [
            "/classify",
            "/v1/chat/completions",
            "/v1/completions",
            "/v1/embeddings",
            "/v1/rerank",
            "/v1/rewards",
        ];
        let index = RouteIndex(paths.map(|path| (path.to_owned(), "POST")).to_vec());
        for (path, meant) in [
            ("/v1/v1/chat/completions", Some("/v1/chat/completions")),
            ("/chat/completions", Some("/v1/chat/completions")),
            ("/v1/chat/completions/", Some("/v1/chat/completions")),
            ("/V1/Rerank", Some("/v1/rerank")),
            ("/api/v1/rerank", Some("/v1/rerank")),
            ("/v1/classify", Some("/classify")),
            ("/clasify", Some("/classify")),
            ("/v1/reward", Some("/v1/rewards")),
            ("/generate", Some("/v1/completions")),
            ("/v1/responses", Some("/v1/chat/completions")),
            ("/", None),
            ("/something/else", None),
        ] {
            assert_eq!(index.nearest(path), meant, "{path}");
        }
        assert_eq!(index.methods("/classify").as_deref(), Some("POST"));
    }
}
