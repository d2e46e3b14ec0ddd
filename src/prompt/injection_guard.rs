//! Keeps a conversation's text apart from the control tokens that the template writes.
//!
//! A turn may spell a control token (`<|eot_id|>`), or so much of one that the template completes
//! it: beside its own text (`<|eot` at the end of a turn), or by cutting something out of the turn
//! (`<|eot/think_id|>`). So, before the template is rendered,
//!
//! - every control token that a turn spells is put between two marks, and
//! - elsewhere, every character with which a control token begins or ends is replaced by a
//!   stand-in, except in strings that the template spells, for which it may look.
//!
//! Marks and stand-ins are characters that occur nowhere else. They are turned back in the
//! rendering, and where they stood says whose text it is. Should a template notice the stand-ins all
//! the same, the rendering differs from that of the plain conversation, and the marks have to do
//! alone. Those stand next to what is no white space, so turns are trimmed as ever.

use std::borrow::Cow;
use std::collections::HashSet;
use std::ops::Range;

use aho_corasick::{AhoCorasick, Input, MatchKind};

use super::{Message, PromptError, python, template::literals};

/// A place in a text that is a turn's, not the template's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    /// The byte that it stands before, or that its character begins at.
    offset: usize,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Opens,
    Closes,
    StandIn,
}

/// Finds the places to mark.
pub(super) struct Guard {
    /// The control tokens.
    control: AhoCorasick,
    /// What they begin and end with.
    edges: Vec<char>,
    /// Strings with such a character that the template may look for.
    sought: AhoCorasick,
    /// Every proper beginning of a control token.
    beginnings: HashSet<String>,
    /// Every proper ending of one.
    endings: HashSet<String>,
    /// All of them, told apart by a zero byte.
    joined: String,
    /// Bytes of the longest.
    longest: usize,
    /// Characters that the template itself uses cannot mark.
    template: String,
    /// The control token that the assistant's turns may spell.
    step_token: Option<String>,
}

/// A conversation in which marks and stand-ins show what the template has not written.
pub(super) struct Guarded<'a> {
    /// Role and content of each turn.
    pub(super) turns: Vec<(&'a str, Cow<'a, str>)>,
    /// The two marks, or nothing.
    pub(super) marks: String,
    /// What each private character stands for; none for the marks.
    meaning: Vec<(char, Kind, Option<char>)>,
}

impl Guard {
    /// `control` are the tokens that no turn may write, but `step_token` the assistant's may.
    ///
    /// # Errors
    /// They cannot be searched for.
    pub(super) fn new(control: &[&str], template: &str, step_token: Option<&str>) -> Result<Self, String> {
        let cuts = || {
            control.iter().flat_map(|token| token.char_indices().skip(1).map(|(at, _)| token.split_at(at)))
        };
        let ends =
            control.iter().flat_map(|token| [token.chars().next(), token.chars().next_back()]).flatten();
        let mut edges: Vec<char> = ends.filter(|c| !c.is_whitespace()).collect();
        edges.sort_unstable();
        edges.dedup();
        let beginnings: HashSet<String> = cuts().map(|(beginning, _)| beginning.to_string()).collect();
        let endings: HashSet<String> = cuts().map(|(_, ending)| ending.to_string()).collect();
        let mut sought = literals(template);
        sought.retain(|text| {
            text.contains(&edges[..]) && !beginnings.contains(text) && !endings.contains(text)
        });
        Ok(Self {
            control: searcher(control)?,
            edges,
            sought: searcher(&sought)?,
            beginnings,
            endings,
            joined: control.join("\0"),
            longest: control.iter().map(|token| token.len()).max().unwrap_or(0),
            template: template.to_string(),
            step_token: step_token.map(str::to_owned),
        })
    }

    /// Whether the turns hold nothing that could become a control token or a part of one.
    pub(super) fn harmless(&self, messages: &[Message]) -> bool {
        messages.iter().all(|message| self.marks(message, true).is_empty())
    }

