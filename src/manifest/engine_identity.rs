//! [`EngineIdentity`]: what scores come from.

/// Names an engine and everything else that its scores depend on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EngineIdentity {
    /// The id of its profile, which is a digest of the manifest and so of every file.
    pub profile: String,
    /// SHA-256 over that id and the options with which it runs.
    pub digest: String,
}
