//! What people, operators and other programs do: in time, too late, and what they must not.

use protocol::brief::OpenRequest;
use protocol::event::{
    Audience, Cancelled, Claimed, Completed, CompletedBecause, Decided, DeskAction, Event, Failed, HistoryOption, Interrupted, Reassigned,
    Redispatched, Replied, RequestKind, Said, Snapshotted, Taken, Transferred, Verdict,
};
use protocol::ids::{Hash, RequestId};
use protocol::orchestration::OnMessage;
use protocol::subject::Class;

use super::super::stage::agent;
use super::world::World;

const AGENTS: [&str; 3] = ["triage", "refund", "order"];

impl World {
    /// Somebody writes while an agent works, or right before it writes.
    pub(super) fn interfere(&mut self) {
        let owner = self.stage.owner();
        let to_owner = self.stage.to(&owner);
        let is_free = !self.stage.journal.has_unresolved_intent();
        let Some(turn) = self.stage.journal.brief().map(|brief| brief.turn) else { return };
        match self.rng.u8(..40) {
            0..=3 => {
                let by = format!("w-0{}", self.stored.len()).parse().unwrap();
                self.write(Class::Note, &owner, Taken { by, delivered: 2 });
            }
            4..=6 => _ = self.write(to_owner, "coordinator", Redispatched { turn, reason: "silence".to_owned() }),
            7 => _ = self.write(Class::End, "gateway", Cancelled { reason: String::new() }),
            8 => _ = self.write(Class::End, "coordinator", Failed { code: "turn_timeout".into(), detail: String::new() }),
            9 if is_free => {
                let to = AGENTS[self.rng.usize(..3)];
                self.write(self.stage.to(to), "coordinator", Reassigned { to: agent(to), by: "op".to_owned() });
            }
            10 => _ = self.write(Class::Note, "coordinator", Event::Unknown { kind: "newer".to_owned(), data: vec![0xc0].into() }),
            11..=13 => self.do_what_is_refused(None),
            _ => self.say(),
        }
    }

    /// A person's message, as the definition wants it.
    fn say(&mut self) {
        let text = format!("also {}", self.word());
        let owner = self.stage.to(&self.stage.owner());
        match self.stage.orchestration.human().on_message {
            OnMessage::Reject => {}
            OnMessage::Interrupt if !self.stage.journal.has_unresolved_intent() => {
                self.write(owner, "gateway", Interrupted { text });
            }
            OnMessage::Enqueue | OnMessage::Interrupt => _ = self.write(Class::In, "gateway", Said { text }),
        }
    }

    /// Somebody does something about what is open.
    pub(super) fn people(&mut self) {
        let requests = self.stage.journal.requests();
        let request = requests[self.rng.usize(..requests.len())].clone();
        if self.one_in(4) {
            self.do_what_is_refused(Some(&request));
        }
        match self.rng.u8(..30) {
            0 => return self.say(),
            1 => _ = self.write(Class::Note, "coordinator", Snapshotted { entries: self.stored.len() as u64 }),
            2 => _ = self.write(Class::End, "coordinator", Failed { code: "human_timeout".into(), detail: String::new() }),
            3 => {
                let because = CompletedBecause::UserEnded;
                self.write(Class::End, "gateway", Completed { because, result: String::new(), value: None });
            }
            _ => {}
        }
        match request.kind {
            _ if self.stage.phase().is_ended() => {}
            RequestKind::Question => self.answer(&request),
            RequestKind::Approval => {
                let verdict = if self.one_in(3) { Verdict::Denied } else { Verdict::Approved };
                self.stage_decides(&request, verdict);
            }
            RequestKind::InDoubt => {
                let verdict = [Verdict::Retry, Verdict::Happened, Verdict::Abandoned][self.rng.usize(..3)];
                self.stage_decides(&request, verdict);
            }
        }
    }

