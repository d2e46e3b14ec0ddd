//! The manifest of an engine that is being built.

use super::BuildError;
use super::output::Staging;
use super::source::Source;
use crate::engine::backends;
use crate::manifest::{
    BuildLimits, BuiltWith, Dtype, FORMAT, MANIFEST_FILE, Manifest, ManifestHead, NUMERICS, Profile, Target,
};

/// The manifest without profile id, files and the versions of libraries.
pub(super) fn draft(
    source: &Source,
    target: Target,
    dtype: Dtype,
    limits: BuildLimits,
    head: ManifestHead,
) -> Manifest {
    let mut manifest = Manifest {
        format: FORMAT,
        numerics: NUMERICS,
        profile: Profile { id: String::new(), name: String::new() },
        model: source.config.model.clone(),
        task: source.task,
        target,
        built_with: BuiltWith { assay: env!("CARGO_PKG_VERSION").to_owned(), onednn: String::new() },
        dtype,
        limits,
        head,
        prompt: source.prompt(),
        files: [].into(),
    };
    manifest.profile.name = backends::profile_name(&manifest);
    manifest
}

/// Gives the manifest its profile id and writes it.
pub(super) fn write(staging: &Staging, manifest: &mut Manifest) -> Result<(), BuildError> {
    let unwritable = |error: serde_saphyr::SerializeError| {
        BuildError::write(staging.join(MANIFEST_FILE))(std::io::Error::other(error.to_string()))
    };
    manifest.profile.id = manifest.profile_id().map_err(unwritable)?;
    let text = serde_saphyr::to_string(manifest).map_err(unwritable)?;
    staging.write(MANIFEST_FILE, text.as_bytes())
}
