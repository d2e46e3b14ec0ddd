//! Python's classes of characters.

use std::sync::LazyLock;

use regex::Regex;

/// Whether Python considers a character white space: Unicode's, and the four separators of ASCII.
pub(in crate::prompt) fn is_space(c: char) -> bool {
    c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c)
}

/// A set of characters by Unicode's general categories.
struct CharacterClass(LazyLock<Option<Regex>>);

impl CharacterClass {
    fn contains(&self, c: char) -> bool {
        self.0.as_ref().is_some_and(|regex| regex.is_match(c.encode_utf8(&mut [0; 4])))
    }
}

macro_rules! class {
    ($pattern:literal) => {
        CharacterClass(LazyLock::new(|| Regex::new($pattern).ok()))
    };
}

static LETTER: CharacterClass = class!(r"\p{L}");
static DECIMAL: CharacterClass = class!(r"\p{Nd}");
static UNPRINTABLE: CharacterClass = class!(r"[\p{C}\p{Z}]");
static WORD: CharacterClass = class!(r"[\p{L}\p{N}_]");
static UPPER: CharacterClass = class!(r"\p{Lu}");
static TITLE: CharacterClass = class!(r"\p{Lt}");

/// `str.isalpha`.
pub(super) fn is_alpha(c: char) -> bool {
    if c.is_ascii() { c.is_ascii_alphabetic() } else { LETTER.contains(c) }
}

/// `str.isdecimal`.
pub(super) fn is_decimal(c: char) -> bool {
    if c.is_ascii() { c.is_ascii_digit() } else { DECIMAL.contains(c) }
}

/// The value of a decimal digit of any script. The digits of a script follow each other.
pub(super) fn decimal_value(c: char) -> Option<u8> {
    if !is_decimal(c) {
        return None;
    }
    let before = (1..=50).take_while(|n| char::from_u32(c as u32 - n).is_some_and(is_decimal)).count();
    Some((before % 10) as u8)
}

/// `str.isdigit`: decimals, superscripts, subscripts and digits in circles and brackets.
pub(super) fn is_digit(c: char) -> bool {
    is_decimal(c)
        || matches!(c, '²' | '³' | '¹' | '\u{1369}'..='\u{1371}' | '\u{19da}' | '⁰' | '⁴'..='⁹' | '₀'..='₉' | '①'..='⑨'
            | '⑴'..='⑼' | '⒈'..='⒐' | '⓪' | '⓵'..='⓽' | '⓿' | '❶'..='❾' | '➀'..='➈' | '➊'..='➒'
            | '\u{1f100}'..='\u{1f10a}')
}

/// `str.isnumeric`.
pub(super) fn is_numeric(c: char) -> bool {
    c.is_numeric()
        || "零一二三四五六七八九十百千万亿兆壱壹弐貳贰叁参參肆伍陆陸柒捌玖拾佰仟両两廾卅卌".contains(c)
}

/// `str.isprintable` of one character.
pub(super) fn is_printable(c: char) -> bool {
    if c.is_ascii() { c == ' ' || c.is_ascii_graphic() } else { !UNPRINTABLE.contains(c) }
}

/// `\w` of Python's regular expressions.
pub(super) fn is_word(c: char) -> bool {
    if c.is_ascii() { c.is_ascii_alphanumeric() || c == '_' } else { WORD.contains(c) }
}

/// Whether a character has case, and which: true for upper or title case.
pub(super) fn case(c: char) -> Option<bool> {
    if c.is_uppercase() || UPPER.contains(c) || TITLE.contains(c) {
        Some(true)
    } else if c.is_lowercase() {
        Some(false)
    } else {
        None
    }
}

/// `str.title` of a word's first character.
pub(super) fn title(c: char) -> String {
    match c {
        'Ǆ'..='ǆ' => "ǅ".to_owned(),
        'Ǉ'..='ǉ' => "ǈ".to_owned(),
        'Ǌ'..='ǌ' => "ǋ".to_owned(),
        'Ǳ'..='ǳ' => "ǲ".to_owned(),
        'ŉ' => "ʼN".to_owned(),
        _ => {
            let mut upper = c.to_uppercase();
            let first: String = upper.next().into_iter().collect();
            first + &upper.flat_map(char::to_lowercase).collect::<String>()
        }
    }
}

/// `str.casefold`.
pub(super) fn casefold(text: &str) -> String {
    let mut folded = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            'ı' => folded.push('ı'),
            'ß' | 'ẞ' => folded.push_str("ss"),
            'Ꭰ'..='Ᏽ' => folded.push(c),
            '\u{13f8}'..='\u{13fd}' | '\u{ab70}'..='\u{abbf}' => folded.extend(c.to_uppercase()),
            _ => {
                let upper = c.to_lowercase().flat_map(char::to_uppercase);
                folded.extend(upper.flat_map(char::to_lowercase));
            }
        }
    }
    folded
}
