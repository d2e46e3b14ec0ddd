//! Conversations that data sets hold as one text.

use crate::prompt::Message;

/// Texts that start the turns of one kind of dialogue.
struct Speakers {
    user: &'static str,
    assistant: &'static str,
    system: Option<&'static str>,
    /// What is between two turns.
    separator: &'static str,
    /// Whether the first turn may lack its start, and is the user's.
    opens_with_user: bool,
}

const DIALOGUES: [Speakers; 4] = [
    // Anthropic's hh-rlhf, and data sets derived from it.
    Speakers {
        user: "Human:",
        assistant: "Assistant:",
        system: None,
        separator: "\n\n",
        opens_with_user: false,
    },
    Speakers {
        user: "Human:",
        assistant: "Assistant:",
        system: None,
        separator: "\n",
        opens_with_user: false,
    },
    // OpenAssistant Guanaco.
    Speakers {
        user: "### Human:",
        assistant: "### Assistant:",
        system: None,
        separator: "",
        opens_with_user: false,
    },
    // NVIDIA's SteerLM, and the prompts of several turns in HelpSteer2.
    Speakers {
        user: "<extra_id_1>User\n",
        assistant: "<extra_id_1>Assistant\n",
        system: Some("<extra_id_0>System\n"),
        separator: "",
        opens_with_user: true,
    },
];

/// The turns of a dialogue; `None` if the text is not one.
pub(super) fn parse_dialogue(text: &str) -> Option<Vec<Message>> {
    DIALOGUES.iter().find_map(|speakers| speakers.parse(text))
}

impl Speakers {
    fn parse(&self, text: &str) -> Option<Vec<Message>> {
        let mut turns = Vec::new();
        let mut rest = text.trim_start_matches('\n');
        if !self.starts_turn(rest) {
            let end = self.next_turn(rest)?;
            if !self.opens_with_user {
                return None;
            }
            turns.push(Message::new("user", rest[..end].trim()));
            rest = rest[end..].trim_start_matches('\n');
        } else if !self.opens_with_user && self.next_turn(rest).is_none() && self.separator == "\n\n" {
            // Nothing but the user's turn so far: the other separator may find the next one.
            return None;
        }
        while let Some((start, role)) = self.roles().find(|(start, _)| rest.starts_with(start)) {
            rest = &rest[start.len()..];
            let end = self.next_turn(rest).unwrap_or(rest.len());
            turns.push(Message::new(role, rest[..end].trim()));
            rest = rest[end..].trim_start_matches('\n');
        }
        Some(turns)
    }

    fn roles(&self) -> impl Iterator<Item = (&'static str, &'static str)> {
        let system = self.system.map(|start| (start, "system"));
        [(self.user, "user"), (self.assistant, "assistant")].into_iter().chain(system)
    }

    fn starts_turn(&self, text: &str) -> bool {
        text.starts_with(self.user) || self.system.is_some_and(|start| text.starts_with(start))
    }

    /// Where the next turn starts.
    fn next_turn(&self, text: &str) -> Option<usize> {
        self.roles().filter_map(|(start, _)| text.find(&format!("{}{start}", self.separator))).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Option<Vec<(String, String)>> {
        let turns = parse_dialogue(text)?;
        Some(turns.into_iter().map(|turn| (turn.role, turn.content)).collect())
    }

    fn turns(turns: &[(&str, &str)]) -> Option<Vec<(String, String)>> {
        Some(turns.iter().map(|(role, content)| ((*role).into(), (*content).into())).collect())
    }

    #[test]
    fn dialogues_of_data_sets_are_split_into_turns() {
        let two = turns(&[("user", "q"), ("assistant", "a\nb")]);
        for text in [
            "\n\nHuman: q\n\nAssistant: a\nb",
            "Human: q\n\nAssistant: a\nb",
            "Human: q\nAssistant: a\nb",
            "### Human: q### Assistant: a\nb",
            "### Human: q\n### Assistant: a\nb",
            "q\n<extra_id_1>Assistant\na\nb",
            "<extra_id_1>User\nq\n<extra_id_1>Assistant\na\nb\n",
        ] {
            assert_eq!(parsed(text), two, "{text:?}");
        }
        assert_eq!(
            parsed("q\n<extra_id_1>Assistant\na\n<extra_id_1>User\nr"),
            turns(&[("user", "q"), ("assistant", "a"), ("user", "r")])
        );
        assert_eq!(
            parsed("<extra_id_0>System\ns\n<extra_id_1>User\nq\n<extra_id_1>Assistant\na"),
            turns(&[("system", "s"), ("user", "q"), ("assistant", "a")])
        );
        assert_eq!(parsed("Human: q"), turns(&[("user", "q")]));
        assert_eq!(parsed("\n\nHuman: q\n\nAssistant:"), turns(&[("user", "q"), ("assistant", "")]));
    }

    #[test]
    fn other_texts_are_not_dialogues() {
        for text in ["", "q", "As a Human: q", "Humanity\n\nAssistant: a", "Assistant: a", "extra_id_1"] {
            assert_eq!(parsed(text), None, "{text:?}");
        }
    }
}
