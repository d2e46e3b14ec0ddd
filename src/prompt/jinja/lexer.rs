//! Splits a template into tokens, with Jinja's rules for white space around tags: `trim_blocks` and `lstrip_blocks` are
//! on, as transformers sets them.

use super::escapes::unescape;
use super::fault::SyntaxError;
use super::unicode::is_space;

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Token {
    Data(String),
    VariableBegin,
    VariableEnd,
    BlockBegin,
    BlockEnd,
    Name(String),
    Str(String),
    Int(i128),
    Float(f64),
    Op(&'static str),
}

/// A token and the line that it starts in.
pub(super) type Located = (Token, u32);

/// Operators; a longer one before its prefix.
const OPERATORS: [&str; 26] = [
    "//", "**", "==", "!=", ">=", "<=", "+", "-", "/", "*", "%", "~", "[", "]", "(", ")", "{", "}", ">", "<",
    "=", ".", ":", "|", ",", ";",
];

struct Lexer<'s> {
    source: &'s str,
    at: usize,
    line: u32,
    tokens: Vec<Located>,
}

/// The tokens of a template whose line ends are `\n`.
///
/// # Errors
/// A tag, comment or string is not closed, or has a character that means nothing.
pub(super) fn tokenize(source: &str) -> Result<Vec<Located>, SyntaxError> {
    // One line end at the end of the template is not part of it.
    let source = source.strip_suffix('\n').unwrap_or(source);
    let mut lexer = Lexer { source, at: 0, line: 1, tokens: Vec::new() };
    while lexer.at < source.len() {
        lexer.root()?;
    }
    Ok(lexer.tokens)
}

impl<'s> Lexer<'s> {
    fn rest(&self) -> &'s str {
        &self.source[self.at..]
    }

    fn advance(&mut self, bytes: usize) {
        let passed = &self.source[self.at..self.at + bytes];
        self.line += passed.matches('\n').count() as u32;
        self.at += bytes;
    }

    fn push(&mut self, token: Token) {
        self.tokens.push((token, self.line));
    }

    fn error<T>(&self, reason: impl Into<String>) -> Result<T, SyntaxError> {
        Err(SyntaxError { line: self.line, reason: reason.into() })
    }

    /// Skips the white space that a `-` removes.
    fn skip_space(&mut self) {
        let rest = self.rest();
        self.advance(rest.len() - rest.trim_start_matches(is_space).len());
    }

    /// Text up to the next tag, and the tag.
    fn root(&mut self) -> Result<(), SyntaxError> {
        let rest = self.rest();
        let mut braces =
            rest.match_indices('{').map(|(at, _)| (at, rest.get(at..at + 2).unwrap_or_default()));
        let Some((length, tag)) = braces.find(|(_, tag)| ["{{", "{%", "{#"].contains(tag)) else {
            self.push(Token::Data(rest.to_owned()));
            self.advance(rest.len());
            return Ok(());
        };
        let sign = rest[length + 2..].chars().next().filter(|c| matches!(c, '-' | '+'));
        self.data(&rest[..length], sign, tag == "{{");
        self.advance(length);
        let raw = if tag == "{%" { raw_start(self.rest()) } else { None };
        if let Some(length) = raw {
            self.advance(length);
            return self.raw();
        }
        self.advance(2 + sign.map_or(0, char::len_utf8));
        match tag {
            "{#" => self.comment(),
            "{%" => {
                self.push(Token::BlockBegin);
                self.tag("%}", Token::BlockEnd)
            }
            _ => {
                self.push(Token::VariableBegin);
                self.tag("}}", Token::VariableEnd)
            }
        }
    }

    /// Text before a tag with a sign for its white space.
    fn data(&mut self, text: &str, sign: Option<char>, before_variable: bool) {
        let mut kept = text;
        if sign == Some('-') {
            kept = text.trim_end_matches(is_space);
        } else if sign.is_none() && !before_variable {
            let starts_line = self.at == 0 || self.source[..self.at].ends_with('\n');
            let line = text.rfind('\n').map_or(0, |at| at + 1);
            if (line > 0 || starts_line) && text[line..].chars().all(is_space) {
                kept = &text[..line];
            }
        }
        if !kept.is_empty() {
            self.push(Token::Data(kept.to_owned()));
        }
    }

    /// The rest of a comment.
    fn comment(&mut self) -> Result<(), SyntaxError> {
        let rest = self.rest();
        let Some(end) = rest.find("#}") else { return self.error("a comment is not closed by `#}`") };
        self.advance(end + 2);
        self.after_tag(rest[..end].chars().next_back());
        Ok(())
    }

    /// White space after a tag whose end has the character `sign` before it.
    fn after_tag(&mut self, sign: Option<char>) {
        match sign {
            Some('-') => self.skip_space(),
            Some('+') => {}
            _ if self.rest().starts_with('\n') => self.advance(1),
            _ => {}
        }
    }

    /// The rest of a raw block, which is data.
    fn raw(&mut self) -> Result<(), SyntaxError> {
        let rest = self.rest();
        let ends = rest.match_indices("{%").find_map(|(at, _)| Some((at, raw_end(&rest[at..])?)));
        let Some((length, (sign, end_length, end_sign))) = ends else {
            return self.error("a raw block is not closed by `{% endraw %}`");
        };
        self.data(&rest[..length], sign, false);
        self.advance(length + end_length);
        self.after_tag(end_sign);
        Ok(())
    }

    /// The inside of a tag up to its end.
    fn tag(&mut self, end: &'static str, end_token: Token) -> Result<(), SyntaxError> {
        let mut open = Vec::new();
        loop {
            let rest = self.rest();
            if open.is_empty() {
                let sign = rest.chars().next().filter(|c| *c == '-' || (*c == '+' && end == "%}"));
                if rest[sign.map_or(0, char::len_utf8)..].starts_with(end) {
                    self.push(end_token);
                    self.advance(2 + sign.map_or(0, char::len_utf8));
                    match (end, sign) {
                        ("}}", None) => {}
                        _ => self.after_tag(sign),
                    }
                    return Ok(());
                }
            }
            let Some(c) = rest.chars().next() else {
                return self.error(format!("a tag is not closed by `{end}`"));
            };
            if is_space(c) {
                self.advance(c.len_utf8());
            } else if c.is_ascii_digit() {
                self.number()?;
            } else if c.is_alphanumeric() || c == '_' {
                let length = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
                self.push(Token::Name(rest[..length].to_owned()));
                self.advance(length);
            } else if c == '\'' || c == '"' {
                self.string(c)?;
            } else {
                self.operator(&mut open)?;
            }
        }
    }

    fn operator(&mut self, open: &mut Vec<&'static str>) -> Result<(), SyntaxError> {
        let rest = self.rest();
        let Some(operator) = OPERATORS.into_iter().find(|operator| rest.starts_with(operator)) else {
            return self.error(format!("unexpected character {:?}", rest.chars().next().unwrap_or_default()));
        };
        match operator {
            "{" => open.push("}"),
            "(" => open.push(")"),
            "[" => open.push("]"),
            "}" | ")" | "]" if open.pop() != Some(operator) => {
                return self.error(format!("unexpected `{operator}`"));
            }
            _ => {}
        }
        self.push(Token::Op(operator));
        self.advance(operator.len());
        Ok(())
    }

    fn string(&mut self, quote: char) -> Result<(), SyntaxError> {
        let rest = self.rest();
        let mut escaped = false;
        for (at, c) in rest.char_indices().skip(1) {
            if c == quote && !escaped {
                let text = unescape(&rest[1..at]).or_else(|error| self.error(error.to_string()))?;
                self.push(Token::Str(text));
                self.advance(at + 1);
                return Ok(());
            }
            escaped = c == '\\' && !escaped;
        }
        self.error("a string is not closed")
    }

    fn number(&mut self) -> Result<(), SyntaxError> {
        let rest = self.rest();
        let after_dot = self.source[..self.at].ends_with('.');
        if let Some(length) = float_length(rest).filter(|_| !after_dot) {
            let text = rest[..length].replace('_', "");
            let Ok(value) = text.parse() else { return self.error(format!("`{text}` is not a number")) };
            self.push(Token::Float(value));
            self.advance(length);
            return Ok(());
        }
        let (radix, prefix) = match rest.get(..2) {
            Some("0b" | "0B") => (2, 2),
            Some("0o" | "0O") => (8, 2),
            Some("0x" | "0X") => (16, 2),
            _ => (10, 0),
        };
        let digits = &rest[prefix..];
        let length = digits.find(|c: char| !c.is_digit(radix) && c != '_').unwrap_or(digits.len());
        let digits = digits[..length].trim_end_matches('_');
        let text = digits.replace('_', "");
        let is_octal_of_old =
            prefix == 0 && text.starts_with('0') && !text.trim_start_matches('0').is_empty();
        match i128::from_str_radix(&text, radix) {
            Ok(value) if !is_octal_of_old => {
                self.push(Token::Int(value));
                self.advance(prefix + digits.len());
                Ok(())
            }
            _ => self.error(format!("`{}` is not a number, or too large", &rest[..prefix + length])),
        }
    }
}

