//! The page: one HTML file without scripts, which needs no network.

use minijinja::value::Serde;
use minijinja::{Environment, Value};
use serde::Serialize;

use super::charts::{self, Histogram, Scatter, fixed, short};
use super::statistics::{Accuracy, Summary, pearson, spearman, wilson_interval};
use super::{ReportData, Response, WrongPair};

const TEMPLATE: &str = include_str!("page.html");
/// Maximum number of characters of a text on the page; the file has the rest.
const MAX_TEXT: usize = 2000;

/// Width and height of a histogram, and of a scatter plot.
const HISTOGRAM_BOX: (f64, f64) = (300.0, 80.0);
const SCATTER_BOX: (f64, f64) = (300.0, 150.0);

/// The variables of the template.
#[derive(Serialize)]
struct Page<'a> {
    title: &'a str,
    model: Option<&'a str>,
    responses: usize,
    /// Number of responses in the charts, if these are a sample.
    sampled: Option<usize>,
    failed: usize,
    partly_scored: usize,
    other_attributes: usize,
    ranking_attribute: &'a str,
    attributes: Vec<AttributePanel<'a>>,
    /// Correlations of all pairs of attributes; empty for a single attribute.
    correlation: Vec<Vec<CorrelationCell>>,
    /// All pairs, the accuracy of length alone, and each subset; empty without pairs.
    accuracies: Vec<AccuracyRow>,
    /// The pairs whose rejected response has the largest lead.
    wrong: Vec<WrongExample<'a>>,
    examples: [ExampleGroup<'a>; 2],
    histogram_box: (f64, f64),
    scatter_box: (f64, f64),
}

#[derive(Serialize)]
struct AttributePanel<'a> {
    name: &'a str,
    summary: Summary,
    histogram: Histogram,
    scatter: Scatter,
    /// Spearman's correlation of score and length.
    length_correlation: Option<f64>,
}

#[derive(Serialize)]
struct CorrelationCell {
    value: Option<f64>,
    /// 0 (none) to 1 (full), for the colour.
    strength: f64,
    negative: bool,
}

/// How often the chosen response has the higher score, in some pairs.
#[derive(Serialize)]
struct AccuracyRow {
    name: String,
    pairs: usize,
    ties: usize,
    accuracy: f64,
    low: f64,
    high: f64,
}

#[derive(Serialize)]
struct WrongExample<'a> {
    subset: &'a str,
    margin: f64,
    prompt: &'a str,
    chosen: &'a str,
    chosen_score: f64,
    rejected: &'a str,
    rejected_score: f64,
}

#[derive(Serialize)]
struct ExampleGroup<'a> {
    /// Where the table of contents links to.
    id: &'static str,
    name: &'static str,
    responses: Vec<Example<'a>>,
}

#[derive(Serialize)]
struct Example<'a> {
    prompt: &'a str,
    text: &'a str,
    ranking_score: f64,
    /// Attributes and their scores.
    scores: Vec<(&'a str, f64)>,
}

/// Renders `data` as HTML. `title` is the name of the file, `model` that of what scored it.
///
/// # Errors
/// The template fails, which is a bug.
pub(crate) fn render(
    data: &ReportData,
    title: &str,
    model: Option<&str>,
) -> Result<String, minijinja::Error> {
    let mut environment = Environment::new();
    environment.add_filter("short", short);
    environment.add_filter("fixed", fixed);
    environment.add_filter("percent", |value: f64| format!("{:.1}%", 100.0 * value));
    environment.add_filter("cut", |text: String| cut(&text));
    environment.add_template("report.html", TEMPLATE)?;
    let page = Page::new(data, title, model);
    environment.get_template("report.html")?.render(Value::from(Serde(&page)))
}

