//! Verification of an engine directory against its manifest, before anything in it is used.

use std::path::Path;

use sha2::{Digest, Sha256};

use super::digest::hexadecimal;
use super::{Damage, EngineFiles, MANIFEST_FILE, Manifest, ManifestError};

impl Manifest {
    /// The profile id that belongs to this manifest: the SHA-256 of its YAML text with an empty id, in
    /// lower-case hexadecimal.
    ///
    /// # Errors
    /// A number in the manifest cannot be written as YAML.
    pub fn profile_id(&self) -> Result<String, serde_saphyr::SerializeError> {
        let mut unnamed = self.clone();
        unnamed.profile.id.clear();
        let text = serde_saphyr::to_string(&unnamed)?;
        Ok(hexadecimal(&Sha256::digest(text.as_bytes())))
    }

    /// Whether the manifest is unchanged since the build.
    pub(crate) fn has_own_profile_id(&self) -> bool {
        self.profile_id().is_ok_and(|id| id == self.profile.id)
    }

    /// Checks that `directory` has exactly the files that this manifest lists, and that the manifest is the
    /// one that was built. Compares sizes first, and then reads every file once, on all cores.
    ///
    /// # Errors
    /// [`ManifestError::Damaged`] for the first damaged file, in the manifest's order.
    pub fn verify(&self, directory: &Path) -> Result<(), ManifestError> {
        self.check_listed(directory)?;
        self.read_listed(directory, |_| false)?;
        Ok(())
    }

    /// Like [`Manifest::verify`], and keeps what it reads in memory, but for the files that the engine's own library
    /// reads.
    ///
    /// # Errors
    /// As for [`Manifest::verify`].
    pub fn read_files(&self, directory: &Path) -> Result<EngineFiles, ManifestError> {
        self.check_listed(directory)?;
        let by_library = self.target.files_of_library();
        self.read_listed(directory, |name| !by_library.iter().any(|file| file == name))
    }

