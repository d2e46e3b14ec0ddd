//! Why a run of `assay score` or `assay eval` stops, and why one conversation has no scores.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::conversation::looks_printed;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Why a run stopped early. A failure that concerns one row only is written to that row instead.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages name the fields")]
pub enum ScoreError {
    /// A file cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file; `-` is standard input.
        path: PathBuf,
        /// What went wrong, with the line or row if there is one.
        source: BoxError,
    },
    /// One row cannot be read; the rows after it may still be.
    #[error("{}, {place}: {source}", path.display())]
    Row {
        /// The file; `-` is standard input.
        path: PathBuf,
        /// The line or row, counted from 1.
        place: String,
        source: BoxError,
        /// The row as it is in the file, if it is text.
        text: String,
    },
    /// A file cannot be written.
    #[error("cannot write {}: {source}", path.display())]
    Write { path: PathBuf, source: BoxError },
    /// The output cannot be written; the journal has the rows.
    #[error(
        "cannot write {}: {source}; the scored rows are in {}: make room, and run the same command again to write them",
        path.display(),
        journal.display()
    )]
    Output { path: PathBuf, source: BoxError, journal: PathBuf },
    /// The journal cannot be written.
    #[error(
        "cannot write {}: {source}; the rows up to here are in it: make room, and run the same command again to \
         continue, or delete it",
        path.display()
    )]
    Journal { path: PathBuf, source: std::io::Error },
    /// No input was named.
    #[error("no input; name a file, or `-` for standard input")]
    NoInput,
    /// The name of a file does not tell its format.
    #[error("{}: unknown file format; use a name that ends in .jsonl, .json, .csv, .tsv or .parquet, the first four also followed by .gz or .zst", _0.display())]
    UnknownFormat(PathBuf),
    /// The first row has no columns that are known to hold conversations.
    #[error(
        "the first row has the columns {}, which fit no form that is known to hold conversations; name them, for \
         example with --columns prompt=TASK,response=RESULT (see docs/score.md)",
        _0.join(", ")
    )]
    NoConversations(Vec<String>),
    /// The command line names a column that the first row does not have.
    #[error("the first row has no column `{column}` for the {role}; it has {}", columns.join(", "))]
    NoSuchColumn {
        /// What it is named for.
        role: &'static str,
        column: String,
        columns: Vec<String>,
    },
    /// The command line names two columns for one thing.
    #[error("--columns names several columns for the {role} ({}); name one", columns.join(", "))]
    ColumnTwice {
        /// What they are named for.
        role: &'static str,
        columns: Vec<String>,
    },
    /// `--form` names no form.
    #[error("there is no form `{name}`; --form takes {}", known.join(", "))]
    UnknownForm { name: String, known: Vec<&'static str> },
    /// `--form` names a form that the first row is not in.
    #[error("the first row is not of the form {form}: it has the columns {}, and such a row is {example}", columns.join(", "))]
    WrongForm {
        form: &'static str,
        /// Columns of the row.
        columns: Vec<String>,
        /// A row of the form.
        example: &'static str,
    },
    /// The rows hold steps, and the model scores whole conversations.
    #[error(
        "each row has {form}, and {model} does not score steps; use a process reward model, or read the rows in another \
         way with --form"
    )]
    NotStepwise {
        model: String,
        /// The form of the rows.
        form: String,
    },
    /// `assay eval` got rows without pairs.
    #[error(
        "`assay eval` needs to know which responses are better, and each row has {0}; name the columns of a pair \
         with --columns chosen=GOOD,rejected=BAD"
    )]
    NotPairs(String),
    /// `assay eval --label` got rows with several conversations.
    #[error(
        "--label needs one conversation in each row, and each row has {0}; leave it out, or name other --columns"
    )]
    NotOneConversation(String),
    /// The column of the labels is missing.
    #[error("--label {0}: the rows have no such column; name the one with the labels")]
    NoLabel(String),
    /// The column of the labels holds something else than numbers.
    #[error(
        "--label {label}: the first row has {found} there, which is not a number; name a column of numbers"
    )]
    NotANumber {
        label: String,
        /// The start of what it holds.
        found: String,
    },
    /// An input already has a column of the name of an added one.
    #[error("{} already has a column `{column}`; choose other names for the added columns with --prefix", path.display())]
    ColumnExists { path: PathBuf, column: String },
    /// A file would be replaced by what is made of it.
    #[error("{} is the input; choose another --output", _0.display())]
    OutputIsInput(PathBuf),
    /// An input is not of the form of those before it.
    #[error("{}: each row has {found}, and rows of the earlier inputs have {expected}; score them in two runs, or \
             choose one form with --form", path.display())]
    OtherForm { path: PathBuf, found: String, expected: String },
    /// `assay report` found no scores.
    #[error(
        "{} has no numbers in columns {}; score it with `assay score` first, or set --prefix and --attributes",
        path.display(),
        if names.is_empty() { format!("whose names start with `{prefix}`") } else { names.join(", ") }
    )]
    NotScored {
        path: PathBuf,
        /// What the names of score columns were expected to start with.
        prefix: String,
        /// The columns that were named, if any were.
        names: Vec<String>,
    },
    /// `assay report` cannot tell scores from other columns.
    #[error(
        "with an empty --prefix, scores cannot be told from other columns; name them, for example with \
         --attributes helpfulness,correctness"
    )]
    UnnamedScores,
    /// `--by` names a score that the model does not have.
    #[error("--by names `{by}`, but the scores are {}", known.join(", "))]
    UnknownAttribute {
        /// What `--by` names.
        by: String,
        /// Attributes of the model.
        known: Vec<String>,
    },
    /// `--filter` names a score that the rows do not have.
    #[error("--filter names `{name}`, but the scores are {}", known.join(", "))]
    UnknownScore {
        /// The name in the filter.
        name: String,
        /// Scores of the row.
        known: Vec<String>,
    },
    /// `--filter` names scores of several responses.
    #[error(
        "--filter names `{0}`, which is a list in each row; use `margin`, or --best-of, after which each row has one \
         response"
    )]
    ListOfScores(String),
    /// The engine or the server cannot be used; the text says why and what to do.
    #[error("{0}")]
    Setup(BoxError),
    /// The engine or the server stopped working.
    #[error("{0}; run the same command again to continue from here")]
    Gone(BoxError),
    /// The output exists.
    #[error(
        "{} already exists: a finished run wrote it, or it is another file; delete it, or choose another --output",
        _0.display()
    )]
    OutputExists(PathBuf),
    /// There is no folder for the output.
    #[error("--output: there is no folder {}; make it, or choose another --output", _0.display())]
    NoFolder(PathBuf),
    /// Another process is writing the journal.
    #[error("another run is writing {}; wait for it to finish", _0.display())]
    JournalInUse(PathBuf),
    /// There is another file where the journal should be.
    #[error("{} is not a journal of `assay score`; move it away", _0.display())]
    NotAJournal(PathBuf),
    /// The journal is of a run with other inputs or options.
    #[error(
        "{} holds rows of another run (different {difference}); repeat that run's inputs and options to continue \
         it, choose another --output, or delete the file to start over",
        path.display()
    )]
    OtherRun { path: PathBuf, difference: &'static str },
    /// A row of the inputs is not the one that the journal has in its place.
    #[error(
        "row {0} of the inputs differs from the row that was scored there; give the inputs of the interrupted run, \
         or delete the .partial file to start over"
    )]
    InputChanged(usize),
    /// The journal has more rows than the inputs.
    #[error(
        "the inputs end {0} rows before the rows that are already scored; give the inputs of the interrupted run, \
         or delete the .partial file to start over"
    )]
    InputShorter(usize),
}