    fn answer(&mut self, request: &OpenRequest) {
        let is_at_desk = matches!(request.audience, Audience::Desk(_));
        if is_at_desk && self.one_in(3) {
            let by = ["ann", "bob", "", "\u{0}🙂\n"][self.rng.usize(..4)].to_owned();
            self.write(Class::In, "gateway", Claimed { request: request.id, by });
        }
        let text = if self.one_in(9) { "\u{0}\u{1b}".to_owned() } else { format!("my answer {}", self.word()) };
        let to = ["triage", "refund", "order", "nobody"][self.rng.usize(..4)];
        let action = match self.rng.u8(..4) {
            0 if is_at_desk => Some(DeskAction::Transfer { to: agent(to) }),
            1 if is_at_desk => Some(DeskAction::Complete),
            _ => None,
        };
        // A colleague's answer goes to whoever asked, the caller's perhaps to the start.
        let back = self.stage.journal.brief().and_then(|brief| brief.fixed.reply_to.clone());
        let owner = back.filter(|_| request.audience == Audience::Caller).map_or_else(|| self.stage.owner(), |agent| agent.to_string());
        let by = if request.audience == Audience::Caller { String::new() } else { "ann".to_owned() };
        let replied = Replied { action, by, ..Replied::new(request.id, text) };
        assert!(self.write(self.stage.to(&owner), "gateway", replied), "an open question cannot be answered");
    }

    fn stage_decides(&mut self, request: &OpenRequest, verdict: Verdict) {
        let decided = self.decision(request.id, verdict);
        let is_last = self.stage.journal.requests().len() == 1;
        let class = if is_last { self.stage.to(&self.stage.owner()) } else { Class::In };
        assert!(self.write(class, "gateway", decided), "an open request cannot be decided");
    }

    fn decision(&self, request: RequestId, verdict: Verdict) -> Decided {
        let Some(Event::Asked(asked)) = self.stage.journal.event(request) else { panic!("{request} asks nothing") };
        Decided { request, verdict, arguments_hash: asked.arguments_hash, note: "so it is".to_owned(), by: "ann".to_owned() }
    }

    /// What nobody may, done at once: the journal has no room for it.
    fn do_what_is_refused(&mut self, open: Option<&OpenRequest>) {
        let owner = self.stage.owner();
        let to_owner = self.stage.to(&owner);
        let other = AGENTS.into_iter().find(|name| *name != owner).unwrap();
        let nothing = RequestId { ordinal: 9999, index: 0 };
        let moved = Transferred { to: agent(other), call: None, reason: None, payload: None, history: HistoryOption::None, summary: None };
        let mut refused: Vec<(Class, &str, Event)> = vec![
            (to_owner.clone(), "gateway", Replied::new(nothing, "yes").into()),
            (Class::In, "gateway", Claimed { request: nothing, by: "ann".to_owned() }.into()),
            (self.stage.to(other), other, moved.clone().into()),
            (self.stage.to(other), "gateway", moved.into()),
            (Class::End, other, Completed { because: CompletedBecause::TaskComplete, result: String::new(), value: None }.into()),
            (Class::Note, "gateway", Taken { by: "w-9".parse().unwrap(), delivered: 2 }.into()),
        ];
        if let Some(OpenRequest { id, kind, audience, .. }) = open {
            let foreign = if *kind == RequestKind::Approval { Verdict::Happened } else { Verdict::Approved };
            let is_last = self.stage.journal.requests().len() == 1;
            let class = if is_last { to_owner.clone() } else { Class::In };
            refused.push((class.clone(), "gateway", self.decision(*id, foreign).into()));
            if *kind != RequestKind::Question {
                let other_call = Some(Hash::of(b"other arguments"));
                let verdict = if *kind == RequestKind::Approval { Verdict::Approved } else { Verdict::Retry };
                refused.push((class, "gateway", Decided { arguments_hash: other_call, ..self.decision(*id, verdict) }.into()));
                refused.push((to_owner, "gateway", Replied::new(*id, "yes").into()));
            } else if !matches!(audience, Audience::Desk(_)) {
                let action = Some(DeskAction::Complete);
                refused.push((to_owner, "gateway", Replied { action, ..Replied::new(*id, "done") }.into()));
            }
        }
        for (class, from, event) in refused {
            let shown = format!("{from}: {event:?}");
            assert!(!self.write(class, from, event), "this must be refused: {shown}");
        }
    }
}
