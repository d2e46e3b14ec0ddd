//! Several engines under one folder: which of them run on this machine, and which is served.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::machine::Machine;
use crate::manifest::{Dtype, MANIFEST_FILE, Manifest, ManifestError, Objective, Quantization, Target};

/// The choice that is left to the server.
pub const AUTO: &str = "auto";
/// Folders below the root that are searched.
const DEPTH: usize = 3;
/// Shortest beginning of an id that names a profile.
const SHORTEST_ID: usize = 8;

/// One engine directory.
#[derive(Clone, Debug)]
pub struct Found {
    /// Where it is.
    pub directory: PathBuf,
    /// What it is, if its manifest can be read.
    pub manifest: Option<Manifest>,
    /// Why it does not run here, as the rest of a sentence that begins with its name.
    pub obstacle: Option<String>,
}

impl Found {
    fn new(directory: PathBuf, machine: &Machine) -> Self {
        let manifest = match Manifest::read(&directory) {
            Ok(manifest) => manifest,
            Err(error) => {
                let obstacle = Some(format!("cannot be used: {error}"));
                return Self { directory, manifest: None, obstacle };
            }
        };
        let obstacle = if manifest.has_own_profile_id() {
            machine.obstacle(&manifest)
        } else {
            Some(format!(
                "was changed after the build: the profile id does not match the text of {MANIFEST_FILE}; copy it \
                 again or build it again"
            ))
        };
        Self { directory, manifest: Some(manifest), obstacle }
    }

    fn is(&self, wanted: &str) -> bool {
        self.manifest.as_ref().is_some_and(|Manifest { profile, .. }| {
            let begins = wanted.len() >= SHORTEST_ID && profile.id.starts_with(wanted);
            profile.name == wanted || begins
        })
    }

    /// Id and name in the listing's form, or where it is.
    fn title(&self) -> String {
        match &self.manifest {
            Some(Manifest { profile, .. }) => format!("{} ({})", profile.id, profile.name),
            None => self.directory.display().to_string(),
        }
    }
}

/// Orders profiles, the preferred first: TensorRT-LLM before other engines, then lower precision, then
/// latency before throughput, then higher tensor parallelism.
fn preference(manifest: &Manifest) -> impl Ord + use<> {
    let (other, objective, tensor_parallel) = match &manifest.target {
        Target::TensorrtLlm(gpus) => (false, gpus.objective, gpus.tensor_parallel),
        Target::Cpu { .. } => (true, Objective::Throughput, 1),
    };
    (other, bits(manifest), Reverse(objective), Reverse(tensor_parallel), manifest.profile.id.clone())
}

/// Bits of one weight of the layers.
fn bits(manifest: &Manifest) -> u32 {
    let quantization = match &manifest.target {
        Target::TensorrtLlm(gpus) => &gpus.quantization,
        Target::Cpu { .. } => &Quantization::None,
    };
    match quantization {
        Quantization::Int4WeightOnly => 4,
        Quantization::Fp8 | Quantization::Int8WeightOnly => 8,
        // Algorithms bear the bits of their weights: NVFP4, W4A16_AWQ, W8A8_SQ_PER_CHANNEL, FP8.
        Quantization::Checkpoint(name) => match name.find(['4', '8']) {
            Some(at) if name[at..].starts_with('4') => 4,
            Some(_) => 8,
            None => 16,
        },
        Quantization::None => match manifest.dtype {
            Dtype::Int8 => 8,
            Dtype::Bf16 => 16,
            Dtype::F32 => 32,
        },
    }
}

/// Why no engine is served.
#[derive(Debug, thiserror::Error)]
pub enum ProfileError {
    /// The folder is neither an engine directory nor holds any.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// The one that was asked for, or the only one, does not run here.
    #[error("the engine in {directory} {reason}")]
    Unsuitable {
        /// Where it is.
        directory: PathBuf,
        /// The rest of the sentence.
        reason: String,
    },
    /// There are several, and none runs here.
    #[error("none of the {} engines under {root} runs here:\n{}", reasons.len(), reasons.join("\n"))]
    NoneRuns {
        /// The folder.
        root: PathBuf,
        /// A line for each.
        reasons: Vec<String>,
    },
    /// Nothing has the id or name.
    #[error("there is no profile {wanted} under {root}; there are {}", known.join(", "))]
    Unknown {
        /// What was asked for.
        wanted: String,
        /// The folder.
        root: PathBuf,
        /// Every profile's name.
        known: Vec<String>,
    },
    /// The choice would be one between models, not between profiles of one.
    #[error(
        "{root} holds engines of several models ({}): name one profile's id with --profile, as `assay profiles` \
         lists them, or the folder of one model with --engines",
        models.join(", ")
    )]
    SeveralModels {
        /// The folder.
        root: PathBuf,
        /// Their names.
        models: Vec<String>,
    },
}

/// Every engine directory in or under one folder, those that run here first, in the order of
/// preference; those without a readable manifest last.
#[derive(Clone, Debug)]
pub struct Profiles {
    root: PathBuf,
    found: Vec<Found>,
}

impl Profiles {
    /// Looks for them in `root` and up to three folders below it, hidden ones left out.
    ///
    /// # Errors
    /// `root` is no engine directory and holds none.
    pub fn find(root: &Path, machine: &Machine) -> Result<Self, ProfileError> {
        let mut directories = Vec::new();
        search(root, DEPTH, &mut directories);
        if directories.is_empty() {
            Manifest::read(root)?;
        }
        let mut found: Vec<Found> =
            directories.into_iter().map(|directory| Found::new(directory, machine)).collect();
        found.sort_by_cached_key(|Found { directory, manifest, obstacle }| {
            (obstacle.is_some(), manifest.is_none(), manifest.as_ref().map(preference), directory.clone())
        });
        Ok(Self { root: root.to_owned(), found })
    }

