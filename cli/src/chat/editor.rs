//! The prompt on a terminal: a line editor that stays at the bottom while the conversation is printed above it.
//!
//! The editor blocks, so it has a thread of its own; so has what is printed, because the editor takes it only when it is
//! in no search or completion. Both look at one [`Desk`]. Above the line being typed is one row that the chat writes; the
//! editor draws it with its own, so that nothing of it is ever left behind.

use std::borrow::Cow;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use protocol::ids::RequestId;
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};
use rustyline::completion::{Completer, Pair};
use rustyline::error::ReadlineError;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::history::FileHistory;
use rustyline::validate::{ValidationContext, ValidationResult, Validator};
use rustyline::{ColorMode, Config, Context, Editor, ExternalPrinter, Helper};
use tokio::sync::mpsc;
use unicode_width::UnicodeWidthChar;

use super::ask::COMMANDS;
use super::paper::{Ink, Row, Size, clipped, render};
use crate::output;

/// What stands before the line being typed.
const MARK: &str = "› ";
/// As the editor counts it: the chat's row, and the mark.
const PROMPT: &str = "\n› ";
/// Up one row and down again: makes the editor draw itself anew.
const NOTHING: &str = "\x1b[1A\n";
/// How long the editor may take to leave the terminal.
const LEAVING: Duration = Duration::from_millis(700);

/// What the person did at the prompt.
#[derive(Debug)]
pub(crate) enum Typed {
    /// A line, and what was asked when it was begun. The next one can be typed after [`Terminal::go_on`].
    Line { text: String, target: Option<RequestId> },
    /// Ctrl-D, or the end of the input.
    Closed,
    /// Ctrl-C.
    Interrupted,
    /// The terminal cannot be read any more.
    Broken(String),
}

#[derive(Debug)]
enum Printed {
    /// Rows above the prompt, and the row that belongs to it.
    Rows(String, Row),
    /// The editor is to leave the terminal, and then this is told.
    Leave(Sender<()>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Between two lines: nothing may be printed, because nobody knows where the cursor is.
    Between,
    /// The editor has the terminal: what is printed goes through it.
    Editing,
    /// The editor is to stop where it is.
    Leaving,
    /// The editor does not touch the terminal any more.
    Left,
}

#[derive(Debug)]
struct State {
    phase: Phase,
    row: Row,
    /// What a line that is begun now answers.
    target: Option<RequestId>,
    /// The line being typed, and what was asked when it was begun.
    typed: Option<(String, Option<RequestId>)>,
}

/// What the threads share.
#[derive(Debug)]
struct Desk {
    state: Mutex<State>,
    changed: Condvar,
    has_colours: bool,
}

impl Desk {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn enter(&self, phase: Phase) {
        self.state().phase = phase;
        self.changed.notify_all();
    }

    /// Waits until the editor has the terminal, or has left it.
    fn settled(&self) -> Phase {
        let state = self.changed.wait_while(self.state(), |state| state.phase == Phase::Between);
        state.unwrap_or_else(PoisonError::into_inner).phase
    }

    fn has_left(&self, within: Duration) -> bool {
        let waited = self.changed.wait_timeout_while(self.state(), within, |state| state.phase != Phase::Left);
        waited.unwrap_or_else(PoisonError::into_inner).0.phase == Phase::Left
    }
}

/// The terminal as it was, to be so again whatever happens.
#[derive(Debug)]
struct Original(Termios);

impl Drop for Original {
    fn drop(&mut self) {
        let _ = tcsetattr(std::io::stdin().as_fd(), OptionalActions::Drain, &self.0);
        // No bracketed paste, no update in progress.
        output::piece("\x1b[?2004l\x1b[?2026l");
    }
}

/// The terminal of a person.
#[derive(Debug)]
pub(crate) struct Terminal {
    desk: Arc<Desk>,
    typed: mpsc::UnboundedReceiver<Typed>,
    go_on: Sender<String>,
    printed: Sender<Printed>,
    /// Whether the editor waits to be told to go on.
    is_idle: bool,
    original: Original,
}

impl Terminal {
    /// Takes the terminal. With `history`, lines are kept there.
    pub(crate) fn open(has_colours: bool, history: Option<PathBuf>) -> anyhow::Result<Self> {
        let original = Original(tcgetattr(std::io::stdin().as_fd()).context("the terminal cannot be taken")?);
        let desk = Arc::new(Desk {
            state: Mutex::new(State { phase: Phase::Between, row: Row::new(), target: None, typed: None }),
            changed: Condvar::new(),
            has_colours,
        });
        let mut editor = editor(&desk, history.as_ref())?;
        let printer = editor.create_external_printer().context("the terminal cannot be written to")?;
        let ((to_chat, typed), (go_on, next), (printed, to_print)) = (mpsc::unbounded_channel(), channel(), channel());
        let (reading, printing) = (Arc::clone(&desk), Arc::clone(&desk));
        std::thread::spawn(move || read(editor, history.as_ref(), &reading, &next, &to_chat));
        std::thread::spawn(move || print(printer, &printing, &to_print));
        Ok(Self { desk, typed, go_on, printed, is_idle: true, original })
    }

