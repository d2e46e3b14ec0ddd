//! How a balancer in front of several servers chooses one for each request.

use std::collections::BTreeSet;

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use sha2::{Digest, Sha256};

use super::trace::TraceRequest;

/// The rule of a balancer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Route {
    /// By a hash of the prompt, so that its responses stay together
    Hash,
    /// To the server with the fewest unanswered requests
    Least,
    /// To any server
    Random,
}

impl Route {
    /// Where a request goes, to follow "each request goes".
    pub(super) fn describe(self) -> &'static str {
        match self {
            Self::Hash => "by the hash of its prompt",
            Self::Least => "to the server with the fewest unanswered requests",
            Self::Random => "to a random server",
        }
    }
}

/// A balancer.
pub(super) struct Balancer {
    route: Route,
    random: SmallRng,
    /// Number of unanswered requests of each server, and when it got its last one.
    loads: Vec<(usize, u64)>,
    /// The same in order; servers with equally many take turns. Only [`Route::Least`] needs it.
    by_load: BTreeSet<(usize, u64, usize)>,
    routed: u64,
}

impl Balancer {
    pub(super) fn new(route: Route, servers: usize) -> Self {
        let by_load = (0..servers).map(|server| (0, 0, server)).collect();
        Self { route, random: SmallRng::seed_from_u64(0), loads: vec![(0, 0); servers], by_load, routed: 0 }
    }

    /// The server that gets a request, the one at `index` of the trace.
    pub(super) fn choose(&mut self, request: &TraceRequest, index: usize) -> usize {
        let servers = self.loads.len();
        self.routed += 1;
        match self.route {
            Route::Hash => match &request.prefix {
                Some(prefix) => hash(prefix, servers),
                None => hash(&index.to_string(), servers),
            },
            Route::Random => self.random.random_range(0..servers),
            Route::Least => {
                let server = self.by_load.first().map_or(0, |(_, _, server)| *server);
                let unanswered = self.loads[server].0 + 1;
                self.set_load(server, (unanswered, self.routed));
                server
            }
        }
    }

    /// Records that a server has answered a request.
    pub(super) fn answered(&mut self, server: usize) {
        if self.route == Route::Least {
            let (unanswered, last) = self.loads[server];
            self.set_load(server, (unanswered - 1, last));
        }
    }

    fn set_load(&mut self, server: usize, load: (usize, u64)) {
        let (unanswered, last) = std::mem::replace(&mut self.loads[server], load);
        self.by_load.remove(&(unanswered, last, server));
        self.by_load.insert((load.0, load.1, server));
    }
}

/// A server for a key. Which one does not matter here, only that keys spread evenly.
fn hash(key: &str, servers: usize) -> usize {
    let digest = Sha256::digest(key);
    let number = digest.iter().take(8).fold(0u64, |number, byte| number << 8 | u64::from(*byte));
    (number % servers.max(1) as u64) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(prefix: &str) -> TraceRequest {
        TraceRequest { prefix: Some(prefix.to_owned()), prefix_tokens: 1, ..TraceRequest::score(0.0, 2) }
    }

    #[test]
    fn a_hash_keeps_responses_together_and_spreads_prompts() {
        let mut balancer = Balancer::new(Route::Hash, 8);
        let mut counts = [0; 8];
        for prompt in 0..8000 {
            let server = balancer.choose(&request(&prompt.to_string()), prompt);
            assert_eq!(balancer.choose(&request(&prompt.to_string()), prompt + 1), server);
            counts[server] += 1;
        }
        assert!(counts.iter().all(|count| (900..1100).contains(count)), "{counts:?}");
    }

    #[test]
    fn the_least_loaded_server_is_next_and_equal_ones_take_turns() {
        let mut balancer = Balancer::new(Route::Least, 3);
        let chosen: Vec<usize> = (0..6).map(|index| balancer.choose(&request("a"), index)).collect();
        assert_eq!(chosen, [0, 1, 2, 0, 1, 2]);
        balancer.answered(1);
        assert_eq!(balancer.choose(&request("a"), 6), 1);
        balancer.answered(2);
        balancer.answered(0);
        // Server 0 waits longer for its next request than server 2.
        assert_eq!(balancer.choose(&request("a"), 7), 0);
    }
}
