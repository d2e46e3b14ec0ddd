//! Reads the layers of an engine's head that are computed in Rust, after the engine's own products.

use super::EngineError;
use super::weights::Weights;
use crate::manifest::{EngineFiles, HEAD_FILE, Manifest};
use crate::reward::HeadLayers;

/// The layers above the products of an engine.
///
/// # Errors
/// A tensor is missing or has another size than the manifest says.
pub(super) fn parse(files: &EngineFiles, manifest: &Manifest) -> Result<HeadLayers, EngineError> {
    if manifest.task.generates() {
        return Ok(HeadLayers::none());
    }
    let file = if manifest.head.has_head_layers() { Some(Weights::parse(files, HEAD_FILE)?) } else { None };
    let tensor = |name: &str| file.as_ref().and_then(|file| file.floats(name));
    HeadLayers::new(&manifest.head, tensor)
        .map_err(|source| EngineError::Head { path: files.directory().join(HEAD_FILE), source })
}

#[cfg(test)]
mod tests {
    use safetensors::tensor::TensorView;

    use super::*;
    use crate::manifest::{HeadActivation, HiddenLayer, ManifestHead};

    #[test]
    fn layers_are_read_by_name_and_one_that_is_missing_or_misshapen_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join(HEAD_FILE);
        let layer = HiddenLayer { width: 2, bias: true, activation: HeadActivation::Relu, norm_eps: None };
        let head = ManifestHead {
            attributes: vec!["reward".into()],
            hidden: vec![layer],
            ..ManifestHead::default()
        };
        let manifest = Manifest { head, ..crate::manifest::verify::tests::engine().1 };
        let write = |bias: &[f32]| {
            let numbers: [(&str, &[f32]); 2] = [("head.0_bias", bias), ("head.1", &[3.0, 4.0])];
            let tensors = numbers.map(|(name, numbers)| {
                let (shape, data) = (vec![numbers.len()], bytemuck::cast_slice(numbers));
                (name, TensorView::new(safetensors::Dtype::F32, shape, data).unwrap())
            });
            std::fs::write(&file, safetensors::serialize(tensors, None).unwrap()).unwrap();
        };
        let open = || {
            let files = EngineFiles::read_unverified(directory.path(), &[HEAD_FILE]).unwrap();
            parse(&files, &manifest).map_err(|error| error.to_string())
        };
        let missing = parse(&EngineFiles::default(), &manifest).err().unwrap().to_string();
        assert!(missing.contains(HEAD_FILE), "{missing}");
        write(&[1.0]);
        let error = open().unwrap_err();
        assert!(error.contains(HEAD_FILE) && error.contains("`head.0_bias` of 2 numbers"), "{error}");
        write(&[1.0, -9.0]);
        assert_eq!(open().unwrap().apply(vec![1.0, 2.0]), [6.0]);
    }
}
