//! `"{}".format(...)`, as in Python.

use std::sync::Arc;

use super::arguments::Given;
use super::fault::{Fault, fault};
use super::interpreter::Interpreter;
use super::numbers::{exponent_form, general_form, group_digits, non_finite};
use super::print::{float_repr, quote};
use super::value::{Value, char_count};

/// Format fields inside format fields.
const MAX_NESTING: usize = 2;

/// `[[fill]align][sign][#][0][width][grouping][.precision][type]`.
#[derive(Debug, Default)]
struct Spec {
    fill: Option<char>,
    align: Option<char>,
    sign: Option<char>,
    alternate: bool,
    width: usize,
    grouping: Option<char>,
    precision: Option<usize>,
    kind: Option<char>,
}

/// The values of fields, and which comes next.
struct Fields<'g> {
    given: &'g Given,
    next: usize,
}

impl Interpreter<'_> {
    pub(super) fn brace_format(&mut self, format: &str, given: &Given) -> Result<String, Fault> {
        self.format_fields(format, &mut Fields { given, next: 0 }, MAX_NESTING)
    }

    fn format_fields(
        &mut self,
        format: &str,
        fields: &mut Fields<'_>,
        nesting: usize,
    ) -> Result<String, Fault> {
        self.budget.bytes(format.len())?;
        if nesting == 0 {
            return fault!("a format has fields inside fields inside fields");
        }
        let mut text = String::with_capacity(format.len());
        let mut rest = format;
        while let Some(at) = rest.find(['{', '}']) {
            text.push_str(&rest[..at]);
            let brace = &rest[at..=at];
            rest = &rest[at + 1..];
            if rest.starts_with(brace) {
                text.push_str(brace);
                rest = &rest[1..];
                continue;
            }
            if brace == "}" {
                return fault!("a format has a `}}` without `{{`");
            }
            let Some(end) = closing(rest) else { return fault!("a format has a `{{` without `}}`") };
            text += &self.field(&rest[..end], fields, nesting)?;
            rest = &rest[end + 1..];
        }
        Ok(text + rest)
    }

    /// One field, as written between its braces.
    fn field(&mut self, field: &str, fields: &mut Fields<'_>, nesting: usize) -> Result<String, Fault> {
        let end = name_end(field);
        let (name, rest) = field.split_at(end);
        let (conversion, spec) = match rest.strip_prefix('!') {
            Some(rest) => match rest.split_once(':') {
                Some((conversion, spec)) => (conversion, spec),
                None => (rest, ""),
            },
            None => ("", rest.strip_prefix(':').unwrap_or("")),
        };
        let value = self.field_value(name, fields)?;
        let value = match conversion {
            "" => value,
            "s" => Value::str(self.text(&value)?),
            "r" => Value::str(self.repr(&value)?),
            "a" => match &value {
                Value::Str(content) => {
                    let mut quoted = String::new();
                    quote(&mut quoted, content, "", true);
                    Value::str(quoted)
                }
                other => Value::str(self.repr(other)?),
            },
            other => {
                return fault!("a format has the conversion `!{other}`; `!s`, `!r` and `!a` are possible");
            }
        };
        let spec = self
            .format_fields(spec, fields, nesting - 1)
            .or_else(|fault| if spec.contains('{') { Err(fault) } else { Ok(spec.to_owned()) })?;
        let text = self.format_value(&value, &spec)?;
        self.budget.bytes(text.len())?;
        Ok(text)
    }

    fn field_value(&mut self, name: &str, fields: &mut Fields<'_>) -> Result<Value, Fault> {
        let end = name.find(['.', '[']).unwrap_or(name.len());
        let (first, mut rest) = name.split_at(end);
        let found = if first.is_empty() {
            fields.next += 1;
            fields.given.positional.get(fields.next - 1)
        } else if let Ok(index) = first.parse::<usize>() {
            fields.given.positional.get(index)
        } else {
            fields.given.named.iter().find(|(known, _)| &**known == first).map(|(_, value)| value)
        };
        let Some(mut value) = found.cloned() else { return fault!("`format` has no value for `{{{name}}}`") };
        while !rest.is_empty() {
            if let Some(after) = rest.strip_prefix('.') {
                let end = after.find(['.', '[']).unwrap_or(after.len());
                value = self.attribute(&value, &Arc::from(&after[..end]))?;
                rest = &after[end..];
            } else {
                let Some((index, after)) = rest[1..].split_once(']') else {
                    return fault!("a field of a format has a `[` without `]`");
                };
                let index = index.parse().map_or_else(|_| Value::str(index), Value::Int);
                value = self.item(&value, &index)?;
                rest = after;
            }
        }
        Ok(value)
    }

    fn format_value(&mut self, value: &Value, spec: &str) -> Result<String, Fault> {
        if spec.is_empty() {
            return self.text(value);
        }
        let spec = Spec::parse(spec)?;
        self.budget.bytes(spec.width.saturating_add(spec.precision.unwrap_or(0)))?;
        match value {
            Value::Str(text) => match spec.kind {
                None | Some('s') => {
                    let text: String = text.chars().take(spec.precision.unwrap_or(usize::MAX)).collect();
                    Ok(spec.pad("", &text, '<'))
                }
                Some(kind) => fault!("a text cannot be formatted with `{kind}`"),
            },
            Value::Float(number) => spec.float(*number),
            Value::Int(_) | Value::Bool(_) => spec.int(value.as_int().unwrap_or(0)),
            other => fault!("a {} cannot be formatted with `:`", other.type_name()),
        }
    }
}

