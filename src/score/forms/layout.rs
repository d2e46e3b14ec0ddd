//! Which form the rows of a run are in.

use std::fmt;
use std::path::PathBuf;

use super::super::rows::InputKinds;
use super::super::{Cell, ConversationError, Row, ScoreError};
use super::names::{ColumnNames, is_suspect};
use super::view::{ReadOptions, RowView};
use super::{FORMS, Form, Found, Holds, template_variables};

/// How rows are read, from the command line.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct FormArgs {
    /// Form of the rows, by its name in docs/score.md [default: the first that fits the columns]
    #[arg(long, value_name = "NAME")]
    pub form: Option<String>,
    #[command(flatten)]
    #[expect(missing_docs, reason = "clap would take it for help")]
    pub names: ColumnNames,
    /// Also score conversations that end with a user's or system's turn
    #[arg(long)]
    pub allow_unanswered: bool,
    /// What the formats of the inputs say.
    #[arg(skip)]
    pub inputs: InputKinds,
}

impl FormArgs {
    /// The same arguments, for the rows of these files.
    pub(in crate::score) fn for_inputs(&self, inputs: &[PathBuf]) -> Self {
        Self { inputs: InputKinds::new(inputs), ..self.clone() }
    }
}

/// The form of the rows of a run, and how they are read.
#[derive(Clone)]
pub struct RowLayout {
    form: &'static Form,
    options: ReadOptions,
    /// Whether the command line names the form.
    is_chosen: bool,
    /// Other forms that fit the row, by name.
    others: Vec<&'static str>,
}

impl RowLayout {
    /// Finds the form of a row: the one that the command line names, or the first that fits.
    ///
    /// # Errors
    /// No form has this name, or none fits.
    pub fn detect(row: &Row, arguments: &FormArgs) -> Result<Self, ScoreError> {
        let options = ReadOptions {
            names: arguments.names.clone(),
            allow_unanswered: arguments.allow_unanswered,
            step_token: None,
            shows_steps: false,
            inputs: InputKinds {
                // Who names a form knows what its columns hold.
                lists_in_texts: arguments.inputs.lists_in_texts || arguments.form.is_some(),
                ..arguments.inputs.clone()
            },
        };
        if let Some((role, columns)) = options.names.named_twice() {
            return Err(ScoreError::ColumnTwice { role, columns });
        }
        let view = RowView::new(row, &options);
        for (role, column) in options.names.all() {
            if !view.has(column) {
                let columns = row.names().map(str::to_owned).collect();
                return Err(ScoreError::NoSuchColumn { role, column: column.to_owned(), columns });
            }
        }
        if let Some(name) = &arguments.form {
            let form = super::find(name).ok_or_else(|| ScoreError::UnknownForm {
                name: name.clone(),
                known: FORMS.iter().map(|form| form.name).collect(),
            })?;
            return Ok(Self { form, options, is_chosen: true, others: Vec::new() });
        }
        let named = options.names.all();
        let mut fitting = FORMS.iter().copied().filter(|form| {
            // Names of columns only make sense for the forms that have such columns.
            named.iter().all(|(role, _)| form.roles().contains(role)) && (form.fits)(&view)
        });
        let form = fitting
            .next()
            .ok_or_else(|| ScoreError::NoConversations(row.names().map(str::to_owned).collect()))?;
        let others = fitting.filter(|other| other.roles().is_empty()).map(|other| other.name).collect();
        Ok(Self { form, options, is_chosen: false, others })
    }

    /// Checks the first row if the command line names its form.
    ///
    /// # Errors
    /// [`ScoreError::WrongForm`].
    pub(in crate::score) fn check_chosen(&self, row: &Row) -> Result<(), ScoreError> {
        let fits = (self.form.fits)(&RowView::new(row, &self.options));
        if !self.is_chosen || fits {
            return Ok(());
        }
        let columns = row.names().map(str::to_owned).collect();
        Err(ScoreError::WrongForm { form: self.form.name, columns, example: self.form.example })
    }

    /// How the responses of a row belong together.
    pub(in crate::score) fn holds(&self) -> Holds {
        self.form.holds
    }

    /// The conversations of a row.
    ///
    /// # Errors
    /// The row holds none.
    pub(in crate::score) fn found(&self, row: &Row) -> Result<Found, ConversationError> {
        self.found_in(&RowView::new(row, &self.options))
    }

