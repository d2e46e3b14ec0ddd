//! Parses lists and dicts as Python prints them: `pandas.DataFrame.to_csv` writes a column of messages as
//! `[{'role': 'user', 'content': "It's"}]`, and a column of numpy arrays without the commas.

use serde_json::{Map, Number, Value};

/// Deepest nesting.
const MAX_DEPTH: usize = 64;

/// Parses a list or a dict; `None` if the text is something else, or also has something else.
pub(super) fn parse(text: &str) -> Option<Value> {
    let mut parser = Parser { rest: text.trim() };
    if !parser.rest.starts_with(['[', '{', '(']) && !parser.rest.starts_with("array(") {
        return None;
    }
    let value = parser.value(0)?;
    parser.rest.trim_start().is_empty().then_some(value)
}

struct Parser<'a> {
    rest: &'a str,
}

impl Parser<'_> {
    fn value(&mut self, depth: usize) -> Option<Value> {
        if depth > MAX_DEPTH {
            return None;
        }
        self.skip_space();
        match self.rest.chars().next()? {
            '[' => self.items('[', ']', depth).map(Value::Array),
            '(' => self.items('(', ')', depth).map(Value::Array),
            '{' => self.dict(depth),
            '\'' | '"' => self.text().map(Value::String),
            'a' if self.take("array(") => self.array(depth),
            '0'..='9' | '-' | '+' | '.' => self.number(),
            _ => self.constant(),
        }
    }

    /// Items between brackets; numpy writes no commas between them.
    fn items(&mut self, open: char, close: char, depth: usize) -> Option<Vec<Value>> {
        self.rest = self.rest.strip_prefix(open)?;
        let mut items = Vec::new();
        loop {
            self.skip_space();
            if let Some(rest) = self.rest.strip_prefix(close) {
                self.rest = rest;
                return Some(items);
            }
            items.push(self.value(depth + 1)?);
            self.skip_space();
            self.take(",");
        }
    }

    fn dict(&mut self, depth: usize) -> Option<Value> {
        self.rest = self.rest.strip_prefix('{')?;
        let mut map = Map::new();
        loop {
            self.skip_space();
            if self.take("}") {
                return Some(Value::Object(map));
            }
            let name = self.text()?;
            self.skip_space();
            self.rest = self.rest.strip_prefix(':')?;
            map.insert(name, self.value(depth + 1)?);
            self.skip_space();
            if !self.take(",") && !self.rest.starts_with('}') {
                return None;
            }
        }
    }

    /// `array([...], dtype=object)`, after its bracket.
    fn array(&mut self, depth: usize) -> Option<Value> {
        let value = self.value(depth + 1)?;
        let end = self.rest.find(')')?;
        let dtype = self.rest[..end].trim_start_matches([',', ' ', '\n']);
        if !dtype.is_empty() && !dtype.starts_with("dtype=") {
            return None;
        }
        self.rest = &self.rest[end + 1..];
        Some(value)
    }

    /// A text in single or double quotes, with Python's escapes.
    fn text(&mut self) -> Option<String> {
        let quote = self.rest.chars().next().filter(|first| matches!(first, '\'' | '"'))?;
        let mut characters = self.rest[1..].char_indices();
        let mut text = String::new();
        while let Some((at, character)) = characters.next() {
            match character {
                '\\' => match characters.next()?.1 {
                    'n' => text.push('\n'),
                    't' => text.push('\t'),
                    'r' => text.push('\r'),
                    'a' => text.push('\u{7}'),
                    'b' => text.push('\u{8}'),
                    'f' => text.push('\u{c}'),
                    'v' => text.push('\u{b}'),
                    '0' => text.push('\0'),
                    'x' => text.push(escape(&mut characters, 2)?),
                    'u' => text.push(escape(&mut characters, 4)?),
                    'U' => text.push(escape(&mut characters, 8)?),
                    '\n' => {}
                    other => {
                        if !matches!(other, '\\' | '\'' | '"') {
                            text.push('\\');
                        }
                        text.push(other);
                    }
                },
                _ if character == quote => {
                    self.rest = &self.rest[1 + at + 1..];
                    return Some(text);
                }
                _ => text.push(character),
            }
        }
        None
    }

    fn number(&mut self) -> Option<Value> {
        let is_part =
            |character: char| character.is_ascii_alphanumeric() || matches!(character, '+' | '-' | '.' | '_');
        let end = self.rest.find(|character| !is_part(character)).unwrap_or(self.rest.len());
        let (digits, rest) = self.rest.split_at(end);
        let number = match digits.parse::<i64>() {
            Ok(number) => Number::from(number),
            Err(_) => Number::from_f64(digits.parse().ok()?)?,
        };
        self.rest = rest;
        Some(Value::Number(number))
    }

    fn constant(&mut self) -> Option<Value> {
        let constants =
            [("None", Value::Null), ("nan", Value::Null), ("True", true.into()), ("False", false.into())];
        for (name, value) in constants {
            if self.take(name) {
                return Some(value);
            }
        }
        None
    }

    fn skip_space(&mut self) {
        self.rest = self.rest.trim_start();
    }

    fn take(&mut self, start: &str) -> bool {
        match self.rest.strip_prefix(start) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }
}

/// The character of a code of `digits` hexadecimal digits.
fn escape(characters: &mut std::str::CharIndices<'_>, digits: usize) -> Option<char> {
    let code: String = characters.take(digits).map(|(_, digit)| digit).collect();
    if code.len() == digits { char::from_u32(u32::from_str_radix(&code, 16).ok()?) } else { None }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn messages_that_python_printed_are_read() {
        let expected = json!([{"role": "user", "content": "It's \"1\"\n\u{e9}\\"}, {"role": "assistant", "content": "b"}]);
        for text in [
            r#"[{'role': 'user', 'content': 'It\'s "1"\né\\'}, {'role': 'assistant', 'content': 'b'}]"#,
            "[{'role': 'user', 'content': \"It's \\\"1\\\"\\n\\xe9\\\\\"}\n {'role': 'assistant', 'content': 'b'}]",
            r#"array([{'role': 'user', 'content': 'It\'s "1"\n\u00e9\\'}, {'role': 'assistant', 'content': 'b'},], dtype=object)"#,
        ] {
            assert_eq!(parse(text), Some(expected.clone()), "{text}");
        }
        let nested = "{'a': [1, -2.5, None, True, False, nan], 'b': ('x', {}), 'c': []}";
        assert_eq!(
            parse(nested),
            Some(json!({"a": [1, -2.5, null, true, false, null], "b": ["x", {}], "c": []}))
        );
    }

    #[test]
    fn other_texts_are_not_lists() {
        let deep = "[".repeat(100_000);
        for text in [
            "",
            "a",
            "[a]",
            "[1",
            "[1] and more",
            "{'a'}",
            "{'a': 1 'b': 2}",
            "['a\\x1']",
            "12",
            "...",
            &deep,
        ] {
            assert_eq!(parse(text), None, "{}", &text[..text.len().min(20)]);
        }
    }
}
