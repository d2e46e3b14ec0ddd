//! The usual names of columns, and those that the command line gives.

use std::str::FromStr;

/// Usual names of the prompt's column, the most specific first.
pub(super) const PROMPTS: [&str; 8] =
    ["prompt", "instruction", "question", "query", "problem", "input", "context", "messages"];
/// Usual names of a column with one response. Beside the answer to a problem, its solution is the response.
pub(super) const RESPONSES: [&str; 6] =
    ["response", "completion", "solution", "answer", "output", "generation"];
/// Usual names of a column with several responses.
pub(super) const GROUPS: [&str; 4] = ["responses", "completions", "answers", "outputs"];
/// Usual names of a column with a whole conversation.
pub(super) const CONVERSATIONS: [&str; 7] =
    ["messages", "conversations", "conversation", "transcript", "dialogue", "text", "body.messages"];
/// Usual names of a column with a system prompt.
pub(super) const SYSTEMS: [&str; 3] = ["system", "system_prompt", "custom_system_prompt"];

/// Columns that look like a part of the conversation: a warning names those that are not read.
const SUSPECTS: [&str; 49] = [
    "prompt",
    "instruction",
    "question",
    "query",
    "problem",
    "input",
    "context",
    "messages",
    "response",
    "completion",
    "answer",
    "output",
    "generation",
    "solution",
    "responses",
    "completions",
    "answers",
    "outputs",
    "generations",
    "choices",
    "conversations",
    "conversation",
    "transcript",
    "dialogue",
    "system",
    "system_prompt",
    "custom_system_prompt",
    "system_message",
    "history",
    "chat_history",
    "conversation_history",
    "context_messages",
    "chosen",
    "rejected",
    "rejected_response",
    "rejected_messages",
    "chosen_response",
    "orig_instruction",
    "orig_response",
    "functions",
    "documents",
    "images",
    "reasoning",
    "reasoning_content",
    "thinking",
    "steps",
    "initial_reason_steps",
    "suffix",
    "summaries",
];

/// Names of columns that hold one of several responses or conversations, without what tells them apart.
const SERIES: [&str; 9] = [
    "response",
    "answer",
    "completion",
    "output",
    "generation",
    "conversation",
    "messages",
    "orig_response",
    "human_ref",
];

/// Whether a column looks like a part of the conversation.
pub(super) fn is_suspect(name: &str) -> bool {
    SUSPECTS.contains(&name) || series_stem(name).is_some_and(|stem| SERIES.contains(&stem))
}

/// A name without the number or letter that tells it from others of a series: `response` in `response_2`, `response2`
/// and `response_b`.
fn series_stem(name: &str) -> Option<&str> {
    let numbered = name.trim_end_matches(|character: char| character.is_ascii_digit());
    if numbered.len() < name.len() {
        return Some(numbered.trim_end_matches('_'));
    }
    let (stem, letter) = name.rsplit_once('_')?;
    let is_letter = letter.len() == 1 && letter.chars().all(|letter| letter.is_ascii_alphabetic());
    is_letter.then_some(stem)
}

/// The name that follows `name` in a series: `response_3` after `response_2`, `response_c` after `response_b`.
pub(super) fn next_in_series(name: &str) -> Option<String> {
    let stem = name.trim_end_matches(|character: char| character.is_ascii_digit());
    if stem.len() < name.len() {
        let number: u32 = name[stem.len()..].parse().ok()?;
        return Some(format!("{stem}{}", number.checked_add(1)?));
    }
    let (stem, letter) = (&name[..name.len().checked_sub(1)?], name.as_bytes().last()?);
    let is_last = !letter.is_ascii_alphabetic() || letter.eq_ignore_ascii_case(&b'z');
    (!is_last).then(|| format!("{stem}{}", char::from(letter + 1)))
}

/// What a column holds, and its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ColumnName {
    role: Role,
    column: String,
}

/// What the command line may name columns for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Prompt,
    Response,
    Responses,
    Conversation,
    Chosen,
    Rejected,
    System,
}

const ROLES: [(&str, Role); 8] = [
    ("prompt", Role::Prompt),
    ("response", Role::Response),
    ("responses", Role::Responses),
    ("conversation", Role::Conversation),
    ("messages", Role::Conversation),
    ("chosen", Role::Chosen),
    ("rejected", Role::Rejected),
    ("system", Role::System),
];

/// `--columns` has something else than a pair of names.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ColumnNameError {
    /// There is no `=`.
    #[error("`{0}` is not ROLE=COLUMN, for example prompt=question")]
    NotAPair(String),
    /// The role is unknown.
    #[error(
        "`{0}` is not a role; the roles are prompt, response, responses, conversation, chosen, rejected, system"
    )]
    UnknownRole(String),
}

impl FromStr for ColumnName {
    type Err = ColumnNameError;

