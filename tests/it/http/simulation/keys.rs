//! API keys in a file that changes while requests come.

use std::path::PathBuf;
use std::time::Instant;

use assay::api::App;
use rand::Rng;
use rand::rngs::SmallRng;
use tempfile::TempDir;

use super::periods::Periods;

const STAYS: &str = "sk-that-stays-0123456789";
const COMES_AND_GOES: &str = "sk-that-comes-and-goes-01";
const WRONG: &str = "sk-that-never-was-in-the-file";

/// The key that a client has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ClientKey {
    Stays,
    ComesAndGoes,
    Wrong,
    None,
}

/// What becomes of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum KeyChange {
    BothKeys,
    OneKey,
    /// It has no key that can be used: the keys stay as they were.
    Damaged,
}

impl ClientKey {
    pub(super) fn random(random: &mut SmallRng) -> Self {
        match random.random_range(0..10) {
            0..6 => Self::Stays,
            6..8 => Self::ComesAndGoes,
            8 => Self::Wrong,
            _ => Self::None,
        }
    }

    pub(super) fn header(self) -> Option<String> {
        let key = match self {
            Self::Stays => STAYS,
            Self::ComesAndGoes => COMES_AND_GOES,
            Self::Wrong => WRONG,
            Self::None => return None,
        };
        Some(format!("Bearer {key}"))
    }
}

impl KeyChange {
    pub(super) fn random(random: &mut SmallRng) -> Self {
        [Self::BothKeys, Self::OneKey, Self::Damaged][random.random_range(0..3)]
    }

    fn text(self) -> String {
        match self {
            Self::BothKeys => format!("{STAYS} a\n{COMES_AND_GOES} b\n"),
            Self::OneKey => format!("# only one\n{STAYS}\n"),
            Self::Damaged => format!("{STAYS}\nshort\n"),
        }
    }
}

/// The file, and when the key that comes and goes was in force.
pub(super) struct KeyFile {
    directory: TempDir,
    /// Whether the key was in force.
    periods: Periods<bool>,
}

impl KeyFile {
    pub(super) fn new() -> Self {
        let file = Self { directory: tempfile::tempdir().unwrap(), periods: Periods::new(true) };
        std::fs::write(file.path(), KeyChange::BothKeys.text()).unwrap();
        file
    }

    pub(super) fn path(&self) -> PathBuf {
        self.directory.path().join("keys")
    }

    pub(super) fn change(&self, app: &App, change: KeyChange) {
        std::fs::write(self.path(), change.text()).unwrap();
        let start = Instant::now();
        app.reload_keys();
        if change != KeyChange::Damaged {
            self.periods.replace(start, change == KeyChange::BothKeys);
        }
    }

    /// Checks that a request with this key, sent and answered then, was refused for it or not.
    pub(super) fn check(&self, key: ClientKey, sent: Instant, answered: Instant, refused: bool) {
        let expected = match key {
            ClientKey::Stays => vec![true],
            ClientKey::Wrong | ClientKey::None => vec![false],
            ClientKey::ComesAndGoes => self.periods.during(sent, answered),
        };
        assert!(expected.contains(&!refused), "{key:?}: refused: {refused}");
    }
}
