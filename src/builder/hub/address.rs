//! Addresses of models, as people copy them from a browser.

use super::is_name;

/// Hosts of the hub.
const HOSTS: [&str; 3] = ["huggingface.co", "www.huggingface.co", "hf.co"];
/// What may precede the host.
const SCHEMES: [&str; 2] = ["https://", "http://"];
/// What addresses without a host start with.
const SHORT: &str = "hf://";
/// Sections of the hub without models.
const SECTIONS: [(&str, &str); 2] = [("datasets", "a dataset"), ("spaces", "a space")];
/// What separates a model's name from a revision.
const VIEWS: [&str; 4] = ["tree", "blob", "resolve", "raw"];
/// The revision that the cache of the hub is asked for.
const MAIN: &str = "main";

/// Why an address names no model that can be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the messages name the fields")]
pub enum AddressError {
    /// It is of another part of the hub.
    #[error("{address} is the address of {what}, not of a model; name a model as OWNER/NAME")]
    NotAModel { address: String, what: &'static str },
    /// It names another revision than the one in use.
    #[error(
        "{address} is the address of revision {revision} of {name}; download that revision with `hf download {name} \
         --revision {revision} --local-dir DIR`, and name DIR"
    )]
    Revision { address: String, name: String, revision: String },
    /// It is of another host, or of no single model.
    #[error(
        "{address} is not the address of a model of the Hugging Face hub; name one as OWNER/NAME, or download the model \
         and name its directory"
    )]
    Unknown { address: String },
}

/// The name in `text`, which is the name of a model or its address on the hub; `None` if it is neither.
///
/// # Errors
/// It is an address that names no model, or not in the revision that is used.
pub(crate) fn name(text: &str) -> Result<Option<String>, AddressError> {
    let Some(path) = path(text) else {
        if text.contains("://") {
            return Err(AddressError::Unknown { address: text.to_owned() });
        }
        let name = text.strip_suffix('/').unwrap_or(text);
        return Ok(is_name(name).then(|| name.to_owned()));
    };
    let address = text.to_owned();
    let path = path.split(['?', '#']).next().unwrap_or_default();
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    let what = SECTIONS.iter().find(|(section, _)| parts.first() == Some(section));
    if let Some(&(_, what)) = what {
        return Err(AddressError::NotAModel { address, what });
    }
    // The oldest models have no owner.
    let length = if parts.get(1).is_some_and(|part| VIEWS.contains(part)) { 1 } else { parts.len().min(2) };
    let (name, rest) = parts.split_at(length);
    let name = name.join("/");
    if !is_name(&name) {
        return Err(AddressError::Unknown { address });
    }
    match rest {
        [view, revision, ..] if VIEWS.contains(view) && *revision != MAIN => {
            Err(AddressError::Revision { address, name, revision: (*revision).to_owned() })
        }
        _ => Ok(Some(name)),
    }
}

/// What follows the host in an address of the hub.
fn path(text: &str) -> Option<&str> {
    if let Some(path) = text.strip_prefix(SHORT) {
        return Some(path);
    }
    let address = SCHEMES.iter().find_map(|scheme| text.strip_prefix(scheme)).unwrap_or(text);
    HOSTS.iter().find_map(|host| address.strip_prefix(host)?.strip_prefix('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_of_a_model_is_its_name() {
        for text in [
            "acme/judge",
            "acme/judge/",
            "hf.co/acme/judge",
            "huggingface.co/acme/judge",
            "https://huggingface.co/acme/judge",
            "https://www.huggingface.co/acme/judge/",
            "http://hf.co/acme/judge?library=transformers#usage",
            "https://huggingface.co/acme/judge/tree/main",
            "https://huggingface.co/acme/judge/blob/main/config.json",
            "https://huggingface.co/acme/judge/discussions/3",
            "hf://acme/judge",
        ] {
            assert_eq!(name(text), Ok(Some("acme/judge".to_owned())), "{text}");
        }
        assert_eq!(name("https://huggingface.co/gpt2/tree/main"), Ok(Some("gpt2".to_owned())));
        for text in ["/acme/judge", "./judge", "a/b/c", "", "a b"] {
            assert_eq!(name(text), Ok(None), "{text}");
        }
    }

    #[test]
    fn an_address_that_names_no_model_says_what_to_name() {
        for (text, part) in [
            ("https://huggingface.co/datasets/acme/pairs", "is the address of a dataset, not of a model"),
            ("hf.co/spaces/acme/demo", "is the address of a space"),
            (
                "https://huggingface.co/acme/judge/tree/v2",
                "`hf download acme/judge --revision v2 --local-dir DIR`, and name DIR",
            ),
            ("https://huggingface.co/", "name one as OWNER/NAME"),
            ("s3://bucket/judge", "download the model and name its directory"),
        ] {
            let sentence = name(text).unwrap_err().to_string();
            assert!(sentence.starts_with(text) && sentence.contains(part), "{sentence}");
        }
    }
}
