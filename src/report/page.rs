//! The page: one file, no script, no network.

use minijinja::value::Serde;
use minijinja::{Environment, Value};
use serde::Serialize;

use super::charts::{self, Histogram, Scatter, short};
use super::statistics::{Accuracy, Summary, interval, pearson, spearman, summary};
use super::{Collector, Response};

const TEMPLATE: &str = include_str!("page.html");
/// Characters of a text that the page shows; the rest is in the file.
const LONGEST_TEXT: usize = 2000;

/// Width and height of a histogram's box, and of a scatter's.
const HISTOGRAM: (f64, f64) = (300.0, 80.0);
const SCATTER: (f64, f64) = (300.0, 150.0);

#[derive(Serialize)]
struct Attribute<'a> {
    name: &'a str,
    summary: Summary,
    histogram: Histogram,
    scatter: Scatter,
    /// Spearman's correlation of score and length.
    length: Option<f64>,
}

#[derive(Serialize)]
struct Cell {
    value: Option<f64>,
    /// 0 (none) to 1 (full), for the colour.
    strength: f64,
    negative: bool,
}

/// How often the chosen response has the higher score.
#[derive(Serialize)]
struct NamedAccuracy {
    name: String,
    pairs: usize,
    ties: usize,
    accuracy: f64,
    low: f64,
    high: f64,
}

/// Draws what `of` holds as HTML. `title` names the file, `model` what scored it.
///
/// # Errors
/// The template fails, which is a fault of ours.
pub fn render(of: &Collector, title: &str, model: Option<&str>) -> Result<String, minijinja::Error> {
    let mut environment = Environment::new();
    environment.add_filter("short", short);
    environment.add_filter("fixed", |value: f64| format!("{value:.2}"));
    environment.add_filter("percent", |value: f64| format!("{:.1}%", 100.0 * value));
    environment.add_filter("cut", |text: String| cut(&text));
    environment.add_template("report.html", TEMPLATE)?;
    let page = Page::new(of, title, model);
    environment.get_template("report.html")?.render(Value::from(Serde(&page)))
}

/// What the template reads.
#[derive(Serialize)]
struct Page<'a> {
    title: &'a str,
    model: Option<&'a str>,
    responses: usize,
    failed: usize,
    partly: usize,
    apart: usize,
    deciding: &'a str,
    attributes: Vec<Attribute<'a>>,
    correlation: Vec<Vec<Cell>>,
    /// All pairs, those that length alone would decide, and each category; empty without pairs.
    accuracies: Vec<NamedAccuracy>,
    examples: [Examples<'a>; 2],
    histogram_box: (f64, f64),
    scatter_box: (f64, f64),
}

impl<'a> Page<'a> {
    fn new(of: &'a Collector, title: &'a str, model: Option<&'a str>) -> Self {
        Self {
            title,
            model,
            responses: of.responses(),
            failed: of.failed,
            partly: of.partly,
            apart: of.apart,
            deciding: of.attributes.get(of.deciding).map_or("", String::as_str),
            attributes: attributes(of),
            correlation: correlation(of),
            accuracies: accuracies(of),
            examples: [Examples::new("Best", of, &of.best), Examples::new("Worst", of, &of.worst)],
            histogram_box: HISTOGRAM,
            scatter_box: SCATTER,
        }
    }
}

fn attributes(of: &Collector) -> Vec<Attribute<'_>> {
    // One scale for all, so that the drawings compare.
    let all: Vec<f64> = of.scores.iter().flatten().copied().collect();
    let (low, high) = charts::bounds(&all);
    of.attributes
        .iter()
        .zip(&of.scores)
        .filter_map(|(name, scores)| {
            Some(Attribute {
                name,
                summary: summary(scores)?,
                histogram: charts::histogram(scores, low, high, HISTOGRAM.0, HISTOGRAM.1),
                scatter: charts::scatter(&of.lengths, scores, SCATTER.0, SCATTER.1),
                length: spearman(&of.lengths, scores),
            })
        })
        .collect()
}

/// Of each attribute with each; empty where there is but one.
fn correlation(of: &Collector) -> Vec<Vec<Cell>> {
    if of.attributes.len() < 2 || of.responses() < 3 {
        return Vec::new();
    }
    let cell = |value: Option<f64>| {
        let strength = value.unwrap_or(0.0);
        Cell { value, strength: strength.abs(), negative: strength < 0.0 }
    };
    of.scores.iter().map(|a| of.scores.iter().map(|b| cell(pearson(a, b))).collect()).collect()
}

