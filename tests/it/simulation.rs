//! Capacity planning, as a user runs it.

use assay::bench::cli::{self, BenchArgs};
use clap::Parser;

#[derive(Parser)]
#[command(name = "assay bench")]
struct Bench {
    #[command(flatten)]
    args: BenchArgs,
}

/// Runs `assay bench` with these arguments; returns what it printed, or why it refused.
fn bench<'a>(arguments: impl IntoIterator<Item = &'a str>) -> Result<String, String> {
    let arguments = std::iter::once("bench").chain(arguments);
    let Bench { args } = Bench::try_parse_from(arguments).map_err(|error| error.to_string())?;
    let mut printed = Vec::new();
    cli::run(&args, &mut printed).map_err(|error| error.to_string())?;
    Ok(String::from_utf8(printed).unwrap())
}

/// Llama 3.1 8B with one label.
const EIGHT_BILLION: &str = r#"{
  "architectures": ["LlamaForSequenceClassification"], "model_type": "llama", "id2label": {"0": "LABEL_0"},
  "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32, "num_attention_heads": 32,
  "num_key_value_heads": 8, "vocab_size": 128256, "max_position_embeddings": 131072
}"#;

/// A folder with a model's configuration and a trace of the given shape.
fn folder(shape: &str, more: &[&str]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("config.json"), EIGHT_BILLION).unwrap();
    let trace = path(&folder, "trace.jsonl");
    bench(["--generate-trace", shape, "--output", &trace].into_iter().chain(more.iter().copied())).unwrap();
    folder
}

fn path(folder: &tempfile::TempDir, name: &str) -> String {
    folder.path().join(name).to_str().unwrap().to_owned()
}

/// Simulates the folder's trace on an H100.
fn simulate(folder: &tempfile::TempDir, more: &[&str]) -> Result<String, String> {
    let (config, trace) = (path(folder, "config.json"), path(folder, "trace.jsonl"));
    let arguments = ["--simulate", "--target", "h100", "--model-config", &config, "--trace", &trace];
    bench(arguments.into_iter().chain(more.iter().copied()))
}

/// The number that follows `before` in the line that starts with `label`.
fn figure(report: &str, label: &str, before: &str) -> f64 {
    let line = report.lines().find(|line| line.starts_with(label)).unwrap_or_else(|| panic!("{report}"));
    let (_, rest) = line.split_once(before).unwrap();
    let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
    rest[..end].trim_end_matches('.').parse().unwrap()
}

#[test]
fn a_simulation_gives_the_same_figures_again() {
    let folder = folder("long-tailed", &["--requests", "500"]);
    assert_eq!(simulate(&folder, &[]).unwrap(), simulate(&folder, &[]).unwrap());
}

#[test]
fn every_assumption_is_printed_above_the_figures() {
    let folder = folder("steady", &["--requests", "50"]);
    let report = simulate(&folder, &["--gpus", "2", "--efficiency", "0.5", "--fixed-cost", "3"]).unwrap();
    for assumption in [
        "2 x NVIDIA H100 SXM",
        "data sheet",
        "50% of 989.5",
        "80% of 3350",
        "3.00 ms fixed",
        "all-reduces",
        "8192",
    ] {
        assert!(report.contains(assumption), "{assumption}: {report}");
    }
}

#[test]
fn more_gpus_shorten_the_latency() {
    let folder = folder("steady", &["--requests", "300"]);
    let latency = |gpus| figure(&simulate(&folder, &["--gpus", gpus]).unwrap(), "latency", "p50 ");
    assert!(latency("4") * 1.5 < latency("1"));
}

#[test]
fn overload_shows_as_refusals() {
    let folder = folder("steady", &["--requests", "500", "--rate", "1000"]);
    let report = simulate(&folder, &["--max-queue-requests", "20"]).unwrap();
    assert!(figure(&report, "refused", "refused         ") > 100.0, "{report}");
    assert!(report.contains("queue full"), "{report}");
}

#[test]
fn requests_past_their_deadline_are_counted() {
    let folder = folder("steady", &["--requests", "10"]);
    let line = r#"{"arrival":0,"prompt_tokens":8000,"timeout":0.1}"#;
    std::fs::write(path(&folder, "trace.jsonl"), [line; 20].join("\n")).unwrap();
    let report = simulate(&folder, &["--sharing", "off"]).unwrap();
    assert!(report.contains("deadline"), "{report}");
}

#[test]
fn a_malformed_trace_is_refused_with_its_line() {
    let folder = folder("steady", &["--requests", "10"]);
    std::fs::write(path(&folder, "trace.jsonl"), "{\"arrival\":0,\"prompt_tokens\":5}\n{\"arrival\":1}\n")
        .unwrap();
    let refusal = simulate(&folder, &[]).unwrap_err();
    assert!(refusal.contains("trace.jsonl, line 2: missing field `prompt_tokens`"), "{refusal}");
}

