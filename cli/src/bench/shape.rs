//! The shapes of a load, and the orchestration that each is played by.

use std::fmt;
use std::time::Duration;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};

use super::endpoint::{Answers, Script, tag};
use crate::dev::demo;

/// Handoffs of all conversations together, where nothing else is said: enough to be even, few enough for a short run.
const HANDOFFS: usize = 4096;
/// What it takes at most to begin a conversation, when there are many.
const BEGUN_AT_MOST: Duration = Duration::from_millis(4);
/// How many words a conversation begins with that is parked: about 4 KiB are then carried to whoever goes on.
const PARKED_WORDS: usize = 750;
/// Turns that a worker runs at once, or more.
const SLOTS_MIN: usize = 64;
/// How many of those who were parked are woken.
const WOKEN: usize = 100;

/// What the conversations are like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Shape {
    /// Two agents hand a conversation back and forth; their models answer at once, within the worker.
    PingPong,
    /// The same, with models that are asked over HTTP: from a transfer to the request to the target's model.
    Request,
    /// The customer-support conversation, with a person who replies.
    Support,
    /// One conversation of 500 handoffs in which every agent says something.
    Long,
    /// Conversations that wait for a person, and some of those who reply.
    Parked,
    /// Models that say forty words, one after the other, before they hand over.
    Streaming,
    /// Many model calls in flight: they take a second each, and longer where there are so many that it takes longer to begin them.
    Slow,
}

/// As it is given at the command line.
impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.to_possible_value().map_or(Ok(()), |shape| f.write_str(shape.get_name()))
    }
}

/// One load, and who plays it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) shape: Shape,
    pub(super) conversations: usize,
    /// Handoffs of each conversation, where agents only hand over.
    pub(super) handoffs: usize,
    /// A person's lines; none where nobody answers.
    pub(super) replies: Vec<String>,
    /// Conversations that are replied to once all of them wait.
    pub(super) woken: usize,
    /// Where models are asked over HTTP; otherwise a script within the worker plays them.
    pub(super) answers: Option<Answers>,
    /// What the model is called there.
    pub(super) model: String,
}

impl Shape {
    /// How many conversations at once, each a load of its own, unless said otherwise.
    pub(super) const fn conversations(self) -> &'static [usize] {
        match self {
            Self::PingPong => &[1, 64, 256],
            Self::Request | Self::Long => &[1],
            Self::Support | Self::Streaming => &[16],
            Self::Parked => &[1000],
            Self::Slow => &[256],
        }
    }

    fn handoffs(self, conversations: usize) -> usize {
        match self {
            Self::PingPong => (HANDOFFS / conversations.max(1)).clamp(16, 500),
            Self::Request => 300,
            Self::Long => 510,
            Self::Streaming => 8,
            Self::Slow => 2,
            Self::Support | Self::Parked => 0,
        }
    }

    fn script(self, conversations: usize) -> Option<Script> {
        match self {
            Self::PingPong | Self::Support | Self::Long | Self::Parked => None,
            Self::Request => Some(Script::default()),
            Self::Streaming => Some(Script { words: 40, pause: Duration::from_millis(5), ..Script::default() }),
            Self::Slow => {
                Some(Script { delay: BEGUN_AT_MOST.saturating_mul(count(conversations)).max(Duration::from_secs(1)), ..Script::default() })
            }
        }
    }

    /// A load of this shape; a real endpoint plays it, where there is one.
    pub(super) fn plan(self, conversations: usize, handoffs: Option<usize>, real: Option<&str>, model: &str) -> Plan {
        let answers = real.map_or_else(|| self.script(conversations).map(Answers::Script), |real| Some(Answers::Of(real.to_owned())));
        Plan {
            shape: self,
            conversations,
            handoffs: handoffs.unwrap_or_else(|| self.handoffs(conversations)),
            replies: if self == Self::Support { demo::REPLIES.lines().map(str::to_owned).collect() } else { Vec::new() },
            woken: if self == Self::Parked { WOKEN.min(conversations) } else { 0 },
            answers,
            model: model.to_owned(),
        }
    }
}