    /// Its size now.
    pub(crate) fn size() -> Size {
        let size = tcgetwinsize(std::io::stdout().as_fd());
        let known = size.ok().filter(|size| size.ws_col > 0 && size.ws_row > 0);
        known.map_or(Size { cols: 80, rows: 24 }, |size| Size { cols: size.ws_col.into(), rows: size.ws_row.into() })
    }

    /// What the person does next.
    pub(crate) async fn typed(&mut self) -> Typed {
        let typed = self.typed.recv().await.unwrap_or(Typed::Closed);
        self.is_idle = true;
        typed
    }

    /// The next line may be typed, if the one before is done with; it begins with this.
    pub(crate) fn go_on(&mut self, begin: String) {
        if !self.is_idle {
            return;
        }
        self.is_idle = self.go_on.send(begin).is_err();
    }

    /// What a line that is begun from now on answers.
    pub(crate) fn aim(&self, target: Option<RequestId>) {
        self.desk.state().target = target;
    }

    /// Prints rows above the prompt, and shows `row` directly above the line being typed.
    pub(crate) fn print(&self, rows: String, row: Row) {
        let _ = self.printed.send(Printed::Rows(rows, row));
    }

    /// Leaves the terminal as it was found: gives what was being typed.
    pub(crate) fn close(self) -> Option<String> {
        if self.is_idle {
            self.desk.enter(Phase::Left);
        }
        let (told, left) = channel();
        let _ = self.printed.send(Printed::Leave(told));
        // In a search or a completion, nothing is taken: what is left of it stays on the screen.
        let is_left = left.recv_timeout(LEAVING * 2).is_ok() && self.desk.state().phase == Phase::Left;
        output::piece(if is_left { "\r\x1b[J" } else { "\r\n" });
        drop(self.original);
        self.desk.state().typed.take().map(|(text, _)| text)
    }
}

fn editor(desk: &Arc<Desk>, history: Option<&PathBuf>) -> anyhow::Result<Editor<Aid, FileHistory>> {
    // Colours are ours to decide: what the helper gives is drawn as it is.
    let config = Config::builder().color_mode(ColorMode::Forced).history_ignore_space(true).max_history_size(1000)?.build();
    let mut editor = Editor::with_config(config).context("the terminal cannot be edited on")?;
    editor.set_helper(Some(Aid(Arc::clone(desk))));
    if let Some(history) = history.filter(|path| path.exists()) {
        // A history that cannot be read is none.
        let _ = editor.load_history(history);
    }
    Ok(editor)
}

/// The thread that reads: one line after another, each when the chat is ready for it.
fn read(
    mut editor: Editor<Aid, FileHistory>,
    history: Option<&PathBuf>,
    desk: &Desk,
    next: &Receiver<String>,
    to_chat: &mpsc::UnboundedSender<Typed>,
) {
    while let Ok(begin) = next.recv() {
        let read = editor.readline_with_initial(PROMPT, (&begin, ""));
        let (typed, shown) = {
            let mut state = desk.state();
            state.phase = Phase::Between;
            let (text, target) = state.typed.take().unwrap_or_default();
            match read {
                Ok(line) => (Typed::Line { text: line.clone(), target: target.or(state.target.filter(|_| line.is_empty())) }, line),
                Err(ReadlineError::Eof) => (Typed::Closed, text),
                Err(ReadlineError::Interrupted) => (Typed::Interrupted, text),
                Err(error) => (Typed::Broken(error.to_string()), text),
            }
        };
        // The line is shown above once it is recorded, under the person's name, as everybody else's.
        output::piece(&format!("\x1b[{}A\r\x1b[J", rows_of(&shown, Terminal::size().cols)));
        if let Typed::Line { text, .. } = &typed {
            // Best effort: a line that is not remembered is typed again.
            let _ = editor.add_history_entry(text.as_str());
            let _ = history.map(|history| editor.append_history(history));
        }
        if to_chat.send(typed).is_err() {
            return;
        }
    }
}

/// The rows that the prompt and a line take, as the editor breaks them.
fn rows_of(line: &str, cols: usize) -> usize {
    let (mut row, mut col) = (2, MARK.chars().count());
    for c in line.chars() {
        let width = if c == '\t' { 8 - col % 8 } else { c.width().unwrap_or(0) };
        if c == '\n' {
            (row, col) = (row + 1, 0);
        } else if col + width > cols {
            (row, col) = (row + 1, width);
        } else {
            col += width;
        }
    }
    row + usize::from(col == cols)
}

/// The thread that prints.
fn print(mut printer: impl ExternalPrinter + Send + 'static, desk: &Desk, to_print: &Receiver<Printed>) {
    while let Ok(mut printed) = to_print.recv() {
        let phase = desk.settled();
        // Whatever else there is meanwhile goes along.
        let mut all = String::new();
        let leave = loop {
            match printed {
                Printed::Rows(rows, row) => {
                    all.push_str(&rows);
                    desk.state().row = row;
                }
                Printed::Leave(told) => break Some(told),
            }
            match to_print.try_recv() {
                Ok(more) => printed = more,
                Err(_) => break None,
            }
        };
        match phase {
            Phase::Left => output::piece(&all),
            _ => {
                let rows = if all.is_empty() { NOTHING.to_owned() } else { all };
                if printer.print(rows).is_err() {
                    return;
                }
            }
        }
        if let Some(told) = leave {
            leave_terminal(printer, desk);
            let _ = told.send(());
            return;
        }
    }
}

/// Everything that was printed is on the screen, and the editor is not.
fn leave_terminal(mut printer: impl ExternalPrinter + Send + 'static, desk: &Desk) {
    if desk.state().phase != Phase::Editing {
        return;
    }
    // The editor holds one at a time: once it has room for this one, everything before is on the screen, or will be before
    // the editor draws itself again.
    let _ = printer.print(NOTHING.to_owned());
    desk.enter(Phase::Leaving);
    // It may have drawn itself already: once more. It may also have stopped, and never make room for this one.
    std::thread::spawn(move || printer.print(NOTHING.to_owned()));
    desk.has_left(LEAVING);
}

/// What the editor asks on its way: what to draw, and what the line is.
#[derive(Debug)]
struct Aid(Arc<Desk>);

impl Helper for Aid {}

impl Highlighter for Aid {
    /// Called whenever the editor draws its prompt: then it has the terminal.
    fn highlight_prompt<'b, 's: 'b, 'p: 'b>(&'s self, prompt: &'p str, default: bool) -> Cow<'b, str> {
        if !default {
            return Cow::Borrowed(prompt);
        }
        let mut state = self.0.state();
        match state.phase {
            Phase::Between => {
                state.phase = Phase::Editing;
                self.0.changed.notify_all();
            }
            Phase::Editing => {}
            Phase::Leaving | Phase::Left => {
                state.phase = Phase::Left;
                self.0.changed.notify_all();
                drop(state);
                // The chat has the terminal back, and ends: this thread never draws again.
                loop {
                    std::thread::park();
                }
            }
        }
        let row = clipped(&state.row, Terminal::size().cols.saturating_sub(1));
        let mark = render(&MARK.chars().map(|c| (Ink::Strong, c)).collect::<Row>(), self.0.has_colours);
        Cow::Owned(format!("{}\n{mark}", render(&row, self.0.has_colours)))
    }
}

impl Hinter for Aid {
    type Hint = String;

