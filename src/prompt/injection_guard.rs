//! Keeps control tokens that a conversation spells apart from those that the template writes.
//!
//! A turn may spell a whole control token (`<|eot_id|>`), or enough of one that the template completes
//! it: with its own text (`<|eot` at the end of a turn), or by removing something from the turn
//! (`<|eot/think_id|>`). So, before the template is rendered,
//!
//! - every control token that a turn spells is put between two marks, and
//! - elsewhere, every character that a control token starts or ends with is replaced by a stand-in,
//!   except within strings that the template spells and may search for.
//!
//! Marks and stand-ins are characters that occur nowhere else. In the rendering they are replaced back,
//! and their places tell which text came from a turn. If a template reacts to the stand-ins all the
//! same, its rendering differs from that of the plain conversation, and the guard uses marks alone.
//! Marks never touch white space, so that the template trims turns as usual.

use std::borrow::Cow;
use std::collections::HashSet;
use std::ops::Range;

use aho_corasick::{AhoCorasick, BuildError, Input, MatchKind};
use serde_json::Value;

use super::jinja::unicode::is_space;
use super::message::changed;
use super::template::literals;
use super::{Message, PromptError, TemplateVariables};

/// A place in a text that came from a turn, not from the template.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Mark {
    /// Byte offset of the character after the mark, or of the character that was replaced.
    offset: usize,
    kind: MarkKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum MarkKind {
    Opens,
    Closes,
    StandIn,
}

/// A character that occurs in no turn and not in the template, and what it represents.
struct PrivateChar {
    private: char,
    kind: MarkKind,
    /// The character that it replaces, if it is a stand-in.
    replaces: Option<char>,
}

/// Finds the places in a conversation that need marks.
pub(super) struct InjectionGuard {
    control: AhoCorasick,
    /// First and last characters of the control tokens.
    edges: Vec<char>,
    /// Strings with such a character that the template may search for.
    sought: AhoCorasick,
    /// Every proper prefix of a control token.
    prefixes: HashSet<String>,
    /// Every proper suffix of one.
    suffixes: HashSet<String>,
    /// All control tokens, separated by zero bytes.
    joined: String,
    /// Bytes of the longest control token.
    longest: usize,
    /// Text of the template: marks must be characters that it does not use.
    template: String,
    /// The control token that assistant turns may spell.
    step_token: Option<String>,
}

/// A conversation in which marks and stand-ins show what the template did not write.
pub(super) struct Guarded {
    /// The messages, as the template gets them.
    pub(super) turns: Vec<Value>,
    /// The variables that the request gives.
    pub(super) variables: TemplateVariables,
    /// The two characters that serve as marks.
    pub(super) marks: String,
    alphabet: Vec<PrivateChar>,
}

impl InjectionGuard {
    /// Guards against turns that spell one of `control`. Only assistant turns may spell `step_token`.
    ///
    /// # Errors
    /// The control tokens are too large to search for.
    pub(super) fn new(
        control: &[&str],
        template: &str,
        step_token: Option<&str>,
    ) -> Result<Self, BuildError> {
        let mut edges = Vec::new();
        let (mut prefixes, mut suffixes) = (HashSet::new(), HashSet::new());
        for token in control {
            edges.extend(token.chars().next());
            edges.extend(token.chars().next_back());
            for (at, _) in token.char_indices().skip(1) {
                prefixes.insert(token[..at].to_owned());
                suffixes.insert(token[at..].to_owned());
            }
        }
        edges.retain(|c| !c.is_whitespace());
        edges.sort_unstable();
        edges.dedup();
        let mut sought = literals(template);
        sought
            .retain(|text| text.contains(&edges[..]) && !prefixes.contains(text) && !suffixes.contains(text));
        Ok(Self {
            control: searcher(control)?,
            edges,
            sought: searcher(&sought)?,
            prefixes,
            suffixes,
            joined: control.join("\0"),
            longest: control.iter().map(|token| token.len()).max().unwrap_or(0),
            template: template.to_owned(),
            step_token: step_token.map(str::to_owned),
        })
    }

    pub(super) fn template_source(&self) -> &str {
        &self.template
    }

    /// Whether the turns and variables contain nothing that could become a control token or a part of one.
    pub(super) fn is_harmless(&self, messages: &[Message], variables: &TemplateVariables) -> bool {
        let mut harmless = true;
        each_text(variables, |text| harmless &= self.marks(text, false, true).is_empty());
        for message in messages {
            message.each_text(|text, is_content| {
                harmless &= self.marks(text, is_content && message.role == "assistant", true).is_empty();
            });
        }
        harmless
    }

