//! The table of forms in `docs/score.md`, which is made from the code.

use assay::score::forms::table;

use crate::generated_page::check_table;

#[test]
fn the_page_lists_every_form() {
    check_table("score.md", ("forms", "end"), &table(), "forms_table");
}
