//! The signals that end a server.

use std::io;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::hardware::Ranks;

/// How long before `mpirun` kills its ranks the grace time ends at the latest.
const BEFORE_KILL: Duration = Duration::from_millis(300);

pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    user: Signal,
}

/// A signal that came.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    /// SIGTERM or SIGINT.
    Terminate,
    /// SIGUSR1, which `mpirun` passes on to its ranks without doing anything else.
    User,
}

impl Ending {
    /// How much of the grace time there is. `mpirun` kills a rank soon after sending it SIGTERM, which it does
    /// when it is terminated itself or another rank is lost.
    pub(super) fn grace(self, grace: Duration, ranks: Option<Ranks>) -> Duration {
        match ranks.and_then(|ranks| ranks.kill_after) {
            Some(kill_after) if self == Self::Terminate => grace.min(kill_after.saturating_sub(BEFORE_KILL)),
            _ => grace,
        }
    }
}

impl Signals {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            user: signal(SignalKind::user_defined1())?,
        })
    }

    pub(super) async fn next(&mut self) -> Ending {
        tokio::select! {
            _ = self.terminate.recv() => Ending::Terminate,
            _ = self.interrupt.recv() => Ending::Terminate,
            _ = self.user.recv() => Ending::User,
        }
    }
}
