//! What was probably meant by a command line that clap refuses.

use clap::Command;
use clap::builder::StyledStr;
use clap::error::{ContextKind, ContextValue, Error, ErrorKind};

/// Options with which other programs, and `build-engine`, name a model.
const MODEL: [&str; 5] = ["--model", "--model-id", "--model-path", "--model-name-or-path", "--checkpoint"];

/// Options of other servers, and those of `assay serve` with the same meaning.
const OTHER_SERVERS: [(&str, &str); 21] = [
    ("--max-model-len", "--max-seq-len"),
    ("--context-length", "--max-seq-len"),
    ("--max-num-batched-tokens", "--max-num-tokens"),
    ("--max-batch-tokens", "--max-num-tokens"),
    ("--max-num-seqs", "--max-batch-size"),
    ("--max-running-requests", "--max-batch-size"),
    ("--max-batch-requests", "--max-batch-size"),
    ("--max-queued-requests", "--max-queue-requests"),
    ("--max-concurrent-requests", "--max-queue-requests"),
    ("--max-client-batch-size", "--max-request-items"),
    ("--hostname", "--host"),
    ("--api-key", "--api-keys-file FILE"),
    ("--ssl-keyfile", "--tls-key"),
    ("--ssl-certfile", "--tls-cert"),
    ("--tensor-parallel-size", "--tp of `build-engine`"),
    ("--tp-size", "--tp of `build-engine`"),
    ("--tp", "--tp of `build-engine`"),
    ("--gpu-memory-utilization", "--kv-cache-fraction"),
    ("--mem-fraction-static", "--kv-cache-fraction"),
    ("--enable-prefix-caching", "--prefix-sharing, which is on"),
    ("--auto-truncate", "--truncation left"),
];

/// Options of other servers that a model does not need here, and why.
const NEEDLESS: [(&str, &str); 6] = [
    ("--trust-remote-code", "leave it out: no code of a checkpoint is run"),
    ("--runner", KIND),
    ("--convert", KIND),
    ("--is-embedding", KIND),
    ("--tokenizer", "leave it out: the tokenizer is that of the model's directory"),
    ("--revision", "download it with `hf download NAME --revision REVISION --local-dir DIR`, and name DIR"),
];
const KIND: &str = "leave it out: what a model computes is recognised from its files";

/// Words with which users ask `assay` to build.
const BUILD: [&str; 3] = ["build-engine", "build", "convert"];

/// Words with which users ask to serve, as other programs call it.
const SERVE: [&str; 4] = ["run", "start", "launch", "server"];
/// Words with which users ask for a model of the hub.
const DOWNLOAD: [&str; 2] = ["download", "pull"];

/// Adds what was probably meant to clap's error about the command line of a program.
#[must_use]
pub fn explain(error: Error, program: &Command) -> Error {
    let mut error = without_subcommand(error, program);
    let words: Vec<String> =
        std::env::args_os().skip(1).map(|word| word.to_string_lossy().into_owned()).collect();
    if let Some(tip) = tip(&error, program.get_name(), &words) {
        error.remove(ContextKind::SuggestedArg);
        error.remove(ContextKind::SuggestedSubcommand);
        error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![StyledStr::from(tip)]));
    }
    error
}

/// The error about a stray word after options, which clap takes for a subcommand that conflicts with them.
fn without_subcommand(error: Error, program: &Command) -> Error {
    match (error.kind(), error.get(ContextKind::InvalidSubcommand)) {
        (ErrorKind::ArgumentConflict, Some(ContextValue::String(word)))
            if program.find_subcommand(word).is_none() =>
        {
            let mut stray = Error::new(ErrorKind::UnknownArgument).with_cmd(program);
            stray.insert(ContextKind::InvalidArg, ContextValue::String(word.clone()));
            stray
        }
        _ => error,
    }
}

