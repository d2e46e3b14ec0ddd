//! Pages of the documentation that are made from the code. With `UPDATE_DOCS` set, they are written.

use std::path::{Path, PathBuf};

fn path(page: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs").join(page)
}

pub(crate) fn read_page(page: &str) -> String {
    std::fs::read_to_string(path(page)).unwrap()
}

/// Checks that a page of the documentation is `content`; `test` is the module of the test.
pub(crate) fn check_page(page: &str, content: &str, test: &str) {
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(path(page), content).unwrap();
    }
    assert!(read_page(page) == content, "docs/{page} is stale: UPDATE_DOCS=1 cargo test --test it {test}");
}

/// Checks that a page has `table` between the comments `<!-- NAME -->` and `end`.
pub(crate) fn check_table(page: &str, (name, end): (&str, &str), table: &str, test: &str) {
    let (start, end) = (format!("<!-- {name} -->\n"), format!("<!-- {end} -->\n"));
    let stored = read_page(page);
    let (before, rest) = stored.split_once(&start).unwrap();
    let (_, after) = rest.split_once(&end).unwrap();
    check_page(page, &[before, &start, table, &end, after].concat(), test);
}