impl Spec {
    fn parse(spec: &str) -> Result<Self, Fault> {
        let mut parsed = Self::default();
        let mut rest: Vec<char> = spec.chars().rev().collect();
        let is_align = |c: Option<&char>| c.is_some_and(|c| "<>=^".contains(*c));
        let count = rest.len();
        if count >= 2 && is_align(rest.get(count - 2)) {
            parsed.fill = rest.pop();
            parsed.align = rest.pop();
        } else if is_align(rest.last()) {
            parsed.align = rest.pop();
        }
        let mut skip = |of: &str| rest.pop_if(|c| of.contains(*c));
        parsed.sign = skip("+- ");
        skip("z");
        parsed.alternate = skip("#").is_some();
        if skip("0").is_some() && parsed.align.is_none() {
            parsed.fill = parsed.fill.or(Some('0'));
            parsed.align = Some('=');
        }
        let mut number = |first: Option<char>| {
            let mut digits: String = first.into_iter().collect();
            while let Some(digit) = skip("0123456789") {
                digits.push(digit);
            }
            digits.parse::<u32>().ok().map(|number| number as usize)
        };
        parsed.width = number(None).unwrap_or(0);
        parsed.grouping = rest.pop_if(|c| ",_".contains(*c));
        if rest.pop_if(|c| *c == '.').is_some() {
            let mut digits = String::new();
            while let Some(digit) = rest.pop_if(|c| c.is_ascii_digit()) {
                digits.push(digit);
            }
            match digits.parse::<u32>() {
                Ok(precision) => parsed.precision = Some(precision as usize),
                Err(_) => return fault!("the format `{spec}` lacks the number after its `.`"),
            }
        }
        parsed.kind = rest.pop();
        if rest.is_empty() { Ok(parsed) } else { fault!("`{spec}` is not a format") }
    }

    /// Fills a number or text up to the width.
    fn pad(&self, sign: &str, body: &str, align: char) -> String {
        let missing = self.width.saturating_sub(sign.len() + char_count(body));
        let fill = |count: usize| std::iter::repeat_n(self.fill.unwrap_or(' '), count).collect::<String>();
        match self.align.unwrap_or(align) {
            '<' => format!("{sign}{body}{}", fill(missing)),
            '^' => format!("{}{sign}{body}{}", fill(missing / 2), fill(missing - missing / 2)),
            '=' if align == '>' => format!("{sign}{}{body}", fill(missing)),
            _ => format!("{}{sign}{body}", fill(missing)),
        }
    }

