//! Where threads meet, under a model checker: shuttle runs the scheduler's own mailbox and dispatcher in
//! thousands of random interleavings and fails on a lost wake-up, a deadlock or a doubled answer.

#![allow(clippy::expect_used, clippy::unwrap_used, dead_code, unreachable_pub)]

use std::sync::Arc;
use std::time::{Duration, Instant};

use assay::engine::simulated::HashCache;
use assay::engine::{Iteration, Limits, PrefixSharing, StepReport};
use assay::sampling::Sampled;
use assay::scheduler::core::{self, StepCore};
use assay::scheduler::{Job, JobResult, Output, Priority, SchedulerOptions, Work};
use shuttle::sync::{Condvar, Mutex};
use shuttle::thread;

use dispatcher::{Dispatcher, Envelope, Reply};
use mailbox::{Mailbox, Wake};

/// The locks that the mailbox is compiled with here.
mod sync {
    pub(super) use shuttle::sync::{Mutex, MutexGuard};
    pub(super) use std::sync::PoisonError;
}

#[path = "../src/scheduler/dispatcher.rs"]
mod dispatcher;
#[path = "../src/scheduler/mailbox.rs"]
mod mailbox;

const LIMITS: Limits =
    Limits { max_seq_len: 64, max_batch_size: 2, max_num_tokens: 8, kv_blocks: 16, tokens_per_block: 4 };

const INTERLEAVINGS: usize = 3000;

/// A value that one thread leaves for another, at most once at a time.
struct Hole<T>(Arc<(Mutex<Option<T>>, Condvar)>);

impl<T> Clone for Hole<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T> Hole<T> {
    fn new() -> Self {
        Self(Arc::new((Mutex::new(None), Condvar::new())))
    }

    /// Returns what was there before.
    fn put(&self, value: T) -> Option<T> {
        let before = self.0.0.lock().unwrap().replace(value);
        self.0.1.notify_one();
        before
    }

    fn take(&self) -> T {
        let mut value = self.0.0.lock().unwrap();
        loop {
            if let Some(value) = value.take() {
                return value;
            }
            value = self.0.1.wait(value).unwrap();
        }
    }

    fn try_take(&self) -> Option<T> {
        self.0.0.lock().unwrap().take()
    }
}

impl Wake for Hole<()> {
    fn wake(&self) {
        self.put(());
    }
}

impl Reply for Hole<JobResult> {
    fn send(self, answer: JobResult) {
        assert!(self.put(answer).is_none(), "a job was answered twice");
    }

    fn token(&mut self, _: Sampled) {}
}

type Box<R> = Mailbox<Envelope<R>, Hole<()>>;

/// The scheduler's thread, with an engine that computes on another.
fn run(mailbox: &Box<Hole<JobResult>>, woken: &Hole<()>, sharing: PrefixSharing) {
    let core = StepCore::new(LIMITS, sharing, SchedulerOptions::default(), Arc::new(()));
    let mut dispatcher = Dispatcher::new(core);
    let (iterations, reports) = (Hole::<Option<Iteration>>::new(), Hole::<StepReport>::new());
    let engine = {
        let (iterations, reports, woken) = (iterations.clone(), reports.clone(), woken.clone());
        thread::spawn(move || {
            let mut cache = HashCache::new(LIMITS, 2);
            while let Some(iteration) = iterations.take() {
                let logits = cache.run(&iteration).unwrap();
                reports.put(StepReport { logits, ..StepReport::default() });
                woken.wake();
            }
        })
    };
    let mut busy = false;
    while !dispatcher.is_done() {
        woken.take();
        if let Some(report) = reports.try_take() {
            busy = false;
            dispatcher.core.complete(Duration::ZERO, report).unwrap();
        }
        dispatcher.read(mailbox);
        if !busy && let Some(iteration) = dispatcher.core.plan(Duration::ZERO) {
            busy = true;
            iterations.put(Some(iteration));
        }
        dispatcher.send_answers();
        dispatcher.core.prepare(Duration::ZERO);
        dispatcher.send_answers();
    }
    iterations.put(None);
    engine.join().unwrap();
}

