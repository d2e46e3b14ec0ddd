//! `format % values`, as in Python and C.

use std::iter::Peekable;
use std::str::Chars;

use super::fault::{Fault, fault};
use super::interpreter::Interpreter;
use super::numbers::{exponent_form, general_form, non_finite};
use super::print::quote;
use super::value::{Value, char_count};

/// The flags, width and precision between `%` and the letter.
#[derive(Default)]
struct Conversion {
    left: bool,
    sign: bool,
    space: bool,
    alternate: bool,
    zero: bool,
    width: usize,
    precision: Option<usize>,
}

/// Where values come from: one after the other, or by name.
struct Values<'v> {
    of: &'v Value,
    next: usize,
}

impl Values<'_> {
    fn take(&mut self) -> Result<Value, Fault> {
        self.next += 1;
        match self.of {
            Value::Tuple(values) => match values.items.get(self.next - 1) {
                Some(value) => Ok(value.clone()),
                None => fault!("`%` has fewer values than its format needs"),
            },
            value if self.next == 1 => Ok(value.clone()),
            _ => fault!("`%` has fewer values than its format needs"),
        }
    }
}

impl Interpreter<'_> {
    pub(super) fn percent_format(&mut self, format: &str, values: &Value) -> Result<String, Fault> {
        self.budget.bytes(format.len())?;
        let mut text = String::with_capacity(format.len());
        let mut values = Values { of: values, next: 0 };
        let mut rest = format.chars().peekable();
        let mut by_name = false;
        while let Some(c) = rest.next() {
            if c != '%' {
                text.push(c);
                continue;
            }
            if rest.next_if_eq(&'%').is_some() {
                text.push('%');
                continue;
            }
            let named = match rest.next_if_eq(&'(') {
                Some(_) => Some(named(&mut rest, values.of)?),
                None => None,
            };
            by_name |= named.is_some();
            let conversion = conversion(&mut rest, &mut values)?;
            let Some(letter) = rest.next() else { return fault!("the format of `%` is incomplete") };
            if letter == '%' {
                text.push('%');
                continue;
            }
            let value = match named {
                Some(value) => value,
                None => values.take()?,
            };
            let converted = self.convert_percent(letter, &conversion, &value)?;
            self.budget.bytes(converted.len())?;
            text += &converted;
        }
        let given = match values.of {
            Value::Tuple(values) => values.items.len(),
            Value::Dict(_) | Value::List(_) | Value::View(..) | Value::Range(_) => values.next,
            _ => 1,
        };
        if !by_name && values.next < given {
            return fault!("`%` has more values than its format needs");
        }
        Ok(text)
    }

    fn convert_percent(&mut self, letter: char, how: &Conversion, value: &Value) -> Result<String, Fault> {
        let (sign, prefix, body) = match letter {
            's' | 'r' | 'a' => {
                let mut text = match (letter, value) {
                    ('s', _) => self.text(value)?,
                    ('a', Value::Str(content)) => {
                        let mut quoted = String::new();
                        quote(&mut quoted, content, "", true);
                        quoted
                    }
                    _ => self.repr(value)?,
                };
                if let Some(precision) = how.precision {
                    text = text.chars().take(precision).collect();
                }
                return self.pad(how, "", "", &text, false);
            }
            'c' => {
                let text = match value {
                    Value::Str(text) if char_count(text) == 1 => text.to_string(),
                    _ => match value.as_int().and_then(|code| char::from_u32(u32::try_from(code).ok()?)) {
                        Some(c) => c.to_string(),
                        None => return fault!("`%c` needs one character or its code"),
                    },
                };
                return self.pad(how, "", "", &text, false);
            }
            'd' | 'i' | 'u' | 'x' | 'X' | 'o' => {
                let number = match (value, value.as_int()) {
                    (_, Some(number)) => number,
                    (Value::Float(number), _) if "diu".contains(letter) && number.abs() < 1e38 => {
                        *number as i128
                    }
                    _ => return fault!("`%{letter}` needs a number, not {}", value.type_name()),
                };
                let digits = number.unsigned_abs();
                let (prefix, mut digits) = match letter {
                    'x' => ("0x", format!("{digits:x}")),
                    'X' => ("0X", format!("{digits:X}")),
                    'o' => ("0o", format!("{digits:o}")),
                    _ => ("", digits.to_string()),
                };
                let missing = how.precision.unwrap_or(0).saturating_sub(digits.len());
                self.budget.bytes(missing)?;
                digits.insert_str(0, &"0".repeat(missing));
                (number < 0, if how.alternate { prefix } else { "" }, digits)
            }
            'e' | 'E' | 'f' | 'F' | 'g' | 'G' => {
                let Some(number) = value.as_float() else {
                    return fault!("`%{letter}` needs a number, not {}", value.type_name());
                };
                let precision = how.precision.unwrap_or(6);
                self.budget.bytes(precision)?;
                let absolute = number.abs();
                let digits = non_finite(absolute).unwrap_or_else(|| match letter.to_ascii_lowercase() {
                    'e' => exponent_form(absolute, precision),
                    'f' => format!("{absolute:.precision$}"),
                    _ => general_form(absolute, precision, how.alternate),
                });
                let digits = if letter.is_ascii_uppercase() { digits.to_uppercase() } else { digits };
                (number.is_sign_negative() && !number.is_nan(), "", digits)
            }
            _ => return fault!("`%{letter}` is not a conversion"),
        };
        let sign = match (sign, how.sign, how.space) {
            (true, ..) => "-",
            (_, true, _) => "+",
            (_, _, true) => " ",
            _ => "",
        };
        self.pad(how, sign, prefix, &body, how.zero)
    }

    fn pad(
        &mut self,
        how: &Conversion,
        sign: &str,
        prefix: &str,
        body: &str,
        zero: bool,
    ) -> Result<String, Fault> {
        let missing = how.width.saturating_sub(sign.len() + prefix.len() + char_count(body));
        self.budget.bytes(missing)?;
        Ok(if how.left {
            format!("{sign}{prefix}{body}{}", " ".repeat(missing))
        } else if zero {
            format!("{sign}{prefix}{}{body}", "0".repeat(missing))
        } else {
            format!("{}{sign}{prefix}{body}", " ".repeat(missing))
        })
    }
}

