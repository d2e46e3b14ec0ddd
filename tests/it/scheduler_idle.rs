//! An idle server uses no processor time.
#![cfg(target_os = "linux")]
use std::sync::Arc;
use std::time::Duration;

use assay::engine::simulated::SimulatedFactory;
use assay::engine::{Limits, PrefixSharing};
use assay::scheduler::{Job, Priority, SchedulerOptions, Work, start};

const LIMITS: Limits =
    Limits { max_seq_len: 256, max_batch_size: 8, max_num_tokens: 256, kv_blocks: 64, tokens_per_block: 16 };

/// How often the scheduler's thread has gone to sleep or was made to.
fn switches() -> u64 {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap().map(|task| task.unwrap().path());
    let mut named = tasks.filter(|task| {
        std::fs::read_to_string(task.join("comm")).is_ok_and(|name| name.trim() == "scheduler")
    });
    let status = std::fs::read_to_string(named.next().unwrap().join("status")).unwrap();
    let counts = status.lines().filter(|line| line.contains("ctxt_switches"));
    counts.map(|line| line.split_whitespace().last().unwrap().parse::<u64>().unwrap()).sum()
}

/// Runs the next test in a process of its own, since it looks for the scheduler among the process's threads.
#[test]
fn an_idle_scheduler_does_not_wake() {
    let mut tests = std::process::Command::new(std::env::current_exe().unwrap());
    let output = tests
        .args(["--ignored", "--exact", "scheduler_idle::the_scheduler_sleeps_while_it_has_no_work"])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    assert!(String::from_utf8_lossy(&output.stdout).contains("1 passed"));
}

#[tokio::test]
#[ignore = "an_idle_scheduler_does_not_wake runs it in a process of its own"]
async fn the_scheduler_sleeps_while_it_has_no_work() {
    let factory = SimulatedFactory::new(LIMITS, PrefixSharing::WithinIteration, 1);
    let handle = start(factory.into(), SchedulerOptions::default(), Arc::new(())).unwrap();
    let tokens = [1, 2, 3].into();
    let job = Job { tokens, work: Work::score(3), priority: Priority(0) };
    handle.submit(job, None).unwrap().await.unwrap();
    // It goes to sleep some time after the answer, and then for good.
    let mut sleeps = false;
    for _ in 0..20 {
        let before = switches();
        tokio::time::sleep(Duration::from_millis(500)).await;
        sleeps = switches() == before;
        if sleeps {
            break;
        }
    }
    assert!(sleeps, "it still wakes after ten seconds");
}
