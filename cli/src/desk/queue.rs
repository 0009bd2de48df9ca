//! What waits at a desk, the oldest first: from one list, and from then on from the heads of the entries. Pure.

use std::collections::BTreeMap;

use protocol::brief::{Brief, OpenRequest};
use protocol::event::Audience;
use protocol::ids::{AgentName, ConversationId, Ordinal, RequestId};

/// One request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Waiting {
    pub(crate) conversation: ConversationId,
    pub(crate) request: OpenRequest,
    /// Who asks.
    pub(crate) agent: AgentName,
    /// By when it must be answered, in milliseconds since the Unix epoch by the broker's clock.
    pub(crate) due_ms: Option<u64>,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Queue {
    audience: Audience,
    waiting: Vec<Waiting>,
    /// How far the list knew its conversations: what is followed begins a little before.
    listed: BTreeMap<ConversationId, Ordinal>,
}

/// A conversation after an entry.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Now<'a> {
    pub(crate) conversation: &'a ConversationId,
    pub(crate) ordinal: Ordinal,
    pub(crate) brief: &'a Brief,
    /// When the entry was stored.
    pub(crate) time_ms: u64,
    /// By when its requests are due, where that is known already.
    pub(crate) due: &'a [(RequestId, u64)],
}

impl Queue {
    pub(crate) const fn new(audience: Audience) -> Self {
        Self { audience, waiting: Vec::new(), listed: BTreeMap::new() }
    }

    /// Takes in what the list says.
    pub(crate) fn list(&mut self, now: Now<'_>) {
        self.listed.insert(now.conversation.clone(), now.ordinal);
        self.put(now);
    }

    /// Takes in an entry; whether anything changed.
    pub(crate) fn follow(&mut self, now: Now<'_>) -> bool {
        if self.listed.get(now.conversation).is_some_and(|listed| now.ordinal <= *listed) {
            return false;
        }
        let before = self.waiting.clone();
        self.put(now);
        self.waiting != before
    }

    fn put(&mut self, now: Now<'_>) {
        let is_here = |waiting: &&Waiting| waiting.conversation == *now.conversation;
        let known: Vec<Waiting> = self.waiting.iter().filter(is_here).cloned().collect();
        let due = |request: &OpenRequest| {
            let listed = now.due.iter().find(|(id, _)| *id == request.id).map(|(_, due_ms)| *due_ms);
            let before = known.iter().find(|known| known.request.id == request.id).and_then(|known| known.due_ms);
            listed.or(before).or_else(|| Some(now.time_ms.saturating_add(request.due_secs?.saturating_mul(1000))))
        };
        // A request that stays open keeps its place.
        let mut open: Vec<Waiting> = Vec::new();
        for request in now.brief.requests.iter().filter(|request| request.audience == self.audience) {
            let (conversation, agent) = (now.conversation.clone(), now.brief.owner.clone());
            open.push(Waiting { conversation, request: request.clone(), agent, due_ms: due(request) });
        }
        self.waiting.retain_mut(|waiting| {
            if waiting.conversation != *now.conversation {
                return true;
            }
            let Some(place) = open.iter().position(|open| open.request.id == waiting.request.id) else { return false };
            *waiting = open.remove(place);
            true
        });
        self.waiting.append(&mut open);
    }

    pub(crate) fn waiting(&self) -> &[Waiting] {
        &self.waiting
    }

    /// What somebody has taken.
    pub(crate) fn taken_by(&self, by: &str) -> Option<&Waiting> {
        self.waiting.iter().find(|waiting| waiting.request.claimed_by.as_deref() == Some(by))
    }

    /// The one at a place, from 1 on; without one the first that is theirs or nobody's, or, to take over, that somebody else has.
    pub(crate) fn choose(&self, place: Option<usize>, is_over: bool, by: &str) -> Option<&Waiting> {
        let is_anothers = |waiting: &Waiting| waiting.request.claimed_by.as_deref().is_some_and(|holder| holder != by);
        match place {
            Some(place) => self.waiting.get(place.checked_sub(1)?),
            None => self.waiting.iter().find(|waiting| is_anothers(waiting) == is_over),
        }
    }

