//! Several engines under one folder: which of them run on this machine, and which is served.
//!
//! The backend decides how an engine fits the machine: callers pass a function that returns a [`Fit`].

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Serialize;

use super::Obstacle;
use crate::manifest::{MANIFEST_FILE, Manifest, Objective};

/// The name that leaves the choice to the server.
pub const AUTO: &str = "auto";
/// How many levels of folders below the root are searched.
const DEPTH: usize = 3;
/// Length of the shortest prefix of an id that names a profile.
const SHORTEST_ID: usize = 8;

/// How an engine fits this machine.
#[derive(Clone, Debug)]
pub struct Fit {
    /// Why it does not run here; `None` if it runs.
    pub obstacle: Option<Obstacle>,
    /// What it is preferred for among engines that run.
    pub preference: Preference,
}

/// What an engine is preferred for; the lowest is preferred most.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Preference {
    /// Its backend's place in the order of preference.
    pub backend: usize,
    /// Bits of one weight of its layers.
    pub weight_bits: u32,
    /// Latency matters more than throughput.
    pub objective: Reverse<Objective>,
    /// Number of GPUs that each layer is spread over; more is preferred.
    pub tensor_parallel: Reverse<usize>,
}

/// One engine directory.
#[derive(Clone, Debug)]
struct Found {
    directory: PathBuf,
    /// `None` if it cannot be read.
    manifest: Option<Manifest>,
    preference: Option<Preference>,
    /// See [`Fit::obstacle`].
    obstacle: Option<Obstacle>,
}

impl Found {
    fn new(directory: PathBuf, fit: &dyn Fn(&Manifest) -> Fit) -> Self {
        let manifest = match Manifest::read(&directory) {
            Ok(manifest) => manifest,
            Err(error) => {
                let obstacle = Some(Obstacle::Manifest(Arc::new(error)));
                return Self { directory, manifest: None, preference: None, obstacle };
            }
        };
        let Fit { mut obstacle, preference } = fit(&manifest);
        if !manifest.has_own_profile_id() {
            obstacle = Some(Obstacle::Changed);
        }
        Self { directory, manifest: Some(manifest), preference: Some(preference), obstacle }
    }

    fn runs(&self) -> bool {
        self.obstacle.is_none()
    }

    fn is(&self, wanted: &str) -> bool {
        self.manifest.as_ref().is_some_and(|Manifest { profile, .. }| {
            let is_prefix = wanted.len() >= SHORTEST_ID && profile.id.starts_with(wanted);
            profile.name == wanted || is_prefix
        })
    }

    /// Id and name in the listing's form, or the directory.
    fn title(&self) -> String {
        match &self.manifest {
            Some(Manifest { profile, .. }) => format!("{} ({})", profile.id, profile.name),
            None => self.directory.display().to_string(),
        }
    }
}

/// Why no engine can be chosen.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages name the fields")]
pub enum ProfileError {
    /// The folder is not an engine directory and holds none.
    #[error(
        "there is no engine in {root}, nor up to {DEPTH} levels below it; `build-engine --output DIR` writes an engine \
         to a directory"
    )]
    NoEngine { root: PathBuf },
    /// The requested engine, or the only one, does not run here.
    #[error("the engine in {directory} {obstacle}")]
    Unsuitable {
        directory: PathBuf,
        /// Why it does not.
        obstacle: Obstacle,
    },
    /// None of several engines runs here.
    #[error("none of the {} engines under {root} runs here:\n{}", reasons.len(), reasons.join("\n"))]
    NoneRuns {
        root: PathBuf,
        /// A line for each.
        reasons: Vec<String>,
    },
    /// Nothing has the requested id or name.
    #[error("there is no profile {wanted} under {root}; there are {}", known.join(", "))]
    Unknown {
        /// The requested id or name.
        wanted: String,
        root: PathBuf,
        known: Vec<String>,
    },
    /// The choice would be between models, not between profiles of one model.
    #[error(
        "{root} holds engines of several models ({}): name one profile's id with --profile, as `assay profiles` \
         lists them, or the folder of one model with --engines",
        models.join(", ")
    )]
    SeveralModels { root: PathBuf, models: Vec<String> },
}

/// Every engine directory in or under one folder: first those that run here, the preferred one first, and
/// those without a readable manifest last.
#[derive(Clone, Debug)]
pub struct Profiles {
    root: PathBuf,
    found: Vec<Found>,
}

