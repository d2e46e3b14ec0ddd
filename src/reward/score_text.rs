//! The text of a response: the scores, each written so that it reads back as the exact number.

use std::fmt::Write;

use super::Scores;

impl Scores {
    /// The text of the response: `helpfulness:1.2578125,correctness:-0.5`.
    pub fn content(&self) -> String {
        let mut text = String::new();
        for (index, (attribute, value)) in self.values().enumerate() {
            if index > 0 {
                text.push(',');
            }
            text.push_str(attribute);
            text.push(':');
            push_decimal(&mut text, value);
        }
        text
    }
}

/// Appends the shortest plain decimal that reads back as `value`: no exponent, always a fraction.
fn push_decimal(text: &mut String, value: f64) {
    let start = text.len();
    // Writing to a String cannot fail. `Display`, unlike `Debug`, never writes an exponent.
    let _ = write!(text, "{value}");
    if !text[start..].contains('.') {
        text.push_str(".0");
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use crate::reward::Head;

    fn head(attributes: &[&str]) -> Head {
        let attributes = attributes.iter().map(|name| name.to_string()).collect();
        Head::new(&crate::manifest::ManifestHead { attributes, ..Default::default() })
    }

    fn content(logits: &[f32]) -> String {
        let names = ["helpfulness", "correctness", "coherence", "complexity", "verbosity"];
        head(&names[..logits.len()]).scores(logits).unwrap().content()
    }

    #[test]
    fn the_score_text_has_the_form_of_published_examples() {
        insta::assert_snapshot!(
            content(&[4.09375, 4.03125, 4.25, 0.5703125, 1.109375]),
            @"helpfulness:4.09375,correctness:4.03125,coherence:4.25,complexity:0.5703125,verbosity:1.109375"
        );
        insta::assert_snapshot!(head(&["reward"]).scores(&[-14.5625]).unwrap().content(), @"reward:-14.5625");
    }

    #[test]
    fn whole_numbers_keep_a_fraction() {
        insta::assert_snapshot!(content(&[4.0, -2.0, 0.0, -0.0]), @"helpfulness:4.0,correctness:-2.0,coherence:0.0,complexity:-0.0");
    }

    #[test]
    fn numbers_of_any_size_are_plain_decimals() {
        insta::assert_snapshot!(content(&[0.1, 1e20, 1e-10]), @"helpfulness:0.10000000149011612,correctness:100000002004087730000.0,coherence:0.0000000001000000013351432");
    }

    proptest! {
        #[test]
        fn the_text_reads_back_as_the_exact_number_in_the_json(bits in any::<u32>()) {
            let logit = f32::from_bits(bits);
            prop_assume!(logit.is_finite());
            let scores = head(&["reward"]).scores(&[logit]).unwrap();
            let text = scores.content().strip_prefix("reward:").unwrap().to_owned();
            prop_assert!(text.trim_start_matches('-').chars().all(|c| c.is_ascii_digit() || c == '.'));
            prop_assert_eq!(text.matches('.').count(), 1);
            let json = serde_json::to_string(&scores.values().next().unwrap().1).unwrap();
            prop_assert_eq!(text.parse::<f64>().unwrap().to_bits(), json.parse::<f64>().unwrap().to_bits());
            prop_assert_eq!((text.parse::<f64>().unwrap() as f32).to_bits(), bits);
        }
    }
}