fn accuracies(of: &Collector) -> Vec<NamedAccuracy> {
    if of.pairs.is_empty() {
        return Vec::new();
    }
    let all = accuracy("all pairs".into(), of.pairs.iter().map(|pair| pair.margin));
    let longer = accuracy("the longer one".into(), of.pairs.iter().map(|pair| pair.longer));
    [all, longer].into_iter().chain(by_category(of)).collect()
}

/// Largest categories first; empty where no pair names one.
fn by_category(of: &Collector) -> Vec<NamedAccuracy> {
    let margins = of.margins_by_category();
    if margins.keys().all(|name| name.is_empty()) {
        return Vec::new();
    }
    let name = |name: &str| if name.is_empty() { "(none named)".into() } else { name.to_owned() };
    let mut categories: Vec<NamedAccuracy> = margins
        .into_iter()
        .map(|(category, margins)| accuracy(name(category), margins.into_iter()))
        .collect();
    categories.sort_by_key(|category| std::cmp::Reverse(category.pairs));
    categories
}

fn accuracy(name: String, margins: impl Iterator<Item = f64>) -> NamedAccuracy {
    let of = Accuracy::of(margins).unwrap_or_default();
    let (low, high) = interval(of.share(), of.pairs);
    NamedAccuracy { name, pairs: of.pairs, ties: of.ties, accuracy: of.share(), low, high }
}

#[derive(Serialize)]
struct Examples<'a> {
    name: &'static str,
    responses: Vec<Example<'a>>,
}

#[derive(Serialize)]
struct Example<'a> {
    prompt: &'a str,
    text: &'a str,
    deciding: f64,
    scores: Vec<(&'a str, f64)>,
}

impl<'a> Examples<'a> {
    fn new(name: &'static str, of: &'a Collector, responses: &'a [Response]) -> Self {
        let names = || of.attributes.iter().map(String::as_str);
        let example = |response: &'a Response| Example {
            prompt: &response.prompt,
            text: &response.text,
            deciding: response.scores[of.deciding],
            scores: names().zip(response.scores.iter().copied()).collect(),
        };
        Self { name, responses: responses.iter().map(example).collect() }
    }
}

/// The beginning of a long text; the page says that it was cut.
fn cut(text: &str) -> String {
    match text.char_indices().nth(LONGEST_TEXT) {
        Some((end, _)) => format!("{} […]", &text[..end]),
        None => text.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn collected() -> Collector {
        let mut of = Collector::new(vec!["helpfulness".into(), "verbosity".into()], 0);
        for n in 0..20 {
            let text = |score: f64| Response {
                prompt: "<script>alert(1)</script>".into(),
                text: "word ".repeat(n + 1),
                scores: vec![score, f64::from(n as u32)],
            };
            let (chosen, rejected) = (text(2.0 + n as f64), text(if n < 15 { 0.0 } else { 90.0 }));
            of.add_pair(if n % 2 == 0 { "chat" } else { "safety" }.into(), chosen, rejected);
        }
        of
    }

    #[test]
    fn the_page_says_what_was_counted() {
        let page = render(&collected(), "scores.jsonl", Some("demo")).unwrap();
        for text in ["scores.jsonl", "demo", "75.0%", "helpfulness", "chat", "safety", "Worst"] {
            assert!(page.contains(text), "{text}");
        }
    }

    #[test]
    fn texts_are_shown_and_never_run() {
        let page = render(&collected(), "<b>", None).unwrap();
        assert!(!page.contains("<script"), "a text came through as a script");
        assert!(page.contains("&lt;script&gt;"));
    }

    #[test]
    fn nothing_is_loaded_from_elsewhere() {
        let page = render(&collected(), "scores.jsonl", None).unwrap();
        for reference in ["src=", "href=", "url(", "@import", "http://", "https://"] {
            assert!(!page.contains(reference), "{reference}");
        }
    }

    #[test]
    fn a_file_without_scores_or_pairs_still_makes_a_page() {
        let page = render(&Collector::new(vec!["reward".into()], 0), "empty.jsonl", None).unwrap();
        assert!(page.contains("No response has scores"), "{page}");
    }
}