    fn sign(&self, negative: bool) -> &'static str {
        match (negative, self.sign) {
            (true, _) => "-",
            (_, Some('+')) => "+",
            (_, Some(' ')) => " ",
            _ => "",
        }
    }

    fn number(&self, negative: bool, prefix: &str, digits: &str) -> String {
        let size = if self.kind.is_some_and(|kind| "bxXo".contains(kind)) { 4 } else { 3 };
        let digits = match self.grouping {
            // Zeros that fill the width are grouped too.
            Some(separator) if self.align == Some('=') && self.fill == Some('0') => {
                let mut grouped = group_digits(digits, separator, size);
                let mut padded = digits.to_owned();
                while grouped.len() + self.sign(negative).len() + prefix.len() < self.width {
                    padded.insert(0, '0');
                    grouped = group_digits(&padded, separator, size);
                }
                grouped
            }
            Some(separator) => group_digits(digits, separator, size),
            None => digits.to_owned(),
        };
        self.pad(&format!("{}{prefix}", self.sign(negative)), &digits, '>')
    }

    fn int(&self, value: i128) -> Result<String, Fault> {
        let digits = value.unsigned_abs();
        let (prefix, digits) = match self.kind {
            None | Some('d' | 'n') => ("", digits.to_string()),
            Some('b') => ("0b", format!("{digits:b}")),
            Some('o') => ("0o", format!("{digits:o}")),
            Some('x') => ("0x", format!("{digits:x}")),
            Some('X') => ("0X", format!("{digits:X}")),
            Some('c') => match u32::try_from(value).ok().and_then(char::from_u32) {
                Some(c) => return Ok(self.pad("", &c.to_string(), '<')),
                None => return fault!("{value} is not the code of a character"),
            },
            Some('e' | 'E' | 'f' | 'F' | 'g' | 'G' | '%') => return self.float(value as f64),
            Some(kind) => return fault!("a whole number cannot be formatted with `{kind}`"),
        };
        Ok(self.number(value < 0, if self.alternate { prefix } else { "" }, &digits))
    }

    fn float(&self, value: f64) -> Result<String, Fault> {
        let absolute = value.abs();
        let precision = self.precision.unwrap_or(6);
        let digits = match self.kind {
            Some('%') => format!("{:.precision$}%", absolute * 100.0),
            _ if !value.is_finite() => non_finite(absolute).unwrap_or_default(),
            Some('e' | 'E') => exponent_form(absolute, precision),
            Some('f' | 'F') => format!("{absolute:.precision$}"),
            Some('g' | 'G' | 'n') => general_form(absolute, precision, self.alternate),
            None => match self.precision {
                None => float_repr(absolute),
                Some(precision) => {
                    let text = general_form(absolute, precision, false);
                    let is_whole = !text.contains(['.', 'e']);
                    // Unlike `g`, this keeps a digit after the point, or else becomes an exponent.
                    if is_whole && text.len() < precision {
                        text + ".0"
                    } else if is_whole {
                        trim_exponent(&exponent_form(absolute, precision.max(1) - 1))
                    } else {
                        text
                    }
                }
            },
            Some(kind) => return fault!("a number cannot be formatted with `{kind}`"),
        };
        let upper = self.kind.is_some_and(|kind| kind.is_ascii_uppercase());
        let digits = if upper { digits.to_uppercase() } else { digits };
        Ok(self.number(value.is_sign_negative() && !value.is_nan(), "", &digits))
    }
}

fn trim_exponent(text: &str) -> String {
    let (digits, exponent) = text.split_at(text.find('e').unwrap_or(text.len()));
    let digits =
        if digits.contains('.') { digits.trim_end_matches('0').trim_end_matches('.') } else { digits };
    format!("{digits}{exponent}")
}

/// Where the field that starts here ends: at its `}`.
fn closing(text: &str) -> Option<usize> {
    let mut open = 0;
    for (at, c) in text.char_indices() {
        match c {
            '{' => open += 1,
            '}' if open == 0 => return Some(at),
            '}' => open -= 1,
            _ => {}
        }
    }
    None
}

/// Where a field's name ends: at a `!` or `:` that is not between brackets.
fn name_end(field: &str) -> usize {
    let mut in_brackets = false;
    for (at, c) in field.char_indices() {
        match c {
            '[' => in_brackets = true,
            ']' => in_brackets = false,
            '!' | ':' if !in_brackets => return at,
            _ => {}
        }
    }
    field.len()
}
