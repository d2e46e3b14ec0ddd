//! The name of an engine in the cache: it covers everything that determines the engine's bytes.

use std::fmt::Write;
use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::ModelError;
use crate::builder::cpu::CpuBuildOptions;
use crate::builder::inputs;
use crate::hardware::Cpu;
use crate::manifest::digest::hexadecimal;
use crate::manifest::{FORMAT, NUMERICS};

/// Files up to this size count with their content. Larger ones, which hold weights, count with their size and times.
const READ_WHOLE: u64 = 1 << 20;
/// How deep the folders of a checkpoint are searched. Chat templates may be one level down.
const DEPTH: usize = 2;
/// Digits of the digest in the name.
const DIGITS: usize = 16;

/// The name of the engine that these options build on this machine: that of the model, then a digest of everything
/// that decides the engine's bytes.
///
/// # Errors
/// The checkpoint cannot be found or read.
pub(super) fn key(options: &CpuBuildOptions, cpu: &Cpu) -> Result<String, ModelError> {
    let found = inputs(&options.common)?;
    let mut text = format!(
        "assay {} format {FORMAT} numerics {NUMERICS}\n{cpu:?}\n{:?} {:?} {:?} {:?} {:?} {:?}\n{}\n",
        env!("CARGO_PKG_VERSION"),
        options.dtype,
        options.balance,
        options.common.checkpoint,
        options.common.max_seq_len,
        options.common.max_batch_size,
        options.common.max_num_tokens,
        found.name,
    );
    let head_file = options.common.checkpoint.head.as_ref();
    for path in found.directories.iter().chain(head_file) {
        describe(path, DEPTH, &mut text)
            .map_err(|source| ModelError::Unreadable { path: path.clone(), source })?;
    }
    let digest = hexadecimal(&Sha256::digest(text.as_bytes()));
    Ok(format!("{}-{}", file_name(&found.name), &digest[..DIGITS]))
}

/// A model's name with `--` for `/`, as the hub's cache writes it, and without what would need quotes in a shell.
fn file_name(name: &str) -> String {
    let plain = |letter: char| if letter.is_alphanumeric() || "-_.".contains(letter) { letter } else { '-' };
    name.replace('/', "--").chars().map(plain).collect()
}

/// Adds a line for each file at or below `path`, in the order of their names.
fn describe(path: &Path, depth: usize, text: &mut String) -> io::Result<()> {
    // A link counts with its target: in the hub's cache, files are named after their content.
    let path = std::fs::canonicalize(path)?;
    let metadata = std::fs::metadata(&path)?;
    if metadata.is_file() {
        let _ = writeln!(text, "{} {}", path.display(), content(&path, &metadata)?);
        return Ok(());
    }
    let Some(deeper) = depth.checked_sub(1) else { return Ok(()) };
    let mut entries: Vec<PathBuf> =
        std::fs::read_dir(&path)?.map(|entry| Ok(entry?.path())).collect::<io::Result<_>>()?;
    entries.sort();
    for entry in entries {
        let is_hidden = entry.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
        if !is_hidden {
            let _ = write!(text, "{:?}: ", entry.file_name());
            // The builder says what is wrong with a link that leads nowhere.
            match describe(&entry, deeper, text) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => text.push_str("missing\n"),
                done => done?,
            }
        }
    }
    Ok(())
}

/// Stands in for a file's content. Unlike the modification time, the time of the last status change cannot be set back.
fn content(path: &Path, metadata: &Metadata) -> io::Result<String> {
    if metadata.len() > READ_WHOLE {
        return Ok(format!("{} {} {}", metadata.len(), metadata.ctime(), metadata.ctime_nsec()));
    }
    Ok(hexadecimal(&Sha256::digest(std::fs::read(path)?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checkpoint() -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        for (file, size) in [("config.json", 10), ("model.safetensors", 2 << 20)] {
            std::fs::write(directory.path().join(file), vec![b' '; size]).unwrap();
        }
        directory
    }

    fn key_with(directory: &Path, change: impl FnOnce(&mut CpuBuildOptions, &mut Cpu)) -> String {
        let mut options = CpuBuildOptions::new(directory, "unused");
        let mut cpu = Cpu::detect();
        change(&mut options, &mut cpu);
        key(&options, &cpu).unwrap()
    }

    #[test]
    fn everything_that_determines_the_engine_changes_its_name() {
        let directory = checkpoint();
        let path = directory.path();
        let first = key_with(path, |_, _| {});
        assert_eq!(first, key_with(path, |_, _| {}));
        let mut names = vec![first];
        names.push(key_with(path, |options, _| options.dtype = Some(crate::manifest::Dtype::Int8)));
        names.push(key_with(path, |options, _| options.common.max_seq_len = Some(7)));
        names.push(key_with(path, |_, cpu| cpu.instruction_set = "another".into()));
        names.push(key_with(path, |_, cpu| cpu.onednn = "9.9.9".into()));
        std::fs::write(path.join("config.json"), "{\"a\": 1} ").unwrap();
        names.push(key_with(path, |_, _| {}));
        std::fs::create_dir(path.join("additional_chat_templates")).unwrap();
        std::fs::write(path.join("additional_chat_templates/tools.jinja"), "x").unwrap();
        names.push(key_with(path, |_, _| {}));
        let count = names.len();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), count);
    }

    #[test]
    fn weights_changed_in_place_change_the_name_even_with_their_old_time() {
        let directory = checkpoint();
        let weights = directory.path().join("model.safetensors");
        let time = std::fs::metadata(&weights).unwrap().modified().unwrap();
        let before = key_with(directory.path(), |_, _| {});
        std::thread::sleep(std::time::Duration::from_millis(20));
        std::fs::write(&weights, vec![b'x'; 2 << 20]).unwrap();
        std::fs::File::options().write(true).open(&weights).unwrap().set_modified(time).unwrap();
        assert_ne!(before, key_with(directory.path(), |_, _| {}));
    }

    #[test]
    fn a_models_name_becomes_a_valid_file_name() {
        assert_eq!(file_name("acme/judge 8b"), "acme--judge-8b");
    }
}
