//! The route that a request may have meant: for an unknown path the most similar one, for a known path its methods.

use utoipa::openapi::OpenApi;

use super::fields::nearest;

/// Paths of other servers, and the routes that take their place here.
const ELSEWHERE: [(&str, &str); 24] = [
    ("/generate", "/v1/completions"),
    ("/generate_stream", "/v1/completions"),
    ("/v1/responses", "/v1/chat/completions"),
    ("/v1/messages", "/v1/chat/completions"),
    ("/chat", "/v1/chat/completions"),
    ("/embed", "/v1/embeddings"),
    ("/embed_all", "/v1/embeddings"),
    ("/embed_sparse", "/v1/embeddings"),
    ("/similarity", "/rerank"),
    ("/vertex", "/predict"),
    ("/encode", "/v1/embeddings"),
    ("/v2/embed", "/v1/embeddings"),
    ("/embeddings", "/v1/embeddings"),
    ("/v1/embed", "/v1/embeddings"),
    ("/reward", "/v1/rewards"),
    ("/rewards", "/v1/rewards"),
    ("/judge", "/v1/rewards"),
    ("/remote_rm", "/get_reward"),
    ("/classification", "/classify"),
    ("/moderations", "/classify"),
    ("/healthz", "/health"),
    ("/livez", "/health"),
    ("/get_load", "/load"),
    ("/v1/loads", "/load"),
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
        let elsewhere = |wanted: &str| ELSEWHERE.iter().find(|(other, _)| *other == wanted);
        // A base URL with a version or a prefix of its own: the longest end of the path that is a route, and the
        // route under a version or without it.
        let mut rest = plain.as_str();
        loop {
            if let Some((_, place)) = elsewhere(rest) {
                return known(place);
            }
            let versioned = format!("/v1{rest}");
            if let Some(found) = known(rest).or_else(|| known(&versioned)) {
                return Some(found);
            }
            match rest.trim_start_matches('/').find('/') {
                Some(slash) => rest = &rest[slash + 1..],
                None => break,
            }
        }
        self.misspelt(&plain).or_else(|| self.only_below(&plain))
    }

    /// The path that differs from `path` by few letters, apart from the version.
    fn misspelt(&self, path: &str) -> Option<&str> {
        let meant = nearest(unversioned(path), self.paths().map(unversioned))?;
        let is_meant = |known: &&str| unversioned(known) == meant;
        let has_version = |known: &&str| known.starts_with("/v1/") == path.starts_with("/v1/");
        let same = self.paths().filter(is_meant).find(has_version);
        same.or_else(|| self.paths().find(is_meant))
    }

    /// The only route whose path goes on after `path`.
    fn only_below(&self, path: &str) -> Option<&str> {
        let mut below = self.paths().filter(|known| {
            let rest = known.strip_prefix(path);
            rest.is_some_and(|rest| rest.starts_with('/'))
        });
        below.next().filter(|_| below.next().is_none())
    }
}

/// A path without the version before it.
fn unversioned(path: &str) -> &str {
    path.strip_prefix("/v1").filter(|rest| rest.starts_with('/')).unwrap_or(path)
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
            "/v1/models",
            "/v1/rerank",
            "/v1/rewards",
            "/slime/reward",
            "/health_generate",
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
            ("/api/generate", Some("/v1/completions")),
            ("/api/chat", Some("/v1/chat/completions")),
            ("/v1/moderations", Some("/classify")),
            ("/judge", Some("/v1/rewards")),
            ("/slime", Some("/slime/reward")),
            ("/model", Some("/v1/models")),
            ("/v1/responses", Some("/v1/chat/completions")),
            ("/", None),
            ("/something/else", None),
        ] {
            assert_eq!(index.nearest(path), meant, "{path}");
        }
        assert_eq!(index.methods("/classify").as_deref(), Some("POST"));
    }
}