fn tip(error: &Error, program: &str, words: &[String]) -> Option<String> {
    let command = match words.first() {
        Some(word) if program == "assay" && !word.starts_with('-') => word.as_str(),
        _ => "",
    };
    let named = |kind| match error.get(kind) {
        Some(ContextValue::String(word)) => Some(word.as_str()),
        _ => None,
    };
    match error.kind() {
        ErrorKind::InvalidSubcommand => {
            let given = named(ContextKind::InvalidSubcommand)?;
            if program == "assay" { subcommand(given, words) } else { model_by_option(program, "", given) }
        }
        ErrorKind::UnknownArgument => {
            let given = named(ContextKind::InvalidArg)?;
            if MODEL.contains(&given) {
                return model(program, command, &value(given, words));
            }
            if !given.starts_with('-') {
                return cached(command, given)
                    .or_else(|| second_model(command))
                    .or_else(|| model_by_option(program, command, given));
            }
            let known = |table: &[(&str, &'static str)]| {
                table.iter().find(|(theirs, _)| *theirs == given).map(|(_, ours)| *ours)
            };
            match known(&OTHER_SERVERS) {
                Some(ours) if command == "serve" => Some(format!("the option for this is {ours}")),
                _ => known(&NEEDLESS).map(str::to_owned),
            }
        }
        // `score` has an option of this name, for the model of a server.
        ErrorKind::MissingRequiredArgument if matches!(command, "score" | "eval") => {
            let given = MODEL.iter().find(|option| words.iter().any(|word| starts(word, option)))?;
            Some(format!("to score in this process, name the model with --engine {}", value(given, words)))
        }
        _ => None,
    }
}

/// What was meant by a word where a command is due.
fn subcommand(given: &str, words: &[String]) -> Option<String> {
    if given == "version" {
        return Some("the version is printed by assay --version".to_owned());
    }
    if BUILD.contains(&given) {
        return Some("engines are built by a program of its own: build-engine --help".to_owned());
    }
    let next = words.get(1).filter(|word| !word.starts_with('-')).map_or("MODEL", String::as_str);
    if SERVE.contains(&given) {
        return Some(format!("to serve a model, use assay serve {next}"));
    }
    if DOWNLOAD.contains(&given) {
        return Some(format!("to download a model and serve it, use assay serve {next} --download"));
    }
    let is_model = given.contains('/') || std::path::Path::new(given).exists();
    is_model.then(|| format!("to serve a model, use assay serve {given}"))
}

/// What a word after `assay cache` asks for, as commands of other programs.
fn cached(command: &str, given: &str) -> Option<String> {
    if command != "cache" {
        return None;
    }
    match given {
        "list" | "ls" => Some("without a word, assay cache lists the engines".to_owned()),
        "clear" | "clean" | "prune" => {
            Some("to remove every engine that is not in use, use assay cache --clear".to_owned())
        }
        "remove" | "rm" | "delete" => Some("to remove an engine, use assay cache --remove NAME".to_owned()),
        _ => None,
    }
}

/// What a stray word after the model of a server means.
fn second_model(command: &str) -> Option<String> {
    (command == "serve").then(|| "a server has one model; start another one with another --port".to_owned())
}

/// How `command` takes a model.
fn model(program: &str, command: &str, name: &str) -> Option<String> {
    match command {
        "serve" | "check" => {
            Some(format!("the model follows the command, without an option: assay {command} {name}"))
        }
        "" if program == "assay" => Some(format!("to serve a model, use assay serve {name}")),
        _ => model_by_option(program, command, name),
    }
}

/// The option with which a command takes a model, if that is how it does.
fn model_by_option(program: &str, command: &str, name: &str) -> Option<String> {
    let option = match command {
        "bench" | "score" | "eval" | "drift" => "--engine",
        "profiles" => "--engines",
        "" if program == "build-engine" => "--model",
        _ => return None,
    };
    Some(format!("name the model with {option} {name}"))
}

/// The value that `option` has in `words`.
fn value(option: &str, words: &[String]) -> String {
    let place = words.iter().position(|word| starts(word, option));
    let value = place.and_then(|place| match words[place].split_once('=') {
        Some((_, value)) => Some(value),
        None => words.get(place + 1).map(String::as_str),
    });
    value.filter(|value| !value.is_empty() && !value.starts_with('-')).unwrap_or("MODEL").to_owned()
}

/// Whether `word` is the option, with or without a value.
fn starts(word: &str, option: &str) -> bool {
    word.strip_prefix(option).is_some_and(|rest| rest.is_empty() || rest.starts_with('='))
}
