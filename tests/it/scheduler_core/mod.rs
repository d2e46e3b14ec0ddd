//! What a user relies on of the scheduler, checked on its state machine with simulated time and an
//! engine whose cache holds hashes of tokens, so that any wrong block gives a wrong score.

mod feeding;
mod policy;
mod properties;
mod world;
