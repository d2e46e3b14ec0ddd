//! How many cores this process may use.

use std::collections::BTreeMap;
use std::{env, fs, thread};

use super::quota;

/// Maximum number of threads that an engine is given: more than any machine has hardware threads.
pub(crate) const MAX_THREADS: usize = 1024;

/// Threads that compute without waiting for each other: one for each physical core that the process may run on, and
/// no more than its CPU quota gives it. `OMP_NUM_THREADS`, where it is set, decides instead, as it does for every
/// program that uses OpenMP.
pub fn usable() -> usize {
    let asked = env::var("OMP_NUM_THREADS").ok().and_then(|text| text.trim().parse().ok());
    asked.filter(|threads| (1..=MAX_THREADS).contains(threads)).unwrap_or_else(|| {
        // The standard library reads the affinity mask and, though it does not promise to, quotas.
        let available = thread::available_parallelism().map_or(1, usize::from);
        fewest(available, [physical(), quota::whole_cpus()])
    })
}

/// The smallest of the numbers that are known.
fn fewest(available: usize, limits: [Option<usize>; 2]) -> usize {
    limits.into_iter().flatten().fold(available, usize::min)
}

/// The CPUs of a physical core for each of as many threads as there are cores in the affinity mask. Empty for fewer or
/// more threads, and where a variable of OpenMP says where threads run: then the system is to choose.
pub(crate) fn one_each(threads: usize) -> Vec<Vec<usize>> {
    let chosen =
        ["OMP_PROC_BIND", "OMP_PLACES", "GOMP_CPU_AFFINITY"].iter().any(|name| env::var_os(name).is_some());
    physical_cores().filter(|cores| cores.len() == threads && !chosen).unwrap_or_default()
}

/// Number of physical cores of the affinity mask; `None` where Linux does not say.
fn physical() -> Option<usize> {
    Some(physical_cores()?.len()).filter(|&count| count > 0)
}

/// The CPUs of the affinity mask, by physical core.
fn physical_cores() -> Option<Vec<Vec<usize>>> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let allowed = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"))?;
    by_core(&cpu_list(allowed)?, |cpu| {
        let path = format!("/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list");
        Some(fs::read_to_string(path).ok()?.trim().to_owned())
    })
}

/// `cpus`, by the core that they belong to. `siblings` names the hardware threads of a CPU's core.
fn by_core(cpus: &[usize], siblings: impl Fn(usize) -> Option<String>) -> Option<Vec<Vec<usize>>> {
    let mut cores: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for &cpu in cpus {
        cores.entry(siblings(cpu)?).or_default().push(cpu);
    }
    Some(cores.into_values().collect())
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
    fn two_hardware_threads_of_one_core_are_one_place() {
        let siblings = |cpu: usize| Some(format!("{},{}", cpu % 2, cpu % 2 + 2));
        assert_eq!(by_core(&[0, 1, 2, 3], siblings), Some(vec![vec![0, 2], vec![1, 3]]));
        assert_eq!(by_core(&[1, 3], siblings), Some(vec![vec![1, 3]]));
        assert_eq!(by_core(&[0, 1], |_| None), None);
    }

    #[test]
    fn threads_get_cores_of_their_own_only_if_there_are_as_many() {
        let Some(cores) = physical() else { return };
        assert_eq!(one_each(cores).len(), cores);
        assert!(one_each(cores + 1).is_empty());
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
