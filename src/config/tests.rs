//! What a user relies on when options come from several places.

use std::time::Duration;

use clap::{CommandFactory, Parser};

use super::table::table;
use super::*;

#[derive(Debug, Parser)]
struct Line {
    #[command(flatten)]
    options: Box<ServeOptions>,
}

fn line(arguments: &[&str]) -> ServeOptions {
    *Line::try_parse_from(std::iter::once(&"assay").chain(arguments)).unwrap().options
}

fn nim(variables: &[(&str, &str)]) -> Result<ServeOptions, ConfigError> {
    ServeOptions::from_nim(|name| lookup(variables, name))
}

fn environment(variables: &[(&str, &str)]) -> Result<ServeOptions, ConfigError> {
    ServeOptions::from_environment(|name| lookup(variables, name))
}

fn lookup(variables: &[(&str, &str)], name: &str) -> Option<String> {
    variables.iter().find(|(variable, _)| *variable == name).map(|(_, value)| (*value).to_owned())
}

fn settings() -> Settings {
    Settings::defaults("engine".into())
}

#[test]
fn the_command_line_goes_before_the_environment_before_the_file_before_the_default() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let yaml = "port: 4\nmax_seq_len: 4\nthreads: 4\nmax_num_tokens: 4\n";
    std::fs::write(&file, yaml).unwrap();
    let variables =
        [("ASSAY_PORT", "2"), ("ASSAY_THREADS", "2"), ("NIM_SERVER_PORT", "3"), ("NIM_MAX_MODEL_LEN", "3")];
    let line = line(&["--engine", "a", "--port", "1"]);
    let settings = Settings::load(line, Some(file.path()), |name| lookup(&variables, name)).unwrap();
    let engine = settings.engine;
    assert_eq!(settings.server.port, 1);
    assert_eq!((engine.threads, engine.max_seq_len, engine.max_num_tokens), (Some(2), Some(3), Some(4)));
    assert_eq!(settings.server.host, "0.0.0.0");
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
    let expected = ServeOptions {
        directory: Some("/engines/judge".into()),
        prefix_sharing: Some(false),
        profile: Some("onednn-avx2-f32".into()),
        port: Some(9000),
        served_model_name: Some(vec!["one".into(), "two".into()]),
        max_seq_len: Some(4096),
        log_level: Some("warn".into()),
        log_format: Some(crate::telemetry::logs::LogFormat::Json),
        reward_logits_range: Some(LogitsRange(0..2)),
        reward_model_string: Some(vec!["help".into(), "length".into()]),
        ..ServeOptions::default()
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
    let head = crate::manifest::ManifestHead {
        attributes: ["a", "b", "c"].map(str::to_owned).to_vec(),
        ..Default::default()
    };
    let settings = Settings::resolve(line(&arguments)).unwrap();
    let scores = settings.scoring.head(&head).unwrap().scores(&[9.0, 1.0, 9.0]).unwrap();
    assert_eq!(scores.content(), "help:1.0,length:2.0,total:0.0");
}

#[test]
fn nims_variables_for_tls_count_as_its_mode_says() {
    let files = [("NIM_SSL_KEY_PATH", "k"), ("NIM_SSL_CERTS_PATH", "c"), ("NIM_SSL_CA_CERTS_PATH", "a")];
    let with = |mode| nim(&[&[("NIM_SSL_MODE", mode)][..], &files].concat()).unwrap();
    let of = |options: ServeOptions| (options.tls_key, options.tls_cert, options.tls_client_ca);
    let path = |name: &str| Some(PathBuf::from(name));
    assert_eq!(of(nim(&files).unwrap()), (None, None, None));
    assert_eq!(of(with("disabled")), (None, None, None));
    assert_eq!(of(with("TLS")), (path("k"), path("c"), None));
    assert_eq!(of(with("mTLS")), (path("k"), path("c"), path("a")));
    let missing = nim(&[("NIM_SSL_MODE", "tls"), files[0]]).unwrap_err().to_string();
    assert!(missing.contains("NIM_SSL_CERTS_PATH"), "{missing}");
    assert!(nim(&[("NIM_SSL_MODE", "on")]).is_err());
}

