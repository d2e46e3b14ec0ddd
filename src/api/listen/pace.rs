//! [`PacedStream`]: a stream that is cut off when its client is too slow.

use std::io::{self, ErrorKind};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

use crate::telemetry::ConnectionEnd;

/// How long a client may take.
#[derive(Clone, Copy)]
pub(super) struct Pace {
    /// For the head of a request, from its first byte; from the start on a new connection.
    pub(super) head: Duration,
    /// Until the first byte of the next request.
    pub(super) idle: Duration,
    /// Without taking a byte of a response.
    pub(super) write: Duration,
}

/// Where in a request a connection is; shared by the stream and the service that answers.
#[derive(Clone)]
pub(super) struct Phase(Arc<Mutex<State>>);

struct State {
    step: Step,
    since: Instant,
    cut: Option<ConnectionEnd>,
}

#[derive(Clone, Copy, PartialEq)]
enum Step {
    /// Waiting for the next request.
    Idle,
    /// Reading a request's head.
    Head,
    /// The head was read; the body has a timeout of its own.
    Answering,
}

impl Phase {
    fn new() -> Self {
        Self(Arc::new(Mutex::new(State { step: Step::Head, since: Instant::now(), cut: None })))
    }

    /// A request's head was read.
    pub(super) fn request_arrived(&self) {
        self.enter(Step::Answering);
    }

    /// Its response is ready.
    pub(super) fn answered(&self) {
        self.enter(Step::Idle);
    }

    /// Why the connection was cut off, if it was.
    pub(super) fn cut(&self) -> Option<ConnectionEnd> {
        self.state().cut
    }

    fn enter(&self, step: Step) {
        let mut state = self.state();
        (state.step, state.since) = (step, Instant::now());
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(super) struct PacedStream<S> {
    stream: S,
    pace: Pace,
    phase: Phase,
    reading: Alarm,
    writing: Alarm,
    /// Since when the client has taken no byte of what is written, if it has not.
    stuck: Option<Instant>,
}

impl<S> PacedStream<S> {
    /// A stream, and its phase for the service that answers.
    pub(super) fn new(stream: S, pace: Pace) -> (Self, Phase) {
        let phase = Phase::new();
        let (reading, writing) = (Alarm::default(), Alarm::default());
        (Self { stream, pace, phase: phase.clone(), reading, writing, stuck: None }, phase)
    }

    /// Notes whether a write progressed; fails when none has for too long.
    fn written<T>(&mut self, context: &mut Context<'_>, poll: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if poll.is_ready() {
            self.stuck = None;
            return poll;
        }
        let since = *self.stuck.get_or_insert_with(Instant::now);
        ready!(self.writing.poll(context, since + self.pace.write));
        self.phase.state().cut = Some(ConnectionEnd::SlowReader);
        Poll::Ready(Err(ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for PacedStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let before = buffer.filled().len();
        let read = Pin::new(&mut this.stream).poll_read(context, buffer);
        let mut state = this.phase.state();
        if read.is_ready() {
            if state.step == Step::Idle && buffer.filled().len() > before {
                (state.step, state.since) = (Step::Head, Instant::now());
            }
            return read;
        }
        let (step, since) = (state.step, state.since);
        drop(state);
        match step {
            Step::Answering => Poll::Pending,
            Step::Idle => {
                ready!(this.reading.poll(context, since + this.pace.idle));
                // As if the client had closed the connection: no request is lost.
                Poll::Ready(Ok(()))
            }
            Step::Head => {
                ready!(this.reading.poll(context, since + this.pace.head));
                this.phase.state().cut = Some(ConnectionEnd::SlowHead);
                Poll::Ready(Err(ErrorKind::TimedOut.into()))
            }
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for PacedStream<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let poll = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.written(context, poll)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let poll = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.written(context, poll)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let poll = Pin::new(&mut self.stream).poll_flush(context);
        self.written(context, poll)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let poll = Pin::new(&mut self.stream).poll_shutdown(context);
        self.written(context, poll)
    }
}

/// A timer that is created when it is first needed.
#[derive(Default)]
struct Alarm(Option<Pin<Box<Sleep>>>);

impl Alarm {
    /// Ready from `deadline` on.
    fn poll(&mut self, context: &mut Context<'_>, deadline: Instant) -> Poll<()> {
        let sleep = self.0.get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        if sleep.deadline() != deadline {
            sleep.as_mut().reset(deadline);
        }
        sleep.as_mut().poll(context)
    }
}
