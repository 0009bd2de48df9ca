use super::*;

/// A terminal that obeys what paper writes, and nothing else.
struct Terminal {
    paper: Paper,
    rows: Vec<String>,
}

impl Terminal {
    fn new(cols: usize, rows: usize) -> Self {
        Self { paper: Paper::new(Size { cols, rows }, false), rows: Vec::new() }
    }

    fn put(&mut self, items: &[Item]) -> &mut Self {
        for item in items {
            let mut out = self.paper.put(item);
            if let Some(moved) = out.strip_prefix("\x1b[") {
                let (up, rest) = moved.split_once("A\r\x1b[J").unwrap();
                self.rows.truncate(self.rows.len() - up.parse::<usize>().unwrap());
                out = rest.to_owned();
            }
            assert!(!out.contains('\x1b') && (out.is_empty() || out.ends_with('\n')), "{out:?}");
            self.rows.extend(out.lines().map(str::to_owned));
        }
        self
    }

    /// What is on it, with the row that is being written as its last.
    fn shows(&self) -> Vec<String> {
        let row = self.paper.row().map(|row| row.iter().map(|(_, c)| c).collect::<String>());
        self.rows.iter().cloned().chain(row.map(|row| format!("{row}_"))).collect()
    }
}

fn said(text: &str) -> Item {
    Item::Said(vec![span(Ink::Plain, text)])
}

fn remark(text: &str) -> Item {
    Item::Note(vec![span(Ink::Dim, text)])
}

fn draft(name: &str) -> Item {
    Item::Draft(vec![span(Ink::Agent(0), name)])
}

fn text(text: &str) -> Item {
    Item::Text(text.to_owned())
}

#[test]
fn a_message_is_printed_row_by_row_as_it_is_written() {
    let mut terminal = Terminal::new(21, 24);
    terminal.put(&[draft("A: "), text("Hello "), text("there, ")]);
    assert_eq!(terminal.shows(), ["A: Hello there, _"]);
    terminal.put(&[text("how"), text(" are")]);
    assert_eq!(terminal.shows(), ["A: Hello there, how", "are_"], "broken between words");
    terminal.put(&[text("\nyou?\n\nWell?"), Item::Complete, Item::Settled]);
    assert_eq!(terminal.shows(), ["A: Hello there, how", "are", "you?", "", "Well?"]);
    // A message that ends with its row leaves no empty one.
    terminal.put(&[draft("A: "), text("Bye.\n"), Item::Complete]);
    assert_eq!(terminal.shows().last().unwrap(), "A: Bye.");
}

#[test]
fn long_words_and_wide_characters_are_broken_where_the_row_ends() {
    let mut terminal = Terminal::new(12, 24);
    terminal.put(&[draft("A: "), text("0123456789abcdef"), Item::Complete]);
    assert_eq!(terminal.shows(), ["A:", "0123456789a", "bcdef"]);
    let mut terminal = Terminal::new(12, 24);
    terminal.put(&[said("日本語日本語日本語")]);
    assert_eq!(terminal.shows(), ["日本語日本", "語日本語"], "ten columns, and eight");
}

#[test]
fn a_line_is_wrapped_and_what_is_indented_stays_so() {
    let mut terminal = Terminal::new(21, 24);
    terminal.put(&[said("You: one two three four\nfive"), remark("  ✓ one two three four five six"), remark("")]);
    assert_eq!(terminal.shows(), ["You: one two three", "four", "five", "  ✓ one two three", "    four five six", ""]);
}

#[test]
fn what_is_recorded_comes_before_what_is_not() {
    let mut terminal = Terminal::new(21, 24);
    terminal.put(&[draft("A: "), text("It has been shipped to you.")]);
    terminal.put(&[said("You: quick!")]);
    assert_eq!(terminal.shows(), ["You: quick!", "A: It has been", "shipped to you._"]);
    terminal.put(&[Item::Complete, remark("  ✓ look_up")]);
    assert_eq!(terminal.shows(), ["You: quick!", "  ✓ look_up", "A: It has been", "shipped to you."]);
    terminal.put(&[Item::Settled, remark("  A → B")]);
    assert_eq!(terminal.shows().last().unwrap(), "  A → B");
}