    /// Called whenever the line changes: what it answers is what was asked when it was begun.
    fn hint(&self, line: &str, _pos: usize, _ctx: &Context<'_>) -> Option<String> {
        let mut state = self.0.state();
        let target = state.typed.as_ref().map_or(state.target, |(_, target)| *target);
        state.typed = (!line.is_empty()).then(|| (line.to_owned(), target));
        None
    }
}

impl Validator for Aid {
    /// Called when a line is complete: from here on until the next one, the cursor is nowhere in particular.
    fn validate(&self, _ctx: &mut ValidationContext<'_>) -> rustyline::Result<ValidationResult> {
        let mut state = self.0.state();
        if state.phase == Phase::Editing {
            state.phase = Phase::Between;
        }
        Ok(ValidationResult::Valid(None))
    }
}

impl Completer for Aid {
    type Candidate = Pair;

    fn complete(&self, line: &str, pos: usize, _ctx: &Context<'_>) -> rustyline::Result<(usize, Vec<Pair>)> {
        let typed = line.get(..pos).unwrap_or_default();
        let names = COMMANDS.iter().filter_map(|(command, _)| command.split(' ').next());
        let fitting = names.filter(|name| typed.starts_with('/') && name.starts_with(typed));
        Ok((0, fitting.map(|name| Pair { display: name.to_owned(), replacement: name.to_owned() }).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rows_of_a_line_are_those_the_editor_draws() {
        // The chat's row is always there.
        assert_eq!(rows_of("", 20), 2);
        assert_eq!(rows_of("exactly 17 chars.", 20), 2);
        // A full row: the editor begins another one.
        assert_eq!(rows_of("exactly 18 chars..", 20), 3);
        assert_eq!(rows_of("now 19 characters..", 20), 3);
        assert_eq!(rows_of("two\nlines", 20), 3);
        // Wide characters are not split.
        assert_eq!(rows_of("日本語日本語日本語日", 21), 3);
    }
}
