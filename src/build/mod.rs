//! What `build-engine` does: a Hugging Face checkpoint in, an engine directory out.
