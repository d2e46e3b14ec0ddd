//! Logits become scores, and scores the text that clients read.
