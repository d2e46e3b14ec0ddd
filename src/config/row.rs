//! The parts of a row of the table of options, and the macro that derives everything else from the rows.

use clap::builder::{PossibleValue, TypedValueParser};
use clap::error::Error;
use clap::{Arg, ArgAction, ArgMatches, Command};

use super::InvalidValue;
use super::values::Value;

/// The variable of an option is this and the option's name in capitals.
pub(super) const PREFIX: &str = "ASSAY_";

/// Changes the value of one of NIM's variables into what the option takes.
pub(super) type FromNim = fn(&str) -> Result<String, InvalidValue>;

/// The type of a field of [`super::Settings`]: a value, an optional value or a list of values.
pub trait Setting: Sized {
    /// What a source of options gives.
    type Given;
    /// A single value.
    type Item;
    /// Whether an option takes several values.
    const MANY: bool;

    /// Combines the values that one source gives; `None` if there are none.
    fn given(items: Vec<Self::Item>) -> Option<Self::Given>;

    /// Uses what a source gave.
    fn from_given(given: Self::Given) -> Self;

    /// The text that help shows for a default; `None` to show nothing.
    fn shown(&self) -> Option<String>;
}

impl<T: Value> Setting for T {
    type Given = T;
    type Item = T;
    const MANY: bool = false;

    fn given(mut items: Vec<T>) -> Option<T> {
        items.pop()
    }

    fn from_given(given: T) -> Self {
        given
    }

    fn shown(&self) -> Option<String> {
        Value::shown(self)
    }
}

impl<T: Value> Setting for Option<T> {
    type Given = T;
    type Item = T;
    const MANY: bool = false;

    fn given(mut items: Vec<T>) -> Option<T> {
        items.pop()
    }

    fn from_given(given: T) -> Self {
        Some(given)
    }

    fn shown(&self) -> Option<String> {
        self.as_ref().and_then(Value::shown)
    }
}

impl<T: Value> Setting for Vec<T> {
    type Given = Self;
    type Item = T;
    const MANY: bool = true;

    fn given(items: Self) -> Option<Self> {
        Some(items)
    }

    fn from_given(given: Self) -> Self {
        given
    }

    fn shown(&self) -> Option<String> {
        None
    }
}

/// One option.
pub(super) struct Row<S: Setting> {
    /// The name in YAML. On the command line it has `-` for `_`, in the environment it is in capitals.
    pub(super) name: &'static str,
    pub(super) heading: &'static str,
    /// The doc comment, line by line. The first paragraph is the short help, the rest is shown by `--help` only.
    pub(super) doc: &'static [&'static str],
    pub(super) default: S,
    /// What help says about the default of an option that has none of its own.
    pub(super) unset: &'static str,
    pub(super) value_name: &'static str,
    pub(super) parse: fn(&str) -> Result<S::Item, InvalidValue>,
    /// Whether a value may begin with `-`.
    pub(super) hyphens: bool,
    /// Other names, which work in every source but are not listed.
    pub(super) aliases: &'static [&'static str],
    /// NIM's variables for this option; the first that is set is used.
    pub(super) nim: &'static [(&'static str, FromNim)],
}

