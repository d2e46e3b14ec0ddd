//! The options of a command as Markdown, for `docs/options.md`.

use clap::{Arg, Command};

/// The sections of `command` and of its subcommands: a table for each heading, and notes below it.
pub(super) fn options(mut command: Command) -> String {
    command.build();
    let mut text = String::new();
    write_command(&command, &mut text);
    text
}

fn write_command(command: &Command, text: &mut String) {
    let listed: Vec<&Arg> = command.get_arguments().filter(|argument| is_listed(argument)).collect();
    if !listed.is_empty() {
        let name = command.get_bin_name().unwrap_or(command.get_name());
        *text += &format!("\n## `{name}`\n");
        if let Some(about) = command.get_about() {
            *text += &format!("\n{about}.\n");
        }
    }
    let mut headings: Vec<Option<&str>> = Vec::new();
    for argument in &listed {
        if !headings.contains(&argument.get_help_heading()) {
            headings.push(argument.get_help_heading());
        }
    }
    for heading in headings {
        if let Some(heading) = heading {
            *text += &format!("\n### {heading}\n");
        }
        write_table(listed.iter().copied().filter(|argument| argument.get_help_heading() == heading), text);
    }
    // The introduction of the page names the commands that document the others.
    let documenting = ["completions", "man", "markdown", "help"];
    for subcommand in command.get_subcommands().filter(|command| !documenting.contains(&command.get_name())) {
        write_command(subcommand, text);
    }
}

fn is_listed(argument: &Arg) -> bool {
    !argument.is_hide_set() && !["help", "version"].contains(&argument.get_id().as_str())
}

fn write_table<'a>(arguments: impl Iterator<Item = &'a Arg>, text: &mut String) {
    *text += "\n| Option | Default | Description |\n|---|---|---|\n";
    let mut all_notes = String::new();
    for argument in arguments {
        let help =
            argument.get_long_help().or(argument.get_help()).map(ToString::to_string).unwrap_or_default();
        let (summary, default) = split_default(help.split("\n\n").next().unwrap_or_default());
        let default = default.or_else(|| default_values(argument)).unwrap_or_default();
        *text += &cells(&[&code(&usage(argument)), &default, summary]);
        let notes = notes(argument);
        if !notes.is_empty() {
            all_notes += &format!("- {}: {notes}\n", code(&flag(argument)));
        }
    }
    if !all_notes.is_empty() {
        *text += &format!("\n{all_notes}");
    }
}

fn cells(cells: &[&str]) -> String {
    let cells: Vec<_> = cells.iter().map(|cell| cell.replace('|', "\\|")).collect();
    format!("| {} |\n", cells.join(" | ")).replace("|  |", "| |")
}

fn code(text: &str) -> String {
    format!("`{text}`")
}

/// The option as it is written, `--port`, or the name of a positional argument.
fn flag(argument: &Arg) -> String {
    match argument.get_long() {
        Some(long) => format!("--{long}"),
        None => usage(argument),
    }
}

/// The option with its value, `--port <PORT>`.
fn usage(argument: &Arg) -> String {
    let usage = argument.to_string();
    match argument.get_short() {
        Some(short) => format!("-{short}, {usage}"),
        None => usage,
    }
}

/// Splits `Text [default: value]`.
fn split_default(help: &str) -> (&str, Option<String>) {
    let split = help.strip_suffix(']').and_then(|help| help.split_once(" [default: "));
    match split {
        Some((summary, default)) => (summary, Some(default.to_owned())),
        None => (help, None),
    }
}

fn default_values(argument: &Arg) -> Option<String> {
    let takes_value = argument.get_action().takes_values();
    let values: Vec<_> = argument.get_default_values().iter().map(|value| value.to_string_lossy()).collect();
    (takes_value && !values.is_empty()).then(|| values.join(", "))
}

/// What `--help` says besides the summary: its further paragraphs, the values, and the variables.
fn notes(argument: &Arg) -> String {
    let help = argument.get_long_help().map(ToString::to_string).unwrap_or_default();
    let mut notes = Vec::new();
    let mut variables: Vec<String> =
        argument.get_env().map(|name| name.to_string_lossy().into()).into_iter().collect();
    for paragraph in help.split("\n\n").skip(1) {
        if let Some(names) = paragraph.strip_prefix("[env: ").and_then(|rest| rest.strip_suffix(']')) {
            // The first follows a rule that the page states once.
            variables.extend(names.split(", ").skip(1).map(str::to_owned));
        } else if !paragraph.starts_with("Values:") {
            notes.push(paragraph.to_owned());
        }
    }
    if argument.get_action().takes_values() {
        notes.extend(values(argument));
    }
    if !variables.is_empty() {
        let names: Vec<_> = variables.iter().map(|name| code(name)).collect();
        let label = if names.len() == 1 { "Variable" } else { "Variables" };
        notes.push(format!("{label}: {}.", names.join(", ")));
    }
    notes.join(" ")
}

/// The values that the option takes, if it lists them.
fn values(argument: &Arg) -> Option<String> {
    let values: Vec<_> = argument
        .get_possible_values()
        .into_iter()
        .map(|value| match value.get_help() {
            Some(help) => format!("`{}` ({})", value.get_name(), lower_first(&help.to_string())),
            None => code(value.get_name()),
        })
        .collect();
    (!values.is_empty()).then(|| format!("Values: {}.", values.join(", ")))
}

/// Continues a sentence with `text`. A name in capitals stays.
fn lower_first(text: &str) -> String {
    let mut characters = text.chars();
    match (characters.next(), characters.clone().next()) {
        (Some(first), Some(second)) if second.is_lowercase() => {
            first.to_lowercase().chain(characters).collect()
        }
        _ => text.to_owned(),
    }
}
