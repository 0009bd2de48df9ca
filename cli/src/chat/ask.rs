//! What a line that a person types means, given what is asked. Pure.

use client::Question;
use protocol::event::{RequestKind, Verdict};
use protocol::ids::{Hash, RequestId};

use crate::talk;

/// What the person wants of the chat itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Command {
    Help,
    /// End the conversation, well.
    End,
    /// Call it off.
    Cancel(String),
    Show,
    /// Leave; the conversation goes on.
    Quit,
}

/// The commands with what they do, for people.
pub(crate) const COMMANDS: [(&str, &str); 5] = [
    ("/help", "this"),
    ("/show", "who owns the conversation, its state, its trace"),
    ("/end", "end the conversation"),
    ("/cancel [reason]", "call the conversation off"),
    ("/quit", "leave it as it is, and come back later (as Ctrl-D)"),
];

/// What a typed line means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Meaning {
    Command(Command),
    /// The answer to a question.
    Answer {
        request: RequestId,
        text: String,
    },
    /// The decision on a call.
    Decision {
        request: RequestId,
        verdict: Verdict,
        hash: Option<Hash>,
        note: String,
    },
    /// Something said while nothing is asked.
    Say(String),
    /// Nothing yet: the person is told this, and gets the line back.
    Back(&'static str),
    /// Nothing yet: the person is told this.
    Told(String),
    /// Nothing at all.
    Nothing,
}

/// Reads the lines of one person.
#[derive(Debug, Default)]
pub(crate) struct Reader {
    /// Whether the line before was empty, and the person was asked whether it was meant.
    was_empty: bool,
}

impl Reader {
    /// What `text` means, which was begun while `target` was asked, now that `asked` is.
    pub(crate) fn read(&mut self, text: &str, target: Option<RequestId>, asked: Option<&Question>) -> Meaning {
        let was_empty = std::mem::take(&mut self.was_empty);
        if let Some(command) = text.trim().strip_prefix('/').filter(|rest| !rest.starts_with('/')) {
            return read_command(command);
        }
        // A text that begins with a slash is written with two.
        let text = if text.starts_with("//") { text.get(1..).unwrap_or_default() } else { text };
        let Some(asked) = asked else {
            return match target {
                _ if text.trim().is_empty() => Meaning::Nothing,
                Some(_) => {
                    Meaning::Back("What you were answering is not asked any more: your line was not sent. Enter sends it as a message.")
                }
                None => Meaning::Say(text.to_owned()),
            };
        };
        if target.is_some_and(|target| target != asked.request) && !text.trim().is_empty() {
            return Meaning::Back(
                "Something else is asked now than when you began to type: your line was not sent. Enter sends it all the same.",
            );
        }
        match asked.kind {
            RequestKind::Question if text.trim().is_empty() && was_empty => Meaning::Command(Command::End),
            RequestKind::Question if text.trim().is_empty() => self.empty(),
            RequestKind::Question => Meaning::Answer { request: asked.request, text: text.to_owned() },
            RequestKind::Approval | RequestKind::InDoubt => decide(text, target, asked),
        }
    }

    fn empty(&mut self) -> Meaning {
        self.was_empty = true;
        Meaning::Told("Enter once more ends the conversation; anything else is your answer.".to_owned())
    }
}

fn read_command(command: &str) -> Meaning {
    let (word, rest) = command.split_once(char::is_whitespace).unwrap_or((command, ""));
    Meaning::Command(match word {
        "help" | "h" | "?" => Command::Help,
        "end" => Command::End,
        "cancel" => Command::Cancel(rest.trim().to_owned()),
        "show" => Command::Show,
        "quit" | "q" | "exit" => Command::Quit,
        _ => {
            return Meaning::Told(format!(
                "There is no command /{word}: /help lists those there are. A message that begins with a slash is written with two."
            ));
        }
    })
}

fn decide(text: &str, target: Option<RequestId>, asked: &Question) -> Meaning {
    if text.trim().is_empty() {
        return Meaning::Nothing;
    }
    // Words that were meant for somebody else never decide anything.
    if target.is_none() {
        return Meaning::Back("Something was asked while you were typing: your line was not sent. Look at it, then press Enter again.");
    }
    match talk::decision(asked.kind, text) {
        Some((verdict, note)) => Meaning::Decision { request: asked.request, verdict, hash: asked.arguments_hash, note },
        None => Meaning::Told(format!("That decides nothing: say {}.", talk::choices(asked.kind))),
    }
}

