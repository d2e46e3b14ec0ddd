//! Methods of texts.

use std::sync::Arc;

use super::arguments::{Given, int, text};
use super::fault::{Fault, fault};
use super::interpreter::Interpreter;
use super::letter_case::{capitalize, has_only_case, is_title, swap_case, title_case};
use super::split::{Parts, split_lines};
use super::unicode::{casefold, is_alpha, is_decimal, is_digit, is_numeric, is_printable, is_space};
use super::value::{Value, char_count};

pub(super) const METHODS: [&str; 46] = [
    "capitalize",
    "casefold",
    "center",
    "count",
    "encode",
    "endswith",
    "expandtabs",
    "find",
    "format",
    "format_map",
    "index",
    "isalnum",
    "isalpha",
    "isascii",
    "isdecimal",
    "isdigit",
    "isidentifier",
    "islower",
    "isnumeric",
    "isprintable",
    "isspace",
    "istitle",
    "isupper",
    "join",
    "ljust",
    "lower",
    "lstrip",
    "maketrans",
    "partition",
    "removeprefix",
    "removesuffix",
    "replace",
    "rfind",
    "rindex",
    "rjust",
    "rpartition",
    "rsplit",
    "rstrip",
    "split",
    "splitlines",
    "startswith",
    "strip",
    "swapcase",
    "title",
    "upper",
    "zfill",
];

