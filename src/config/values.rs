//! The types of option values, and how each is read from text.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::ValueEnum;
use clap::builder::{BoolishValueParser, PossibleValue, TypedValueParser};
use serde::{Serialize, Serializer};

use super::InvalidValue;
use crate::engine::simulated::Simulation;
use crate::hardware::cores::MAX_THREADS;
use crate::manifest::score_options::ScoreActivation;
use crate::prompt::Truncation;
use crate::scheduler::OnFailure;
use crate::serving::{Alias, NotAnAlias};
use crate::telemetry::logs::LogFormat;

/// One value of an option. It is read from the same text on the command line, in the environment and in YAML.
pub(super) trait Value: Clone + Send + Sync + Sized + 'static {
    /// Separates several values in one text.
    const DELIMITER: char = ',';
    /// The value of an option that is given without one, such as `--playground`.
    const WITHOUT_VALUE: Option<&str> = None;

    fn parse(text: &str) -> Result<Self, InvalidValue>;

    /// The text that help shows for a default; `None` to show nothing.
    fn shown(&self) -> Option<String>;

    /// The values that help and completions list; empty if there are too many.
    fn choices() -> Vec<PossibleValue> {
        Vec::new()
    }
}

macro_rules! whole_numbers {
    ($($number:ty),*) => {$(
        impl Value for $number {
            fn parse(text: &str) -> Result<Self, InvalidValue> {
                text.trim().parse().map_err(|_| {
                    InvalidValue(if <$number>::BITS > 32 {
                        "expected a whole number, 0 or more".to_owned()
                    } else {
                        format!("expected a whole number from 0 to {}", <$number>::MAX)
                    })
                })
            }

            fn shown(&self) -> Option<String> {
                Some(self.to_string())
            }
        }
    )*};
}

whole_numbers!(u16, u32, usize);

/// Reads a whole number that is at least 1.
pub(super) fn positive(text: &str) -> Result<usize, InvalidValue> {
    match text.trim().parse() {
        Ok(number) if number > 0 => Ok(number),
        _ => Err(InvalidValue("expected a whole number, 1 or more".to_owned())),
    }
}

/// Reads a number of threads of an engine.
pub(crate) fn thread_count(text: &str) -> Result<usize, InvalidValue> {
    match text.trim().parse() {
        Ok(number) if (1..=MAX_THREADS).contains(&number) => Ok(number),
        _ => Err(InvalidValue(format!("expected a whole number from 1 to {MAX_THREADS}"))),
    }
}

/// Reads a number above 0 and below 1.
pub(super) fn fraction(text: &str) -> Result<f64, InvalidValue> {
    match text.trim().parse() {
        Ok(number) if number > 0.0 && number < 1.0 => Ok(number),
        _ => Err(InvalidValue("expected a number above 0 and below 1, such as 0.9".to_owned())),
    }
}

/// Reads a number that is neither infinite nor NaN.
pub(super) fn finite(text: &str) -> Result<f64, InvalidValue> {
    match text.trim().parse::<f64>() {
        Ok(number) if number.is_finite() => Ok(number),
        _ => Err(InvalidValue("expected a number, such as 0.5".to_owned())),
    }
}

/// Reads a name that is not empty.
pub(super) fn name(text: &str) -> Result<String, InvalidValue> {
    match text.trim() {
        "" => Err(InvalidValue("expected a name, not an empty text".to_owned())),
        name => Ok(name.to_owned()),
    }
}

impl Value for f64 {
    fn parse(text: &str) -> Result<Self, InvalidValue> {
        text.trim().parse().map_err(|_| InvalidValue("expected a number".to_owned()))
    }

    fn shown(&self) -> Option<String> {
        Some(self.to_string())
    }
}

impl Value for bool {
    const WITHOUT_VALUE: Option<&str> = Some("true");

    fn parse(text: &str) -> Result<Self, InvalidValue> {
        let read = BoolishValueParser::new().parse_ref(&clap::Command::default(), None, text.trim().as_ref());
        read.map_err(|_| InvalidValue("expected true or false".to_owned()))
    }

    fn shown(&self) -> Option<String> {
        Some(self.to_string())
    }
}

impl Value for String {
    fn parse(text: &str) -> Result<Self, InvalidValue> {
        Ok(text.to_owned())
    }

