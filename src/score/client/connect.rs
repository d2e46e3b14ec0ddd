//! Connects to servers, and checks that all of them run the same.

use std::time::Duration;

use futures_util::future::join_all;
use reqwest::redirect::Policy;
use serde_json::json;

use super::error::ConnectError;
use super::identity::ServerIdentity;
use super::routing::PromptDigest;
use super::send::{Request, SILENCE};
use super::server::Server;
use super::wire::ErrorBody;
use super::{REWARDS, RequestSettings, RewardClient, ScoreError};
use crate::cli::output::eprint_line;

const REQUEST_TIMEOUT: Duration = Duration::from_secs(600);
/// A machine that is gone does not even refuse connections.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

impl RewardClient {
    /// Connects to the servers at `urls`, their roots or with `/v1`. Without `model`, asks for the first one
    /// that they list. Those that do not answer are left for later, unless none does.
    ///
    /// # Errors
    /// [`ScoreError::Setup`].
    pub(in crate::score) async fn connect(
        urls: &[String],
        settings: RequestSettings,
        key: Option<String>,
        concurrency: usize,
    ) -> Result<Self, ScoreError> {
        let RequestSettings { model, variables, rubric, verify_key } = settings;
        // Fails only if a provider is installed already, which is fine.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder().timeout(REQUEST_TIMEOUT).connect_timeout(CONNECT_TIMEOUT);
        let http = http.redirect(Policy::none());
        let mut client = Self {
            http: http.build().map_err(ConnectError::Client)?,
            servers: servers(urls, concurrency)?,
            model: String::new(),
            key,
            variables,
            rubric,
            verify_key,
            identity: ServerIdentity::default(),
            has_rewards: false,
            concurrency: concurrency.max(1),
            silence: SILENCE,
        };
        client.identity = client.agree_on_identity(model.as_deref()).await?;
        client.has_rewards = client.probe_rewards().await?;
        client.model = model.unwrap_or_else(|| client.identity.name().to_owned());
        if client.rubric.is_some() && !client.has_rewards {
            return Err(ConnectError::NoRubrics(client.urls().collect::<Vec<_>>().join(", ")).into());
        }
        Ok(client)
    }

    /// What all servers run that answer.
    async fn agree_on_identity(&self, model: Option<&str>) -> Result<ServerIdentity, ConnectError> {
        let answers = join_all(self.servers.iter().map(|server| self.ask_identity(server, model))).await;
        let mut agreed: Option<(&Server, ServerIdentity)> = None;
        let mut absent = Vec::new();
        for (server, answer) in self.servers.iter().zip(answers) {
            match (answer, &mut agreed) {
                (Ok(identity), None) => agreed = Some((server, identity)),
                (Ok(identity), Some((first, agreed))) if identity.differs(agreed) => {
                    return Err(ConnectError::Different {
                        first: first.url.clone(),
                        other: server.url.clone(),
                        first_runs: agreed.summary(),
                        other_runs: identity.summary(),
                    });
                }
                (Ok(identity), Some((_, agreed))) => agreed.complete_from(&identity),
                (Err(error), _) if error.may_pass() => absent.push((server, error)),
                (Err(error), _) => return Err(error),
            }
        }
        let Some((_, identity)) = agreed else {
            // There is at least one server, and all are absent.
            return Err(absent.swap_remove(0).1);
        };
        for (server, error) in absent {
            self.note_failure(server, error, None);
        }
        if self.servers.len() > 1 && identity.profile().is_none() {
            eprint_line(
                "warning: the servers do not say which engine they run; make sure that it is the same",
            );
        }
        Ok(identity)
    }

    /// Whether the servers have `/v1/rewards`: then they report what is missing from an empty request.
    async fn probe_rewards(&self) -> Result<bool, ScoreError> {
        let prompt = PromptDigest::from_conversations(&[]);
        let request =
            Request { route: REWARDS, body: &json!({}), prompt: &prompt, conversations: 0, rotation: 0 };
        let (_, text) = self.send(&request).await?;
        Ok(serde_json::from_str::<ErrorBody>(&text).is_ok_and(|body| body.error.param == "messages"))
    }
}

/// The servers at `urls`, each once.
fn servers(urls: &[String], concurrency: usize) -> Result<Vec<Server>, ConnectError> {
    let mut servers: Vec<Server> = Vec::with_capacity(urls.len());
    for url in urls {
        if !["http://", "https://"].iter().any(|scheme| url.starts_with(scheme)) {
            return Err(ConnectError::Url(url.clone()));
        }
        let server = Server::new(url, concurrency);
        if servers.iter().all(|known| known.url != server.url) {
            servers.push(server);
        }
    }
    Ok(servers)
}
