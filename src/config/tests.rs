//! What a user relies on when options come from several places.

use clap::{Args, CommandFactory, Parser};

use super::*;

#[derive(Debug, Parser)]
struct Line {
    #[command(flatten)]
    options: Options,
}

fn line(arguments: &[&str]) -> Options {
    Line::try_parse_from(std::iter::once(&"assay").chain(arguments)).unwrap().options
}

fn nim(variables: &[(&str, &str)]) -> Result<Options, String> {
    Options::from_nim(|name| {
        variables.iter().find(|(variable, _)| *variable == name).map(|(_, value)| (*value).to_owned())
    })
}

fn settings() -> Settings {
    Settings::defaults("engine".into())
}

#[test]
fn the_command_line_goes_before_the_environment_before_the_file_before_the_default() {
    let line = line(&["--engine", "a", "--port", "1"]);
    let environment = nim(&[("NIM_SERVER_PORT", "2"), ("NIM_MAX_MODEL_LEN", "2")]).unwrap();
    let file = Options { port: Some(3), max_seq_len: Some(3), threads: Some(3), ..Options::default() };
    let settings = Settings::resolve(line.or(environment).or(file)).unwrap();
    assert_eq!((settings.port, settings.max_seq_len, settings.threads), (1, Some(2), Some(3)));
    assert_eq!(settings.host, "0.0.0.0");
}

#[test]
fn names_of_nim_are_understood() {
    let options = nim(&[
        ("NIM_CACHE_PATH", "/engines"),
        ("NIM_MODEL_PROFILE", "onednn-avx2-f32"),
        ("NIM_SERVER_PORT", "9000"),
        ("NIM_SERVED_MODEL_NAME", "one, two"),
        ("NIM_MAX_MODEL_LEN", "4096"),
        ("NIM_LOG_LEVEL", "WARNING"),
        ("NIM_JSONL_LOGGING", "1"),
        ("NIM_MODEL_NAME", "/engines/judge"),
        ("NIM_ENABLE_KV_CACHE_REUSE", "0"),
        ("NIM_REWARD_MODEL", "1"),
        ("NIM_REWARD_LOGITS_RANGE", "0,2"),
        ("NIM_REWARD_MODEL_STRING", "help, length"),
    ]);
    let expected = Options {
        engine: Some("/engines/judge".into()),
        prefix_sharing: Some(false),
        profile: Some("onednn-avx2-f32".into()),
        port: Some(9000),
        served_model_name: Some(vec!["one".into(), "two".into()]),
        max_seq_len: Some(4096),
        log_level: Some("warn".into()),
        log_format: Some(LogFormat::Json),
        reward_logits_range: Some("0,2".into()),
        reward_model_string: Some(vec!["help".into(), "length".into()]),
        ..Options::default()
    };
    assert_eq!(options.unwrap(), expected);
}

#[test]
fn scores_are_chosen_named_and_changed_as_the_options_say() {
    let arguments = [
        "--engine=a",
        "--reward-logits-range=1,3",
        "--reward-model-string=help,length",
        "--score-clamp",
        "-2,2",
        "--score-weights=help=1,length=-0.5",
        "--score-weighted-name=total",
    ];
    let head = crate::manifest::Head {
        attributes: ["a", "b", "c"].map(str::to_owned).to_vec(),
        ..Default::default()
    };
    let settings = Settings::resolve(line(&arguments)).unwrap();
    let scores = settings.head(&head).unwrap().scores(&[9.0, 1.0, 9.0]).unwrap();
    assert_eq!(scores.content(), "help:1.0,length:2.0,total:0.0");
}

