//! What a line means that is typed at a desk. Pure.

use protocol::ids::AgentName;

/// What the person wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Meaning {
    /// To the caller, or the decision that is asked for.
    Answer(String),
    /// The place in the queue, from 1 on; without one the first that fits. Over: whoever has it.
    Take {
        place: Option<usize>,
        is_over: bool,
    },
    /// With what goes along: a value where the definition asks for one, and the reason.
    Transfer {
        to: AgentName,
        rest: String,
    },
    /// To whoever handed over.
    Back {
        rest: String,
    },
    /// With the result where the definition asks for one, and the summary.
    Done {
        rest: String,
    },
    Release,
    Queue,
    Help,
    Quit,
    /// Nothing: the person is told this.
    Told(String),
    /// Nothing at all.
    Nothing,
}

/// The commands with what they do, for people.
pub(crate) const COMMANDS: [(&str, &str); 9] = [
    ("/queue", "what waits at the desk"),
    ("/take [n]", "take a request: the first that is free, or the nth"),
    ("/take! [n]", "take it from whoever has it"),
    ("/transfer <agent> [reason]", "hand the conversation over; its payload, if it has one, as JSON before the reason"),
    ("/back [reason]", "hand it back to whoever handed it over"),
    ("/done <summary>", "end the conversation: the task is done; a typed result as JSON before the summary"),
    ("/release", "put the request back for others"),
    ("/help", "this"),
    ("/quit", "leave: what you have taken stays yours (as Ctrl-D)"),
];

pub(crate) fn read(text: &str) -> Meaning {
    let line = text.trim();
    let Some(command) = line.strip_prefix('/').filter(|rest| !rest.starts_with('/')) else {
        // A text that begins with a slash is written with two.
        let text = line.strip_prefix('/').unwrap_or(line);
        return if text.is_empty() { Meaning::Nothing } else { Meaning::Answer(text.to_owned()) };
    };
    let (word, rest) = command.split_once(char::is_whitespace).unwrap_or((command, ""));
    let rest = rest.trim().to_owned();
    match word {
        "take" | "take!" => take(&rest, word.ends_with('!')),
        "transfer" => {
            let (to, rest) = rest.split_once(char::is_whitespace).unwrap_or((&rest, ""));
            match to.parse() {
                Ok(to) => Meaning::Transfer { to, rest: rest.trim().to_owned() },
                Err(_) => Meaning::Told("say to whom: /transfer <agent> [reason]".to_owned()),
            }
        }
        "back" => Meaning::Back { rest },
        "done" if rest.is_empty() => Meaning::Told("say what was done: /done <summary>".to_owned()),
        "done" => Meaning::Done { rest },
        "release" => Meaning::Release,
        "queue" => Meaning::Queue,
        "help" | "h" | "?" => Meaning::Help,
        "quit" | "q" | "exit" => Meaning::Quit,
        _ => Meaning::Told(format!(
            "There is no command /{word}: /help lists those there are. An answer that begins with a slash is written with two."
        )),
    }
}

fn take(place: &str, is_over: bool) -> Meaning {
    match place.parse() {
        Ok(place) => Meaning::Take { place: Some(place), is_over },
        Err(_) if place.is_empty() => Meaning::Take { place: None, is_over },
        Err(_) => Meaning::Told("say which by its number in the queue: /take 2".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_an_answer_unless_it_is_a_command() {
        assert_eq!(read(" It is paid. "), Meaning::Answer("It is paid.".to_owned()));
        assert_eq!(read("//take it"), Meaning::Answer("/take it".to_owned()));
        assert_eq!(read("  "), Meaning::Nothing);
        assert_eq!(read("/take"), Meaning::Take { place: None, is_over: false });
        assert_eq!(read("/take! 2"), Meaning::Take { place: Some(2), is_over: true });
        assert!(matches!(read("/take it"), Meaning::Told(_)));
        let transfer = Meaning::Transfer { to: "refund".parse().unwrap(), rest: "not ours".to_owned() };
        assert_eq!(read("/transfer refund  not ours"), transfer);
        assert!(matches!(read("/transfer"), Meaning::Told(_)));
        assert_eq!(read("/back"), Meaning::Back { rest: String::new() });
        assert_eq!(read("/done Paid twice, refunded."), Meaning::Done { rest: "Paid twice, refunded.".to_owned() });
        assert!(matches!(read("/done"), Meaning::Told(_)), "nothing ends for a slip of the finger");
        assert!(matches!(read("/pay"), Meaning::Told(_)));
    }
}
