//! Values of the options that choose and change scores.

use std::fmt;
use std::ops::Range;
use std::str::FromStr;

use serde::{Serialize, Serializer};

use super::InvalidValue;
use super::values::Value;
use crate::manifest::score_options::Normal;

/// A value for an attribute, `NAME=VALUE`.
#[derive(Clone, Debug, PartialEq)]
pub struct Named<T> {
    /// The attribute.
    pub name: String,
    /// What it is given.
    pub value: T,
}

/// The logits that are scores, `FIRST,END`; the last of them is the one before `END`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogitsRange(pub Range<usize>);

/// The lowest and the highest score, `LOWEST,HIGHEST`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Clamp(pub [f64; 2]);

/// Reads `A,B`.
fn pair<T: FromStr>(text: &str) -> Option<[T; 2]> {
    let (a, b) = text.split_once(',')?;
    Some([a.trim().parse().ok()?, b.trim().parse().ok()?])
}

/// Reads a number that is finite.
fn finite(text: &str) -> Option<f64> {
    text.trim().parse().ok().filter(|number: &f64| number.is_finite())
}

impl FromStr for LogitsRange {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        match pair(text) {
            Some([first, end]) if first < end => Ok(Self(first..end)),
            _ => Err(InvalidValue("expected FIRST,END with END above FIRST, such as 0,1".to_owned())),
        }
    }
}

impl FromStr for Clamp {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        match pair::<f64>(text) {
            Some([lowest, highest]) if lowest < highest && lowest.is_finite() && highest.is_finite() => {
                Ok(Self([lowest, highest]))
            }
            _ => Err(InvalidValue("expected two numbers, the lower one first, such as -5,5".to_owned())),
        }
    }
}

impl<T: NamedValue> FromStr for Named<T> {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        let named = text.split_once('=').and_then(|(name, value)| {
            let name = name.trim().to_owned();
            Some(Self { name, value: T::read(value)? })
        });
        let named = named.filter(|named| !named.name.is_empty());
        named.ok_or_else(|| InvalidValue(format!("expected {}", T::FORM)))
    }
}

/// What an attribute can be given.
trait NamedValue: Sized {
    const FORM: &str;

    fn read(text: &str) -> Option<Self>;
}

impl NamedValue for f64 {
    const FORM: &str = "NAME=WEIGHT, such as helpfulness=0.65";

    fn read(text: &str) -> Option<Self> {
        finite(text)
    }
}

impl NamedValue for Normal {
    const FORM: &str = "NAME=MEAN:STD with STD above 0, such as helpfulness=1.5:0.8";

    fn read(text: &str) -> Option<Self> {
        let (mean, std) = text.split_once(':')?;
        Some(Self { mean: finite(mean)?, std: finite(std).filter(|std| *std > 0.0)? })
    }
}

impl fmt::Display for LogitsRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{},{}", self.0.start, self.0.end)
    }
}

impl fmt::Display for Clamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{},{}", self.0[0], self.0[1])
    }
}

impl fmt::Display for Named<f64> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.name, self.value)
    }
}

impl fmt::Display for Named<Normal> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}:{}", self.name, self.value.mean, self.value.std)
    }
}

/// Values that are read and written as texts.
macro_rules! texts {
    ($($value:ty),*) => {$(
        impl Value for $value {
            fn parse(text: &str) -> Result<Self, InvalidValue> {
                text.parse()
            }

            fn shown(&self) -> Option<String> {
                Some(self.to_string())
            }
        }

        impl Serialize for $value {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
    )*};
}

texts!(LogitsRange, Clamp, Named<f64>, Named<Normal>);

#[cfg(test)]
mod tests {
    use super::*;

    fn read<T: FromStr<Err = InvalidValue> + ToString>(text: &str) -> Result<String, InvalidValue> {
        text.parse::<T>().map(|value| value.to_string())
    }

    #[test]
    fn a_value_displays_as_it_was_written() {
        assert_eq!(read::<LogitsRange>("0, 2").unwrap(), "0,2");
        assert_eq!(read::<Clamp>("-5,5.5").unwrap(), "-5,5.5");
        assert_eq!(read::<Named<f64>>("a=-0.5").unwrap(), "a=-0.5");
        assert_eq!(read::<Named<Normal>>("a=1.5:0.5").unwrap(), "a=1.5:0.5");
    }

    #[test]
    fn an_error_shows_the_form() {
        for text in ["0-1", "3,3", "1", "-1,2"] {
            assert!(read::<LogitsRange>(text).unwrap_err().0.contains("such as 0,1"), "{text}");
        }
        for text in ["1", "1,1", "2,1", "0,inf", "NaN,1"] {
            assert!(read::<Clamp>(text).unwrap_err().0.contains("such as -5,5"), "{text}");
        }
        for text in ["a", "a=b", "=1", "a=inf"] {
            assert!(read::<Named<f64>>(text).unwrap_err().0.contains("NAME=WEIGHT"), "{text}");
        }
        for text in ["a=1", "a=1:0", "a=1:-2"] {
            assert!(read::<Named<Normal>>(text).unwrap_err().0.contains("NAME=MEAN:STD"), "{text}");
        }
    }
}
