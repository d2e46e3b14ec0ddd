//! Threads for work that a large body makes long. The engine's threads go before them.

use std::io;

use tokio::runtime::{Builder, Handle, Runtime};
use tokio::task::JoinHandle;

/// What is added to the niceness of such a thread: it gets about a tenth of a core that the engine wants too.
const NICENESS: i32 = 10;

/// Threads of their own for long work.
pub(super) struct Background {
    handle: Handle,
    /// There until the end.
    runtime: Option<Runtime>,
}

impl Background {
    /// The first piece of work starts the first thread.
    ///
    /// # Errors
    /// The system refuses what they need.
    pub(super) fn new() -> io::Result<Self> {
        let runtime = Builder::new_current_thread()
            .thread_name("background")
            .on_thread_start(lower_priority)
            .build()?;
        Ok(Self { handle: runtime.handle().clone(), runtime: Some(runtime) })
    }

    /// Runs `work` on one of the threads.
    pub(super) fn spawn<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> JoinHandle<T> {
        self.handle.spawn_blocking(work)
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        // Waiting for its threads is not allowed on an asynchronous one.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// Lowers the priority of this thread. Linux has one for each thread.
fn lower_priority() {
    let thread = rustix::thread::gettid();
    let lowered = rustix::process::getpriority_process(Some(thread))
        .and_then(|present| rustix::process::setpriority_process(Some(thread), present + NICENESS));
    if let Err(error) = lowered {
        tracing::debug!(%error, "cannot lower the priority of a thread");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn long_work_runs_at_a_lower_priority_and_leaves_that_of_others() {
        let own = || rustix::process::getpriority_process(Some(rustix::thread::gettid())).unwrap();
        let before = own();
        let background = Background::new().unwrap();
        assert_eq!(background.spawn(own).await.unwrap(), (before + NICENESS).min(19));
        assert_eq!(own(), before);
    }
}
