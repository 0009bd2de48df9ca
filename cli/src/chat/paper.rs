//! What the chat shows, as rows of a terminal. Pure: items and a size in, text to print and the row in progress out.
//!
//! Only whole rows are printed, so that the line editor below them may be drawn anew at any time; the row that is still
//! being written is shown by the editor, in the row above its own. Rows of messages that the journal has not confirmed
//! are remembered, and always the last: what is recorded meanwhile is printed above them, so that the paper reads as the
//! journal does, and they are erased if it turns out that they do not count.

use std::fmt::Write as _;

use unicode_width::UnicodeWidthChar;

use crate::output::printable;

/// How a piece of text is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ink {
    Plain,
    /// What is beside the conversation.
    Dim,
    /// What must not be overlooked.
    Strong,
    /// The name of an agent: each has a colour of its own.
    Agent(usize),
    Good,
    Bad,
}

impl Ink {
    /// The parameters of the terminal's "select graphic rendition".
    fn code(self) -> &'static str {
        const AGENTS: [&str; 6] = ["1;36", "1;35", "1;33", "1;34", "1;32", "1;31"];
        match self {
            Self::Plain => "",
            Self::Dim => "2",
            Self::Strong => "1",
            Self::Agent(place) => AGENTS.get(place % AGENTS.len()).copied().unwrap_or_default(),
            Self::Good => "32",
            Self::Bad => "31",
        }
    }
}

/// A piece of text in one ink. Whatever comes from elsewhere comes in through [`span`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) ink: Ink,
    pub(crate) text: String,
}

/// A piece of text, without anything that a terminal would obey.
pub(crate) fn span(ink: Ink, text: &str) -> Span {
    Span { ink, text: printable(text) }
}

/// One line, or several where a text has several.
pub(crate) type Line = Vec<Span>;

/// The words of a line, without ink.
pub(crate) fn words(line: &[Span]) -> String {
    line.iter().map(|span| span.text.as_str()).collect()
}

/// What there is to show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Item {
    /// A person's turn begins: a little room.
    Turn,
    /// Something said.
    Said(Line),
    /// Something beside the conversation.
    Note(Line),
    /// A message begins: its head.
    Draft(Line),
    /// The message goes on.
    Text(String),
    /// The message is complete.
    Complete,
    /// The oldest message that is shown is recorded: it counts.
    Settled,
    /// No message that is shown and not recorded counts.
    Withdrawn,
}

/// The terminal's size in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Size {
    pub(crate) cols: usize,
    pub(crate) rows: usize,
}

/// Characters of one row.
pub(crate) type Row = Vec<(Ink, char)>;

/// The rows of a terminal above the line editor.
#[derive(Debug)]
pub(crate) struct Paper {
    size: Size,
    has_colours: bool,
    /// The row that is being written, of the message that is.
    row: Row,
    is_writing: bool,
    /// Messages that are not settled, by number: from `oldest` up to `next`.
    oldest: u64,
    next: u64,
    /// The rows of those messages, and which it is.
    unsettled: Vec<(u64, String)>,
    /// Whether those rows are the last that were printed, and stand as they were.
    is_erasable: bool,
    /// Whether the last row that stands is empty, or there is none.
    is_blank: bool,
}

impl Paper {
    pub(crate) fn new(size: Size, has_colours: bool) -> Self {
        Self {
            size,
            has_colours,
            row: Row::new(),
            is_writing: false,
            oldest: 0,
            next: 0,
            unsettled: Vec::new(),
            is_erasable: true,
            is_blank: true,
        }
    }

    /// The terminal's size, before each change of what it shows: when it has changed, rows may be anywhere.
    pub(crate) fn resize(&mut self, size: Size) {
        if self.size != size {
            self.size = size;
            self.is_erasable &= self.unsettled.is_empty();
        }
    }

    /// The row that is being written, if there is one.
    pub(crate) fn row(&self) -> Option<&Row> {
        (self.is_writing && !self.row.is_empty()).then_some(&self.row)
    }

    /// What is to be printed: whole rows.
    pub(crate) fn put(&mut self, item: &Item) -> String {
        let mut out = String::new();
        match item {
            Item::Turn if self.is_blank => {}
            Item::Turn => self.line(&[], &mut out),
            Item::Said(line) | Item::Note(line) => self.line(line, &mut out),
            Item::Draft(head) => {
                self.complete(&mut out);
                (self.is_writing, self.next) = (true, self.next + 1);
                self.row = cells(head);
            }
            Item::Text(text) => printable(text).chars().for_each(|c| self.character(c, &mut out)),
            Item::Complete => self.complete(&mut out),
            Item::Settled => self.settle(),
            Item::Withdrawn => self.withdraw(&mut out),
        }
        out
    }

    fn complete(&mut self, out: &mut String) {
        if std::mem::take(&mut self.is_writing) && !self.row.is_empty() {
            self.print_row(Row::new(), out);
        }
    }

    fn character(&mut self, c: char, out: &mut String) {
        if c == '\n' {
            return self.print_row(Row::new(), out);
        }
        self.row.push((Ink::Plain, if c == '\t' { ' ' } else { c }));
        let width = self.width();
        while let Some(rest) = break_off(&mut self.row, width, 0) {
            self.print_row(rest, out);
        }
    }