    /// Marks what the template has not written; with or without stand-ins.
    ///
    /// # Errors
    /// The turns use every character that could serve as a mark.
    pub(super) fn mark(
        &self,
        messages: &[Message],
        variables: &TemplateVariables,
        stand_ins: bool,
    ) -> Result<Guarded, PromptError> {
        let alphabet = self.alphabet(messages, variables)?;
        let mut turns = Vec::with_capacity(messages.len());
        for message in messages {
            turns.push(message.to_json(|text, is_content| {
                let marks = self.marks(text, is_content && message.role == "assistant", stand_ins);
                insert(text, &marks, &alphabet).into_owned()
            }));
        }
        let marks = alphabet.iter().filter(|c| c.replaces.is_none()).map(|c| c.private).collect();
        let mut variables = variables.clone();
        for value in variables.given.values_mut() {
            *value = changed(value, &mut |text| {
                insert(text, &self.marks(text, false, stand_ins), &alphabet).into_owned()
            });
        }
        Ok(Guarded { turns, variables, marks, alphabet })
    }

    /// The marks that one text needs, in order. Only what an assistant says may spell the step token.
    pub(super) fn marks(&self, content: &str, by_assistant: bool, stand_ins: bool) -> Vec<Mark> {
        let steps: Vec<Range<usize>> = match &self.step_token {
            Some(token) if by_assistant => find_all(token, content),
            _ => Vec::new(),
        };
        let mut spelled = find_overlapping(&self.control, content);
        spelled.retain(|range| {
            let step = steps.binary_search_by_key(&range.start, |step| step.start);
            !step.is_ok_and(|step| steps[step] == *range)
        });
        let mut marks = self.border_marks(content);
        for range in &spelled {
            marks.push(Mark { offset: range.start, kind: MarkKind::Opens });
            marks.push(Mark { offset: range.end, kind: MarkKind::Closes });
        }
        if stand_ins {
            let mut kept = find_overlapping(&self.sought, content);
            kept.extend(spelled);
            kept.extend(steps);
            kept.sort_by_key(|range| range.start);
            let (mut kept, mut kept_to) = (kept.into_iter().peekable(), 0);
            for (offset, _) in content.match_indices(&self.edges[..]) {
                while let Some(range) = kept.next_if(|range| range.start <= offset) {
                    kept_to = range.end.max(kept_to);
                }
                if offset >= kept_to {
                    marks.push(Mark { offset, kind: MarkKind::StandIn });
                }
            }
        }
        // A stable sort: at one place closing marks come before opening ones, and both before a stand-in.
        marks.sort_by_key(|mark| mark.offset);
        marks
    }

    /// Marks at the ends of a turn that could be a part of a control token which starts or ends in other
    /// text.
    fn border_marks(&self, content: &str) -> Vec<Mark> {
        let text = content.trim_matches(is_space);
        let start = text.as_ptr() as usize - content.as_ptr() as usize;
        let within = !text.is_empty() && text.len() <= self.longest && self.joined.contains(text);
        let mut marks = Vec::new();
        if within || self.ends_with_token_start(text) {
            marks.push(Mark { offset: start + text.len(), kind: MarkKind::Closes });
        }
        if within || self.starts_with_token_end(text) {
            marks.push(Mark { offset: start, kind: MarkKind::Opens });
        }
        marks
    }

    fn starts_with_token_end(&self, text: &str) -> bool {
        (1..=text.len().min(self.longest))
            .any(|n| text.get(..n).is_some_and(|part| self.suffixes.contains(part)))
    }

    fn ends_with_token_start(&self, text: &str) -> bool {
        (1..=text.len().min(self.longest))
            .any(|n| text.get(text.len() - n..).is_some_and(|part| self.prefixes.contains(part)))
    }

    /// Chooses characters for the marks and stand-ins that occur neither in the turns nor in the template.
    fn alphabet(
        &self,
        messages: &[Message],
        variables: &TemplateVariables,
    ) -> Result<Vec<PrivateChar>, PromptError> {
        // Noncharacters first, which no text should contain, then those for private use.
        let candidates = ('\u{fdd0}'..='\u{fdef}').chain('\u{100000}'..='\u{10fffd}');
        let mut taken: HashSet<char> = self.template.chars().filter(|c| *c >= '\u{fdd0}').collect();
        for message in messages {
            message.each_text(|text, _| taken.extend(text.chars().filter(|c| *c >= '\u{fdd0}')));
        }
        each_text(variables, |text| taken.extend(text.chars().filter(|c| *c >= '\u{fdd0}')));
        let marks = [(MarkKind::Opens, None), (MarkKind::Closes, None)].into_iter();
        let stand_ins = self.edges.iter().map(|edge| (MarkKind::StandIn, Some(*edge)));
        let alphabet: Vec<_> = (candidates.filter(|c| !taken.contains(c)))
            .zip(marks.chain(stand_ins))
            .map(|(private, (kind, replaces))| PrivateChar { private, kind, replaces })
            .collect();
        if alphabet.len() < self.edges.len() + 2 {
            return Err(PromptError::Unencodable(
                "the messages use every private-use character of Unicode; remove some of them".into(),
            ));
        }
        Ok(alphabet)
    }
}

