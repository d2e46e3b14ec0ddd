//! How many cores this process may use.

use std::collections::HashSet;
use std::{env, fs, thread};

use super::quota;

/// Maximum number of threads that an engine is given: more than any machine has hardware threads.
pub(crate) const MOST_THREADS: usize = 1024;

/// Threads that compute without waiting for each other: one for each physical core that the process may run on, and
/// no more than its CPU quota gives it. `OMP_NUM_THREADS`, where it is set, decides instead, as it does for every
/// program that uses OpenMP.
pub fn usable() -> usize {
    let asked = env::var("OMP_NUM_THREADS").ok().and_then(|text| text.trim().parse().ok());
    asked.filter(|threads| (1..=MOST_THREADS).contains(threads)).unwrap_or_else(|| {
        // The standard library reads the affinity mask and, though it does not promise to, quotas.
        let available = thread::available_parallelism().map_or(1, usize::from);
        fewest(available, [physical(), quota::whole_cpus()])
    })
}

/// The smallest of the numbers that are known.
fn fewest(available: usize, limits: [Option<usize>; 2]) -> usize {
    limits.into_iter().flatten().fold(available, usize::min)
}

/// Physical cores of the affinity mask; `None` where Linux does not say.
fn physical() -> Option<usize> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let allowed = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"))?;
    distinct_cores(&cpu_list(allowed)?, |cpu| {
        let path = format!("/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list");
        Some(fs::read_to_string(path).ok()?.trim().to_owned())
    })
}

/// The cores that `cpus` belong to. `siblings` names the hardware threads of a CPU's core.
fn distinct_cores(cpus: &[usize], siblings: impl Fn(usize) -> Option<String>) -> Option<usize> {
    let cores: HashSet<String> = cpus.iter().map(|&cpu| siblings(cpu)).collect::<Option<_>>()?;
    Some(cores.len()).filter(|&count| count > 0)
}

/// The CPUs of a list as Linux prints it: `0-3,8`.
fn cpu_list(text: &str) -> Option<Vec<usize>> {
    let mut cpus = Vec::new();
    for part in text.trim().split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        cpus.extend(first.parse::<usize>().ok()?..=last.parse::<usize>().ok()?);
    }
    Some(cpus)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_cpus_are_read_as_linux_prints_them() {
        assert_eq!(cpu_list("\t0-3,8\n"), Some(vec![0, 1, 2, 3, 8]));
        assert_eq!(cpu_list("5"), Some(vec![5]));
        assert_eq!(cpu_list(""), None);
    }

    #[test]
    fn two_hardware_threads_of_one_core_count_once() {
        let siblings = |cpu: usize| Some(format!("{},{}", cpu % 4, cpu % 4 + 4));
        assert_eq!(distinct_cores(&[0, 1, 2, 3, 4, 5, 6, 7], siblings), Some(4));
        assert_eq!(distinct_cores(&[0, 4], siblings), Some(1));
        assert_eq!(distinct_cores(&[0, 1], |_| None), None);
    }

    #[test]
    fn a_quota_leaves_fewer_threads_than_cores_and_never_more() {
        assert_eq!(fewest(64, [Some(32), Some(4)]), 4);
        assert_eq!(fewest(8, [Some(4), Some(16)]), 4);
        assert_eq!(fewest(8, [None, None]), 8);
    }

    #[test]
    fn a_process_uses_no_more_cores_than_it_may() {
        let available = thread::available_parallelism().map_or(1, usize::from);
        assert!((1..=available).contains(&physical().unwrap_or(1)));
        assert!(usable() >= 1);
    }
}