    fn found_in(&self, view: &RowView<'_>) -> Result<Found, ConversationError> {
        Ok(Found { variables: template_variables::read(view)?, ..(self.form.read)(view)? })
    }

    /// Whether a row holds a conversation that can be scored.
    pub(in crate::score) fn has_conversation(&self, row: &Row) -> bool {
        self.unread(row).is_some()
    }

    /// Number of conversations of a row; 0 if it holds none.
    pub fn count_conversations(&self, row: &Row) -> usize {
        self.found(row).map_or(0, |found| found.candidates.len())
    }

    /// Sets the token that the model reads after each step.
    pub(in crate::score) fn set_step_token(&mut self, token: Option<&str>) {
        self.options.step_token = token.map(str::to_owned);
    }

    /// Lets steps be read without a model that scores them.
    pub(in crate::score) fn show_steps(&mut self) {
        self.options.shows_steps = true;
    }

    /// Columns of a row that look like a part of the conversation and are not read; `None` if the row holds no
    /// conversation that can be scored, which it says itself.
    pub(in crate::score) fn unread(&self, row: &Row) -> Option<Vec<String>> {
        let options = ReadOptions { shows_steps: true, ..self.options.clone() };
        let view = RowView::new(row, &options);
        let found = self.found_in(&view).ok()?;
        if !found.candidates.iter().any(|candidate| candidate.turns.is_ok()) {
            return None;
        }
        let read = view.columns_read();
        let is_unread = |name: &&str| !read.contains(*name) && !self.form.repeated.contains(name);
        Some(self.suspects(row).filter(is_unread).map(str::to_owned).collect())
    }

    /// Columns of a row that look like a part of the conversation, and are not empty.
    pub(in crate::score) fn suspects<'a>(&self, row: &'a Row) -> impl Iterator<Item = &'a str> + use<'a> {
        let is_empty = |cell: &Cell| cell.is_null() || matches!(cell.json(), "\"\"" | "[]");
        let named = row.columns().filter(move |(_, cell)| !is_empty(cell)).map(|(name, _)| name);
        named.filter(|name| is_suspect(name))
    }

    /// Other forms that the row might be in.
    pub(in crate::score) fn others(&self) -> &[&'static str] {
        &self.others
    }

    /// What a journal remembers of it.
    pub(in crate::score) fn identity(&self) -> String {
        let names: Vec<String> =
            self.options.names.all().into_iter().map(|(role, column)| format!("{role}={column}")).collect();
        let unanswered = if self.options.allow_unanswered { ", unanswered too" } else { "" };
        format!("{} ({}){unanswered}", self.form.name, names.join(","))
    }

    /// Prefix of an error of the response at `index`, which tells it from the others of its row.
    pub(in crate::score) fn error_prefix(&self, index: usize, responses: usize, chosen: usize) -> String {
        match self.form.holds {
            Holds::One | Holds::Steps => String::new(),
            Holds::Group => format!("response {} of {responses}: ", index + 1),
            Holds::Pair => ["chosen: ", "rejected: "][index.min(1)].into(),
            Holds::Lists if index < chosen => format!("chosen {} of {chosen}: ", index + 1),
            Holds::Lists => format!("rejected {} of {}: ", index + 1 - chosen, responses - chosen),
        }
    }
}

impl Form {
    /// What the command line may name columns for: the forms whose columns have various names have such.
    fn roles(&self) -> &'static [&'static str] {
        match self.name {
            "pair" | "lists" => &["prompt", "chosen", "rejected", "system"],
            "responses" => &["prompt", "responses", "system"],
            "response-columns" => &["prompt", "responses", "system"],
            "response" => &["prompt", "response", "system"],
            "conversation" => &["conversation", "system"],
            _ => &[],
        }
    }
}

impl fmt::Display for RowLayout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let holds = match self.form.holds {
            Holds::One => "a conversation",
            Holds::Steps => "a response in steps",
            Holds::Group => "a prompt and several responses",
            Holds::Pair => "a chosen and a rejected response",
            Holds::Lists => "lists of chosen and rejected responses",
        };
        write!(f, "{holds} (form {})", self.form.name)
    }
}

impl fmt::Debug for RowLayout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.identity())
    }
}
