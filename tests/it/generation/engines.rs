//! The engine that the tests of generating models run over.

use super::language::{Built, Engine};

pub(crate) fn generating(built: Built) -> Engine {
    let factory = built.factory().into();
    Engine { path: built.path(), manifest: built.manifest.clone(), factory, built }
}