    fn shown(&self) -> Option<String> {
        Some(self.clone())
    }
}

impl Value for PathBuf {
    fn parse(text: &str) -> Result<Self, InvalidValue> {
        Ok(text.into())
    }

    fn shown(&self) -> Option<String> {
        Some(self.display().to_string()).filter(|path| !path.is_empty())
    }
}

impl Value for Alias {
    // An alias has commas of its own.
    const DELIMITER: char = ' ';

    fn parse(text: &str) -> Result<Self, InvalidValue> {
        text.parse().map_err(|error: NotAnAlias| InvalidValue(error.to_string()))
    }

    fn shown(&self) -> Option<String> {
        Some(self.to_string())
    }
}

impl Value for Seconds {
    fn parse(text: &str) -> Result<Self, InvalidValue> {
        text.parse()
    }

    fn shown(&self) -> Option<String> {
        Some(self.to_string())
    }
}

impl Value for OverloadStatus {
    fn parse(text: &str) -> Result<Self, InvalidValue> {
        match text.trim() {
            "429" => Ok(Self::TooManyRequests),
            "503" => Ok(Self::ServiceUnavailable),
            _ => Err(InvalidValue("expected 429 or 503".to_owned())),
        }
    }

    fn shown(&self) -> Option<String> {
        Some(self.code().to_string())
    }
}

macro_rules! words {
    ($($choice:ty $(, without_value: $word:literal)?;)*) => {$(
        impl Value for $choice {
            $(const WITHOUT_VALUE: Option<&str> = Some($word);)?

            fn parse(text: &str) -> Result<Self, InvalidValue> {
                <Self as ValueEnum>::from_str(text.trim(), false).map_err(|_| {
                    let words: Vec<_> = Self::choices().iter().map(|word| word.get_name().to_owned()).collect();
                    InvalidValue(format!("expected one of {}", words.join(", ")))
                })
            }

            fn shown(&self) -> Option<String> {
                self.to_possible_value().map(|word| word.get_name().to_owned())
            }

            fn choices() -> Vec<PossibleValue> {
                Self::value_variants().iter().filter_map(ValueEnum::to_possible_value).collect()
            }
        }
    )*};
}

words! {
    FinishReason;
    LogFormat;
    OnEngineChange;
    OnFailure;
    RouteActivation;
    ScoreActivation;
    Simulation, without_value: "instant";
    Truncation;
}

/// A length of time, written in seconds: `30` or `0.25`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seconds(pub Duration);

impl Seconds {
    /// About 30 years: more would overflow the clocks that count from now.
    const MAX: f64 = 1e9;

    /// `seconds` whole seconds.
    pub const fn new(seconds: u64) -> Self {
        Self(Duration::from_secs(seconds))
    }
}

impl FromStr for Seconds {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        let seconds = text.trim().parse().ok().filter(|seconds| *seconds <= Self::MAX);
        let duration = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        duration.map(Self).ok_or_else(|| {
            InvalidValue(format!("expected seconds from 0 to {}, such as 30 or 0.25", Self::MAX))
        })
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

/// The status of the response to a request that finds the queue full.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(into = "u16")]
pub enum OverloadStatus {
    /// 429, as OpenAI responds.
    TooManyRequests,
    /// 503, for clients that give up on any 4xx.
    ServiceUnavailable,
}

impl OverloadStatus {
    /// The status code.
    pub fn code(self) -> u16 {
        match self {
            Self::TooManyRequests => 429,
            Self::ServiceUnavailable => 503,
        }
    }
}

impl From<OverloadStatus> for u16 {
    fn from(status: OverloadStatus) -> Self {
        status.code()
    }
}

/// What the routes of other servers answer if a request does not say whether it wants probabilities.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum RouteActivation {
    /// The model's own scores
    Raw,
    /// What the server gives that the route comes from
    Peer,
}

/// The `finish_reason` of scores in the form of a chat completion.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum FinishReason {
    /// What a complete response has
    Stop,
    /// What NIM's reward models return
    Length,
}

impl FinishReason {
    /// As responses spell it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Stop => "stop",
            Self::Length => "length",
        }
    }
}

/// What happens if the engine directory no longer holds the engine that is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum OnEngineChange {
    /// Log an error and keep serving what was loaded
    Report,
    /// Finish the requests in flight and exit with status 5
    Exit,
}