#[test]
fn an_empty_variable_says_nothing_and_a_bad_one_is_named() {
    assert_eq!(nim(&[("NIM_SERVER_PORT", "")]).unwrap(), Options::default());
    assert_eq!(nim(&[("NIM_CACHE_PATH", "/engines")]).unwrap().engine, Some("/engines".into()));
    assert!(nim(&[("NIM_MODEL_NAME", "ngc://a/b")]).unwrap_err().contains("NIM_MODEL_NAME"));
    for (name, value) in
        [("NIM_SERVER_PORT", "http"), ("NIM_LOG_LEVEL", "loud"), ("NIM_JSONL_LOGGING", "yes")]
    {
        assert!(nim(&[(name, value)]).unwrap_err().contains(&format!("{name}=`{value}`")));
    }
}

#[test]
fn several_names_may_follow_one_option_or_be_joined() {
    let names = |arguments: &[&str]| line(arguments).served_model_name.unwrap();
    assert_eq!(names(&["--served-model-name", "one", "two"]), ["one", "two"]);
    assert_eq!(names(&["--served-model-name", "one,two"]), ["one", "two"]);
    assert_eq!(names(&["--served-model-name", "one", "--served-model-name", "two"]), ["one", "two"]);
}

#[test]
fn printed_options_are_a_file_that_says_the_same() {
    let mut settings = settings();
    settings.timeout = Some(Seconds(Duration::from_millis(1500)));
    settings.served_model_name = vec!["one".into(), "two".into()];
    settings.overload_status = OverloadStatus::ServiceUnavailable;
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&file, serde_saphyr::to_string(&settings).unwrap()).unwrap();
    assert_eq!(Settings::resolve(read(file.path()).unwrap()).unwrap(), settings);
}

#[test]
fn help_tells_the_true_default_of_every_option() {
    let command = Line::command();
    let defaults = serde_json::to_value(settings()).unwrap();
    for (name, default) in defaults.as_object().unwrap() {
        let argument = command.get_arguments().find(|argument| argument.get_id() == name.as_str());
        let argument = argument.unwrap_or_else(|| panic!("no option is called {name}"));
        let help = argument.get_help().unwrap().to_string();
        let told = match default {
            serde_json::Value::Null | serde_json::Value::Array(_) => continue,
            serde_json::Value::String(text) => text.clone(),
            number => number.as_f64().map_or(number.to_string(), |number| number.to_string()),
        };
        assert!(name == "engine" || help.contains(&format!("[default: {told}]")), "{name}, {told}: {help}");
    }
}

#[test]
fn every_option_has_a_variable_of_its_own_name() {
    for argument in Options::augment_args(clap::Command::new("assay")).get_arguments() {
        let name = format!("ASSAY_{}", argument.get_id().as_str().to_uppercase());
        assert_eq!(argument.get_env(), Some(name.as_ref()));
    }
}

#[test]
fn values_that_make_no_sense_are_refused_by_name() {
    let none = Settings::resolve(Options::default()).unwrap_err();
    assert!(none.contains("--engine"), "{none}");
    let engine = || Options { engine: Some("engine".into()), ..Options::default() };
    let zero = Settings::resolve(Options { max_body_bytes: Some(0), ..engine() }).unwrap_err();
    assert!(zero.contains("max_body_bytes"), "{zero}");
    let name = Options { served_model_name: Some(vec![String::new()]), ..engine() };
    assert!(Settings::resolve(name).unwrap_err().contains("served_model_name"));
    for (name, wrong) in [
        ("score_clamp", Options { score_clamp: Some("1".into()), ..engine() }),
        ("score_weights", Options { score_weights: Some(vec!["a".into()]), ..engine() }),
        ("score_normalize", Options { score_normalize: Some(vec!["a=1".into()]), ..engine() }),
        ("reward_logits_range", Options { reward_logits_range: Some("3,3".into()), ..engine() }),
    ] {
        let error = Settings::resolve(wrong).unwrap_err();
        assert!(error.contains(name), "{error}");
    }
    assert!(Line::try_parse_from(["assay", "--timeout", "-1"]).is_err());
    assert!(Line::try_parse_from(["assay", "--overload-status", "418"]).is_err());
}
