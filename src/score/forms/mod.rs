//! The forms in which data files hold conversations: one table, and one file for each form or family of forms.
//!
//! A form looks at the columns of a row (`RowView`) and finds its conversations (`Found`). The table in
//! docs/score.md is made from `FORMS`; a test reads the example of each.

mod answered;
mod arena;
mod argilla;
mod conversation;
mod distilabel;
mod found;
mod helpsteer3;
mod hhh_alignment;
mod labelled;
mod layout;
mod lists;
mod math_shepherd;
mod ms_swift;
mod names;
mod nectar;
mod oasst;
mod openai;
mod pair;
mod prm800k;
mod process_bench;
mod prometheus;
mod response;
mod response_columns;
mod responses;
mod stepwise;
mod table;
mod template_variables;
#[cfg(test)]
mod tests;
mod ultrafeedback;
mod ultrainteract;
mod view;
mod webgpt;

pub(super) use found::Found;
pub use layout::{FormArgs, RowLayout};
pub use names::{ColumnName, ColumnNameError, ColumnNames};
pub use table::table;

use self::view::RowView;
use super::ConversationError;

/// How the responses of a row belong together; it decides the names of the added columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Holds {
    /// One conversation.
    One,
    /// One conversation, whose last turn is made of steps.
    Steps,
    /// Several responses to one prompt.
    Group,
    /// A chosen and a rejected response.
    Pair,
    /// A list of chosen and a list of rejected responses.
    Lists,
}

/// A form of rows.
pub(super) struct Form {
    /// What `--form` calls it.
    pub(super) name: &'static str,
    /// Data sets that are published in it.
    pub(super) data_sets: &'static [&'static str],
    /// The columns that it is known by, in Markdown.
    pub(super) columns: &'static str,
    pub(super) holds: Holds,
    /// Whether a row is in this form.
    pub(super) fits: fn(&RowView) -> bool,
    /// Finds the conversations of a row.
    pub(super) read: fn(&RowView) -> Result<Found, ConversationError>,
    /// Columns that repeat what other columns say, and need no warning if they are not read.
    pub(super) repeated: &'static [&'static str],
    /// A row in this form, as JSON.
    pub(super) example: &'static str,
}

/// Every form, the most particular first: a row is in the first that fits.
pub(super) static FORMS: &[&Form] = &[
    &openai::PREFERENCE,
    &helpsteer3::PREFERENCE,
    &helpsteer3::EDIT_QUALITY,
    &helpsteer3::EDIT,
    &helpsteer3::FEEDBACK,
    &prometheus::PREFERENCE,
    &prometheus::FEEDBACK,
    &hhh_alignment::HHH_ALIGNMENT,
    &labelled::HELPSTEER2_PREFERENCE,
    &labelled::PKU_SAFERLHF,
    &labelled::SHP,
    &labelled::JUDGEBENCH,
    &webgpt::WEBGPT,
    &arena::CONVERSATIONS,
    &arena::RESPONSES,
    &nectar::NECTAR,
    &ultrainteract::ULTRAINTERACT,
    &prm800k::PRM800K,
    &math_shepherd::MATH_SHEPHERD,
    &process_bench::PROCESS_BENCH,
    &stepwise::STEPWISE,
    &oasst::TREE,
    &oasst::MESSAGE,
    &ultrafeedback::ULTRAFEEDBACK,
    &argilla::ARGILLA,
    &distilabel::GENERATIONS,
    &ms_swift::REJECTED,
    &lists::LISTS,
    &pair::PAIR,
    &responses::RESPONSES,
    &response_columns::RESPONSE_COLUMNS,
    &response::RESPONSE,
    &conversation::CONVERSATION,
];

/// The form of this name.
pub(super) fn find(name: &str) -> Option<&'static Form> {
    FORMS.iter().copied().find(|form| form.name == name)
}
