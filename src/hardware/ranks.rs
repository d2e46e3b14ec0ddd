//! Processes that were started together, as MPI or Slurm starts them.

use std::time::Duration;

/// This process's place among the ranks that were started together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ranks {
    /// Which rank this is, from 0.
    pub rank: usize,
    /// Ranks on all machines.
    pub world: usize,
    /// Ranks on this machine.
    pub local: usize,
    /// How long after SIGTERM `mpirun` kills its ranks, whether the signal was sent or forwarded by it; `None` unless
    /// Open MPI started this process.
    pub kill_after: Option<Duration>,
}

impl Ranks {
    /// What the environment says, if Open MPI's `mpirun` set it, or Slurm's `srun` through PMIx or PMI.
    pub fn detect() -> Option<Self> {
        Self::from_variables(|name| std::env::var(name).ok()?.parse().ok())
    }

    fn from_variables(number: impl Fn(&str) -> Option<usize>) -> Option<Self> {
        let first = |names: [&str; 3]| names.into_iter().find_map(&number);
        let rank = first(["OMPI_COMM_WORLD_RANK", "PMIX_RANK", "PMI_RANK"])?;
        let world = first(["OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "SLURM_NTASKS"])?;
        let local = first(["OMPI_COMM_WORLD_LOCAL_SIZE", "MPI_LOCALNRANKS", "SLURM_NTASKS_PER_NODE"]);
        let seconds = first([
            "OMPI_MCA_odls_base_sigkill_timeout",
            "PRTE_MCA_odls_base_sigkill_timeout",
            "PRTE_MCA_prte_sigkill_timeout",
        ]);
        let kill_after = Duration::from_secs(seconds.unwrap_or(1) as u64);
        let by_mpirun = number("OMPI_COMM_WORLD_RANK").is_some();
        Some(Self { rank, world, local: local.unwrap_or(world), kill_after: by_mpirun.then_some(kill_after) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ranks(variables: &[(&str, usize)]) -> Option<Ranks> {
        Ranks::from_variables(|wanted| {
            variables.iter().find(|(name, _)| *name == wanted).map(|(_, value)| *value)
        })
    }

    #[test]
    fn ranks_are_those_of_open_mpi_or_slurm_and_one_process_is_alone() {
        let mpirun = [("OMPI_COMM_WORLD_RANK", 3), ("OMPI_COMM_WORLD_SIZE", 8), ("PMIX_RANK", 3)];
        let second = Some(Duration::from_secs(1));
        assert_eq!(ranks(&mpirun), Some(Ranks { rank: 3, world: 8, local: 8, kill_after: second }));
        let more = [("OMPI_COMM_WORLD_LOCAL_SIZE", 4), ("OMPI_MCA_odls_base_sigkill_timeout", 20)];
        let longer = Some(Duration::from_secs(20));
        let four_here = ranks(&[&mpirun[..], &more].concat());
        assert_eq!(four_here, Some(Ranks { rank: 3, world: 8, local: 4, kill_after: longer }));
        let srun = [("PMIX_RANK", 1), ("SLURM_NTASKS", 8), ("SLURM_NTASKS_PER_NODE", 2)];
        assert_eq!(ranks(&srun), Some(Ranks { rank: 1, world: 8, local: 2, kill_after: None }));
        // A job of Slurm's, in which nothing has started ranks.
        assert_eq!(ranks(&srun[1..]), None);
    }
}
