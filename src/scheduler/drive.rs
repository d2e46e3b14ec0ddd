//! How each core works with its kind of engine.

use std::time::Duration;

use crossbeam_channel::Receiver;

use super::core::{Core, QueueCore, StepCore};
use super::supervisor::Supervisor;
use crate::engine::{QueueEngine, QueueReport, StepEngine, StepError, StepReport};

pub(super) trait Drive: Core {
    type Engine: ?Sized + Send + 'static;
    type Report: Send;

    fn reports(engine: &Self::Engine) -> &Receiver<Result<Self::Report, StepError>>;

    /// Processes a report of the engine.
    ///
    /// # Errors
    /// The report does not match the request, so the engine can no longer be used.
    fn take_report(&mut self, now: Duration, report: Self::Report) -> Result<(), StepError>;

    /// Submits to the engine, if it runs, the work that it can start now.
    ///
    /// # Errors
    /// The engine refused the work; the supervisor has dropped it.
    fn supply(&mut self, now: Duration, supervisor: &mut Supervisor<Self::Engine>) -> Result<(), StepError>;

    /// Plans ahead while the engine works.
    fn plan_ahead(&mut self, now: Duration, supervisor: &Supervisor<Self::Engine>);
}

impl Drive for StepCore {
    type Engine = dyn StepEngine;
    type Report = StepReport;

    fn reports(engine: &dyn StepEngine) -> &Receiver<Result<StepReport, StepError>> {
        engine.reports()
    }

    fn take_report(&mut self, now: Duration, report: StepReport) -> Result<(), StepError> {
        self.complete(now, report)
    }

    fn supply(
        &mut self,
        now: Duration,
        supervisor: &mut Supervisor<dyn StepEngine>,
    ) -> Result<(), StepError> {
        if supervisor.is_free()
            && let Some(iteration) = self.plan(now)
        {
            supervisor.submit(iteration)?;
        }
        Ok(())
    }

    fn plan_ahead(&mut self, now: Duration, supervisor: &Supervisor<dyn StepEngine>) {
        if supervisor.is_busy() {
            self.prepare(now);
        }
    }
}

impl Drive for QueueCore {
    type Engine = dyn QueueEngine;
    type Report = QueueReport;

    fn reports(engine: &dyn QueueEngine) -> &Receiver<Result<QueueReport, StepError>> {
        engine.reports()
    }

    fn take_report(&mut self, now: Duration, report: QueueReport) -> Result<(), StepError> {
        Self::take_report(self, now, report)
    }

    fn supply(
        &mut self,
        now: Duration,
        supervisor: &mut Supervisor<dyn QueueEngine>,
    ) -> Result<(), StepError> {
        if supervisor.is_running() {
            supervisor.feed(self.feed(now))?;
            supervisor.expect_reports(self.awaits_reports());
        }
        Ok(())
    }

    /// The engine plans for itself.
    fn plan_ahead(&mut self, _: Duration, _: &Supervisor<dyn QueueEngine>) {}
}