impl ScoreError {
    pub(super) fn read(path: &Path, source: impl Into<BoxError>) -> Self {
        Self::Read { path: path.to_owned(), source: source.into() }
    }

    pub(super) fn write(path: &Path, source: impl Into<BoxError>) -> Self {
        Self::Write { path: path.to_owned(), source: source.into() }
    }
}

/// Why a row does not hold a conversation where its form says so.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the messages name the fields")]
pub enum ConversationError {
    /// The column is missing or null.
    #[error("the row has no `{0}`")]
    Missing(String),
    /// The column has a value that is not JSON as it should be.
    #[error("`{column}` cannot be read: {reason}; write it as valid Unicode, nested less than 128 deep")]
    Unreadable { column: String, reason: String },
    /// The column holds bytes.
    #[error("`{0}` holds bytes that are not a text in UTF-8; convert it to one")]
    Bytes(String),
    /// The column holds something else than a text.
    #[error("`{0}` is neither a text nor a number; write it as a text, or rename the column")]
    NotPlain(String),
    /// The column holds a text that is not a dialogue.
    #[error(
        "`{0}` is not a dialogue such as `Human: ... Assistant: ...`; name a column of messages, for example with \
         --columns conversation=NAME"
    )]
    NotADialogue(String),
    /// The column should hold several responses.
    #[error("`{0}` is not a list")]
    NotAList(String),
    /// The column holds no text or no messages.
    #[error("`{0}` is empty")]
    Empty(String),
    /// The column holds something else.
    #[error("`{0}` is neither text nor a list of messages")]
    NotText(String),
    /// The column should hold texts.
    #[error("`{0}` is not a list of texts")]
    NotTexts(String),
    /// The column holds the start of a list of messages that Python printed.
    #[error(
        "`{0}` looks like messages that Python printed, and some of them are missing or malformed; write them as JSON"
    )]
    Printed(String),
    /// The column should hold earlier exchanges.
    #[error("`{0}` is not a list of pairs of a question and its answer")]
    History(String),
    /// Two columns have different system prompts.
    #[error("`{0}` starts with a system prompt, and the row has another one in a column of its own")]
    TwoSystems(String),
    /// The last turn is not a response.
    #[error(
        "`{column}` ends with a turn of the {role}, which is not a response; score it anyway with \
         --allow-unanswered"
    )]
    Unanswered {
        column: String,
        /// The role of the last turn.
        role: String,
    },
    /// The row's response is made of steps.
    #[error("`{0}` has steps, and the model scores whole responses")]
    Steps(String),
    /// A step would be taken for several.
    #[error(
        "step {step} of `{column}` contains {token:?}, which ends a step of this model, so that it would become several; \
         replace it in the text of steps"
    )]
    StepHoldsEnd { column: String, step: usize, token: String },
    /// The row's tools cannot be given to the chat template.
    #[error(
        "`tools` is neither a list of objects nor the JSON of one; rename the column if it holds something else"
    )]
    NotTools,
    /// The row's variables cannot be given to the chat template.
    #[error("`chat_template_kwargs` is neither an object nor the JSON of one")]
    NotVariables,
    /// One of them cannot.
    #[error("`chat_template_kwargs.{name}` {reason}")]
    Variable { name: String, reason: String },
    /// There should be steps.
    #[error("`{0}` has no steps")]
    NoSteps(String),
    /// There are more questions than answers, or fewer.
    #[error("`{0}` does not have as many turns as the prompt")]
    Turns(String),
    /// The prompt ends with a response already.
    #[error(
        "`{0}` would be a second turn of the assistant, since the prompt ends with one; if the prompt holds the whole \
         conversation, read it with --form conversation, else take its last turn out"
    )]
    Answered(String),
    /// Responses that are compared answer different prompts.
    #[error(
        "its prompt differs from that of the responses that it is compared with; give all of them the same prompt"
    )]
    OtherPrompt,
    /// The row has a column that would change its scores, and that the model cannot use.
    #[error("the row has a `{column}`, {reason}")]
    Criterion {
        column: &'static str,
        /// Why, and what to do.
        reason: &'static str,
    },
    /// Each row is only a part of a conversation.
    #[error("{0}")]
    NotAConversation(&'static str),
    /// A message in the column is malformed.
    #[error("`{0}` contains a message that lacks a `role` or a text `content`")]
    Message(String),
    /// Texts in the place of messages.
    #[error(
        "`{0}` is a list of texts, which does not say who wrote each; write messages with `role` and `content`"
    )]
    Texts(String),
    /// Neither the response nor another column holds the prompt.
    #[error("`{0}` contains no prompt, and there is no prompt column; name one with --columns prompt=NAME")]
    NoPrompt(String),
}

impl ConversationError {
    /// Why `value` does not have the turns of a conversation.
    pub(super) fn from_turns(value: &Value, column: &str) -> Self {
        let column = column.to_owned();
        match value {
            Value::Object(fields) if fields.len() == 1 && fields.contains_key("hex") => Self::Bytes(column),
            Value::Array(items) if !items.is_empty() && items.iter().all(Value::is_string) => {
                Self::Texts(column)
            }
            Value::Array(_) | Value::Object(_) => Self::Message(column),
            Value::String(text) if looks_printed(text) => Self::Printed(column),
            _ => Self::NotText(column),
        }
    }
}

/// Why one conversation has no scores, while others may have them.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unscored {
    /// The row does not hold it.
    #[error(transparent)]
    Row(#[from] ConversationError),
    /// The engine or the server refused it, in its own words.
    #[error("{0}")]
    Refused(String),
}
