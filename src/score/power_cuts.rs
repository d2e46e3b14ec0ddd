//! Tests that the next run recovers from power cuts, full disks and read-only folders.
//!
//! `ASSAY_POWER_CUT_SEEDS` sets how many outcomes of each cut are tried.

use std::cell::Cell;
use std::path::Path;
use std::sync::Arc;

use super::ScoreError;
use super::disk::Disk;
use super::journal::{Journal, RunIdentity, path, rows_on};
use super::output::{IndexedRows, Replayable, unfinished_path, write_on};
use super::row::Row;
use super::torn_disk::{Faults, TornDisk};

const OUTPUT: &str = "/out.jsonl";
const ROWS: usize = 7;

fn identity() -> RunIdentity {
    RunIdentity {
        assay_journal: 1,
        numerics: 1,
        inputs: vec!["in.jsonl".into()],
        source: "engine".into(),
        questions: String::new(),
        form: "one".into(),
        columns: String::new(),
    }
}

/// Rows are of different lengths, as real ones are.
fn row(index: usize) -> Row {
    let text = "long ".repeat(index % 3 * 5);
    Row::parse(&format!(r#"{{"id":{index},"response":"{text}","score_reward":{index}.25}}"#)).unwrap()
}

struct Scored<'a>(&'a TornDisk, &'a Path);

impl Replayable for Scored<'_> {
    fn rows(&self) -> Result<IndexedRows<'_>, ScoreError> {
        let rows = rows_on(self.0, self.1)?;
        Ok(Box::new(rows.enumerate().map(|(index, row)| Ok((index, row?)))))
    }

    fn changed_columns(&self) -> &[String] {
        &[]
    }
}

/// What `assay score` does: continues the journal, writes the output, and removes the journal. `synced` is the number
/// of rows that a power cut may not lose any more.
fn run(disk: &TornDisk, synced: &Cell<usize>) -> Result<(), ScoreError> {
    let output = Path::new(OUTPUT);
    let files = disk.files();
    if files.contains_key(output) && !files.contains_key(&path(output)) {
        return Ok(());
    }
    let mut journal = Journal::open_on(Arc::new(disk.clone()), output, &identity())?;
    assert!(journal.done >= synced.get(), "rows that were synced are lost");
    for index in journal.done..ROWS {
        journal.append(&row(index))?;
        if index % 3 == 1 && journal.sync().is_ok() {
            synced.set(index + 1);
        }
    }
    journal.conclude(|path| write_on(disk, output, &Scored(disk, path), &[]))?;
    Ok(())
}

/// The output, if it is there.
fn output_of(disk: &TornDisk) -> Option<String> {
    disk.files().remove(Path::new(OUTPUT)).map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
}

fn expected() -> String {
    (0..ROWS).map(|index| row(index).json() + "\n").collect()
}

/// The disk is whole: it has the output, and nothing else.
fn assert_done(disk: &TornDisk, what: &str) {
    assert_eq!(output_of(disk).as_deref(), Some(&*expected()), "{what}");
    let names: Vec<_> = disk.files().into_keys().collect();
    assert!(
        names == [Path::new(OUTPUT)] || names == [Path::new(OUTPUT), &unfinished_path(Path::new(OUTPUT))],
        "{what}: {names:?}"
    );
}

/// Number of operations of a run in which nothing goes wrong.
fn operations() -> usize {
    let disk = TornDisk::default();
    run(&disk, &Cell::new(0)).unwrap();
    assert_done(&disk, "without faults");
    disk.operations()
}

fn seeds() -> u64 {
    std::env::var("ASSAY_POWER_CUT_SEEDS").ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(30)
}

#[test]
fn whenever_the_power_is_cut_the_same_command_gives_the_same_bytes() {
    let operations = operations();
    for first in 1..=operations {
        for seed in 0..seeds() {
            let synced = Cell::new(0);
            let mut disk = TornDisk::default();
            // The run is cut, continued, and cut again, then continued to its end.
            for cut in [first, 1 + (first * 7 + seed as usize * 13) % operations, 0] {
                let what = format!("cut at {first}, seed {seed}, then at {cut}");
                disk.set_faults(Faults { cut: Some(cut).filter(|cut| *cut > 0), ..Faults::default() });
                let result = run(&disk, &synced);
                if cut == 0 {
                    result.unwrap_or_else(|error| panic!("{what}: {error}"));
                    assert_done(&disk, &what);
                }
                disk = disk.after_power_cut(seed);
                if let Some(output) = output_of(&disk) {
                    assert_eq!(output, expected(), "{what}: an output is complete or not there");
                }
            }
            assert!(output_of(&disk).is_some(), "cut at {first}, seed {seed}: a finished output is lost");
        }
    }
    println!("{} power cuts", operations as u64 * seeds() * 3);
}

#[test]
fn when_the_disk_is_full_the_rows_stay_and_the_next_run_continues() {
    for full in 1..=operations() {
        let disk = TornDisk::default();
        disk.set_faults(Faults { full: Some(full), ..Faults::default() });
        let synced = Cell::new(0);
        if let Err(error) = run(&disk, &synced) {
            let sentence = error.to_string();
            assert!(sentence.contains("out.jsonl"), "full at {full}: {sentence}");
            assert!(!disk.files().contains_key(&unfinished_path(Path::new(OUTPUT))), "full at {full}");
        }
        disk.set_faults(Faults::default());
        run(&disk, &synced).unwrap_or_else(|error| panic!("full at {full}: {error}"));
        assert_done(&disk, &format!("full at {full}"));
    }
}

#[test]
fn a_read_only_folder_is_named_before_anything_is_scored() {
    let disk = TornDisk::default();
    disk.set_faults(Faults { read_only: true, ..Faults::default() });
    let sentence = run(&disk, &Cell::new(0)).unwrap_err().to_string();
    assert!(sentence.contains("cannot write /out.jsonl.partial"), "{sentence}");
    assert!(disk.files().is_empty());
    assert!(disk.open(Path::new(OUTPUT)).is_err());
}
