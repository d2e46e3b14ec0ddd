//! Which part of a data set a row is of.

use super::row::Row;

/// What the names of JudgeBench's sources start with (Tan et al. 2024, `run_judge.py`); each is a subset. A reward
/// model judges its pairs in both orders, so that a pair is right if the better response scores higher, and equal
/// scores are wrong, as over other pairs.
const JUDGEBENCH: [&str; 4] = ["mmlu-pro", "livebench-reasoning", "livebench-math", "livecodebench"];

/// The part of a data set that a row is of; empty if it does not say.
pub(super) fn subset(row: &Row) -> String {
    let text = |name: &str| row.get(name)?.as_text();
    if row.contains("response_A") && row.contains("response_B") {
        return judgebench_group(&text("source").unwrap_or_default()).to_owned();
    }
    ["subset", "domain", "category"].into_iter().find_map(text).unwrap_or_default()
}

/// The group of a source; the source itself if JudgeBench does not have it.
pub(super) fn judgebench_group(source: &str) -> &str {
    JUDGEBENCH.into_iter().find(|group| source.starts_with(group)).unwrap_or(source)
}