    fn from_str(text: &str) -> Result<Self, ColumnNameError> {
        let (role, column) =
            text.split_once('=').ok_or_else(|| ColumnNameError::NotAPair(text.to_owned()))?;
        let known = ROLES.iter().find(|(name, _)| *name == role);
        let (_, role) = known.ok_or_else(|| ColumnNameError::UnknownRole(role.to_owned()))?;
        Ok(Self { role: *role, column: column.to_owned() })
    }
}

/// Column names from the command line.
#[derive(Clone, Debug, Default, PartialEq, Eq, clap::Args)]
pub struct ColumnNames {
    /// Columns that have unusual names, for example prompt=task,response=result
    ///
    /// Roles: prompt, response, responses (a list, or several columns: responses=a,responses=b), conversation, chosen,
    /// rejected, system. A dot goes into an object: prompt=question.text
    #[arg(long, value_name = "ROLE=COLUMN", value_delimiter = ',')]
    pub columns: Vec<ColumnName>,
    /// The same as --columns prompt=COLUMN
    #[arg(long, value_name = "COLUMN", hide = true)]
    pub prompt_column: Option<String>,
    /// The same as --columns response=COLUMN
    #[arg(long, value_name = "COLUMN", hide = true)]
    pub response_column: Option<String>,
    /// The same as --columns responses=COLUMN
    #[arg(long, value_name = "COLUMN", hide = true)]
    pub responses_column: Option<String>,
    /// The same as --columns conversation=COLUMN
    #[arg(long, value_name = "COLUMN", hide = true)]
    pub messages_column: Option<String>,
    /// The same as --columns chosen=COLUMN
    #[arg(long, value_name = "COLUMN", hide = true)]
    pub chosen_column: Option<String>,
    /// The same as --columns rejected=COLUMN
    #[arg(long, value_name = "COLUMN", hide = true)]
    pub rejected_column: Option<String>,
}

impl ColumnNames {
    fn named<'a>(&'a self, role: Role, option: Option<&'a String>) -> Option<&'a str> {
        let listed = self.columns.iter().find(|name| name.role == role).map(|name| name.column.as_str());
        listed.or(option.map(String::as_str))
    }

    /// The first role that the command line names several columns for, and these. Responses may be in several.
    pub(super) fn named_twice(&self) -> Option<(&'static str, Vec<String>)> {
        let options = [
            (Role::Prompt, &self.prompt_column),
            (Role::Response, &self.response_column),
            (Role::Responses, &self.responses_column),
            (Role::Conversation, &self.messages_column),
            (Role::Chosen, &self.chosen_column),
            (Role::Rejected, &self.rejected_column),
        ];
        let mut single = ROLES.iter().filter(|(_, role)| *role != Role::Responses);
        single.find_map(|(name, role)| {
            let listed = self.columns.iter().filter(|named| named.role == *role).map(|named| &named.column);
            let option =
                options.iter().filter(|(other, _)| other == role).filter_map(|(_, column)| column.as_ref());
            let columns: Vec<String> = listed.chain(option).cloned().collect();
            (columns.len() > 1).then_some((*name, columns))
        })
    }

    pub(super) fn prompt(&self) -> Option<&str> {
        self.named(Role::Prompt, self.prompt_column.as_ref())
    }

    pub(super) fn response(&self) -> Option<&str> {
        self.named(Role::Response, self.response_column.as_ref())
    }

    /// All columns that are named for responses.
    pub(super) fn responses_columns(&self) -> Vec<&str> {
        let listed = self.columns.iter().filter(|name| name.role == Role::Responses);
        let listed = listed.map(|name| name.column.as_str());
        listed.chain(self.responses_column.as_deref()).collect()
    }

    pub(super) fn responses(&self) -> Option<&str> {
        self.named(Role::Responses, self.responses_column.as_ref())
    }

    pub(super) fn conversation(&self) -> Option<&str> {
        self.named(Role::Conversation, self.messages_column.as_ref())
    }

    pub(super) fn chosen(&self) -> Option<&str> {
        self.named(Role::Chosen, self.chosen_column.as_ref())
    }

    pub(super) fn rejected(&self) -> Option<&str> {
        self.named(Role::Rejected, self.rejected_column.as_ref())
    }

    pub(super) fn system(&self) -> Option<&str> {
        self.named(Role::System, None)
    }

    /// The columns that are named, with what they are named for.
    pub(super) fn all(&self) -> Vec<(&'static str, &str)> {
        let mut named = vec![("prompt", self.prompt()), ("response", self.response())];
        named.extend(self.responses_columns().into_iter().map(|column| ("responses", Some(column))));
        named.extend([
            ("conversation", self.conversation()),
            ("chosen", self.chosen()),
            ("rejected", self.rejected()),
            ("system", self.system()),
        ]);
        named.into_iter().filter_map(|(role, column)| Some((role, column?))).collect()
    }
}
