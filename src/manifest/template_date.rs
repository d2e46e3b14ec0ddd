//! The date that chat templates print.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A day of the Gregorian calendar, written `YYYY-MM-DD`. Templates that print today's date print this day, so that a
/// text has one score whenever it is scored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TemplateDate {
    year: u32,
    month: u32,
    day: u32,
}

/// A text is not a date.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a day from 1000-01-01 to 9999-12-31, written as YYYY-MM-DD")]
pub struct NotADate(String);

impl TemplateDate {
    /// The date unless a template or an option has another: the one that Llama 3's templates print where the date is
    /// not known.
    pub const DEFAULT: Self = Self { year: 2024, month: 7, day: 26 };

    /// From 1000 to 9999.
    pub fn year(self) -> u32 {
        self.year
    }

    /// From 1 to 12.
    pub fn month(self) -> u32 {
        self.month
    }

    /// From 1 to 31.
    pub fn day(self) -> u32 {
        self.day
    }

    /// Day of the year, from 0 to 365.
    pub(crate) fn day_of_year(self) -> u32 {
        (1..self.month).map(|month| days_in(self.year, month)).sum::<u32>() + self.day - 1
    }

    /// Days since 1 January 1970; negative before it.
    pub(crate) fn days_since_1970(self) -> i64 {
        let before = i64::from(self.year) - 1;
        let leap_days = before / 4 - before / 100 + before / 400;
        before * 365 + leap_days - 719_162 + i64::from(self.day_of_year())
    }
}

fn days_in(year: u32, month: u32) -> u32 {
    let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    match month {
        2 => 28 + u32::from(leap),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

impl FromStr for TemplateDate {
    type Err = NotADate;

    fn from_str(text: &str) -> Result<Self, NotADate> {
        let wrong = || NotADate(text.chars().take(40).collect());
        let parts: Vec<&str> = text.split('-').collect();
        let number = |part: &str, digits: usize| {
            let is_number = part.len() == digits && part.bytes().all(|byte| byte.is_ascii_digit());
            if is_number { part.parse::<u32>().ok() } else { None }
        };
        let [year, month, day] = parts[..] else { return Err(wrong()) };
        match (number(year, 4), number(month, 2), number(day, 2)) {
            (Some(year @ 1000..), Some(month @ 1..=12), Some(day))
                if (1..=days_in(year, month)).contains(&day) =>
            {
                Ok(Self { year, month, day })
            }
            _ => Err(wrong()),
        }
    }
}

impl fmt::Display for TemplateDate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}-{:02}-{:02}", self.year, self.month, self.day)
    }
}

impl TryFrom<String> for TemplateDate {
    type Error = NotADate;

    fn try_from(text: String) -> Result<Self, NotADate> {
        text.parse()
    }
}

impl From<TemplateDate> for String {
    fn from(date: TemplateDate) -> Self {
        date.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_days_of_the_calendar() {
        for text in ["2024-07-26", "2024-02-29", "2000-02-29", "9999-12-31"] {
            assert_eq!(text.parse::<TemplateDate>().unwrap().to_string(), text);
        }
        for text in [
            "2023-02-29",
            "1900-02-29",
            "2024-13-01",
            "2024-00-01",
            "2024-1-1",
            "0999-01-01",
            "+024-01-01",
            "",
        ] {
            assert!(text.parse::<TemplateDate>().is_err(), "{text}");
        }
    }

    #[test]
    fn days_are_counted_from_1970() {
        for (text, days, of_year) in
            [("1970-01-01", 0, 0), ("2000-03-01", 11_017, 60), ("2026-11-24", 20_781, 327)]
        {
            let date: TemplateDate = text.parse().unwrap();
            assert_eq!((date.days_since_1970(), date.day_of_year()), (days, of_year), "{text}");
        }
    }
}