#[test]
fn what_cannot_be_simulated_is_refused_with_what_can() {
    let folder = folder("steady", &["--requests", "10"]);
    let (config, trace) = (path(&folder, "config.json"), path(&folder, "trace.jsonl"));
    let refuse = |target, more: &[&str]| {
        let arguments = ["--simulate", "--target", target, "--model-config", &config, "--trace", &trace];
        bench(arguments.into_iter().chain(more.iter().copied())).unwrap_err()
    };
    assert!(refuse("h1000", &[]).contains("known are cpu, a100"), "{}", refuse("h1000", &[]));
    assert!(refuse("a10", &["--dtype", "fp8"]).contains("it has bf16, int8"));
    assert!(refuse("h100", &["--load", "0"]).contains("--load is 0"));
    assert!(refuse("h100", &["--max-num-tokens", "0"]).contains("--max-num-tokens is 0"));
    assert!(bench(["--simulate", "--target", "h100"]).unwrap_err().contains("--model-config"));
    assert!(bench([]).unwrap_err().contains("--simulate"));
}
#[test]
fn at_90_percent_load_batches_are_as_full_as_they_can_be() {
    for shape in ["steady", "bursty"] {
        let folder = folder(shape, &["--requests", "5000"]);
        let report = simulate(&folder, &["--load", "0.9"]).unwrap();
        println!("{report}");
        assert!((89.9..=90.1).contains(&figure(&report, "load", "load            ")), "{report}");
        assert!(figure(&report, "batch fill", "batch fill      ") >= 95.0, "{report}");
    }
}

/// Requests and tokens that are answered in each second.
fn throughput(report: &str) -> (f64, f64) {
    (figure(report, "throughput", "throughput      "), figure(report, "throughput", "requests/s, "))
}

#[test]
fn overload_costs_no_useful_answers_and_answers_nobody_late() {
    let unlimited = ["--load", "10", "--max-queue-requests", "1000000"];
    for (timeout, requests) in [("1", 800), ("5", 1500)] {
        let trace = folder("steady", &["--requests", &requests.to_string()]);
        let capacity = throughput(&simulate(&trace, &unlimited).unwrap());
        for load in [1, 2, 5, 10] {
            let requests = (requests * load).to_string();
            let trace = folder("steady", &["--requests", &requests, "--timeout", timeout]);
            let report = simulate(&trace, &["--load", &load.to_string()]).unwrap();
            println!("{timeout} s, load {load}: {report}");
            let useful = throughput(&report);
            assert!(useful.0 >= 0.95 * capacity.0, "{useful:?} of {capacity:?} at load {load}: {report}");
            assert!(useful.1 >= 0.95 * capacity.1, "{useful:?} of {capacity:?} at load {load}: {report}");
            assert_eq!(figure(&report, "late", "late            "), 0.0);
        }
    }
}

#[test]
fn a_refused_request_is_asked_to_wait_as_long_as_the_queue_takes() {
    for load in ["2", "5", "10"] {
        let trace = folder("steady", &["--requests", "2000"]);
        for queue in ["50", "500"] {
            let report = simulate(&trace, &["--load", load, "--max-queue-requests", queue]).unwrap();
            println!("load {load}, queue of {queue}: {report}");
            let (least, most) =
                (figure(&report, "retry after", "from "), figure(&report, "retry after", "% to "));
            assert!(least >= 50.0 && most <= 200.0, "{report}");
        }
    }
}

#[test]
fn short_requests_hardly_notice_long_ones() {
    let short = |shape, label| {
        let trace = folder(shape, &["--requests", "5000"]);
        let report = simulate(&trace, &["--load", "0.95", "--max-queue-requests", "1000000"]).unwrap();
        println!("{report}");
        assert!(figure(&report, "batch fill", "batch fill      ") >= 95.0, "{report}");
        figure(&report, label, "p99 ")
    };
    let (alone, among_long) = (short("steady", "latency"), short("some-long", "short prompts"));
    assert!(among_long <= 2.0 * alone, "p99 of {among_long} ms, {alone} ms without long prompts");
}

/// Every `sh` block of the page, and the block of output that follows it.
fn examples(page: &str) -> Vec<(&str, &str)> {
    let mut blocks = page.split("\n```").skip(1).step_by(2).map(|block| block.split_once('\n').unwrap());
    let mut examples = Vec::new();
    while let Some((language, text)) = blocks.next() {
        if language == "sh" {
            let (language, output) = blocks.next().unwrap();
            assert_eq!(language, "", "an example is followed by its output");
            examples.push((text, output));
        }
    }
    examples
}

