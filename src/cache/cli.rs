//! `assay cache`: the engines that were built from checkpoints when they were first used.

use std::fmt::Write;
use std::path::Path;
use std::time::{Duration, SystemTime};

use indicatif::HumanBytes;
use serde::Serialize;

use super::ModelError;
use super::store::{Cached, Store};
use crate::cli::output::{eprint_line, print};

/// List the engines that were built when a checkpoint was first used, or remove them
///
/// They are in the folder that ASSAY_CACHE names, else in ~/.cache/assay. When they take more than
/// ASSAY_CACHE_MAX_BYTES (100 GiB by default), those that were not used for longest are removed.
#[derive(Clone, Debug, clap::Args)]
pub struct CacheArgs {
    /// Engines to remove, by name; can be repeated
    #[arg(long, value_name = "NAME")]
    remove: Vec<String>,
    /// Remove every engine that is not in use
    #[arg(long, conflicts_with = "remove")]
    clear: bool,
    /// Print JSON
    #[arg(long, conflicts_with_all = ["remove", "clear"])]
    json: bool,
}

/// An engine as `--json` prints it.
#[derive(Serialize)]
struct Listed<'a> {
    name: &'a str,
    directory: &'a Path,
    model: Option<&'a str>,
    profile: Option<&'a str>,
    bytes: u64,
    /// Seconds since 1970.
    last_used: u64,
    source: &'a str,
}

/// Runs `assay cache`.
///
/// # Errors
/// No place for the cache is known, or an engine cannot be removed.
pub fn run(arguments: &CacheArgs) -> Result<(), ModelError> {
    let store = Store::from_environment()?;
    let engines = store.list();
    if arguments.json {
        let listed: Vec<Listed<'_>> = engines.iter().map(Listed::from).collect();
        print(format_args!("{}\n", serde_json::json!(listed)));
    } else if arguments.clear || !arguments.remove.is_empty() {
        let all: Vec<&str> = engines.iter().map(|cached| &*cached.name).collect();
        let named: Vec<&str> = arguments.remove.iter().map(String::as_str).collect();
        for name in if arguments.clear { all } else { named } {
            match store.remove(name) {
                Err(error @ ModelError::InUse { .. }) if arguments.clear => eprint_line(error),
                done => {
                    done?;
                    eprint_line(format_args!("removed {name}"));
                }
            }
        }
    } else {
        print(table(&store, &engines));
    }
    Ok(())
}

fn table(store: &Store, engines: &[Cached]) -> String {
    let bytes = engines.iter().map(|cached| cached.bytes).sum();
    let mut text = format!(
        "{}: {} {}, {} of at most {}\n",
        store.engines.display(),
        engines.len(),
        if engines.len() == 1 { "engine" } else { "engines" },
        HumanBytes(bytes),
        HumanBytes(store.max_bytes)
    );
    for cached in engines {
        let ago = SystemTime::now().duration_since(cached.last_used).unwrap_or(Duration::ZERO);
        let profile = cached.manifest.as_ref().map_or("unreadable", |manifest| &*manifest.profile.name);
        let _ = writeln!(
            text,
            "  {}\n    {}, {profile}, used {}, from {}",
            cached.name,
            HumanBytes(cached.bytes),
            since(ago),
            cached.source
        );
    }
    text
}

/// How long ago something was, in the largest unit that fits.
fn since(ago: Duration) -> String {
    let seconds = ago.as_secs();
    for (unit, length) in [("day", 86_400), ("hour", 3600), ("minute", 60)] {
        match seconds / length {
            0 => {}
            1 => return format!("1 {unit} ago"),
            count => return format!("{count} {unit}s ago"),
        }
    }
    "just now".to_owned()
}

impl<'a> From<&'a Cached> for Listed<'a> {
    fn from(cached: &'a Cached) -> Self {
        let manifest = cached.manifest.as_ref();
        Self {
            name: &cached.name,
            directory: &cached.directory,
            model: manifest.map(|manifest| &*manifest.model.name),
            profile: manifest.map(|manifest| &*manifest.profile.name),
            bytes: cached.bytes,
            last_used: cached
                .last_used
                .duration_since(SystemTime::UNIX_EPOCH)
                .unwrap_or(Duration::ZERO)
                .as_secs(),
            source: &cached.source,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_the_last_use_is_in_the_largest_unit() {
        for (seconds, words) in
            [(5, "just now"), (60, "1 minute ago"), (7200, "2 hours ago"), (90_000, "1 day ago")]
        {
            assert_eq!(since(Duration::from_secs(seconds)), words);
        }
    }
}