impl<S: Setting<Item: Value>> Row<S> {
    pub(super) fn new(
        name: &'static str,
        heading: &'static str,
        doc: &'static [&'static str],
        default: S,
    ) -> Self {
        let (unset, value_name, parse) = ("", "", S::Item::parse);
        Self { name, heading, doc, default, unset, value_name, parse, hyphens: false, aliases: &[], nim: &[] }
    }

    pub(super) fn argument(&self) -> Arg {
        let described = self.describe();
        let argument = Arg::new(self.name)
            .long(described.flag())
            .aliases(self.aliases.iter().map(|name| name.replace('_', "-")))
            .value_name(self.value_name)
            .hide_possible_values(true)
            .value_parser(ItemParser(self.parse))
            .allow_hyphen_values(self.hyphens)
            .help_heading(self.heading)
            .help(described.short_help())
            .long_help(described.long_help());
        if S::MANY {
            argument.action(ArgAction::Append).num_args(1..).value_delimiter(S::Item::DELIMITER)
        } else if let Some(value) = S::Item::WITHOUT_VALUE {
            argument.num_args(0..=1).default_missing_value(value)
        } else {
            argument
        }
    }

    pub(super) fn take_from(&self, matches: &mut ArgMatches) -> Option<S::Given> {
        matches.remove_many::<S::Item>(self.name).and_then(|items| S::given(items.collect()))
    }

    pub(super) fn read(&self, texts: &[String]) -> Result<Option<S::Given>, InvalidValue> {
        let items: Result<Vec<_>, _> = texts.iter().map(|text| (self.parse)(text)).collect();
        Ok(S::given(items?))
    }

    pub(super) fn describe(&self) -> Described {
        let text = |lines: &[&str]| lines.iter().map(|line| line.trim()).collect::<Vec<_>>().join(" ");
        let mut paragraphs = self.doc.split(|line| line.trim().is_empty()).map(text);
        Described {
            name: self.name,
            summary: paragraphs.next().unwrap_or_default(),
            details: paragraphs.collect::<Vec<_>>().join("\n\n"),
            default: self.default.shown(),
            unset: self.unset,
            choices: S::Item::choices(),
            aliases: self.aliases,
            nim: self.nim,
            delimiter: S::MANY.then_some(S::Item::DELIMITER),
        }
    }
}

/// A row without the types of its values.
pub(super) struct Described {
    pub(super) name: &'static str,
    pub(super) summary: String,
    pub(super) details: String,
    pub(super) default: Option<String>,
    unset: &'static str,
    choices: Vec<PossibleValue>,
    pub(super) aliases: &'static [&'static str],
    pub(super) nim: &'static [(&'static str, FromNim)],
    /// What separates the values of an option that takes several.
    pub(super) delimiter: Option<char>,
}

impl Described {
    /// The name on the command line, without the dashes before it.
    pub(super) fn flag(&self) -> String {
        self.name.replace('_', "-")
    }

    /// The name and its aliases, as YAML has them.
    pub(super) fn names(&self) -> impl Iterator<Item = &'static str> {
        std::iter::once(self.name).chain(self.aliases.iter().copied())
    }

    /// One line for `-h`.
    fn short_help(&self) -> String {
        match &self.default {
            Some(default) => format!("{} [default: {default}]", self.summary),
            None => self.summary.clone(),
        }
    }

    /// Everything, for `--help`.
    fn long_help(&self) -> String {
        let mut paragraphs = vec![self.short_help()];
        if self.default.is_none() && !self.unset.is_empty() {
            paragraphs[0] += &format!(" [default: {}]", self.unset);
        }
        if !self.details.is_empty() {
            paragraphs.push(self.details.clone());
        }
        if !self.choices.is_empty() {
            let choice = |value: &PossibleValue| {
                let help = value.get_help().map(ToString::to_string).unwrap_or_default();
                format!("\n- {}: {help}", value.get_name())
            };
            paragraphs.push(format!("Values:{}", self.choices.iter().map(choice).collect::<String>()));
        }
        let nim: String = self.nim.iter().map(|(name, _)| format!(", {name}")).collect();
        paragraphs.push(format!("[env: {}{nim}]", variable(self.name)));
        paragraphs.join("\n\n")
    }
}

/// The environment variable of the option `name`.
pub(super) fn variable(name: &str) -> String {
    format!("{PREFIX}{}", name.to_uppercase())
}

/// Lets clap read values as every other source reads them.
#[derive(Clone)]
struct ItemParser<T>(fn(&str) -> Result<T, InvalidValue>);

impl<T: Value> TypedValueParser for ItemParser<T> {
    type Value = T;

    fn parse_ref(
        &self,
        command: &Command,
        argument: Option<&Arg>,
        value: &std::ffi::OsStr,
    ) -> Result<T, Error> {
        let parse = self.0;
        (move |text: &str| parse(text)).parse_ref(command, argument, value)
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        let choices = T::choices();
        if choices.is_empty() { None } else { Some(Box::new(choices.into_iter())) }
    }
}