impl Guarded {
    /// Replaces the private characters of a rendering back, and returns their places in order.
    pub(super) fn unmark(&self, rendered: &str) -> (String, Vec<Mark>) {
        let mut text = String::with_capacity(rendered.len());
        let mut marks = Vec::new();
        for c in rendered.chars() {
            match self.alphabet.iter().find(|candidate| candidate.private == c) {
                None => text.push(c),
                Some(PrivateChar { kind, replaces, .. }) => {
                    marks.push(Mark { offset: text.len(), kind: *kind });
                    text.extend(replaces);
                }
            }
        }
        (text, marks)
    }
}

/// Shows `see` each text in the variables.
fn each_text(variables: &TemplateVariables, mut see: impl FnMut(&str)) {
    for value in variables.given.values() {
        changed(value, &mut |text| {
            see(text);
            String::new()
        });
    }
}

/// The marks in a place of a text and at its ends, with offsets as if the place started at `start`. `marks` are in
/// order.
pub(super) fn marks_within(marks: &[Mark], place: Range<usize>, start: usize) -> Box<[Mark]> {
    let first = marks.partition_point(|mark| mark.offset < place.start);
    let within = marks[first..].iter().take_while(|mark| mark.offset <= place.end);
    within.map(|mark| Mark { offset: mark.offset - place.start + start, kind: mark.kind }).collect()
}

/// Whether the text `start..end` is not entirely the template's own: some of its characters are a
/// turn's, a mark is inside it, or it is marked as a whole. `marks` are in order.
pub(super) fn is_guarded(marks: &[Mark], start: usize, end: usize) -> bool {
    let first = marks.partition_point(|mark| mark.offset < start);
    let (mut opens, mut closes) = (false, false);
    for mark in marks[first..].iter().take_while(|mark| mark.offset <= end) {
        if mark.offset < end && (mark.offset > start || mark.kind == MarkKind::StandIn) {
            return true;
        }
        opens |= *mark == Mark { offset: start, kind: MarkKind::Opens };
        closes |= *mark == Mark { offset: end, kind: MarkKind::Closes };
    }
    opens && closes
}

/// Searches for `patterns`. If several start at one place, it finds the longest.
///
/// # Errors
/// The patterns are too large.
pub(super) fn searcher<P: AsRef<[u8]>>(patterns: &[P]) -> Result<AhoCorasick, BuildError> {
    AhoCorasick::builder().match_kind(MatchKind::LeftmostLongest).build(patterns)
}

/// Where `token` occurs in `text`.
fn find_all(token: &str, text: &str) -> Vec<Range<usize>> {
    text.match_indices(token).map(|(at, _)| at..at + token.len()).collect()
}

/// Where any of the patterns occurs in `text`; the ranges may overlap.
fn find_overlapping(patterns: &AhoCorasick, text: &str) -> Vec<Range<usize>> {
    let (mut found, mut from) = (Vec::new(), 0);
    while let Some(occurrence) = patterns.find(Input::new(text).range(from..)) {
        found.push(occurrence.range());
        let start = occurrence.start();
        from = start + text[start..].chars().next().map_or(1, char::len_utf8);
    }
    found
}

/// Inserts marks and stand-ins into a turn.
fn insert<'a>(content: &'a str, marks: &[Mark], alphabet: &[PrivateChar]) -> Cow<'a, str> {
    if marks.is_empty() {
        return Cow::Borrowed(content);
    }
    let mut text = String::with_capacity(content.len() + 4 * marks.len());
    let mut done = 0;
    for mark in marks {
        text.push_str(&content[done..mark.offset]);
        done = mark.offset;
        let edge = content[done..].chars().next().filter(|_| mark.kind == MarkKind::StandIn);
        done += edge.map_or(0, char::len_utf8);
        let private = alphabet.iter().find(|c| c.kind == mark.kind && c.replaces == edge);
        text.extend(private.map(|c| c.private));
    }
    text.push_str(&content[done..]);
    Cow::Owned(text)
}