impl Interpreter<'_> {
    pub(super) fn call_string_method(
        &mut self,
        of: &Arc<str>,
        name: &str,
        given: Given,
    ) -> Result<Value, Fault> {
        self.budget.bytes(of.len())?;
        if let Some(result) = self.convert(of, name) {
            if !given.positional.is_empty() || !given.named.is_empty() {
                return fault!("`{name}` takes no arguments");
            }
            return Ok(result);
        }
        if !["split", "rsplit", "splitlines", "expandtabs", "format"].contains(&name) {
            given.no_names(name)?;
        }
        match name {
            "strip" => self.strip(of, name, given, (true, true)),
            "lstrip" => self.strip(of, name, given, (true, false)),
            "rstrip" => self.strip(of, name, given, (false, true)),
            "split" | "rsplit" => self.split(of, name, given),
            "splitlines" => {
                let [keep] = given.bind(name, ["keepends"], 0)?;
                self.texts(split_lines(of, keep.is_some_and(|keep| keep.is_true())))
            }
            "partition" | "rpartition" => {
                let [separator] = given.bind(name, ["sep"], 1)?;
                partition(of, text(&separator.unwrap_or(Value::None), name, "sep")?, name == "rpartition")
            }
            "removeprefix" | "removesuffix" => {
                let [affix] = given.bind(name, ["affix"], 1)?;
                let affix = affix.unwrap_or(Value::None);
                let affix = text(&affix, name, "affix")?;
                let rest =
                    if name == "removeprefix" { of.strip_prefix(affix) } else { of.strip_suffix(affix) };
                Ok(Value::str(rest.unwrap_or(of)))
            }
            "replace" => {
                let [old, new, count] = given.bind(name, ["old", "new", "count"], 2)?;
                let (old, new) = (old.unwrap_or(Value::None), new.unwrap_or(Value::None));
                let count = count.map_or(Ok(-1), |count| int(&count, name, "count"))?;
                self.replace(of, text(&old, name, "old")?, text(&new, name, "new")?, count)
            }
            "startswith" | "endswith" => self.has_affix(of, name, given),
            "find" | "rfind" | "index" | "rindex" | "count" => search(of, name, given),
            "join" => {
                let [items] = given.bind(name, ["iterable"], 1)?;
                let mut parts = Vec::new();
                for item in self.collect(&items.unwrap_or(Value::None))? {
                    match item {
                        Value::Str(part) => parts.push(part),
                        other => return fault!("`join` needs texts, not {}", other.type_name()),
                    }
                }
                let size = parts.iter().map(|part| part.len() + of.len()).sum();
                self.budget.bytes(size)?;
                Ok(Value::str(parts.join(&**of)))
            }
            "ljust" | "rjust" | "center" => {
                let [width, fill] = given.bind(name, ["width", "fillchar"], 1)?;
                let width = int(&width.unwrap_or(Value::None), name, "width")?;
                let fill = fill.unwrap_or(Value::str(" "));
                let mut fill = text(&fill, name, "fillchar")?.chars();
                match (fill.next(), fill.next()) {
                    (Some(fill), None) => self.justify(of, name, width, fill),
                    _ => fault!("`{name}` needs one character as `fillchar`"),
                }
            }
            "zfill" => {
                let [width] = given.bind(name, ["width"], 1)?;
                let width = int(&width.unwrap_or(Value::None), name, "width")?;
                let (sign, digits) = of.split_at(usize::from(of.starts_with(['+', '-'])));
                let padded = self.padding(of, width, '0')?;
                Ok(Value::str(format!("{sign}{padded}{digits}")))
            }
            "expandtabs" => {
                let [size] = given.bind(name, ["tabsize"], 0)?;
                let size = size.map_or(Ok(8), |size| int(&size, name, "tabsize"))?;
                self.expand_tabs(of, usize::try_from(size).unwrap_or(0))
            }
            "format" => self.brace_format(of, &given).map(Value::str),
            "format_map" => {
                let [mapping] = given.bind(name, ["mapping"], 1)?;
                let Some(Value::Dict(dict)) = mapping else {
                    return fault!("`format_map` needs a dictionary");
                };
                let named = dict.entries().iter().filter_map(|(key, value)| match key {
                    Value::Str(name) => Some((name.clone(), value.clone())),
                    _ => None,
                });
                self.brace_format(of, &Given { positional: Vec::new(), named: named.collect() })
                    .map(Value::str)
            }
            _ => fault!("`{name}` of a text is not supported in chat templates"),
        }
    }

    /// Methods without arguments.
    fn convert(&mut self, of: &str, name: &str) -> Option<Value> {
        let all = |class: fn(char) -> bool| Value::Bool(!of.is_empty() && of.chars().all(class));
        Some(match name {
            "lower" => Value::str(of.to_lowercase()),
            "upper" => Value::str(of.to_uppercase()),
            "casefold" => Value::str(casefold(of)),
            "capitalize" => Value::str(capitalize(of)),
            "title" => Value::str(title_case(of)),
            "swapcase" => Value::str(swap_case(of)),
            "isalpha" => all(is_alpha),
            "isalnum" => all(|c| is_alpha(c) || is_decimal(c) || is_digit(c) || is_numeric(c)),
            "isdecimal" => all(is_decimal),
            "isdigit" => all(is_digit),
            "isnumeric" => all(is_numeric),
            "isspace" => all(is_space),
            "isascii" => Value::Bool(of.is_ascii()),
            "isprintable" => Value::Bool(of.chars().all(is_printable)),
            "islower" => Value::Bool(has_only_case(of, false)),
            "isupper" => Value::Bool(has_only_case(of, true)),
            "istitle" => Value::Bool(is_title(of)),
            "isidentifier" => {
                let is_letter = |c| is_alpha(c) || (is_numeric(c) && !is_digit(c) && c.is_alphabetic());
                let starts = of.starts_with(|c: char| c == '_' || is_letter(c));
                Value::Bool(starts && of.chars().all(|c| c == '_' || is_letter(c) || is_decimal(c)))
            }
            _ => return None,
        })
    }

    /// A list of texts.
    pub(super) fn texts<'t>(&mut self, texts: impl IntoIterator<Item = &'t str>) -> Result<Value, Fault> {
        let items: Vec<_> = texts.into_iter().map(Value::str).collect();
        self.budget.items(items.len())?;
        Value::list(items)
    }

    fn split(&mut self, of: &str, name: &str, given: Given) -> Result<Value, Fault> {
        let [separator, most] = given.bind(name, ["sep", "maxsplit"], 0)?;
        let separator = separator.filter(|separator| !matches!(separator, Value::None));
        let separator = separator.as_ref().map(|separator| text(separator, name, "sep")).transpose()?;
        let most = most.map_or(Ok(-1), |most| int(&most, name, "maxsplit"))?;
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        if separator == Some("") {
            return fault!("`{name}` needs a separator that is not empty");
        }
        let parts = Parts { text: of, separator, most };
        let parts = if name == "split" { parts.left_to_right() } else { parts.right_to_left() };
        self.texts(parts)
    }

    /// `str.replace`; a negative `count` replaces all.
    pub(super) fn replace(&mut self, of: &str, old: &str, new: &str, count: i128) -> Result<Value, Fault> {
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        let found = if old.is_empty() { char_count(of) + 1 } else { of.matches(old).count() };
        self.budget.bytes(of.len().saturating_add(found.min(count).saturating_mul(new.len())))?;
        Ok(Value::str(of.replacen(old, new, count)))
    }

    fn has_affix(&mut self, of: &str, name: &str, given: Given) -> Result<Value, Fault> {
        let [affix, start, stop] = given.bind(name, ["affix", "start", "end"], 1)?;
        let bound = |value: Option<Value>| value.and_then(|value| value.as_int());
        let unmarked = self.unmarked(of);
        let of = self.slice(&Value::str(unmarked), [bound(start), bound(stop), None])?;
        let of = of.as_str().unwrap_or_default();
        let affixes = match affix {
            Some(Value::Tuple(affixes)) => affixes.items.clone(),
            other => other.into_iter().collect(),
        };
        for affix in &affixes {
            let affix = text(affix, name, "affix")?;
            if if name == "startswith" { of.starts_with(affix) } else { of.ends_with(affix) } {
                return Ok(Value::Bool(true));
            }
        }
        Ok(Value::Bool(false))
    }

    /// A text without the injection guard's marks.
    fn unmarked(&self, text: &str) -> String {
        text.chars().filter(|c| !self.marks.contains(*c)).collect()
    }

    fn strip(&mut self, of: &str, name: &str, given: Given, sides: (bool, bool)) -> Result<Value, Fault> {
        let [chars] = given.bind(name, ["chars"], 0)?;
        let chars = chars.filter(|chars| !matches!(chars, Value::None));
        let chars = chars.as_ref().map(|chars| text(chars, name, "chars")).transpose()?;
        Ok(Value::str(self.strip_marked(of, chars, sides)))
    }

    /// `str.strip` of the left and right side. It strips as if the injection guard's marks were not there, but keeps
    /// them.
    pub(super) fn strip_marked(
        &self,
        text: &str,
        chars: Option<&str>,
        (left, right): (bool, bool),
    ) -> String {
        let marks = &self.marks;
        let strips =
            |c: char| marks.contains(c) || chars.map_or_else(|| is_space(c), |chars| chars.contains(c));
        let tail = if left { text.trim_start_matches(strips) } else { text };
        let core = if right { tail.trim_end_matches(strips) } else { tail };
        let (before, after) = (&text[..text.len() - tail.len()], &tail[core.len()..]);
        let marks_before = before.chars().filter(|c| marks.contains(*c));
        let marks_after = after.chars().filter(|c| marks.contains(*c));
        marks_before.chain(core.chars()).chain(marks_after).collect()
    }

    /// What fills a text up to `width` characters.
    fn padding(&mut self, of: &str, width: i128, fill: char) -> Result<String, Fault> {
        let width = usize::try_from(width.max(0)).unwrap_or(usize::MAX);
        let missing = width.saturating_sub(char_count(of));
        self.budget.bytes(missing.saturating_mul(fill.len_utf8()))?;
        Ok(std::iter::repeat_n(fill, missing).collect())
    }

    pub(super) fn justify(&mut self, of: &str, name: &str, width: i128, fill: char) -> Result<Value, Fault> {
        let padding = self.padding(of, width, fill)?;
        let count = char_count(&padding);
        let before = match name {
            "ljust" => 0,
            "rjust" => count,
            // Python puts the odd space on the left if the width is odd.
            _ => count / 2 + (count & usize::try_from(width.max(0)).unwrap_or(0) & 1),
        };
        let before: String = std::iter::repeat_n(fill, before).collect();
        let after = &padding[before.len()..];
        Ok(Value::str(format!("{before}{of}{after}")))
    }

    fn expand_tabs(&mut self, of: &str, size: usize) -> Result<Value, Fault> {
        let (mut expanded, mut column) = (String::new(), 0);
        for c in of.chars() {
            match c {
                '\t' => {
                    let width = if size == 0 { 0 } else { size - column % size };
                    self.budget.bytes(width)?;
                    expanded.extend(std::iter::repeat_n(' ', width));
                    column += width;
                }
                _ => {
                    expanded.push(c);
                    column = if c == '\n' || c == '\r' { 0 } else { column + 1 };
                }
            }
        }
        Ok(Value::str(expanded))
    }
}

