//! Python's `datetime.strftime` at midnight of a day: the C library's, in the C locale and without a time zone.

use std::fmt::Write;

use crate::manifest::TemplateDate;

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const DAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];

/// Widest field; a format asks for more only to exhaust memory.
const MAX_WIDTH: usize = 1000;

/// The flags and the width between `%` and the letter of a directive.
#[derive(Clone, Copy, Default)]
struct Flags {
    /// `-` for no padding, or the character to pad with.
    pad: Option<char>,
    upper: bool,
    swap_case: bool,
    width: usize,
}

/// Formats midnight of `date`. An unknown directive stays as it is written.
pub(super) fn strftime(format: &str, date: TemplateDate) -> String {
    let mut text = String::with_capacity(format.len());
    let mut rest = format;
    while let Some(at) = rest.find('%') {
        text.push_str(&rest[..at]);
        let (flags, letter, length) = directive(&rest[at..]);
        let written = &rest[at..at + length];
        match letter {
            Some(letter) => text += &field(letter, flags, date).unwrap_or_else(|| flags.padded(written)),
            None => text.push_str(written),
        }
        rest = &rest[at + length..];
    }
    text + rest
}

/// Flags, letter and length in bytes of the directive that `text` starts with.
fn directive(text: &str) -> (Flags, Option<char>, usize) {
    let mut flags = Flags::default();
    for (at, c) in text.char_indices().skip(1) {
        match c {
            '-' | '_' => flags.pad = Some(c),
            '0' if flags.width == 0 => flags.pad = Some('0'),
            '^' => flags.upper = true,
            '#' => flags.swap_case = true,
            '0'..='9' => {
                flags.width = (flags.width * 10 + c as usize - '0' as usize).min(MAX_WIDTH);
            }
            // Alternative forms, which the C locale does not have.
            'E' | 'O' => {}
            _ => return (flags, Some(c), at + c.len_utf8()),
        }
    }
    (flags, None, text.len())
}

fn field(letter: char, flags: Flags, date: TemplateDate) -> Option<String> {
    let number = |value: i64, digits: usize, pad: char| Some(flags.number(value, digits, pad));
    let text = |text: &str| Some(flags.text(text));
    let parts = |format: &str| Some(Flags { swap_case: false, ..flags }.text(&strftime(format, date)));
    let weekday = weekday(date);
    let (iso_year, iso_week) = iso_week(date);
    let month = MONTHS[date.month() as usize - 1];
    let of_year = i64::from(date.day_of_year());
    let year = i64::from(date.year());
    match letter {
        '%' => text("%"),
        'n' => text("\n"),
        't' => text("\t"),
        'a' => text(&DAYS[weekday as usize][..3]),
        'A' => text(DAYS[weekday as usize]),
        'b' | 'h' => text(&month[..3]),
        'B' => text(month),
        'p' if flags.swap_case => Some(flags.padded("am")),
        'p' => text("AM"),
        'P' => Some(flags.padded("am")),
        // Python's datetime has no zone here, and gives its microseconds itself.
        'z' | 'Z' => Some(String::new()),
        'f' => Some("000000".to_owned()),
        'C' => number(year / 100, 2, '0'),
        'd' => number(date.day().into(), 2, '0'),
        'e' => number(date.day().into(), 2, ' '),
        'g' => number(iso_year % 100, 2, '0'),
        'G' => number(iso_year, 4, '0'),
        'H' | 'M' | 'S' => number(0, 2, '0'),
        'k' => number(0, 2, ' '),
        'I' => number(12, 2, '0'),
        'l' => number(12, 2, ' '),
        'j' => number(of_year + 1, 3, '0'),
        'm' => number(date.month().into(), 2, '0'),
        's' => number(date.days_since_1970() * 86_400, 1, '0'),
        'u' => number((weekday + 6) % 7 + 1, 1, '0'),
        'U' => number((of_year + 7 - weekday) / 7, 2, '0'),
        'V' => number(iso_week, 2, '0'),
        'w' => number(weekday, 1, '0'),
        'W' => number((of_year + 7 - (weekday + 6) % 7) / 7, 2, '0'),
        'y' => number(year % 100, 2, '0'),
        'Y' => number(year, 4, '0'),
        'c' => parts("%a %b %e %H:%M:%S %Y"),
        'D' | 'x' => parts("%m/%d/%y"),
        'F' => parts("%Y-%m-%d"),
        'r' => parts("%I:%M:%S %p"),
        'R' => parts("%H:%M"),
        'T' | 'X' => parts("%H:%M:%S"),
        _ => None,
    }
}

impl Flags {
    fn number(self, value: i64, digits: usize, pad: char) -> String {
        let mut text = String::new();
        let (pad, width) = match self.pad {
            Some('-') => (' ', self.width),
            Some('_') => (' ', self.width.max(digits)),
            Some(_) => ('0', self.width.max(digits)),
            None => (pad, self.width.max(digits)),
        };
        // Writing to a string cannot fail.
        let _ = if pad == '0' { write!(text, "{value:0width$}") } else { write!(text, "{value:width$}") };
        text
    }

    fn text(self, text: &str) -> String {
        if self.upper || self.swap_case { self.padded(&text.to_uppercase()) } else { self.padded(text) }
    }

    fn padded(self, text: &str) -> String {
        let pad = if self.pad == Some('0') { "0" } else { " " };
        pad.repeat(self.width.saturating_sub(text.len())) + text
    }
}

/// From 0 for Sunday to 6.
fn weekday(date: TemplateDate) -> i64 {
    // 1 January 1970 was a Thursday.
    (date.days_since_1970() + 4).rem_euclid(7)
}

/// Year and week of ISO 8601.
fn iso_week(date: TemplateDate) -> (i64, i64) {
    // A week belongs to the year that its Thursday is in.
    let days_to_thursday = 3 - (weekday(date) + 6) % 7;
    let day = i64::from(date.day_of_year()) + days_to_thursday;
    let year = i64::from(date.year());
    let length = |year: i64| 365 + i64::from(year % 4 == 0 && (year % 100 != 0 || year % 400 == 0));
    if day < 0 {
        (year - 1, (day + length(year - 1)) / 7 + 1)
    } else if day >= length(year) {
        (year + 1, (day - length(year)) / 7 + 1)
    } else {
        (year, day / 7 + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directives_give_what_pythons_datetime_gives() {
        let recorded =
            std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/strftime.jsonl"))
                .unwrap();
        let (mut compared, mut differences) = (0, Vec::new());
        for line in recorded.lines().skip(1) {
            let [date, format, expected]: [String; 3] = serde_json::from_str(line).unwrap();
            let date: TemplateDate = date.parse().unwrap();
            let ours = strftime(&format, date);
            if ours != expected {
                differences.push(format!("{format} at {date}: {ours:?} for {expected:?}"));
            }
            compared += 1;
        }
        assert!(differences.is_empty(), "{}", differences.join("\n"));
        assert!(compared > 500, "{compared}");
    }

    #[test]
    fn a_huge_width_is_capped() {
        assert!(strftime("%999999999999d", TemplateDate::DEFAULT).len() <= MAX_WIDTH);
    }
}