/// Derives from the table of options the options of one source, the settings in groups, and how each is read, merged,
/// filled in and written.
macro_rules! options {
    ($(
        $(#[doc = $group_doc:literal])+
        $heading:literal $group:ident: $Group:ident {
            $(
                $(#[doc = $doc:literal])+
                $field:ident $(($name:literal))?: $type:ty = $default:expr $(, $key:ident: $value:expr)*;
            )+
        }
    )+) => {
        mod rows {
            use super::*;
            $($(
                pub(super) fn $field() -> Row<$type> {
                    let name = options!(@name $field $($name)?);
                    Row { $($key: $value,)* ..Row::new(name, $heading, &[$($doc),+], $default) }
                }
            )+)+
        }

        /// The options that one source gives: the command line, the environment or a file. `None` where it gives
        /// nothing.
        #[derive(Clone, Debug, Default, PartialEq)]
        pub struct ServeOptions {
            $($( $(#[doc = $doc])+ pub $field: Option<<$type as Setting>::Given>, )+)+
        }

        impl ServeOptions {
            /// These options; those that are not set come from `lower`.
            #[must_use]
            pub fn or(self, lower: Self) -> Self {
                Self { $($( $field: self.$field.or(lower.$field), )+)+ }
            }

            /// Sets the option `name` to the values that `texts` hold.
            pub(super) fn set(&mut self, name: &str, texts: &[String]) -> Result<(), InvalidValue> {
                $($(
                    if name == options!(@name $field $($name)?) {
                        self.$field = rows::$field().read(texts)?;
                        return Ok(());
                    }
                )+)+
                unreachable!("`{name}` is not in the table of options")
            }
        }

        impl clap::Args for ServeOptions {
            fn augment_args(command: clap::Command) -> clap::Command {
                command.args([$($( rows::$field().argument() ),+),+])
            }

            fn augment_args_for_update(command: clap::Command) -> clap::Command {
                Self::augment_args(command)
            }
        }

        impl clap::FromArgMatches for ServeOptions {
            fn from_arg_matches(matches: &clap::ArgMatches) -> Result<Self, clap::Error> {
                Self::from_arg_matches_mut(&mut matches.clone())
            }

            fn from_arg_matches_mut(matches: &mut clap::ArgMatches) -> Result<Self, clap::Error> {
                Ok(Self { $($( $field: rows::$field().take_from(matches), )+)+ })
            }

            fn update_from_arg_matches(&mut self, matches: &clap::ArgMatches) -> Result<(), clap::Error> {
                *self = Self::from_arg_matches(matches)?.or(std::mem::take(self));
                Ok(())
            }
        }

        $(
            $(#[doc = $group_doc])+
            #[derive(Clone, Debug, PartialEq)]
            pub struct $Group {
                $( $(#[doc = $doc])+ pub $field: $type, )+
            }
        )+

        /// What the server runs with: a value for every option, in groups. Serialized, it is a valid options file.
        #[derive(Clone, Debug, PartialEq)]
        pub struct Settings {
            $( $(#[doc = $group_doc])+ pub $group: $Group, )+
        }

        impl Settings {
            /// The options, and the default of each that is not given.
            pub(super) fn fill(options: ServeOptions) -> Self {
                Self {
                    $( $group: $Group {
                        $( $field: options.$field.map_or_else(|| rows::$field().default, Setting::from_given), )+
                    }, )+
                }
            }
        }

        impl serde::Serialize for Settings {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                use serde::ser::SerializeMap;
                let mut map = serializer.serialize_map(None)?;
                $($( map.serialize_entry(options!(@name $field $($name)?), &self.$group.$field)?; )+)+
                map.end()
            }
        }

        /// Every row, in the order of the table.
        pub(super) fn table() -> Vec<Described> {
            vec![$($( rows::$field().describe() ),+),+]
        }
    };
    (@name $field:ident) => { stringify!($field) };
    (@name $field:ident $name:literal) => { $name };
}

pub(super) use options;