#[test]
fn an_empty_variable_gives_nothing_and_a_wrong_one_is_named() {
    assert_eq!(nim(&[("NIM_SERVER_PORT", "")]).unwrap(), ServeOptions::default());
    assert_eq!(environment(&[("ASSAY_PORT", " ")]).unwrap(), ServeOptions::default());
    assert_eq!(nim(&[("NIM_CACHE_PATH", "/engines")]).unwrap().directory, Some("/engines".into()));
    assert!(nim(&[("NIM_MODEL_NAME", "ngc://a/b")]).unwrap_err().to_string().contains("NIM_MODEL_NAME"));
    for (name, value) in [
        ("NIM_SERVER_PORT", "http"),
        ("NIM_LOG_LEVEL", "loud"),
        ("NIM_JSONL_LOGGING", "yes"),
        ("NIM_REWARD_MODEL", "yes"),
        ("NIM_ENABLE_KV_CACHE_REUSE", "true"),
        ("NIM_DISABLE_LOG_REQUESTS", "2"),
    ] {
        let error = nim(&[(name, value)]).unwrap_err().to_string();
        assert!(error.contains(&format!("{name}=`{value}`")), "{error}");
    }
    let error = environment(&[("ASSAY_PORT", "70000")]).unwrap_err();
    assert!(error.is_usage());
    assert_eq!(error.to_string(), "ASSAY_PORT=`70000`: expected a whole number from 0 to 65535");
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
    settings.server.timeout = Some(Seconds(Duration::from_millis(1500)));
    settings.server.served_model_name = vec!["one".into(), "two".into()];
    settings.server.overload_status = OverloadStatus::ServiceUnavailable;
    settings.scoring.score_weights = vec!["a=0.5".parse().unwrap()];
    settings.scoring.score_clamp = Some(Clamp([-1.0, 1.0]));
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&file, serde_saphyr::to_string(&settings).unwrap()).unwrap();
    assert_eq!(Settings::resolve(read(file.path()).unwrap()).unwrap(), settings);
}

#[test]
fn every_option_has_a_heading_help_and_its_true_default() {
    let command = Line::command();
    let defaults = serde_json::to_value(settings()).unwrap();
    let headings = ["Server", "Engine", "Scheduling", "Scoring", "Security", "Logging", "GPU"];
    let rows = table();
    assert_eq!(rows.len(), defaults.as_object().unwrap().len());
    let mut order = Vec::new();
    for row in &rows {
        let name = row.name;
        assert!(row.summary.starts_with(char::is_uppercase) && !row.summary.ends_with('.'), "{name}");
        let argument = command.get_arguments().find(|argument| argument.get_id() == name).unwrap();
        assert_eq!(argument.get_long(), Some(name.replace('_', "-").as_str()));
        order.extend(argument.get_help_heading());
        let help = argument.get_help().unwrap().to_string();
        let expected = match &defaults[name] {
            serde_json::Value::Null | serde_json::Value::Array(_) => continue,
            serde_json::Value::String(text) => text.clone(),
            number => number.as_f64().map_or(number.to_string(), |number| number.to_string()),
        };
        assert!(name == "engine" || help.ends_with(&format!("[default: {expected}]")), "{name}: {help}");
    }
    order.dedup();
    assert_eq!(order, headings);
}

#[test]
fn short_help_has_one_line_for_each_option() {
    let help = Line::command().term_width(100).render_help().to_string();
    let lines = help.lines().filter(|line| line.starts_with("      --"));
    let one_line = lines.clone().filter(|line| line.trim().contains("  "));
    assert_eq!(one_line.count(), lines.count(), "{help}");
}