#[test]
fn two_messages_are_settled_one_after_the_other() {
    let mut terminal = Terminal::new(40, 24);
    terminal.put(&[draft("A: "), text("Let me see."), Item::Complete, draft("A: "), text("It is shipped.")]);
    terminal.put(&[Item::Settled, remark("  ✓ look_up")]);
    assert_eq!(terminal.shows(), ["A: Let me see.", "  ✓ look_up", "A: It is shipped._"]);
    terminal.put(&[Item::Withdrawn]);
    assert_eq!(terminal.shows(), ["A: Let me see.", "  ✓ look_up"], "only what was not recorded goes");
}

#[test]
fn what_does_not_count_is_erased() {
    let mut terminal = Terminal::new(21, 24);
    terminal.put(&[said("You: hi"), draft("A: "), text("One two three four five six"), remark("  another worker")]);
    terminal.put(&[Item::Withdrawn]);
    assert_eq!(terminal.shows(), ["You: hi", "  another worker"]);
    terminal.put(&[draft("A: "), text("Hi."), Item::Complete, Item::Settled]);
    assert_eq!(terminal.shows(), ["You: hi", "  another worker", "A: Hi."]);
    // Nothing was shown: nothing is said about it.
    terminal.put(&[Item::Withdrawn]);
    assert_eq!(terminal.shows().len(), 3);
}

#[test]
fn what_cannot_be_erased_is_marked() {
    // Rows that a resize has moved, and rows that have left the screen.
    for has_resized in [true, false] {
        let mut terminal = Terminal::new(21, if has_resized { 24 } else { 5 });
        terminal.put(&[draft("A: "), text("One two three four five six seven eight")]);
        if has_resized {
            terminal.paper.resize(Size { cols: 30, rows: 24 });
        }
        terminal.put(&[Item::Withdrawn]);
        let shown = terminal.shows();
        assert_eq!(shown[..3], ["A: One two three", "four five six seven", "eight"]);
        assert!(shown[3].starts_with("  (withdrawn:"), "{shown:?}");
        // From here on it can be erased again.
        terminal.put(&[draft("A: "), text("once more\n"), Item::Withdrawn]);
        assert_eq!(terminal.shows(), shown);
    }
}

#[test]
fn a_line_amid_rows_that_cannot_move_comes_below_them() {
    let mut terminal = Terminal::new(21, 24);
    terminal.put(&[draft("A: "), text("One two three four five")]);
    terminal.paper.resize(Size { cols: 30, rows: 24 });
    terminal.put(&[said("You: hm"), text(" six"), Item::Complete, Item::Settled, said("You: ok")]);
    assert_eq!(terminal.shows(), ["A: One two three", "You: hm", "four five six", "You: ok"]);
}

#[test]
fn room_is_made_once() {
    let mut terminal = Terminal::new(21, 24);
    terminal.put(&[Item::Turn, said("You: hi"), Item::Turn, Item::Turn, said("You: ho")]);
    assert_eq!(terminal.shows(), ["You: hi", "", "You: ho"]);
}

#[test]
fn colours_are_written_only_where_they_are_wanted_and_never_those_of_others() {
    let line = vec![span(Ink::Agent(1), "Refund"), span(Ink::Plain, ": \x1b[31mred\x07")];
    let item = Item::Said(line);
    let size = Size { cols: 80, rows: 24 };
    assert_eq!(Paper::new(size, true).put(&item), "\x1b[1;35mRefund\x1b[0m: \u{fffd}[31mred\u{fffd}\n");
    assert_eq!(Paper::new(size, false).put(&item), "Refund: \u{fffd}[31mred\u{fffd}\n");
    let mut paper = Paper::new(size, true);
    paper.put(&draft("A: "));
    paper.put(&text("\x1b[2J"));
    assert!(!render(paper.row().unwrap(), false).contains('\x1b'));
}

#[test]
fn a_row_that_is_too_long_is_clipped() {
    let row = cells(&[span(Ink::Plain, "TriageAgent is working")]);
    assert_eq!(render(&clipped(&row, 30), false), "TriageAgent is working");
    assert_eq!(render(&clipped(&row, 12), false), "TriageAgent…");
}