/// The value whose name is written before `)`.
fn named(rest: &mut Peekable<Chars<'_>>, values: &Value) -> Result<Value, Fault> {
    let mut name = String::new();
    let mut open = 1;
    for c in rest.by_ref() {
        open += match c {
            '(' => 1,
            ')' => -1,
            _ => 0,
        };
        if open == 0 {
            break;
        }
        name.push(c);
    }
    let Value::Dict(dict) = values else { return fault!("`%({name})` needs a dictionary") };
    match dict.get(&Value::str(name.as_str())) {
        Some(value) => Ok(value.clone()),
        None => fault!("`%({name})` is not in the dictionary"),
    }
}

fn conversion(rest: &mut Peekable<Chars<'_>>, values: &mut Values<'_>) -> Result<Conversion, Fault> {
    let mut how = Conversion::default();
    while let Some(flag) = rest.next_if(|c| "-+ #0".contains(*c)) {
        match flag {
            '-' => how.left = true,
            '+' => how.sign = true,
            ' ' => how.space = true,
            '#' => how.alternate = true,
            _ => how.zero = true,
        }
    }
    if let Some(width) = number(rest, values)? {
        how.left |= width < 0;
        how.width = usize::try_from(width.unsigned_abs()).unwrap_or(usize::MAX);
    }
    if rest.next_if_eq(&'.').is_some() {
        how.precision =
            Some(number(rest, values)?.map_or(0, |precision| usize::try_from(precision).unwrap_or(0)));
    }
    while rest.next_if(|c| "hlL".contains(*c)).is_some() {}
    Ok(how)
}

/// A number, or `*` for one of the values.
fn number(rest: &mut Peekable<Chars<'_>>, values: &mut Values<'_>) -> Result<Option<i128>, Fault> {
    if rest.next_if_eq(&'*').is_some() {
        return match values.take()?.as_int() {
            Some(number) => Ok(Some(number)),
            None => fault!("`*` in a format needs a whole number"),
        };
    }
    let mut number: Option<i128> = None;
    while let Some(digit) = rest.next_if(char::is_ascii_digit) {
        let digit = i128::from(digit as u32 - '0' as u32);
        number = Some((number.unwrap_or(0) * 10 + digit).min(i128::from(u32::MAX)));
    }
    Ok(number)
}
