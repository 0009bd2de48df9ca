//! What stands where an agent's model would, for an agent that people play: their turn never asks it.

use async_trait::async_trait;
use protocol::event::Responded;

use super::{Model, ModelError, Request, Tokens};

/// See the module.
#[derive(Debug)]
pub(super) struct Desk(pub(super) String);

#[async_trait]
impl Model for Desk {
    fn provider(&self) -> &str {
        "desk"
    }

    fn name(&self) -> &str {
        &self.0
    }

    async fn respond(&self, request: &Request<'_>, _tokens: &mut dyn Tokens) -> Result<Responded, ModelError> {
        Err(ModelError::Refused(format!("agent {} is played by people, at the desk {}", request.agent, self.0)))
    }
}
