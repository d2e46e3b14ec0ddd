//! The table of forms in `docs/score.md`, which is made from the code.

use std::path::Path;

use assay::score::forms::table;

const START: &str = "<!-- forms -->\n";
const END: &str = "<!-- end -->\n";

#[test]
fn the_page_lists_every_form() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/score.md");
    let stored = std::fs::read_to_string(&path).unwrap();
    let (before, rest) = stored.split_once(START).unwrap();
    let (_, after) = rest.split_once(END).unwrap();
    let page = [before, START, &table(), END, after].concat();
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, &page).unwrap();
    }
    let stored = std::fs::read_to_string(&path).unwrap();
    assert!(stored == page, "docs/score.md is stale: UPDATE_DOCS=1 cargo test --test it forms_table");
}
