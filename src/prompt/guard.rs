//! Marks that keep a conversation's text apart from the template's control tokens.
//!
//! A turn may spell a control token, whole (`<|eot_id|>`) or so that it becomes one beside the
//! template's own text (`<|eot` at its end). Two characters that occur nowhere else are put around
//! such places before the template is rendered, and taken out of the rendering again; where they
//! stood says whose text it is. Both stand next to what is no white space, so a template that trims
//! turns trims them as ever, and a token is left whole, so a template that looks for it finds it.

use std::borrow::Cow;
use std::collections::HashSet;

use aho_corasick::{AhoCorasick, Input};

use super::{Message, PromptError, python, tokens::searcher};

/// Where a mark stood in the rendering, as a byte offset into the text without marks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    /// The byte behind it.
    pub(super) offset: usize,
    /// Whether it opens or closes.
    pub(super) opens: bool,
}

/// Finds the places to mark.
pub(super) struct Guard {
    /// The control tokens.
    control: AhoCorasick,
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
}

/// A conversation with its marks.
pub(super) struct Guarded<'a> {
    /// Role and content of each turn.
    pub(super) turns: Vec<(&'a str, Cow<'a, str>)>,
    /// The two marks, if any stand in it.
    pub(super) marks: Option<[char; 2]>,
}

impl Guard {
    /// `control` are the tokens that no turn may write.
    ///
    /// # Errors
    /// They cannot be searched for.
    pub(super) fn new(control: &[&str], template: &str) -> Result<Self, String> {
        let parts = |of: fn(&str, usize) -> &str| -> HashSet<String> {
            let cuts = |token: &&str| token.char_indices().map(|(at, _)| at).skip(1).collect::<Vec<_>>();
            control
                .iter()
                .flat_map(|token| cuts(token).into_iter().map(|at| of(token, at).to_string()))
                .collect()
        };
        Ok(Self {
            beginnings: parts(|token, at| &token[..at]),
            endings: parts(|token, at| &token[at..]),
            joined: control.join("\0"),
            longest: control.iter().map(|token| token.len()).max().unwrap_or(0),
            control: searcher(control)?,
            template: template.to_string(),
        })
    }

    /// Marks what the turns must not write.
    ///
    /// # Errors
    /// The turns leave no character that could mark.
    pub(super) fn mark<'a>(&self, messages: &'a [Message]) -> Result<Guarded<'a>, PromptError> {
        let places: Vec<Vec<Mark>> = messages.iter().map(|message| self.places(&message.content)).collect();
        let marks = if places.iter().all(Vec::is_empty) { None } else { Some(self.unused(messages)?) };
        let turns = messages.iter().zip(&places).map(|(message, places)| {
            let content = match marks {
                Some(marks) if !places.is_empty() => Cow::Owned(insert(&message.content, places, marks)),
                _ => Cow::Borrowed(message.content.as_str()),
            };
            (message.role.as_str(), content)
        });
        Ok(Guarded { turns: turns.collect(), marks })
    }

    /// Where marks belong in one turn, in order.
    fn places(&self, content: &str) -> Vec<Mark> {
        let mut places = Vec::new();
        let mut from = 0;
        // Matches may overlap: the search goes on one character behind where the last began.
        while let Some(found) = self.control.find(Input::new(content).range(from..)) {
            places.push(Mark { offset: found.start(), opens: true });
            places.push(Mark { offset: found.end(), opens: false });
            from = found.start() + content[found.start()..].chars().next().map_or(1, char::len_utf8);
        }
        let text = python::strip(content, None);
        let start = text.as_ptr() as usize - content.as_ptr() as usize;
        let inside = !text.is_empty() && text.len() <= self.longest && self.joined.contains(text);
        if inside || self.edge(text).any(|edge| self.endings.contains(edge)) {
            places.push(Mark { offset: start, opens: true });
        }
        if inside || self.tail(text).any(|tail| self.beginnings.contains(tail)) {
            places.push(Mark { offset: start + text.len(), opens: false });
        }
        places.sort_by_key(|mark| mark.offset);
        places
    }

    /// What a turn begins with, up to the length of a control token.
    fn edge<'t>(&self, text: &'t str) -> impl Iterator<Item = &'t str> {
        let longest = self.longest;
        (1..=text.len()).take_while(move |at| *at < longest).filter_map(|at| text.get(..at))
    }

    /// What it ends with.
    fn tail<'t>(&self, text: &'t str) -> impl Iterator<Item = &'t str> {
        let longest = self.longest;
        (1..=text.len()).take_while(move |at| *at < longest).filter_map(|at| text.get(text.len() - at..))
    }

    /// Two characters that occur neither in the turns nor in the template.
    fn unused(&self, messages: &[Message]) -> Result<[char; 2], PromptError> {
        // Noncharacters first, which no text should hold, then those for private use.
        let candidates = ('\u{fdd0}'..='\u{fdef}').chain('\u{100000}'..='\u{10fffd}');
        let taken: HashSet<char> = (messages.iter().flat_map(|message| message.content.chars()))
            .chain(self.template.chars())
            .filter(|c| *c >= '\u{fdd0}')
            .collect();
        let mut free = candidates.filter(|c| !taken.contains(c));
        match (free.next(), free.next()) {
            (Some(open), Some(close)) => Ok([open, close]),
            _ => Err(PromptError::Unencodable("it uses every private-use character; leave some out".into())),
        }
    }
}

impl Guarded<'_> {
    /// Takes the marks out of what was rendered, and tells where they stood, in order.
    pub(super) fn unmark(&self, rendered: String) -> (String, Vec<Mark>) {
        let Some([open, close]) = self.marks else { return (rendered, Vec::new()) };
        let mut text = String::with_capacity(rendered.len());
        let mut marks = Vec::new();
        for c in rendered.chars() {
            if c == open || c == close {
                marks.push(Mark { offset: text.len(), opens: c == open });
            } else {
                text.push(c);
            }
        }
        (text, marks)
    }
}

/// Puts the marks into a text.
fn insert(content: &str, places: &[Mark], [open, close]: [char; 2]) -> String {
    let mut text = String::with_capacity(content.len() + places.len() * open.len_utf8());
    let mut done = 0;
    for place in places {
        text.push_str(&content[done..place.offset]);
        text.push(if place.opens { open } else { close });
        done = place.offset;
    }
    text.push_str(&content[done..]);
    text
}

/// Whether the text `start..end` is not the template's own: a mark stands inside, or it is marked
/// as a whole. `marks` are in order.
pub(super) fn guarded(marks: &[Mark], start: usize, end: usize) -> bool {
    let first = marks.partition_point(|mark| mark.offset < start);
    let within = || marks[first..].iter().take_while(|mark| mark.offset <= end);
    within().any(|mark| start < mark.offset && mark.offset < end)
        || (within().any(|mark| mark.offset == start && mark.opens)
            && within().any(|mark| mark.offset == end && !mark.opens))
}