impl<'a> Page<'a> {
    fn new(data: &'a ReportData, title: &'a str, model: Option<&'a str>) -> Self {
        Self {
            title,
            model,
            responses: data.responses(),
            sampled: data.sample.sampled(),
            failed: data.failed,
            partly_scored: data.partly_scored,
            other_attributes: data.other_attributes,
            ranking_attribute: data.ranking_attribute(),
            attributes: attributes(data),
            correlation: correlation(data),
            accuracies: accuracies(data),
            wrong: data.wrong.iter().map(|pair| WrongExample::new(pair, data.ranking)).collect(),
            examples: [
                ExampleGroup::new("best", "Best", data, &data.best),
                ExampleGroup::new("worst", "Worst", data, &data.worst),
            ],
            histogram_box: HISTOGRAM_BOX,
            scatter_box: SCATTER_BOX,
        }
    }
}

fn attributes(data: &ReportData) -> Vec<AttributePanel<'_>> {
    // One scale for all histograms, so that they can be compared.
    let all: Vec<f64> = data.sample.scores.iter().flatten().copied().collect();
    let (min, max) = charts::bounds(&all);
    let mut panels = Vec::with_capacity(data.attributes.len());
    for (index, (name, scores)) in data.attributes.iter().zip(&data.sample.scores).enumerate() {
        let Some(summary) = data.sample.summary(index) else { continue };
        panels.push(AttributePanel {
            name,
            summary,
            histogram: charts::histogram(scores, min, max, HISTOGRAM_BOX.0, HISTOGRAM_BOX.1),
            scatter: charts::scatter(&data.sample.lengths, scores, SCATTER_BOX.0, SCATTER_BOX.1),
            length_correlation: spearman(&data.sample.lengths, scores),
        });
    }
    panels
}

fn correlation(data: &ReportData) -> Vec<Vec<CorrelationCell>> {
    if data.attributes.len() < 2 || data.responses() < 3 {
        return Vec::new();
    }
    let columns = &data.sample.scores;
    columns.iter().map(|a| columns.iter().map(|b| CorrelationCell::new(pearson(a, b))).collect()).collect()
}

impl CorrelationCell {
    fn new(value: Option<f64>) -> Self {
        let strength = value.unwrap_or(0.0);
        Self { value, strength: strength.abs(), negative: strength < 0.0 }
    }
}

fn accuracies(data: &ReportData) -> Vec<AccuracyRow> {
    let Some(all) = data.accuracy() else { return Vec::new() };
    let mut rows = vec![
        AccuracyRow::new("all pairs", all.by_score),
        AccuracyRow::new("always the longer one", all.by_length),
    ];
    rows.extend(subset_accuracies(data));
    rows
}

/// The accuracy of each subset, largest first; empty if no pair names one.
fn subset_accuracies(data: &ReportData) -> Vec<AccuracyRow> {
    if data.subsets.keys().all(|name| name.is_empty()) {
        return Vec::new();
    }
    let mut rows = Vec::with_capacity(data.subsets.len());
    for (subset, accuracy) in &data.subsets {
        let name = if subset.is_empty() { "(no subset)" } else { subset };
        rows.push(AccuracyRow::new(name, accuracy.by_score));
    }
    rows.sort_by_key(|row| std::cmp::Reverse(row.pairs));
    rows
}

impl AccuracyRow {
    fn new(name: &str, accuracy: Accuracy) -> Self {
        let (low, high) = wilson_interval(accuracy.share(), accuracy.pairs);
        let Accuracy { pairs, ties, .. } = accuracy;
        Self { name: name.to_owned(), pairs, ties, accuracy: accuracy.share(), low, high }
    }
}

impl<'a> ExampleGroup<'a> {
    fn new(id: &'static str, name: &'static str, data: &'a ReportData, responses: &'a [Response]) -> Self {
        let mut examples = Vec::with_capacity(responses.len());
        for response in responses {
            let attributes = data.attributes.iter().map(String::as_str);
            examples.push(Example {
                prompt: &response.prompt,
                text: &response.text,
                ranking_score: response.scores[data.ranking],
                scores: attributes.zip(response.scores.iter().copied()).collect(),
            });
        }
        Self { id, name, responses: examples }
    }
}

