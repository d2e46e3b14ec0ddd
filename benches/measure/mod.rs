//! Times work by calling it again and again, and prints the median. Arguments that are not options select by name.

use std::time::{Duration, Instant};

const SAMPLES: usize = 100;
/// How long a sample takes at least, unless it has [`MAX_CALLS`].
const SAMPLE: Duration = Duration::from_millis(20);
const MAX_CALLS: u64 = 1 << 20;

/// Prints the time of one call of `work`.
pub(crate) fn report(name: &str, mut work: impl FnMut()) {
    report_timed(name, |calls| {
        let start = Instant::now();
        for _ in 0..calls {
            work();
        }
        start.elapsed()
    });
}

/// As [`report`], for work that measures itself: `run` makes this many calls and returns the time that counts.
pub(crate) fn report_timed(name: &str, mut run: impl FnMut(u64) -> Duration) {
    let mut selected = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).peekable();
    if selected.peek().is_some() && !selected.any(|part| name.contains(&part)) {
        return;
    }
    let mut calls = 1;
    while run(calls) < SAMPLE && calls < MAX_CALLS {
        calls *= 2;
    }
    let mut times: Vec<f64> = (0..SAMPLES).map(|_| run(calls).as_secs_f64() * 1e6 / calls as f64).collect();
    times.sort_by(f64::total_cmp);
    let [low, median, high] = [10, 50, 90].map(|percent| times[(SAMPLES - 1) * percent / 100]);
    println!("{name:<24} {median:>10.2} µs   ({low:.2} to {high:.2} in 8 of 10 samples)");
}
