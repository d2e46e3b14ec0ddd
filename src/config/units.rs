//! Values of options that are more than a number or a word.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use axum::http::StatusCode;
use serde::{Deserialize, Serialize, Serializer};

/// A length of time, written in seconds: `30` or `0.25`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "f64")]
pub struct Seconds(pub Duration);

impl TryFrom<f64> for Seconds {
    type Error = String;

    fn try_from(seconds: f64) -> Result<Self, String> {
        Duration::try_from_secs_f64(seconds)
            .map(Self)
            .map_err(|_| format!("{seconds} is no length of time: give seconds, zero or more"))
    }
}

impl FromStr for Seconds {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let seconds: f64 = text
            .trim()
            .parse()
            .map_err(|_| format!("`{text}` is no number: give seconds, such as 30 or 0.25"))?;
        seconds.try_into()
    }
}

impl fmt::Display for Seconds {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.as_secs_f64().fmt(formatter)
    }
}

impl Serialize for Seconds {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(self.0.as_secs_f64())
    }
}

/// Status of the answer to a request that found the queue full.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "u16", into = "u16")]
pub enum OverloadStatus {
    /// 429, what OpenAI answers.
    TooManyRequests,
    /// 503, for clients that give up on any 4xx.
    ServiceUnavailable,
}

impl From<OverloadStatus> for StatusCode {
    fn from(status: OverloadStatus) -> Self {
        match status {
            OverloadStatus::TooManyRequests => Self::TOO_MANY_REQUESTS,
            OverloadStatus::ServiceUnavailable => Self::SERVICE_UNAVAILABLE,
        }
    }
}

impl From<OverloadStatus> for u16 {
    fn from(status: OverloadStatus) -> Self {
        StatusCode::from(status).as_u16()
    }
}

impl TryFrom<u16> for OverloadStatus {
    type Error = String;

    fn try_from(status: u16) -> Result<Self, String> {
        match status {
            429 => Ok(Self::TooManyRequests),
            503 => Ok(Self::ServiceUnavailable),
            _ => Err(format!("{status} cannot be the overload status: give 429 or 503")),
        }
    }
}

impl FromStr for OverloadStatus {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        text.parse::<u16>().map_err(|_| format!("`{text}` is no status: give 429 or 503"))?.try_into()
    }
}

/// What follows a failure of the engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum OnFailure {
    /// The process ends with a status of its own, for an orchestrator to replace it.
    Exit,
    /// The engine is loaded again.
    Restart,
}

impl From<OnFailure> for crate::scheduler::OnFailure {
    fn from(choice: OnFailure) -> Self {
        match choice {
            OnFailure::Exit => Self::Exit,
            OnFailure::Restart => Self::Restart,
        }
    }
}

impl From<crate::scheduler::OnFailure> for OnFailure {
    fn from(choice: crate::scheduler::OnFailure) -> Self {
        match choice {
            crate::scheduler::OnFailure::Exit => Self::Exit,
            crate::scheduler::OnFailure::Restart => Self::Restart,
        }
    }
}

/// How log lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// For people.
    Human,
    /// One JSON object a line.
    Json,
}

/// What an engine that computes nothing does in place of computing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Simulation {
    /// It answers at once.
    Instant,
    /// It never answers.
    Stall,
    /// It fails.
    Fail,
}