    /// Checks what the manifest says of itself and which files it lists.
    fn check_listed(&self, directory: &Path) -> Result<(), ManifestError> {
        let damaged = |source| ManifestError::Damaged { path: directory.join(MANIFEST_FILE), source };
        if !self.has_own_profile_id() {
            return Err(damaged(Damage::ProfileId));
        }
        for required in self.required_files() {
            if !self.files.contains_key(&required) {
                return Err(damaged(Damage::NotListed(required)));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "../../tests/it/support/tiny.rs"]
mod tiny;

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::manifest::digest::{FileHasher, PART_BYTES, digest_file};
    use crate::manifest::{
        FileDigest, GpuTarget, RopeScaling, TEMPLATE_FILE, TOKENIZER_FILE, Target, WEIGHTS_FILE,
    };
    use std::collections::BTreeMap;
    use std::os::unix::fs::FileExt;

    /// A directory with three files of a few bytes each, and its manifest.
    pub(crate) fn engine() -> (tempfile::TempDir, Manifest) {
        let directory = tempfile::tempdir().unwrap();
        let mut files = BTreeMap::new();
        for name in [WEIGHTS_FILE, TOKENIZER_FILE, TEMPLATE_FILE] {
            std::fs::write(directory.path().join(name), format!("content of {name}")).unwrap();
            files.insert(name.to_owned(), digest_file(&directory.path().join(name)).unwrap());
        }
        let mut manifest = tiny::manifest();
        manifest.files = files;
        // Numbers and texts that YAML can spell in several ways.
        manifest.model.rope.scaling = RopeScaling::Yarn {
            factor: 4.0,
            beta_fast: 32.0,
            beta_slow: 1.0,
            attention_factor: 0.1 * 4f64.ln() + 1.0,
            original_max_position_embeddings: 128,
            truncate: true,
        };
        for (name, text) in
            [("bos_token", "<|begin_of_text|>"), ("pad_token", "null"), ("eos_token", "'\"\n\\: #")]
        {
            manifest.prompt.special_tokens.insert(name.to_owned(), text.to_owned());
        }
        manifest.profile.id = manifest.profile_id().unwrap();
        (directory, manifest)
    }

    fn refusal(directory: &Path, manifest: &Manifest) -> String {
        manifest.verify(directory).unwrap_err().to_string()
    }

    #[test]
    fn an_unchanged_engine_passes_after_its_manifest_was_written_and_read() {
        let (directory, manifest) = engine();
        let path = directory.path().join(MANIFEST_FILE);
        std::fs::write(path, serde_saphyr::to_string(&manifest).unwrap()).unwrap();
        let read = Manifest::read(directory.path()).unwrap();
        assert_eq!(read, manifest);
        read.verify(directory.path()).unwrap();
    }

    #[test]
    fn missing_truncated_and_changed_files_are_named() {
        for name in [WEIGHTS_FILE, TOKENIZER_FILE, TEMPLATE_FILE] {
            let (directory, manifest) = engine();
            let path = directory.path().join(name);
            let content = std::fs::read(&path).unwrap();

            let mut changed = content.clone();
            changed[3] ^= 1;
            std::fs::write(&path, &changed).unwrap();
            let sentence = refusal(directory.path(), &manifest);
            assert!(sentence.contains(name) && sentence.contains("changed"), "{sentence}");

            std::fs::write(&path, &content[1..]).unwrap();
            let sentence = refusal(directory.path(), &manifest);
            assert!(sentence.contains(name) && sentence.contains("bytes where"), "{sentence}");

            std::fs::remove_file(&path).unwrap();
            let sentence = refusal(directory.path(), &manifest);
            assert!(sentence.contains(name) && sentence.contains("missing"), "{sentence}");
        }
    }

    #[test]
    fn a_change_in_any_part_of_a_large_file_is_found_with_its_place() {
        let (directory, mut manifest) = engine();
        let path = directory.path().join(WEIGHTS_FILE);
        // Sparse, so that it takes no space on the disk.
        let file = std::fs::File::create(&path).unwrap();
        file.set_len(2 * PART_BYTES + 5).unwrap();
        let digest = digest_file(&path).unwrap();
        assert_eq!(digest.parts.len(), 3);
        assert_eq!(digest.parts[0], digest.parts[1]);
        assert_eq!(digest.parts[2], FileDigest::from_content(&[0; 5]).sha256);
        manifest.files.insert(WEIGHTS_FILE.to_owned(), digest);
        manifest.profile.id = manifest.profile_id().unwrap();
        let files = manifest.read_files(directory.path()).unwrap();
        assert_eq!(files.get(WEIGHTS_FILE).unwrap().len() as u64, 2 * PART_BYTES + 5);
        file.write_all_at(b"!", PART_BYTES + 7).unwrap();
        let sentence = refusal(directory.path(), &manifest);
        let place = format!("bytes {PART_BYTES} to {}", 2 * PART_BYTES);
        assert!(sentence.contains(WEIGHTS_FILE) && sentence.contains(&place), "{sentence}");
        manifest.files.get_mut(WEIGHTS_FILE).unwrap().parts.pop();
        manifest.profile.id = manifest.profile_id().unwrap();
        let sentence = refusal(directory.path(), &manifest);
        assert!(sentence.contains("lists the digests of 2 parts, and the file has 3"), "{sentence}");
    }

    #[test]
    fn pieces_of_any_size_give_the_digests_of_the_file() {
        let mut hasher = FileHasher::default();
        let piece = vec![7; PART_BYTES as usize / 10 * 4];
        for _ in 0..6 {
            hasher.update(&piece);
        }
        let digest = hasher.finish();
        let part = FileDigest::from_content(&vec![7; PART_BYTES as usize]);
        assert!(part.parts.is_empty(), "a file of one part has no other digest");
        assert_eq!(digest.parts[..2], [part.sha256.clone(), part.sha256]);
        assert_eq!((digest.bytes, digest.parts.len()), (6 * piece.len() as u64, 3));
    }

    #[test]
    fn what_was_read_does_not_change_with_the_files() {
        let (directory, manifest) = engine();
        let files = manifest.read_files(directory.path()).unwrap();
        for name in [WEIGHTS_FILE, TOKENIZER_FILE, TEMPLATE_FILE] {
            let file = std::fs::File::options().write(true).open(directory.path().join(name)).unwrap();
            file.write_all_at(b"other", 0).unwrap();
            file.set_len(3).unwrap();
            assert_eq!(files.get(name).unwrap()[..], *format!("content of {name}").as_bytes());
        }
    }

    #[test]
    fn pipes_and_devices_are_refused_and_not_waited_for() {
        let (directory, manifest) = engine();
        let path = directory.path().join(TOKENIZER_FILE);
        std::fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink("/dev/zero", &path).unwrap();
        let sentence = refusal(directory.path(), &manifest);
        assert!(sentence.contains(TOKENIZER_FILE) && sentence.contains("not a regular file"), "{sentence}");
    }

    #[test]
    fn a_manifest_edited_after_the_build_is_refused() {
        let (directory, mut manifest) = engine();
        manifest.limits.max_seq_len *= 2;
        let sentence = refusal(directory.path(), &manifest);
        assert!(sentence.contains(MANIFEST_FILE) && sentence.contains("changed"), "{sentence}");
    }

    #[test]
    fn a_file_outside_the_directory_is_refused() {
        for outside in ["../secret", "/etc/hostname", "a/b", "..", ""] {
            let (directory, mut manifest) = engine();
            manifest.files.insert(outside.to_owned(), FileDigest { bytes: 1, ..FileDigest::default() });
            manifest.profile.id = manifest.profile_id().unwrap();
            let sentence = refusal(directory.path(), &manifest);
            assert!(sentence.contains("outside the engine directory"), "{outside}: {sentence}");
        }
    }

    #[test]
    fn a_manifest_that_lists_no_weights_is_refused() {
        let (directory, mut manifest) = engine();
        manifest.files.remove(WEIGHTS_FILE);
        manifest.profile.id = manifest.profile_id().unwrap();
        let sentence = refusal(directory.path(), &manifest);
        assert!(sentence.contains(MANIFEST_FILE) && sentence.contains(WEIGHTS_FILE), "{sentence}");
    }

    #[test]
    fn an_engine_for_gpus_lists_a_plan_for_each_rank() {
        let (directory, mut manifest) = engine();
        manifest.target = Target::TensorrtLlm(GpuTarget {
            device: "NVIDIA H100 80GB HBM3".to_owned(),
            compute_capability: "9.0".to_owned(),
            tensor_parallel: 2,
            pipeline_parallel: 2,
            tensorrt_llm: "1.2.1".to_owned(),
            tensorrt: "10.14.1".to_owned(),
            driver: "580.65.06".to_owned(),
            ..GpuTarget::default()
        });
        for name in ["config.json", "rank0.engine", "rank1.engine", "rank2.engine"] {
            manifest.files.insert(name.to_owned(), FileDigest { bytes: 1, ..FileDigest::default() });
        }
        manifest.profile.id = manifest.profile_id().unwrap();
        let text = serde_saphyr::to_string(&manifest).unwrap();
        std::fs::write(directory.path().join(MANIFEST_FILE), text).unwrap();
        assert_eq!(Manifest::read(directory.path()).unwrap(), manifest);
        let sentence = refusal(directory.path(), &manifest);
        assert!(sentence.contains("does not list rank3.engine"), "{sentence}");
    }

    #[test]
    fn a_manifest_of_another_format_is_refused_whatever_else_it_has() {
        let (directory, _) = engine();
        std::fs::write(directory.path().join(MANIFEST_FILE), "format: 1\nbeams: 4\n").unwrap();
        let sentence = Manifest::read(directory.path()).unwrap_err().to_string();
        assert!(sentence.contains("its format is 1, this version reads 3"), "{sentence}");
        assert!(sentence.contains("build the engine again with `build-engine`"), "{sentence}");
    }

    #[test]
    fn an_engine_of_a_later_version_names_the_update_before_the_build() {
        let (directory, _) = engine();
        std::fs::write(directory.path().join(MANIFEST_FILE), "format: 99\nnumerics: 1\n").unwrap();
        let sentence = Manifest::read(directory.path()).unwrap_err().to_string();
        assert!(
            sentence.contains("its format is 99, this version reads 3, so a later version"),
            "{sentence}"
        );
        assert!(sentence.contains("install that version, or build the engine again"), "{sentence}");
    }

    #[test]
    fn an_engine_of_another_numerics_revision_must_be_built_again() {
        let (directory, mut manifest) = engine();
        manifest.numerics += 1;
        let text = serde_saphyr::to_string(&manifest).unwrap();
        std::fs::write(directory.path().join(MANIFEST_FILE), text).unwrap();
        let sentence = Manifest::read(directory.path()).unwrap_err().to_string();
        assert!(
            sentence.contains("numerics revision is 5, this version computes revision 4")
                && sentence.contains("build the engine again"),
            "{sentence}"
        );
    }

    #[test]
    fn a_head_with_layers_above_its_products_lists_their_file() {
        let (directory, mut manifest) = engine();
        manifest.head.bias = true;
        manifest.profile.id = manifest.profile_id().unwrap();
        assert!(refusal(directory.path(), &manifest).contains("does not list head.safetensors"));
    }

    #[test]
    fn an_unknown_field_and_broken_yaml_are_refused_with_their_line() {
        let (directory, manifest) = engine();
        let path = directory.path().join(MANIFEST_FILE);
        let text = serde_saphyr::to_string(&manifest).unwrap();
        let line = text.lines().position(|line| line.starts_with("limits:")).unwrap() + 2;
        for bad in ["limits:\n  max_beams: 4", "limits:\n  max_seq_len: many"] {
            std::fs::write(&path, text.replace("limits:\n  max_seq_len: 1024", bad)).unwrap();
            let sentence = Manifest::read(directory.path()).unwrap_err().to_string();
            assert!(sentence.contains(&format!("line {line}")), "{line}: {sentence}");
            assert!(sentence.contains(MANIFEST_FILE), "{sentence}");
        }
    }
}