#[cfg(test)]
mod tests {
    use protocol::event::Audience;
    use protocol::ids::EventId;

    use super::*;

    const FIRST: RequestId = EventId { ordinal: 1, index: 0 };
    const SECOND: RequestId = EventId { ordinal: 3, index: 1 };

    fn asked(request: RequestId, kind: RequestKind) -> Question {
        let arguments_hash = (kind != RequestKind::Question).then(|| Hash::of(b"{}"));
        Question {
            request,
            kind,
            audience: Audience::Caller,
            agent: "refund".parse().unwrap(),
            text: "Well?".to_owned(),
            call: None,
            arguments_hash,
            due_secs: None,
        }
    }

    fn read(text: &str, target: Option<RequestId>, asked: Option<&Question>) -> Meaning {
        Reader::default().read(text, target, asked)
    }

    #[test]
    fn a_line_answers_what_is_asked_and_is_said_where_nothing_is() {
        let question = asked(FIRST, RequestKind::Question);
        assert_eq!(
            read("My order is 123", Some(FIRST), Some(&question)),
            Meaning::Answer { request: FIRST, text: "My order is 123".to_owned() }
        );
        // Begun before it was asked: by the protocol, too, it answers.
        assert_eq!(read("hello", None, Some(&question)), Meaning::Answer { request: FIRST, text: "hello".to_owned() });
        assert_eq!(read("one more thing", None, None), Meaning::Say("one more thing".to_owned()));
        assert_eq!(read("  ", None, None), Meaning::Nothing);
    }

    #[test]
    fn a_line_that_was_meant_for_something_else_goes_back() {
        let (question, approval) = (asked(SECOND, RequestKind::Question), asked(SECOND, RequestKind::Approval));
        assert!(matches!(read("123", Some(FIRST), None), Meaning::Back(why) if why.contains("not asked any more")));
        assert!(matches!(read("123", Some(FIRST), Some(&question)), Meaning::Back(_)));
        assert!(matches!(read("yes", Some(FIRST), Some(&approval)), Meaning::Back(_)));
        assert!(matches!(read("yes please", None, Some(&approval)), Meaning::Back(why) if why.contains("while you were typing")));
    }

    #[test]
    fn an_empty_answer_is_asked_back() {
        let question = asked(FIRST, RequestKind::Question);
        let mut reader = Reader::default();
        let mut read = |text: &str| reader.read(text, Some(FIRST), Some(&question));
        assert!(matches!(read(""), Meaning::Told(why) if why.contains("ends the conversation")));
        assert!(matches!(read("no, wait"), Meaning::Answer { .. }), "it was not meant");
        assert!(matches!(read(" "), Meaning::Told(_)));
        assert_eq!(read(""), Meaning::Command(Command::End));
    }

    #[test]
    fn decisions_are_words_with_more_words() {
        let decide = |text: &str, kind| match read(text, Some(FIRST), Some(&asked(FIRST, kind))) {
            Meaning::Decision { request: FIRST, verdict, hash, note } if hash == Some(Hash::of(b"{}")) => Some((verdict, note)),
            Meaning::Told(_) | Meaning::Nothing => None,
            other => panic!("{other:?}"),
        };
        assert_eq!(decide("y", RequestKind::Approval), Some((Verdict::Approved, String::new())));
        assert_eq!(decide("No, too much money", RequestKind::Approval), Some((Verdict::Denied, "too much money".to_owned())));
        assert_eq!(decide("happened  refund 77", RequestKind::InDoubt), Some((Verdict::Happened, "refund 77".to_owned())));
        assert_eq!(decide("y", RequestKind::InDoubt), None);
        assert_eq!(decide("perhaps", RequestKind::Approval), None);
        assert_eq!(decide("", RequestKind::Approval), None, "nothing is approved by pressing Enter");
    }

    #[test]
    fn commands_begin_with_a_slash_and_messages_with_two() {
        let question = asked(FIRST, RequestKind::Approval);
        assert_eq!(read("/help", Some(FIRST), Some(&question)), Meaning::Command(Command::Help));
        assert_eq!(read(" /cancel wrong number ", None, None), Meaning::Command(Command::Cancel("wrong number".to_owned())));
        assert_eq!(read("/quit", None, None), Meaning::Command(Command::Quit));
        assert!(matches!(read("/refund", None, None), Meaning::Told(why) if why.contains("no command /refund")));
        assert_eq!(read("//etc/passwd", None, None), Meaning::Say("/etc/passwd".to_owned()));
    }
}