    /// Marks what the template has not written; with or without stand-ins.
    ///
    /// # Errors
    /// The turns leave no character that could mark.
    pub(super) fn mark<'a>(
        &self,
        messages: &'a [Message],
        stand_ins: bool,
    ) -> Result<Guarded<'a>, PromptError> {
        let meaning = self.meaning(messages)?;
        let turn = |message: &'a Message| {
            let marks = self.marks(message, stand_ins);
            (message.role.as_str(), insert(&message.content, &marks, &meaning))
        };
        Ok(Guarded {
            turns: messages.iter().map(turn).collect(),
            marks: meaning
                .iter()
                .filter(|(_, _, stands_for)| stands_for.is_none())
                .map(|(c, _, _)| c)
                .collect(),
            meaning,
        })
    }

    /// Where marks belong in one turn, in order.
    fn marks(&self, message: &Message, stand_ins: bool) -> Vec<Mark> {
        let content = message.content.as_str();
        let own = self.step_token.as_deref().filter(|_| message.role == "assistant");
        let steps: Vec<_> = own.map(|token| whole(token, content)).unwrap_or_default();
        let mut spelled = occurrences(&self.control, content);
        let step_at = |range: &Range<usize>| steps.binary_search_by_key(&range.start, |step| step.start);
        spelled.retain(|range| !step_at(range).is_ok_and(|at| steps[at] == *range));
        let mut marks = self.borders(content);
        for range in &spelled {
            marks.push(Mark { offset: range.start, kind: Kind::Opens });
            marks.push(Mark { offset: range.end, kind: Kind::Closes });
        }
        if stand_ins {
            let mut kept = occurrences(&self.sought, content);
            kept.extend(spelled);
            kept.extend(steps);
            kept.sort_by_key(|range| range.start);
            let (mut kept, mut kept_to) = (kept.into_iter().peekable(), 0);
            for (offset, _) in content.match_indices(&self.edges[..]) {
                while let Some(range) = kept.next_if(|range| range.start <= offset) {
                    kept_to = range.end.max(kept_to);
                }
                if offset >= kept_to {
                    marks.push(Mark { offset, kind: Kind::StandIn });
                }
            }
        }
        // Stable: at one place what closes stands before what opens, and both before a stand-in.
        marks.sort_by_key(|mark| mark.offset);
        marks
    }

    /// Marks at the ends of a turn that could be a part of a control token which begins or ends in
    /// other text.
    fn borders(&self, content: &str) -> Vec<Mark> {
        let text = python::strip(content, None);
        let start = text.as_ptr() as usize - content.as_ptr() as usize;
        let lengths = || 1..=text.len().min(self.longest);
        let inside = !text.is_empty() && text.len() <= self.longest && self.joined.contains(text);
        let ends = || lengths().any(|n| text.get(..n).is_some_and(|part| self.endings.contains(part)));
        let begins = || {
            lengths().any(|n| text.get(text.len() - n..).is_some_and(|part| self.beginnings.contains(part)))
        };
        let mut marks = Vec::new();
        if inside || begins() {
            marks.push(Mark { offset: start + text.len(), kind: Kind::Closes });
        }
        if inside || ends() {
            marks.push(Mark { offset: start, kind: Kind::Opens });
        }
        marks
    }

    /// Private characters that occur neither in the turns nor in the template, and what they mean.
    fn meaning(&self, messages: &[Message]) -> Result<Vec<(char, Kind, Option<char>)>, PromptError> {
        // Noncharacters first, which no text should hold, then those for private use.
        let candidates = ('\u{fdd0}'..='\u{fdef}').chain('\u{100000}'..='\u{10fffd}');
        let taken: HashSet<char> = (messages.iter().flat_map(|message| message.content.chars()))
            .chain(self.template.chars())
            .filter(|c| *c >= '\u{fdd0}')
            .collect();
        let kinds = [(Kind::Opens, None), (Kind::Closes, None)].into_iter();
        let kinds = kinds.chain(self.edges.iter().map(|edge| (Kind::StandIn, Some(*edge))));
        let free = candidates.filter(|c| !taken.contains(c));
        let meaning: Vec<_> = free.zip(kinds).map(|(c, (kind, stands_for))| (c, kind, stands_for)).collect();
        if meaning.len() < self.edges.len() + 2 {
            return Err(PromptError::Unencodable(
                "they use every private-use character; leave some of them out".into(),
            ));
        }
        Ok(meaning)
    }
}