impl Profiles {
    /// Looks for engine directories in `root` and up to three levels below it, except in hidden folders.
    ///
    /// # Errors
    /// `root` is not an engine directory and holds none.
    pub fn find(root: &Path, fit: &dyn Fn(&Manifest) -> Fit) -> Result<Self, ProfileError> {
        let mut directories = Vec::new();
        search(root, DEPTH, &mut directories);
        if directories.is_empty() {
            return Err(ProfileError::NoEngine { root: root.to_owned() });
        }
        let mut found: Vec<Found> =
            directories.into_iter().map(|directory| Found::new(directory, fit)).collect();
        found.sort_by_cached_key(|found| {
            let id = found.manifest.as_ref().map(|manifest| manifest.profile.id.clone());
            let readable = found.manifest.is_some();
            (!found.runs(), !readable, found.preference.clone(), id, found.directory.clone())
        });
        Ok(Self { root: root.to_owned(), found })
    }

    /// The engine to serve: the one whose id (or at least its first eight characters) or name is `wanted`. For
    /// [`AUTO`], or if several have the name, the preferred one of those that run.
    ///
    /// # Errors
    /// There is none, it does not run here, or there are several models to choose from.
    pub fn choose(&self, wanted: &str) -> Result<(&Path, &Manifest), ProfileError> {
        let fits = |found: &&Found| wanted == AUTO || found.is(wanted);
        let candidates: Vec<&Found> = self.found.iter().filter(fits).collect();
        let runnable = candidates.iter().filter(|found| found.runs());
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

    /// Why none of `candidates` can be served.
    fn none_of(&self, candidates: &[&Found], wanted: &str) -> ProfileError {
        let root = self.root.clone();
        // A candidate without an obstacle would have been chosen.
        let obstacles: Vec<(&Found, &Obstacle)> =
            candidates.iter().filter_map(|found| Some((*found, found.obstacle.as_ref()?))).collect();
        match obstacles[..] {
            [] => {
                let manifests = self.found.iter().filter_map(|found| found.manifest.as_ref());
                let known = manifests.map(|manifest| manifest.profile.name.clone()).collect();
                ProfileError::Unknown { wanted: wanted.to_owned(), root, known }
            }
            [(found, obstacle)] => {
                ProfileError::Unsuitable { directory: found.directory.clone(), obstacle: obstacle.clone() }
            }
            ref several => {
                let line =
                    |(found, obstacle): &(&Found, &Obstacle)| format!("  {} {obstacle}", found.title());
                ProfileError::NoneRuns { root, reasons: several.iter().map(line).collect() }
            }
        }
    }

    /// The facts about each engine directory, to be written as JSON.
    pub fn listed(&self) -> Vec<Listed<'_>> {
        self.found.iter().map(Listed::from).collect()
    }
}

/// In the form of NIM's `list-model-profiles`, with a reason below each profile that does not run.
impl fmt::Display for Profiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MODEL PROFILES\n")?;
        for (heading, runs) in
            [("Compatible with system and runnable", true), ("Incompatible with system", false)]
        {
            let listed = self.found.iter().filter(|found| found.runs() == runs);
            let none = if listed.clone().next().is_none() { " <None>" } else { "" };
            writeln!(f, "- {heading}:{none}")?;
            for found in listed {
                writeln!(f, "  - {}", found.title())?;
                if let Some(obstacle) = &found.obstacle {
                    writeln!(f, "      {}", obstacle.to_string().replace('\n', " "))?;
                }
            }
        }
        Ok(())
    }
}

/// The facts about one engine directory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Listed<'a> {
    /// The profile's id; null, like everything from the manifest, if that cannot be read.
    pub id: Option<&'a str>,
    /// The profile's name.
    pub name: Option<&'a str>,
    /// The model's name.
    pub model: Option<&'a str>,
    /// Processes that it runs as.
    pub ranks: Option<usize>,
    /// The engine directory.
    pub directory: &'a Path,
    /// Whether it runs here.
    pub runnable: bool,
    /// Why it does not, as the rest of a sentence that starts with its name.
    pub reason: Option<String>,
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
            runnable: found.runs(),
            reason: found.obstacle.as_ref().map(Obstacle::to_string),
        }
    }
}

/// Engine directories at or below `root`, as [`Profiles::find`] searches them.
pub(crate) fn directories(root: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    search(root, DEPTH, &mut found);
    found
}

/// Engine directories in `folder` and `depth` levels below it. What cannot be read is skipped, since it cannot be
/// an engine.
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
pub fn choose(
    root: &Path,
    wanted: &str,
    fit: &dyn Fn(&Manifest) -> Fit,
) -> Result<(PathBuf, Manifest), ProfileError> {
    let profiles = Profiles::find(root, fit)?;
    let (directory, manifest) = profiles.choose(wanted)?;
    Ok((directory.to_owned(), manifest.clone()))
}