impl Plan {
    /// Who plays.
    pub(super) const fn player(&self) -> &'static str {
        match self.answers {
            None => "scripted, in the worker",
            Some(Answers::Script(_)) => "scripted, over HTTP",
            Some(Answers::Of(_)) => "a real endpoint",
        }
    }

    /// Whether agents do nothing but hand over: then the raw loop does the same, without Baton.
    pub(super) const fn is_rally(&self) -> bool {
        matches!(self.shape, Shape::PingPong | Shape::Request | Shape::Long | Shape::Streaming | Shape::Slow)
    }

    /// Whether a script's models say something word by word.
    pub(super) const fn is_told(&self) -> bool {
        matches!(self.answers, Some(Answers::Script(Script { words: 1.., .. })))
    }

    /// What a model takes by itself before a turn can end.
    pub(super) fn thinking(&self) -> Duration {
        match &self.answers {
            Some(Answers::Script(script)) => script.delay + script.pause * count(script.words),
            _ => Duration::ZERO,
        }
    }

    /// What a conversation begins with.
    pub(super) fn task(&self, number: usize) -> String {
        let task = match self.shape {
            Shape::Support => "A customer is on the line.",
            Shape::Parked => &"There is much to say. ".repeat(PARKED_WORDS / 5),
            _ => "Play.",
        };
        format!("{task} {}", tag(number))
    }

    /// Whether there is a person.
    pub(super) const fn has_person(&self) -> bool {
        matches!(self.shape, Shape::Support | Shape::Parked)
    }

    /// The definition's files; the first is the manifest. `url` is where models are asked.
    pub(super) fn files(&self, url: Option<&str>) -> Vec<(&'static str, String)> {
        match self.shape {
            Shape::Support => self.support(url),
            _ => vec![("bench.yaml", self.rally(url).to_string())],
        }
    }

    fn endpoint(&self, url: &str) -> Json {
        json!({ "provider": "compatible", "name": self.model, "baseUrl": url, "apiKeyEnv": "OPENAI_API_KEY" })
    }

    /// Two agents; JSON is YAML too.
    fn rally(&self, url: Option<&str>) -> Json {
        let says = match self.shape {
            Shape::Long => Some("The ball comes back, a little faster than the last time."),
            Shape::Parked => Some("What else can I do for you?"),
            _ => None,
        };
        let line = |agent: &str, to: &str| {
            let mut line = json!({ "agent": agent });
            if let (Some(line), Some(says)) = (line.as_object_mut(), says) {
                line.insert("say".to_owned(), says.into());
            }
            if let (Some(line), false) = (line.as_object_mut(), self.has_person()) {
                line.insert("transfer".to_owned(), to.into());
            }
            line
        };
        let script = json!({ "provider": "scripted", "script": [line("ping", "pong"), line("pong", "ping")] });
        let slots = self.slots();
        let agent = |name: &str, other: &str| {
            json!({
                "description": format!("Plays {name}."),
                "instructions": format!("Say nothing. Call transfer_to_{other}, always and at once."),
                "handoffs": [{ "to": other, "when": "Always" }],
                "worker": { "concurrency": slots },
            })
        };
        json!({
            "apiVersion": "baton/v1alpha1",
            "kind": "Orchestration",
            "metadata": { "name": "bench" },
            "spec": {
                "start": "ping",
                "models": { "default": url.map_or(script, |url| self.endpoint(url)) },
                "agents": { "ping": agent("ping", "pong"), "pong": agent("pong", "ping") },
                "limits": { "handoffsPerUserTurn": self.handoffs.max(1) },
            },
        })
    }

    /// Turns that a worker, and the raw loop, run at once: as many as there are conversations, unless most of them wait for people.
    pub(super) fn slots(&self) -> usize {
        if self.shape == Shape::Parked { SLOTS_MIN } else { self.conversations.max(SLOTS_MIN) }
    }

    /// The example, played by its rehearsal's script whatever the environment says, or by an endpoint.
    fn support(&self, url: Option<&str>) -> Vec<(&'static str, String)> {
        let [(manifest, text), (script, lines)] = demo::FILES;
        let models = match url {
            Some(url) => json!({ "default": self.endpoint(url) }),
            None => json!({ "default": { "provider": "scripted", "scriptFile": script } }),
        };
        let mut kept = Vec::new();
        let mut is_model = false;
        for line in text.lines() {
            if line == "  models:" {
                kept.push(format!("  models: {models}"));
            }
            // The section ends where the next key of the same depth begins.
            is_model = line == "  models:" || (is_model && (line.is_empty() || line.starts_with("    ")));
            if !is_model {
                kept.push(line.to_owned());
            }
        }
        vec![(manifest, kept.join("\n")), (script, lines.to_owned())]
    }
}

fn count(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use protocol::orchestration::{Model, Orchestration};

    use super::*;

    fn loaded(plan: &Plan, url: Option<&str>) -> Orchestration {
        let directory = tempfile::tempdir().unwrap();
        let files = plan.files(url);
        for (name, text) in &files {
            std::fs::write(directory.path().join(name), text).unwrap();
        }
        crate::manifest::load(&directory.path().join(files[0].0)).unwrap().orchestration
    }

    #[test]
    fn every_shape_is_an_orchestration_that_a_script_or_an_endpoint_plays() {
        for shape in Shape::value_variants() {
            let plan = shape.plan(4, None, None, "m");
            let url = plan.answers.as_ref().map(|_| "http://127.0.0.1:1/v1");
            let scripted = loaded(&plan, url);
            assert_eq!(matches!(scripted.model("default"), Some(Model::Scripted(_))), url.is_none(), "{shape:?}");
            let real = shape.plan(4, None, Some("http://127.0.0.1:1/v1"), "m");
            assert_eq!(real.answers, Some(Answers::Of("http://127.0.0.1:1/v1".to_owned())));
            assert!(matches!(loaded(&real, Some("http://127.0.0.1:2/v1")).model("default"), Some(Model::Endpoint(_))), "{shape:?}");
        }
    }

    #[test]
    fn what_is_asked_for_is_what_is_played() {
        let plan = Shape::PingPong.plan(300, Some(7), None, "m");
        assert_eq!((plan.conversations, plan.handoffs, plan.slots(), plan.is_rally()), (300, 7, 300, true));
        assert_eq!(loaded(&plan, None).limits().handoffs_per_user_turn, 7);
        assert_eq!(Shape::PingPong.plan(1, None, None, "m").handoffs, 500);
        assert_eq!(Shape::Slow.plan(1, None, None, "m").thinking(), Duration::from_secs(1));
        assert_eq!(Shape::Slow.plan(10_000, None, None, "m").thinking(), Duration::from_secs(40));
        assert_eq!(Shape::Streaming.plan(1, None, None, "m").thinking(), Duration::from_millis(200));
    }
}