/// Searches for `patterns`; of those that begin at one place, the longest is found.
///
/// # Errors
/// The patterns are too large.
pub(super) fn searcher<P: AsRef<[u8]>>(patterns: &[P]) -> Result<AhoCorasick, String> {
    AhoCorasick::builder()
        .match_kind(MatchKind::LeftmostLongest)
        .build(patterns)
        .map_err(|error| error.to_string())
}

/// Where `token` stands in `text`.
fn whole(token: &str, text: &str) -> Vec<Range<usize>> {
    text.match_indices(token).map(|(at, _)| at..at + token.len()).collect()
}

/// Where any of the patterns stands in `text`; they may overlap.
fn occurrences(patterns: &AhoCorasick, text: &str) -> Vec<Range<usize>> {
    let (mut occurrences, mut from) = (Vec::new(), 0);
    while let Some(found) = patterns.find(Input::new(text).range(from..)) {
        occurrences.push(found.range());
        from = found.start() + text[found.start()..].chars().next().map_or(1, char::len_utf8);
    }
    occurrences
}

impl Guarded<'_> {
    /// Turns the private characters of a rendering back, and tells where they stood, in order.
    pub(super) fn unmark(&self, rendered: &str) -> (String, Vec<Mark>) {
        let mut text = String::with_capacity(rendered.len());
        let mut marks = Vec::new();
        for c in rendered.chars() {
            match self.meaning.iter().find(|(private, _, _)| *private == c) {
                None => text.push(c),
                Some((_, kind, stands_for)) => {
                    marks.push(Mark { offset: text.len(), kind: *kind });
                    text.extend(stands_for);
                }
            }
        }
        (text, marks)
    }
}

/// Puts marks and stand-ins into a turn.
fn insert<'a>(content: &'a str, marks: &[Mark], meaning: &[(char, Kind, Option<char>)]) -> Cow<'a, str> {
    if marks.is_empty() {
        return Cow::Borrowed(content);
    }
    let mut text = String::with_capacity(content.len() + 4 * marks.len());
    let mut done = 0;
    for mark in marks {
        text.push_str(&content[done..mark.offset]);
        done = mark.offset;
        let edge = content[done..].chars().next().filter(|_| mark.kind == Kind::StandIn);
        done += edge.map_or(0, char::len_utf8);
        let private = meaning.iter().find(|(_, kind, stands_for)| *kind == mark.kind && *stands_for == edge);
        text.extend(private.map(|(c, _, _)| c));
    }
    text.push_str(&content[done..]);
    Cow::Owned(text)
}

/// Whether the text `start..end` is not the template's own: some of its characters are a turn's, a
/// mark stands inside, or it is marked as a whole. `marks` are in order.
pub(super) fn guarded(marks: &[Mark], start: usize, end: usize) -> bool {
    let first = marks.partition_point(|mark| mark.offset < start);
    let near = || marks[first..].iter().take_while(|mark| mark.offset <= end);
    let at = |offset, kind| near().any(|mark| *mark == Mark { offset, kind });
    near().any(|mark| mark.offset < end && (mark.offset > start || mark.kind == Kind::StandIn))
        || (at(start, Kind::Opens) && at(end, Kind::Closes))
}
