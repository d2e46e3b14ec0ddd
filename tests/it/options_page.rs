//! `docs/options.md`, which is made from the descriptions of the command lines.

use std::process::Command;

use crate::generated_page::{check_page, read_page};

const INTRODUCTION: &str = "# Options

Every option of every command. The page is generated; after a change run
`UPDATE_DOCS=1 cargo test --test it options_page`. `assay man DIR` and `build-engine man DIR` write man pages, and
`assay completions SHELL` prints completions for a shell.

An option of `assay serve` can be set in three places. If several set it, the first in this list takes precedence:

| Place | Example |
|---|---|
| Command line | `--max-seq-len 4096` |
| Environment variable: `ASSAY_` and the name in capitals | `ASSAY_MAX_SEQ_LEN=4096` |
| YAML file named by `--config`: the name with `_` for `-` | `max_seq_len: 4096` |

`assay serve --print-config` prints the values that result, as such a file. Some variables of NVIDIA NIM work too; they
are listed with their options, and count less than the `ASSAY_` variables and more than the file. An empty variable
counts as not set.
";

fn printed(program: &str) -> String {
    let printed = Command::new(program).arg("markdown").output().unwrap();
    assert!(printed.status.success(), "{}", String::from_utf8_lossy(&printed.stderr));
    String::from_utf8(printed.stdout).unwrap()
}

#[test]
fn the_page_lists_every_option() {
    let (assay, build_engine) = (env!("CARGO_BIN_EXE_assay"), env!("CARGO_BIN_EXE_build-engine"));
    let page = [INTRODUCTION, &printed(assay), &printed(build_engine)].concat();
    check_page("options.md", &page, "options_page");
}

#[test]
fn cells_are_short() {
    let page = read_page("options.md");
    for cell in page.lines().filter(|line| line.starts_with('|')).flat_map(|line| line.split(" | ")) {
        assert!(cell.split_whitespace().count() <= 25, "{cell}");
    }
}
