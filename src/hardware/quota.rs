//! The CPU quota of the control group (version 2) that this process is in. Containers get one from
//! `docker run --cpus` or from Kubernetes' `limits.cpu`.

use std::fs;
use std::path::Path;

/// Whole CPUs that the quotas of the control group and of the groups around it leave, at least 1; `None` without a
/// quota.
///
/// Part of a CPU is not counted: threads that wait for each other are only as fast as the one that is throttled.
pub(super) fn whole_cpus() -> Option<usize> {
    let own = fs::read_to_string("/proc/self/cgroup").ok()?;
    whole_cpus_in(Path::new("/sys/fs/cgroup"), &own)
}

/// `own` is the content of `/proc/self/cgroup`, and `root` is where the hierarchy is mounted.
fn whole_cpus_in(root: &Path, own: &str) -> Option<usize> {
    let group = own.lines().find_map(|line| line.strip_prefix("0::/"))?;
    // In a namespace of its own, a process that was moved sees groups above the root as `..`.
    let group = if group.split('/').any(|part| part == "..") { "" } else { group };
    let groups = Path::new(group).ancestors().map(|group| root.join(group));
    let smallest = groups.filter_map(|group| cpus(&fs::read_to_string(group.join("cpu.max")).ok()?));
    smallest.min_by(f64::total_cmp).map(|cpus| (cpus as usize).max(1))
}

/// CPUs of a quota as `cpu.max` has it: microseconds of processor time in a period of microseconds, or `max`.
fn cpus(text: &str) -> Option<f64> {
    let (quota, period) = text.trim().split_once(' ')?;
    let (quota, period): (u64, u64) = (quota.parse().ok()?, period.parse().ok()?);
    (period > 0).then(|| quota as f64 / period as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Groups with these quotas, and what a process in `group` has.
    fn found(group: &str, quotas: &[(&str, &str)]) -> Option<usize> {
        let root = tempfile::tempdir().unwrap();
        for (group, quota) in quotas {
            fs::create_dir_all(root.path().join(group)).unwrap();
            fs::write(root.path().join(group).join("cpu.max"), quota).unwrap();
        }
        whole_cpus_in(root.path(), &format!("1:name=systemd:/ignored\n0::{group}\n"))
    }

    #[test]
    fn a_container_has_the_whole_cpus_of_its_quota() {
        // Docker mounts a container's own group as the root.
        assert_eq!(found("/", &[("", "400000 100000\n")]), Some(4));
        assert_eq!(found("/", &[("", "250000 100000\n")]), Some(2));
        assert_eq!(found("/", &[("", "50000 100000\n")]), Some(1));
        assert_eq!(found("/", &[("", "6000 2000\n")]), Some(3));
    }

    #[test]
    fn the_smallest_quota_of_all_groups_around_a_process_counts() {
        let pod = "kubepods.slice/pod1.slice";
        let container = &*format!("{pod}/main.scope");
        let quotas = [(pod, "200000 100000\n"), (container, "800000 100000\n")];
        assert_eq!(found(&format!("/{container}"), &quotas), Some(2));
        let quotas = [(pod, "max 100000\n"), (container, "300000 100000\n")];
        assert_eq!(found(&format!("/{container}"), &quotas), Some(3));
        assert_eq!(found("/../sibling", &[("", "300000 100000\n")]), Some(3));
    }

    #[test]
    fn without_a_readable_quota_there_is_no_limit() {
        assert_eq!(found("/", &[]), None);
        assert_eq!(found("/", &[("", "max 100000\n")]), None);
        assert_eq!(found("/", &[("", "damaged")]), None);
        assert_eq!(found("/", &[("", "1 0\n")]), None);
        assert_eq!(whole_cpus_in(Path::new("/nowhere"), "4:cpu:/a\n"), None);
    }
}
