//! Numbers as text and text as numbers, as in Python.

use std::borrow::Cow;

use super::print::float_repr;
use super::unicode::{decimal_value, is_space};

/// `int(text, base)`; None if it is not a number.
pub(super) fn parse_int(text: &str, base: u32) -> Option<i128> {
    let text = ascii_digits(text);
    let text = text.trim_matches(is_space);
    let (negative, digits) = match text.strip_prefix(['+', '-']) {
        Some(digits) => (text.starts_with('-'), digits),
        None => (false, text),
    };
    let prefixes = [(2, ["0b", "0B"]), (8, ["0o", "0O"]), (16, ["0x", "0X"])];
    let mut radix = base;
    let mut rest = digits;
    for (of, prefix) in prefixes {
        if (base == of || base == 0)
            && let Some(after) = prefix.iter().find_map(|prefix| digits.strip_prefix(*prefix))
        {
            radix = of;
            rest = after.strip_prefix('_').unwrap_or(after);
            break;
        }
    }
    if radix == 0 {
        // A number of base 0 is written as in code, where it cannot start with 0.
        if rest.starts_with('0') && !rest.trim_matches(['0', '_']).is_empty() {
            return None;
        }
        radix = 10;
    }
    if !(2..=36).contains(&radix) {
        return None;
    }
    let value = i128::from_str_radix(&without_underscores(rest)?, radix).ok()?;
    Some(if negative { -value } else { value })
}

/// A text with the digits of every script as those of ASCII.
fn ascii_digits(text: &str) -> Cow<'_, str> {
    if text.is_ascii() {
        return text.into();
    }
    text.chars().map(|c| decimal_value(c).map_or(c, |value| char::from(b'0' + value))).collect()
}

/// Digits without the underscores between them; None if one is elsewhere, or there are none.
fn without_underscores(digits: &str) -> Option<String> {
    let wrong = digits.is_empty() || digits.starts_with(['_', '+', '-']) || digits.ends_with('_');
    if wrong || digits.contains("__") { None } else { Some(digits.replace('_', "")) }
}

/// `float(text)`; None if it is not a number.
pub(super) fn parse_float(text: &str) -> Option<f64> {
    let text = ascii_digits(text);
    let text = text.trim_matches(is_space);
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let lower = unsigned.to_ascii_lowercase();
    if ["inf", "infinity", "nan"].contains(&lower.as_str()) {
        return text.parse().ok();
    }
    if !unsigned.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
        return None;
    }
    for (at, _) in text.match_indices('_') {
        let is_digit =
            |at: Option<usize>| at.and_then(|at| text.as_bytes().get(at)).is_some_and(u8::is_ascii_digit);
        if !is_digit(at.checked_sub(1)) || !is_digit(Some(at + 1)) {
            return None;
        }
    }
    text.replace('_', "").parse().ok()
}

/// `%e` of a finite number.
pub(super) fn exponent_form(value: f64, precision: usize) -> String {
    let text = format!("{value:.precision$e}");
    let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{digits}e{sign}{:02}", exponent.abs())
}

/// `%g` of a finite number; `alternate` keeps zeros at the end.
pub(super) fn general_form(value: f64, precision: usize, alternate: bool) -> String {
    let precision = precision.max(1);
    let scientific = exponent_form(value, precision - 1);
    let exponent: i32 =
        scientific.rsplit_once('e').and_then(|(_, exponent)| exponent.parse().ok()).unwrap_or(0);
    let text = if exponent < -4 || exponent >= precision as i32 {
        scientific
    } else {
        let decimals = (precision as i32 - 1 - exponent).max(0) as usize;
        format!("{value:.decimals$}")
    };
    if alternate { text } else { without_trailing_zeros(&text) }
}

fn without_trailing_zeros(text: &str) -> String {
    let (digits, exponent) = text.split_at(text.find('e').unwrap_or(text.len()));
    let digits =
        if digits.contains('.') { digits.trim_end_matches('0').trim_end_matches('.') } else { digits };
    format!("{digits}{exponent}")
}

/// `round(value, digits)` of a float.
pub(super) fn round_float(value: f64, digits: i128) -> f64 {
    if !value.is_finite() || digits > 330 {
        return value;
    }
    if digits >= 0 {
        let digits = digits as usize;
        return format!("{value:.digits$}").parse().unwrap_or(value);
    }
    if digits < -330 {
        return 0.0 * value;
    }
    // Numbers with more digits before the point than an i128 has are rounded by their text as well.
    let power = 10f64.powi(-(digits as i32));
    let quotient = value / power;
    let floor = quotient.floor();
    let rounded = match quotient - floor {
        fraction if fraction > 0.5 => floor + 1.0,
        fraction if fraction < 0.5 => floor,
        _ => floor + floor.rem_euclid(2.0),
    };
    rounded * power
}

/// `round(value, digits)` of a whole number.
pub(super) fn round_int(value: i128, digits: i128) -> i128 {
    let Some(power) = u32::try_from(-digits).ok().filter(|_| digits < 0).and_then(|n| 10i128.checked_pow(n))
    else {
        return if digits < 0 { 0 } else { value };
    };
    let (quotient, rest) = (value.div_euclid(power), value.rem_euclid(power));
    let up = rest * 2 > power || (rest * 2 == power && quotient % 2 != 0);
    (quotient + i128::from(up)) * power
}

/// Adds `separator` between groups of `size` digits of the number's whole part.
pub(super) fn group_digits(text: &str, separator: char, size: usize) -> String {
    let end = text.find(['.', 'e']).unwrap_or(text.len());
    let (whole, rest) = text.split_at(end);
    let mut grouped = String::with_capacity(text.len() * 2);
    for (index, c) in whole.chars().enumerate() {
        if index > 0 && (whole.len() - index).is_multiple_of(size) {
            grouped.push(separator);
        }
        grouped.push(c);
    }
    grouped + rest
}

/// Infinities and NaN, which every format writes alike.
pub(super) fn non_finite(value: f64) -> Option<String> {
    (!value.is_finite()).then(|| float_repr(value.abs()))
}