/// The words of a line, and its numbers.
fn words_and_numbers(line: &str) -> (Vec<&str>, Vec<f64>) {
    let parts =
        line.split(|c: char| c.is_whitespace() || c == ',' || c == '%').filter(|part| !part.is_empty());
    let (numbers, words): (Vec<&str>, Vec<&str>) = parts.partition(|part| part.parse::<f64>().is_ok());
    (words, numbers.into_iter().map(|number| number.parse().unwrap()).collect())
}

#[test]
fn the_commands_of_the_capacity_page_print_what_it_says() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = std::fs::read_to_string(root.join("docs/capacity.md")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink(root.join("docs"), folder.path().join("docs")).unwrap();
    let examples = examples(&page);
    assert!(examples.len() >= 4);
    for (commands, expected) in examples {
        let mut printed = String::new();
        for command in commands.lines() {
            let arguments = command.strip_prefix("assay ").unwrap().split(' ');
            let assay = std::process::Command::new(env!("CARGO_BIN_EXE_assay"))
                .args(arguments)
                .current_dir(folder.path())
                .output()
                .unwrap();
            assert!(assay.status.success(), "{command}: {}", String::from_utf8_lossy(&assay.stderr));
            printed.push_str(&String::from_utf8(assay.stdout).unwrap());
        }
        let (printed, expected) = (printed.trim_end(), expected.trim_end());
        // The page shows the end of it, leaving out what it showed before.
        let left_out = printed.lines().count() - expected.lines().count();
        for (printed, expected) in printed.lines().skip(left_out).zip(expected.lines()) {
            let (words, numbers) = words_and_numbers(printed);
            let (expected_words, expected_numbers) = words_and_numbers(expected);
            assert_eq!(words, expected_words, "{commands}");
            // Figures shift a little whenever the scheduler gets better.
            for (number, expected_number) in numbers.iter().zip(&expected_numbers) {
                let near = (number - expected_number).abs() <= 0.1 * expected_number.abs() + 0.1;
                assert!(near, "{commands}\nprinted: {printed}\nthe page: {expected}");
            }
        }
    }
}

/// The figures that a choice of routing changes.
struct Routed {
    throughput: f64,
    reuse: f64,
    p99: f64,
}

/// Sixteen servers under more best-of-n than they could do without sharing.
fn routed(folder: &tempfile::TempDir, route: &str) -> Routed {
    let report = simulate(folder, &["--replicas", "16", "--route", route]).unwrap();
    assert!(report.contains("A simulation") && report.contains("16 such servers, 16 GPUs"), "{report}");
    Routed {
        throughput: figure(&report, "throughput", "throughput      "),
        reuse: figure(&report, "prefix reuse", "prefix reuse    "),
        p99: figure(&report, "latency", "p99 "),
    }
}

#[test]
fn a_hash_of_the_prompt_reuses_every_prefix_and_other_routes_pay_for_those_they_lose() {
    let folder = folder("best-of-n", &["--rate", "3000", "--requests", "12000"]);
    let [hash, least, random] = ["hash", "least", "random"].map(|route| routed(&folder, route));
    assert!(hash.reuse > 99.9, "{}", hash.reuse);
    assert!(least.reuse < 20.0 && random.reuse < 45.0, "{} {}", least.reuse, random.reuse);
    for other in [least, random] {
        assert!(hash.throughput > 1.6 * other.throughput, "{} {}", hash.throughput, other.throughput);
        assert!(hash.p99 < other.p99 / 2.0, "{} {}", hash.p99, other.p99);
    }
}

#[test]
fn without_prefixes_the_least_loaded_server_answers_soonest() {
    let folder = folder("steady", &["--rate", "200", "--requests", "4000"]);
    let [hash, least] = ["hash", "least"].map(|route| {
        let report = simulate(&folder, &["--replicas", "8", "--route", route]).unwrap();
        assert!(report.contains("nothing to share"), "{report}");
        figure(&report, "latency", "p99 ")
    });
    assert!(least < hash, "{least} {hash}");
}

#[test]
fn the_servers_of_a_simulation_share_its_load() {
    let folder = folder("best-of-n", &["--requests", "6400"]);
    for replicas in ["1", "4"] {
        let report = simulate(&folder, &["--replicas", replicas, "--load", "0.6"]).unwrap();
        let load = figure(&report, "load", "load            ");
        assert!((59.0..61.0).contains(&load), "{report}");
        let busy = figure(&report, "engine", "busy ");
        assert!((55.0..75.0).contains(&busy), "{report}");
    }
}