/// What [`assay::scheduler::Ticket`] is: it cancels when it is dropped unanswered.
struct Ticket {
    id: u64,
    answer: Hole<JobResult>,
    mailbox: Arc<Box<Hole<JobResult>>>,
}

impl Ticket {
    fn submit(mailbox: &Arc<Box<Hole<JobResult>>>, tokens: std::ops::Range<u32>) -> Option<Self> {
        let answer = Hole::new();
        let work = Work::score(tokens.len());
        let tokens = tokens.collect();
        let job = Job { tokens, work, priority: Priority(0) };
        let envelope = || Envelope::new(job, None, Instant::now(), answer.clone());
        let id = mailbox.send(envelope).ok()?;
        Some(Self { id, answer, mailbox: mailbox.clone() })
    }

    fn wait(&self) -> JobResult {
        self.answer.take()
    }

    fn leave(self) {
        self.mailbox.cancel(self.id);
    }
}

fn check(clients: impl Fn(&Arc<Box<Hole<JobResult>>>) + Send + Sync + 'static) {
    let clients = Arc::new(clients);
    shuttle::check_random(
        move || {
            for sharing in [PrefixSharing::WithinIteration, PrefixSharing::Cached] {
                let woken = Hole::new();
                let mailbox = Arc::new(Mailbox::new(8, woken.clone()));
                let scheduler = {
                    let mailbox = mailbox.clone();
                    thread::spawn(move || run(&mailbox, &woken, sharing))
                };
                clients(&mailbox);
                mailbox.drain();
                scheduler.join().unwrap();
                assert!(Ticket::submit(&mailbox, 0..3).is_none(), "nothing is taken after draining");
            }
        },
        INTERLEAVINGS,
    );
}

fn spawn(
    mailbox: &Arc<Box<Hole<JobResult>>>,
    client: impl FnOnce(&Arc<Box<Hole<JobResult>>>) + Send + 'static,
) -> thread::JoinHandle<()> {
    let mailbox = mailbox.clone();
    thread::spawn(move || client(&mailbox))
}

fn assert_logits(answer: JobResult) {
    assert!(matches!(answer.unwrap().output, Output::Logits(_)));
}

#[test]
fn every_client_that_waits_is_answered() {
    check(|mailbox| {
        let clients: Vec<_> = (0..3)
            .map(|n| {
                spawn(mailbox, move |mailbox| {
                    assert_logits(Ticket::submit(mailbox, n..n + 6).unwrap().wait())
                })
            })
            .collect();
        for client in clients {
            client.join().unwrap();
        }
    });
}

#[test]
fn a_client_that_leaves_at_any_moment_disturbs_no_other() {
    check(|mailbox| {
        // The two share a prefix, so that one follows the other.
        let leaver = spawn(mailbox, |mailbox| Ticket::submit(mailbox, 0..20).unwrap().leave());
        let stayer = spawn(mailbox, |mailbox| assert_logits(Ticket::submit(mailbox, 0..21).unwrap().wait()));
        let twin = spawn(mailbox, |mailbox| assert_logits(Ticket::submit(mailbox, 0..20).unwrap().wait()));
        leaver.join().unwrap();
        stayer.join().unwrap();
        twin.join().unwrap();
    });
}

#[test]
fn draining_at_any_moment_answers_what_was_accepted() {
    check(|mailbox| {
        let client = spawn(mailbox, |mailbox| {
            for n in 0..2 {
                match Ticket::submit(mailbox, n..n + 9) {
                    Some(ticket) => assert_logits(ticket.wait()),
                    None => return,
                }
            }
        });
        let leaver = spawn(mailbox, |mailbox| {
            if let Some(ticket) = Ticket::submit(mailbox, 0..30) {
                ticket.leave();
            }
        });
        let drainer = spawn(mailbox, |mailbox| mailbox.drain());
        client.join().unwrap();
        leaver.join().unwrap();
        drainer.join().unwrap();
    });
}