    /// Prints the row that was being written, and begins another one.
    fn print_row(&mut self, next: Row, out: &mut String) {
        let row = render(&std::mem::replace(&mut self.row, next), self.has_colours);
        let _ = writeln!(out, "{row}");
        self.unsettled.push((self.next.saturating_sub(1), row));
    }

    /// Prints a line that stands: above everything that is not settled, if that can be moved.
    fn line(&mut self, line: &[Span], out: &mut String) {
        let can_be_moved = self.can_be_erased();
        if can_be_moved {
            self.erase(out);
        }
        for row in rows(line, self.width()) {
            let row = render(&row, self.has_colours);
            self.is_blank = row.is_empty();
            let _ = writeln!(out, "{row}");
        }
        match can_be_moved {
            true => self.unsettled.iter().for_each(|(_, row)| out.extend([row.as_str(), "\n"])),
            false => self.is_erasable = false,
        }
    }

    fn can_be_erased(&self) -> bool {
        // What has left the terminal at its top cannot be reached any more.
        self.is_erasable && self.unsettled.len() + 3 < self.size.rows
    }

    fn erase(&self, out: &mut String) {
        if !self.unsettled.is_empty() {
            let _ = write!(out, "\x1b[{}A\r\x1b[J", self.unsettled.len());
        }
    }

    fn settle(&mut self) {
        if self.oldest == self.next {
            return;
        }
        let settled = self.oldest;
        self.oldest += 1;
        self.unsettled.retain(|(message, _)| *message != settled);
        self.is_blank = false;
        self.is_erasable |= self.unsettled.is_empty();
    }

    fn withdraw(&mut self, out: &mut String) {
        let (is_shown, can_be_erased) = (!self.unsettled.is_empty(), self.can_be_erased());
        if can_be_erased {
            self.erase(out);
        } else if self.is_writing && !self.row.is_empty() {
            self.print_row(Row::new(), out);
        }
        self.unsettled.clear();
        self.row.clear();
        (self.is_writing, self.is_erasable, self.oldest) = (false, true, self.next);
        if is_shown && !can_be_erased {
            self.line(&[span(Ink::Dim, "  (withdrawn: the last message above does not count; it is said again)")], out);
        }
    }

    /// One column stays free: in the last one, terminals differ about where the cursor is.
    fn width(&self) -> usize {
        self.size.cols.saturating_sub(1).max(10)
    }
}

/// A line's characters; tabs become spaces, whose width is known.
pub(crate) fn cells(line: &[Span]) -> Row {
    line.iter().flat_map(|span| span.text.chars().map(|c| (span.ink, if c == '\t' { ' ' } else { c }))).collect()
}

/// A line, wrapped between words; what is indented stays so. An empty one is an empty row.
fn rows(line: &[Span], width: usize) -> Vec<Row> {
    let mut rows = Vec::new();
    for part in cells(line).split(|(_, c)| *c == '\n') {
        let mut row = part.to_vec();
        let indent = row.iter().take_while(|(_, c)| *c == ' ').count();
        // Under what a mark stands for, not under the mark.
        let indent = if indent == 0 { 0 } else { (indent + 2).min(width / 2) };
        while let Some(rest) = break_off(&mut row, width, indent) {
            rows.push(std::mem::replace(&mut row, rest));
        }
        if part.is_empty() || row.iter().any(|(_, c)| *c != ' ') {
            rows.push(row);
        }
    }
    rows
}

/// Breaks a row that is too long: what does not fit, from the last word that does not, indented.
fn break_off(row: &mut Row, width: usize, indent: usize) -> Option<Row> {
    let fitting = fitting(row, width);
    if fitting == row.len() {
        return None;
    }
    // A space at the very end may stick out: nobody sees it.
    let is_word = |(_, c): &(Ink, char)| *c != ' ';
    let space = row.iter().take(fitting + 1).rposition(|cell| !is_word(cell)).filter(|space| row.iter().take(*space).any(is_word));
    let rest = row.split_off(space.unwrap_or(fitting.max(1)));
    let word = rest.into_iter().skip_while(|cell| space.is_some() && !is_word(cell));
    Some(std::iter::repeat_n((Ink::Plain, ' '), indent).chain(word).collect())
}

/// How many characters fit into a width.
fn fitting(row: &[(Ink, char)], width: usize) -> usize {
    let mut used = 0;
    let fits = |(_, c): &&(Ink, char)| {
        used += c.width().unwrap_or(0);
        used <= width
    };
    row.iter().take_while(fits).count()
}

/// A row cut off where the width ends.
pub(crate) fn clipped(row: &[(Ink, char)], width: usize) -> Row {
    if fitting(row, width) == row.len() {
        return row.to_vec();
    }
    let mut clipped: Row = row.iter().take(fitting(row, width.saturating_sub(1))).copied().collect();
    clipped.push((Ink::Dim, '…'));
    clipped
}

/// A row as it is written to the terminal.
pub(crate) fn render(row: &[(Ink, char)], has_colours: bool) -> String {
    let mut text = String::new();
    let mut current = Ink::Plain;
    for (ink, c) in row {
        if has_colours && *ink != current {
            if current != Ink::Plain {
                text.push_str("\x1b[0m");
            }
            if *ink != Ink::Plain {
                let _ = write!(text, "\x1b[{}m", ink.code());
            }
            current = *ink;
        }
        text.push(*c);
    }
    if current != Ink::Plain {
        text.push_str("\x1b[0m");
    }
    text
}

#[cfg(test)]
#[path = "paper_tests.rs"]
mod tests;
