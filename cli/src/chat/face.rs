//! Where the chat is shown and typed: a terminal with a line editor, or plain lines in and out.

use std::io::IsTerminal;
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;

use futures::future::pending;
use protocol::ids::RequestId;
use tokio::io::{AsyncBufReadExt, BufReader, Lines, Stdin};

use super::editor::{Terminal, Typed};
use super::paper::{Item, Line, Paper, Row, cells, words};
use crate::output;

/// See the module.
#[derive(Debug)]
pub(crate) enum Face {
    /// Something may be typed at any time.
    Terminal { terminal: Terminal, paper: Box<Paper>, status: Row },
    /// Something is read when it is wanted: what a script says next answers what is asked next.
    Plain(Plain),
}

/// See [`Face::Plain`].
#[derive(Debug)]
pub(crate) struct Plain {
    lines: Lines<BufReader<Stdin>>,
    target: Option<RequestId>,
    /// A person sees what they type, and is asked for it.
    is_typed: bool,
    is_prompted: bool,
}

impl Face {
    /// The best there is: a line editor where a person types and reads on a terminal that can be edited on.
    pub(crate) fn open(is_plain: bool, keeps_history: bool) -> anyhow::Result<Self> {
        let are_terminals = std::io::stdin().is_terminal() && std::io::stdout().is_terminal();
        let is_dumb = std::env::var("TERM").is_ok_and(|term| ["", "dumb", "cons25", "emacs"].contains(&term.as_str()));
        if is_plain || is_dumb || !are_terminals {
            let lines = BufReader::new(tokio::io::stdin()).lines();
            return Ok(Self::Plain(Plain { lines, target: None, is_typed: are_terminals, is_prompted: false }));
        }
        let has_colours = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        let terminal = Terminal::open(has_colours, keeps_history.then(history).flatten())?;
        let paper = Box::new(Paper::new(Terminal::size(), has_colours));
        Ok(Self::Terminal { terminal, paper, status: Row::new() })
    }

    /// Whether messages are shown while they are being written.
    pub(crate) const fn is_live(&self) -> bool {
        matches!(self, Self::Terminal { .. })
    }

    /// Whether a person sees what they type anyway.
    pub(crate) const fn echoes(&self) -> bool {
        matches!(self, Self::Plain(plain) if plain.is_typed)
    }

    pub(crate) fn show(&mut self, items: &[Item]) {
        match self {
            Self::Terminal { terminal, paper, status } => {
                if items.is_empty() {
                    return;
                }
                paper.resize(Terminal::size());
                let rows = items.iter().map(|item| paper.put(item)).collect();
                terminal.print(rows, paper.row().unwrap_or(status).clone());
            }
            Self::Plain(plain) => items.iter().for_each(|item| plain.show(item)),
        }
    }

    /// What the conversation is doing, for as long as nobody says anything.
    pub(crate) fn status(&mut self, line: &Line) {
        if let Self::Terminal { terminal, paper, status } = self {
            let row = cells(line);
            if *status != row {
                *status = row;
                if paper.row().is_none() {
                    terminal.print(String::new(), status.clone());
                }
            }
        }
    }

    /// What a line that is begun from now on answers.
    pub(crate) fn aim(&mut self, target: Option<RequestId>) {
        match self {
            Self::Terminal { terminal, .. } => terminal.aim(target),
            Self::Plain(plain) => plain.target = target,
        }
    }

    /// The next line may be typed, and begins with this.
    pub(crate) fn go_on(&mut self, begin: String) {
        if let Self::Terminal { terminal, .. } = self {
            terminal.go_on(begin);
        }
    }

    /// What the person does next; plain lines are read only when one `is_wanted`.
    pub(crate) async fn typed(&mut self, is_wanted: bool) -> Typed {
        match self {
            Self::Terminal { terminal, .. } => terminal.typed().await,
            Self::Plain(plain) if is_wanted => plain.next().await,
            Self::Plain(_) => pending().await,
        }
    }

    /// Whether somebody types the lines, rather than a file or another program that waits until each is wanted.
    pub(crate) const fn is_typed(&self) -> bool {
        match self {
            Self::Terminal { .. } => true,
            Self::Plain(plain) => plain.is_typed,
        }
    }

    /// Gives the terminal back as it was found, and what was being typed.
    pub(crate) fn close(self) -> Option<String> {
        match self {
            Self::Terminal { terminal, .. } => terminal.close(),
            Self::Plain(_) => None,
        }
    }
}

impl Plain {
    fn show(&mut self, item: &Item) {
        match item {
            Item::Said(line) => output::line(&words(line)),
            Item::Note(line) => output::note(&words(line)),
            // Not live: what is shown is complete.
            Item::Turn | Item::Draft(_) | Item::Text(_) | Item::Complete | Item::Settled | Item::Withdrawn => {}
        }
    }

    async fn next(&mut self) -> Typed {
        if self.is_typed && !std::mem::replace(&mut self.is_prompted, true) {
            output::piece("> ");
        }
        let line = self.lines.next_line().await;
        self.is_prompted = false;
        match line {
            Ok(Some(text)) => Typed::Line { text, target: self.target },
            Ok(None) => Typed::Closed,
            Err(error) => Typed::Broken(error.to_string()),
        }
    }
}

/// Where what was typed is kept, for this person alone; none where there is no place for it.
fn history() -> Option<PathBuf> {
    let given = std::env::var_os("XDG_STATE_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    let state = given.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".local/state")))?;
    let directory = state.join("baton");
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&directory).ok()?;
    Some(directory.join("history"))
}
