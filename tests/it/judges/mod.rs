//! Language models that judge: their scores, what their questions share, and what is refused.

mod files;
mod many;
mod pairs;
mod remote;
mod routes;
mod rubric;
mod score;
mod server;
mod templated;
