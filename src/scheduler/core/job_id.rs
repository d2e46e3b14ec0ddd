/// Identifies a job. Jobs that arrive later have higher ids.
pub type JobId = u64;
