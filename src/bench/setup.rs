//! What a simulation runs on.

use super::route::Route;
use super::timing::TimingModel;
use crate::engine::{Limits, PrefixSharing};
use crate::scheduler::SchedulerOptions;

/// The machines and the scheduler to simulate.
pub(super) struct SimulationSetup {
    pub(super) timing: TimingModel,
    /// Limits of the engine.
    pub(super) limits: Limits,
    /// What the engine's sequences may share.
    pub(super) sharing: PrefixSharing,
    /// Options of the scheduler.
    pub(super) options: SchedulerOptions,
    /// Number of servers, at least one.
    pub(super) replicas: usize,
    /// Which of them gets a request.
    pub(super) route: Route,
}
