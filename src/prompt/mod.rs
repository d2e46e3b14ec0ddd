//! A conversation becomes token ids: template, tokens.