    /// The one to serve: that with the id (or at least eight characters of its beginning) or the name
    /// `wanted`; of [`AUTO`], or where several have the name, the preferred of those that run.
    ///
    /// # Errors
    /// There is none, it does not run here, or several models are to choose from.
    pub fn choose(&self, wanted: &str) -> Result<(&Path, &Manifest), ProfileError> {
        let fits = |found: &&Found| wanted == AUTO || found.is(wanted);
        let candidates: Vec<&Found> = self.found.iter().filter(fits).collect();
        let runnable = candidates.iter().filter(|found| found.obstacle.is_none());
        let runnable: Vec<(&Path, &Manifest)> = runnable
            .filter_map(|found| Some((found.directory.as_path(), found.manifest.as_ref()?)))
            .collect();
        let models: BTreeSet<&str> = runnable.iter().map(|(_, manifest)| &*manifest.model.name).collect();
        if models.len() > 1 {
            let models = models.into_iter().map(str::to_owned).collect();
            return Err(ProfileError::SeveralModels { root: self.root.clone(), models });
        }
        runnable.first().copied().ok_or_else(|| self.none_of(&candidates, wanted))
    }

    /// Why none of `candidates` is served.
    fn none_of(&self, candidates: &[&Found], wanted: &str) -> ProfileError {
        let root = self.root.clone();
        let reason = |found: &Found| found.obstacle.clone().unwrap_or_default();
        match candidates {
            [] => {
                let manifests = self.found.iter().filter_map(|found| found.manifest.as_ref());
                let known = manifests.map(|manifest| manifest.profile.name.clone()).collect();
                ProfileError::Unknown { wanted: wanted.to_owned(), root, known }
            }
            [one] => ProfileError::Unsuitable { directory: one.directory.clone(), reason: reason(one) },
            several => {
                let line = |found: &&Found| format!("  {} {}", found.title(), reason(found));
                ProfileError::NoneRuns { root, reasons: several.iter().map(line).collect() }
            }
        }
    }

    /// A line of facts for each, to be written as JSON.
    pub fn listed(&self) -> Vec<Listed<'_>> {
        self.found.iter().map(Listed::from).collect()
    }
}

/// In the form of NIM's `list-model-profiles`; below what does not run stands why.
impl fmt::Display for Profiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MODEL PROFILES\n")?;
        for (heading, runs) in
            [("Compatible with system and runnable", true), ("Incompatible with system", false)]
        {
            let listed = self.found.iter().filter(|found| found.obstacle.is_none() == runs);
            let none = if listed.clone().next().is_none() { " <None>" } else { "" };
            writeln!(f, "- {heading}:{none}")?;
            for found in listed {
                writeln!(f, "  - {}", found.title())?;
                if let Some(reason) = &found.obstacle {
                    writeln!(f, "      {}", reason.replace('\n', " "))?;
                }
            }
        }
        Ok(())
    }
}

/// What is said of an engine directory as JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Listed<'a> {
    /// The profile's id; null where the manifest cannot be read, as all of what it says.
    pub id: Option<&'a str>,
    /// The profile's name.
    pub name: Option<&'a str>,
    /// The model's name.
    pub model: Option<&'a str>,
    /// Processes that it runs as.
    pub ranks: Option<usize>,
    /// Where it is.
    pub directory: &'a Path,
    /// Whether it runs here.
    pub runnable: bool,
    /// Why it does not, as the rest of a sentence that begins with its name.
    pub reason: Option<&'a str>,
}

impl<'a> From<&'a Found> for Listed<'a> {
    fn from(found: &'a Found) -> Self {
        let manifest = found.manifest.as_ref();
        Self {
            id: manifest.map(|manifest| &*manifest.profile.id),
            name: manifest.map(|manifest| &*manifest.profile.name),
            model: manifest.map(|manifest| &*manifest.model.name),
            ranks: manifest.map(Manifest::ranks),
            directory: &found.directory,
            runnable: found.obstacle.is_none(),
            reason: found.obstacle.as_deref(),
        }
    }
}

/// Engine directories in `folder` and `depth` levels below it. What cannot be read is passed over: it is
/// no engine of ours.
fn search(folder: &Path, depth: usize, found: &mut Vec<PathBuf>) {
    if folder.join(MANIFEST_FILE).exists() {
        found.push(folder.to_owned());
        return;
    }
    let Some(deeper) = depth.checked_sub(1) else { return };
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let hidden = entry.file_name().to_string_lossy().starts_with('.');
        if !hidden && entry.path().is_dir() {
            search(&entry.path(), deeper, found);
        }
    }
}

/// The engine to serve from `root`, which is an engine directory or a folder of several.
///
/// # Errors
/// As [`Profiles::find`] and [`Profiles::choose`].
pub fn choose(root: &Path, wanted: &str, machine: &Machine) -> Result<(PathBuf, Manifest), ProfileError> {
    let profiles = Profiles::find(root, machine)?;
    let (directory, manifest) = profiles.choose(wanted)?;
    Ok((directory.to_owned(), manifest.clone()))
}

#[cfg(test)]
mod tests;