impl<'a> WrongExample<'a> {
    fn new(pair: &'a WrongPair, ranking: usize) -> Self {
        let score = |response: &Response| response.scores.get(ranking).copied().unwrap_or_default();
        Self {
            subset: &pair.subset,
            margin: pair.margin,
            prompt: &pair.chosen.prompt,
            chosen: &pair.chosen.text,
            chosen_score: score(&pair.chosen),
            rejected: &pair.rejected.text,
            rejected_score: score(&pair.rejected),
        }
    }
}

/// Truncates a long text, visibly.
fn cut(text: &str) -> String {
    match text.char_indices().nth(MAX_TEXT) {
        Some((end, _)) => format!("{} […]", &text[..end]),
        None => text.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data() -> ReportData {
        let mut data = ReportData::new(vec!["helpfulness".into(), "verbosity".into()], 0);
        for n in 0..20 {
            let response = |score: f64| Response {
                prompt: "<script>alert(1)</script>".into(),
                text: "word ".repeat(n + 1),
                scores: vec![score, f64::from(n as u32)],
            };
            let (chosen, rejected) = (response(2.0 + n as f64), response(if n < 15 { 0.0 } else { 90.0 }));
            data.add_chosen_and_rejected(
                if n % 2 == 0 { "chat" } else { "safety" },
                1,
                vec![chosen, rejected],
            );
        }
        data
    }

    #[test]
    fn the_page_shows_the_statistics() {
        let page = render(&data(), "scores.jsonl", Some("demo")).unwrap();
        for text in [
            "scores.jsonl",
            "demo",
            "75.0%",
            "95% interval",
            "always the longer",
            "ranked by",
            "helpfulness",
            "chat",
            "safety",
            "Worst",
            "Largest wrong margins",
            "-69.00",
            "5th percentile",
            "length in characters",
        ] {
            assert!(page.contains(text), "{text}");
        }
    }

    #[test]
    fn texts_are_escaped() {
        let page = render(&data(), "<b>", None).unwrap();
        assert!(!page.contains("<script"), "a text became a script");
        assert!(page.contains("&lt;script&gt;"));
    }

    #[test]
    fn the_page_loads_nothing() {
        let page = render(&data(), "scores.jsonl", None).unwrap();
        for reference in ["src=", "href=\"h", "href=\"/", "url(", "@import", "http://", "https://"] {
            assert!(!page.contains(reference), "{reference}");
        }
    }

    #[test]
    fn the_contents_link_to_every_section() {
        let page = render(&data(), "scores.jsonl", None).unwrap();
        let links: Vec<&str> =
            page.split("href=\"#").skip(1).filter_map(|rest| rest.split('"').next()).collect();
        assert_eq!(links, ["distributions", "pairs", "wrong", "length", "correlation", "best", "worst"]);
        for link in links {
            assert!(page.contains(&format!("id=\"{link}\"")), "{link}");
        }
    }

    #[test]
    fn scores_of_any_size_make_a_page() {
        let extremes = [
            vec![f64::MAX, -f64::MAX],
            vec![1e308, -1e308, 0.0],
            vec![1e308, 1e308],
            vec![5e-324, 0.0],
            vec![5e-324, -5e-324, 0.0],
            vec![1e300, 1e300 * (1.0 + f64::EPSILON)],
            vec![0.0, 0.0],
        ];
        for scores in extremes {
            let mut data = ReportData::new(vec!["reward".into(), "same".into()], 0);
            for (index, score) in scores.iter().enumerate() {
                let response = |score: f64| Response {
                    text: "x".repeat(index),
                    scores: vec![score, score],
                    ..Response::default()
                };
                data.add_chosen_and_rejected("", 1, vec![response(*score), response(-score)]);
            }
            let page = render(&data, "scores.jsonl", None).unwrap();
            for wrong in ["NaN", ">inf", "\"inf", "-inf"] {
                assert!(!page.contains(wrong), "{scores:?}: {wrong}");
            }
            assert!(page.len() < 100_000, "{scores:?}: {} characters", page.len());
        }
    }

    #[test]
    fn data_without_scores_or_pairs_renders_a_page() {
        let page = render(&ReportData::new(vec!["reward".into()], 0), "empty.jsonl", None).unwrap();
        assert!(page.contains("No response has scores"), "{page}");
    }
}
