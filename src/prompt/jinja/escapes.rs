//! Escapes in string literals, as Python decodes them.

use std::fmt::Write;

/// Why the text of a string literal is not one.
#[derive(Debug, thiserror::Error)]
pub(super) enum EscapeError {
    #[error("a string ends with a backslash")]
    Unfinished,
    #[error("`\\{letter}` in a string must be followed by {digits} hexadecimal digits")]
    Digits { letter: char, digits: usize },
    #[error("`{0}` in a string is not the code of a character")]
    NotACharacter(String),
    #[error("characters by name (`\\N{{...}}`) are not supported in strings; use `\\u`")]
    ByName,
}

/// The text of a string literal.
///
/// # Errors
/// An escape is malformed, or means half of a surrogate pair.
pub(super) fn unescape(literal: &str) -> Result<String, EscapeError> {
    let mut text = String::with_capacity(literal.len());
    let mut rest = literal;
    while let Some(at) = rest.find('\\') {
        text.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        let Some(c) = rest.chars().next() else {
            return Err(EscapeError::Unfinished);
        };
        rest = &rest[c.len_utf8()..];
        match c {
            '\n' => {}
            '\\' | '\'' | '"' => text.push(c),
            'a' => text.push('\u{7}'),
            'b' => text.push('\u{8}'),
            'f' => text.push('\u{c}'),
            'n' => text.push('\n'),
            'r' => text.push('\r'),
            't' => text.push('\t'),
            'v' => text.push('\u{b}'),
            '0'..='7' => {
                let more = rest.bytes().take(2).take_while(|byte| (b'0'..=b'7').contains(byte)).count();
                let digits = format!("{c}{}", &rest[..more]);
                text.push(character(u32::from_str_radix(&digits, 8).ok(), &digits)?);
                rest = &rest[more..];
            }
            'x' | 'u' | 'U' => {
                let length =
                    [('x', 2), ('u', 4)].into_iter().find(|(letter, _)| *letter == c).map_or(8, |(_, n)| n);
                let digits =
                    rest.get(..length).filter(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()));
                let Some(digits) = digits else {
                    return Err(EscapeError::Digits { letter: c, digits: length });
                };
                text.push(character(u32::from_str_radix(digits, 16).ok(), digits)?);
                rest = &rest[length..];
            }
            'N' => return Err(EscapeError::ByName),
            // Jinja writes such a character as an escape of its own before it decodes the string.
            c if !c.is_ascii() => {
                let code = c as u32;
                // Writing to a string cannot fail.
                let _ = match code {
                    0..=0xff => write!(text, "\\x{code:02x}"),
                    0x100..=0xffff => write!(text, "\\u{code:04x}"),
                    _ => write!(text, "\\U{code:08x}"),
                };
            }
            c => text.extend(['\\', c]),
        }
    }
    Ok(text + rest)
}

fn character(code: Option<u32>, digits: &str) -> Result<char, EscapeError> {
    code.and_then(char::from_u32).ok_or_else(|| EscapeError::NotACharacter(digits.to_owned()))
}
