//! The service behind the tools: it keeps keys and epochs, as semantics asks of a tool that wants effects exactly once.

use std::collections::{BTreeMap, BTreeSet};

use protocol::event::Effect;
use protocol::ids::{ConversationId, Seq};

use super::record::{Seen, Whose};
use super::world::World;

/// What the service remembers.
#[derive(Debug, Default)]
pub(crate) struct Tools {
    keys: BTreeSet<String>,
    epochs: BTreeMap<ConversationId, Seq>,
}

impl Tools {
    /// Whether a call has an effect: the first under its key, unless its owner is stale.
    fn is_effect(&mut self, whose: &Whose, key: &str) -> bool {
        let newest = self.epochs.entry(whose.conversation.clone()).or_default();
        let is_stale = whose.epoch < *newest;
        *newest = whose.epoch.max(*newest);
        !is_stale && self.keys.insert(key.to_owned())
    }
}

impl World {
    /// A call, which takes its time on the way there and on the way back.
    pub(crate) async fn call(&self, whose: Whose, tool: &str, key: String, arguments: String) -> Result<String, String> {
        self.step().await;
        let is_read_only = self.definition.effect(tool) == Effect::ReadOnly;
        let is_effect = !is_read_only && self.tools.borrow_mut().is_effect(&whose, &key);
        self.tell(|| format!("{} calls {tool} for {}{}", whose.process, whose.conversation, if is_effect { ", with effect" } else { "" }));
        let takes = if self.chance(50) { 40_000 } else { 3_000 };
        let is_failure = self.chance(50);
        self.record(Seen::Called { whose, tool: tool.to_owned(), key, arguments, is_effect });
        self.step().await;
        self.takes(takes).await;
        if is_failure { Err(format!("{tool} failed")) } else { Ok(format!("{tool} done")) }
    }
}
