//! What is wrong with a body that is not JSON, and what to do about it.

/// Words that Python writes where JSON has others.
const PYTHONS: [(&str, &str); 5] = [
    ("NaN", "a number or null"),
    ("Infinity", "a number or null"),
    ("None", "null"),
    ("True", "true"),
    ("False", "false"),
];

/// What to do about one of two escapes that are a character together.
const HALF_A_PAIR: &str =
    "this escape is half of a character; write it as two escapes, such as \\ud83d\\ude00, or as itself";

/// What is wrong with a body that the parser refuses with `error`.
pub(super) fn reason(body: &[u8], error: &serde_json::Error) -> String {
    if let Some(reason) = not_text(body) {
        return reason.to_owned();
    }
    let (line, column) = (error.line(), error.column());
    let at = offset(body, line, column);
    let is_not_utf8 = |error: std::str::Utf8Error| error.valid_up_to() <= at;
    if std::str::from_utf8(body).is_err_and(is_not_utf8) {
        return format!("the text is not UTF-8 at line {line} column {column}; send UTF-8");
    }
    let rest = body.get(at..).unwrap_or_default();
    if let Some((word, instead)) = PYTHONS.iter().find(|(word, _)| rest.starts_with(word.as_bytes())) {
        return format!(
            "{word} at line {line} column {column}, which Python writes and JSON does not have; send {instead}"
        );
    }
    match to_do(body, at, error) {
        Some(to_do) => format!("{error}; {to_do}"),
        None => error.to_string(),
    }
}

/// What is wrong with a body that is empty or is not a text in UTF-8 at all.
fn not_text(body: &[u8]) -> Option<&'static str> {
    match body {
        [0x1f, 0x8b, ..] => Some("the body is compressed with gzip; send it uncompressed"),
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] | [0, _, ..] | [_, 0, ..] => {
            Some("the text is in UTF-16; send UTF-8")
        }
        body if body.trim_ascii().is_empty() => Some("the body is empty; send a JSON object"),
        _ => None,
    }
}

/// The byte of the body that is at a line and a column, both counted from 1.
fn offset(body: &[u8], line: usize, column: usize) -> usize {
    let before = body.split_inclusive(|byte| *byte == b'\n').take(line.saturating_sub(1));
    before.map(<[u8]>::len).sum::<usize>() + column.saturating_sub(1)
}

/// What to do about a mistake that the parser found at the byte `at`.
fn to_do(body: &[u8], at: usize, error: &serde_json::Error) -> Option<&'static str> {
    const BY_REASON: [(&str, &str); 7] = [
        ("recursion limit", "send lists and objects that are nested at most 127 deep"),
        ("control character", "write a line end in a text as \\n and a tab as \\t"),
        ("trailing characters", "send one JSON object and nothing after it"),
        ("trailing comma", "leave it out"),
        ("number out of range", "send a number between -1.8e308 and 1.8e308"),
        ("unexpected end of hex escape", HALF_A_PAIR),
        ("lone leading surrogate", HALF_A_PAIR),
    ];
    let found = body.get(at).copied();
    let reason = error.to_string();
    if error.is_eof() {
        Some("the body ends too early: send all of it")
    } else if let Some((_, to_do)) = BY_REASON.iter().find(|(start, _)| reason.starts_with(start)) {
        Some(to_do)
    } else if found == Some(b'\'') {
        Some("write names and texts in double quotes")
    } else if reason.starts_with("key must be a string") {
        Some("write names in double quotes")
    } else if body[..at.min(body.len())].trim_ascii().is_empty() || body.starts_with(b"--") {
        Some("send a JSON object, not a form or another text")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(body: &[u8]) -> String {
        reason(body, &serde_json::from_slice::<serde_json::Value>(body).unwrap_err())
    }

    #[test]
    fn a_common_mistake_is_answered_with_what_to_do() {
        let deep = "[".repeat(200);
        let cases: [(&[u8], &str); 20] = [
            (b"", "the body is empty; send a JSON object"),
            (b" \n", "the body is empty; send a JSON object"),
            (b"\x1f\x8b\x08", "the body is compressed with gzip; send it uncompressed"),
            (b"\xff\xfe{\0}\0", "the text is in UTF-16; send UTF-8"),
            (b"{\0}\0", "the text is in UTF-16; send UTF-8"),
            (b"{\"a\": \"\xe9\"}", "the text is not UTF-8 at line 1 column 8; send UTF-8"),
            (b"{'a': 1}", "key must be a string at line 1 column 2; write names and texts in double quotes"),
            (b"{\"a\": 'b'}", "expected value at line 1 column 7; write names and texts in double quotes"),
            (b"{a: 1}", "key must be a string at line 1 column 2; write names in double quotes"),
            (
                b"model=a&input=b",
                "expected value at line 1 column 1; send a JSON object, not a form or another text",
            ),
            (
                b"{\"a\": [1",
                "EOF while parsing a list at line 1 column 8; the body ends too early: send all of it",
            ),
            (b"{}{}", "trailing characters at line 1 column 3; send one JSON object and nothing after it"),
            (b"{\"a\":\n -Infinity}", "which Python writes and JSON does not have; send a number or null"),
            (
                b"{\"a\":\n  None}",
                "None at line 2 column 3, which Python writes and JSON does not have; send null",
            ),
            (b"{\"a\": \"b\nc\"}", "write a line end in a text as \\n and a tab as \\t"),
            (b"{\"a\": [1,]}", "trailing comma at line 1 column 10; leave it out"),
            (b"{\"a\": 1e400}", "number out of range at line 1 column 11; send a number between"),
            (b"{\"a\": \"\\ud83d\"}", "half of a character; write it as two escapes"),
            (b"--x\r\nContent-Disposition: form-data\r\n", "send a JSON object, not a form"),
            (
                deep.as_bytes(),
                "recursion limit exceeded at line 1 column 128; send lists and objects that are nested",
            ),
        ];
        for (body, expected) in cases {
            assert!(said(body).contains(expected), "{}: {}", String::from_utf8_lossy(body), said(body));
        }
        assert_eq!(said(b"{\"a\": [1 2]}"), "expected `,` or `]` at line 1 column 10");
    }
}