fn partition(of: &str, separator: &str, from_right: bool) -> Result<Value, Fault> {
    if separator.is_empty() {
        return fault!("a text cannot be split at an empty one");
    }
    let found = if from_right { of.rsplit_once(separator) } else { of.split_once(separator) };
    let parts = match (found, from_right) {
        (Some((before, after)), _) => [before, separator, after],
        (None, false) => [of, "", ""],
        (None, true) => ["", "", of],
    };
    Value::tuple(parts.map(Value::str).to_vec())
}

/// `find`, `rfind`, `index`, `rindex` and `count`: positions are counted in characters.
fn search(of: &str, name: &str, given: Given) -> Result<Value, Fault> {
    let [part, start, stop] = given.bind(name, ["sub", "start", "end"], 1)?;
    let part = part.unwrap_or(Value::None);
    let part = text(&part, name, "sub")?;
    let length = char_count(of);
    let bound = |value: Option<Value>, default: usize| match value.and_then(|value| value.as_int()) {
        Some(at) if at < 0 => usize::try_from(at + length as i128).unwrap_or(0),
        Some(at) => usize::try_from(at).unwrap_or(usize::MAX),
        None => default,
    };
    let (start, stop) = (bound(start, 0), bound(stop, length).min(length));
    let byte = |at: usize| of.char_indices().nth(at).map_or(of.len(), |(byte, _)| byte);
    let within = if start <= stop { &of[byte(start)..byte(stop)] } else { "" };
    let is_outside = start > stop;
    if name == "count" {
        let count = if is_outside {
            0
        } else if part.is_empty() {
            char_count(within) + 1
        } else {
            within.matches(part).count()
        };
        return Ok(Value::Int(count as i128));
    }
    let found = if name.starts_with('r') { within.rfind(part) } else { within.find(part) };
    match found.filter(|_| !is_outside) {
        Some(at) => Ok(Value::Int((start + char_count(&within[..at])) as i128)),
        None if name.ends_with("find") => Ok(Value::Int(-1)),
        None => fault!("`{name}` does not find the text"),
    }
}