#[test]
fn every_option_can_be_given_in_every_source() {
    let yaml = serde_saphyr::to_string(&settings()).unwrap();
    for row in table() {
        let (flag, variable) = (format!("--{}", row.flag()), format!("ASSAY_{}", row.name.to_uppercase()));
        let value = match row.name {
            "admin_port" | "metrics_port" | "threads" | "timeout" | "allotted_time" => "7",
            name if name.starts_with("max_") => "7",
            "kv_cache_tokens" => "7",
            "activation" => "peer",
            "score_activation" => "sigmoid",
            "score_normalize" => "a=1:2",
            "score_weights" => "a=1",
            "score_buckets" => "7",
            "reward_logits_range" | "score_clamp" => "1,2",
            "simulate" => "fail",
            "chat_template_kwargs" => r#"{"enable_thinking":false}"#,
            "served_model_name" | "alias" | "reward_model_string" | "score_weighted_name" | "cors_origin" => {
                "a"
            }
            "tls_key" | "tls_cert" | "tls_client_ca" | "api_keys_file" | "signing_key" | "engine"
            | "judge" => "a",
            _ => row.default.as_deref().unwrap_or_else(|| panic!("a value for {}", row.name)),
        };
        let on_line = line(&[&flag, value]);
        assert_ne!(on_line, ServeOptions::default(), "{flag}");
        assert_eq!(environment(&[(&variable, value)]).unwrap(), on_line, "{variable}");
        let file = tempfile::NamedTempFile::new().unwrap();
        let value = if row.delimiter.is_some() { format!("['{value}']") } else { format!("'{value}'") };
        std::fs::write(&file, format!("{}: {value}", row.name)).unwrap();
        assert_eq!(read(file.path()).unwrap(), on_line, "{}", row.name);
        assert!(yaml.contains(&format!("{}:", row.name)), "{}", row.name);
    }
}

#[test]
fn an_old_name_of_an_option_still_works() {
    let expected = ServeOptions { max_prefix_wait: Some(Seconds::new(3)), ..ServeOptions::default() };
    assert_eq!(line(&["--follower-hold", "3"]), expected);
    assert_eq!(environment(&[("ASSAY_FOLLOWER_HOLD", "3")]).unwrap(), expected);
    assert_eq!(line(&["--engines", "a"]).directory, Some("a".into()));
}

#[test]
fn a_wrong_value_is_refused_with_what_the_option_takes() {
    for (flag, value, expected) in [
        ("--max-body-bytes", "0", "a whole number, 1 or more"),
        ("--threads", "-1", "a whole number from 1 to 1024"),
        ("--threads", "1000000", "a whole number from 1 to 1024"),
        ("--chat-template-kwargs", "[1]", "a JSON object, such as"),
        ("--chat-template-kwargs", r#"{"messages": []}"#, "`messages` is not a variable that can be set"),
        ("--port", "70000", "a whole number from 0 to 65535"),
        ("--kv-cache-fraction", "1", "above 0 and below 1"),
        ("--served-model-name", "", "a name"),
        ("--keep-alive", "1e19", "seconds from 0 to 1000000000"),
        ("--timeout", "NaN", "seconds from 0"),
        ("--overload-status", "418", "429 or 503"),
        ("--score-clamp", "1", "two numbers"),
        ("--score-weights", "a", "NAME=WEIGHT"),
        ("--score-normalize", "a=1", "NAME=MEAN:STD"),
        ("--reward-logits-range", "3,3", "FIRST,END"),
        ("--alias", "=a", "NAME=ATTRIBUTE"),
    ] {
        let error = Line::try_parse_from(["assay", &format!("{flag}={value}")]).unwrap_err().to_string();
        assert!(error.contains(expected) && error.contains(flag), "{error}");
    }
    assert!(Line::try_parse_from(["assay", "--timeout", "-1"]).is_err());
    assert!(Line::try_parse_from(["assay", "--log-format", "xml"]).is_err());
}

#[test]
fn options_that_do_not_go_together_are_refused_by_name() {
    let none = Settings::resolve(ServeOptions::default()).unwrap_err().to_string();
    assert!(none.contains("assay serve MODEL"), "{none}");
    for (arguments, name) in [
        (&["--tls-key=a"][..], "tls_cert"),
        (&["--tls-cert=a"], "tls_key"),
        (&["--tls-client-ca=a"], "tls_key"),
        (&["--score-weights=a=1,a=2"], "score_weights"),
    ] {
        let options = line(&[&["--engine=a"], arguments].concat());
        let error = Settings::resolve(options).unwrap_err().to_string();
        assert!(error.contains(name), "{error}");
    }
}