    /// The queue, a line each.
    pub(crate) fn lines(&self, now_ms: u64) -> Vec<String> {
        let line = |(place, waiting): (usize, &Waiting)| {
            let by = waiting.request.claimed_by.as_ref().map(|by| format!(", taken by {by}")).unwrap_or_default();
            let due = waiting.due_ms.map(|due_ms| format!(", due {}", within(due_ms, now_ms))).unwrap_or_default();
            format!("{:>3}  {} for {}{due}{by}", place + 1, waiting.conversation, waiting.agent)
        };
        self.waiting.iter().enumerate().map(line).collect()
    }
}

/// How long there is until then.
pub(crate) fn within(due_ms: u64, now_ms: u64) -> String {
    match due_ms.saturating_sub(now_ms) / 1000 {
        0 => "now".to_owned(),
        secs @ 1..120 => format!("in {secs} s"),
        secs @ 120..7200 => format!("in {} min", secs / 60),
        secs => format!("in {} h", secs / 3600),
    }
}

#[cfg(test)]
mod tests {
    use protocol::brief::Phase;
    use protocol::event::RequestKind;
    use protocol::ids::EventId;
    use serde_json::json;

    use super::*;

    fn brief(open: &[(u64, &str, Option<&str>)]) -> Brief {
        let request = |(ordinal, audience, by): &(u64, &str, Option<&str>)| OpenRequest {
            id: EventId { ordinal: *ordinal, index: 0 },
            kind: RequestKind::Question,
            audience: audience.parse().unwrap(),
            due_secs: Some(60),
            claimed_by: by.map(str::to_owned),
            more: serde_json::Map::new(),
        };
        let brief = json!({ "owner": "billing", "phase": Phase::Waiting, "turn": 0, "user_turns": 1 });
        Brief { requests: open.iter().map(request).collect(), ..serde_json::from_value(brief).unwrap() }
    }

    fn follow(queue: &mut Queue, conversation: &str, ordinal: u64, open: &[(u64, &str, Option<&str>)]) -> bool {
        let (conversation, brief) = (conversation.parse().unwrap(), brief(open));
        queue.follow(Now { conversation: &conversation, ordinal, brief: &brief, time_ms: ordinal * 1000, due: &[] })
    }

    #[test]
    fn requests_keep_their_places_and_deadlines_until_they_are_answered() {
        let mut queue = Queue::new("desk:billing".parse().unwrap());
        assert!(follow(&mut queue, "c1", 1, &[(1, "desk:billing", None)]));
        assert!(follow(&mut queue, "c2", 2, &[(2, "desk:billing", None)]));
        assert!(!follow(&mut queue, "c3", 3, &[(3, "desk:other", None)]), "somebody else's");
        assert!(follow(&mut queue, "c1", 9, &[(1, "desk:billing", Some("Ann"))]));
        let lines = ["  1  c1 for billing, due in 60 s, taken by Ann", "  2  c2 for billing, due in 61 s"];
        assert_eq!(queue.lines(1000), lines);
        assert_eq!(queue.taken_by("Ann").unwrap().conversation.as_str(), "c1");
        let chosen = |place, is_over| queue.choose(place, is_over, "Bea").map(|waiting| waiting.conversation.as_str());
        assert_eq!((chosen(None, false), chosen(None, true)), (Some("c2"), Some("c1")));
        assert_eq!((chosen(Some(2), true), chosen(Some(0), false), chosen(Some(3), false)), (Some("c2"), None, None));
        assert_eq!(queue.choose(None, false, "Ann").unwrap().conversation.as_str(), "c1", "what they have comes first");
        assert!(queue.choose(None, true, "Ann").is_none(), "nobody takes over from themselves");
        assert!(follow(&mut queue, "c1", 10, &[]));
        assert_eq!(queue.lines(62_000), ["  1  c2 for billing, due now"]);
    }

    #[test]
    fn what_was_listed_is_not_undone_by_what_came_before() {
        let mut queue = Queue::new("desk:billing".parse().unwrap());
        let (conversation, open) = ("c1".parse().unwrap(), brief(&[(4, "desk:billing", None)]));
        let due = [(EventId { ordinal: 4, index: 0 }, 90_000)];
        queue.list(Now { conversation: &conversation, ordinal: 5, brief: &open, time_ms: 0, due: &due });
        assert!(!follow(&mut queue, "c1", 3, &[]));
        assert_eq!(queue.lines(0), ["  1  c1 for billing, due in 90 s"]);
    }
}