/// Length of the digits, with single underscores between them, that `text` starts with.
fn digits(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    let mut length = 0;
    while let Some(byte) = bytes.get(length) {
        let between = *byte == b'_' && length > 0 && bytes.get(length + 1).is_some_and(u8::is_ascii_digit);
        if !byte.is_ascii_digit() && !between {
            break;
        }
        length += 1;
    }
    (length > 0).then_some(length)
}

/// Length of the float that `text` starts with: it has a fraction, an exponent or both.
fn float_length(text: &str) -> Option<usize> {
    let whole = digits(text)?;
    let fraction = text[whole..].strip_prefix('.').and_then(digits).map_or(0, |length| length + 1);
    let after = &text[whole + fraction..];
    let exponent = after.strip_prefix(['e', 'E']).and_then(|exponent| {
        let sign = usize::from(exponent.starts_with(['+', '-']));
        digits(&exponent[sign..]).map(|length| 1 + sign + length)
    });
    let length = whole + fraction + exponent.unwrap_or(0);
    (length > whole).then_some(length)
}

/// Length of the `{% raw %}` that `text` starts with, and of what it takes away.
fn raw_start(text: &str) -> Option<usize> {
    let after = text[2..].strip_prefix(['-', '+']).unwrap_or(&text[2..]);
    let after = after.trim_start_matches(is_space).strip_prefix("raw")?.trim_start_matches(is_space);
    let after = match after.strip_prefix("-%}") {
        Some(after) => after.trim_start_matches(is_space),
        None => after.strip_prefix("%}")?,
    };
    Some(text.len() - after.len())
}

/// Sign before, length, and sign at the end of the `{% endraw %}` that `text` starts with.
fn raw_end(text: &str) -> Option<(Option<char>, usize, Option<char>)> {
    let sign = text[2..].chars().next().filter(|c| matches!(c, '-' | '+'));
    let after = &text[2 + sign.map_or(0, char::len_utf8)..];
    let after = after.trim_start_matches(is_space).strip_prefix("endraw")?.trim_start_matches(is_space);
    let end_sign = after.chars().next().filter(|c| matches!(c, '-' | '+'));
    let after = after[end_sign.map_or(0, char::len_utf8)..].strip_prefix("%}")?;
    Some((sign, text.len() - after.len(), end_sign))
}
