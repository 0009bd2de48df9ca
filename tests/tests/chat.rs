//! The chat at the terminal: the real binary on a pseudo-terminal, and what a person sees there.
#![allow(clippy::panic, clippy::unwrap_used, clippy::indexing_slicing, reason = "helpers of tests: a panic is how a test fails")]

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::process::{ExitStatus, Stdio};

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};
use tests::dev::Dev;
use tests::processes::{PATIENCE, Process, command, output};
use tests::sample::{SAMPLE, manifest, replies};
use tests::service::Service;
use tokio::process::{Child, Command};
use tokio::sync::mpsc;
use tokio::time::timeout;

const TASK: &str = "A customer is on the line.";
/// Wide enough that nothing of the sample is wrapped.
const COLS: u16 = 200;
const ROWS: u16 = 50;

/// A terminal with a program on it.
struct Terminal {
    child: Child,
    keyboard: File,
    /// The program's side, kept open: how the terminal is set can be seen on it.
    line: OwnedFd,
    written: mpsc::UnboundedReceiver<Vec<u8>>,
    screen: Screen,
}

impl Terminal {
    fn start(mut command: Command) -> Self {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap().into_string().unwrap();
        let line = OwnedFd::from(File::options().read(true).write(true).open(name).unwrap());
        let size = Winsize { ws_row: ROWS, ws_col: COLS, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&master, size).unwrap();
        let stream = || Stdio::from(line.try_clone().unwrap());
        command.stdin(stream()).stdout(stream()).stderr(stream()).env("TERM", "xterm-256color").env("NO_COLOR", "1");
        let child = command.spawn().unwrap();
        let keyboard = File::from(master);
        let mut display = keyboard.try_clone().unwrap();
        let (sender, written) = mpsc::unbounded_channel();
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(read @ 1..) = display.read(&mut buffer) {
                if sender.send(buffer[..read].to_vec()).is_err() {
                    return;
                }
            }
        });
        Self { child, keyboard, line, written, screen: Screen::default() }
    }

    fn keys(&mut self, keys: &str) {
        self.keyboard.write_all(keys.as_bytes()).unwrap();
    }

    fn type_line(&mut self, line: &str) {
        self.keys(&format!("{line}\r"));
    }

    /// Waits until the screen is as it should be.
    async fn until(&mut self, what: &str, is_so: impl Fn(&Screen) -> bool) {
        let seen = async {
            while !is_so(&self.screen) {
                self.screen.write(&self.written.recv().await.unwrap());
            }
        };
        let seen = timeout(PATIENCE, seen).await;
        seen.unwrap_or_else(|_| panic!("not seen: {what}\n{}", self.screen.text()));
    }

    async fn shows(&mut self, text: &str) {
        self.until(text, |screen| screen.text().contains(text)).await;
    }

    /// Waits until it is the person's turn, below all that was said.
    async fn asks(&mut self, said: &str) {
        let is_so = |screen: &Screen| {
            let rows = screen.rows();
            rows.len() > 3
                && rows[rows.len() - 3] == said
                && rows[rows.len() - 2].ends_with("waits for your answer")
                && rows[rows.len() - 1] == "›"
        };
        self.until(said, is_so).await;
    }

    /// Waits for the program's end; the terminal is as it was then.
    async fn end(&mut self) -> ExitStatus {
        let ended = timeout(PATIENCE, self.child.wait()).await.unwrap_or_else(|_| panic!("no end\n{}", self.screen.text()));
        // Whatever it wrote comes before what is written after its end.
        File::from(self.line.try_clone().unwrap()).write_all("∎".as_bytes()).unwrap();
        self.until("its end", |screen| screen.text().contains('∎')).await;
        self.screen.rows.iter_mut().for_each(|row| row.retain(|c| *c != '∎'));
        let modes = tcgetattr(self.line.as_fd()).unwrap().local_modes;
        assert!(modes.contains(LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG), "{modes:?}");
        ended.unwrap()
    }
}

/// As much of a terminal as the chat and its line editor use; wide enough that nothing is wrapped.
#[derive(Default)]
struct Screen {
    rows: Vec<Vec<char>>,
    row: usize,
    col: usize,
    pending: Vec<u8>,
}

impl Screen {
    fn write(&mut self, bytes: &[u8]) {
        self.pending.extend_from_slice(bytes);
        let whole = std::str::from_utf8(&self.pending).map_or_else(|error| error.valid_up_to(), str::len);
        let text = String::from_utf8(self.pending.drain(..whole).collect()).unwrap();
        let mut rest = text.as_str();
        while let Some(c) = rest.chars().next() {
            rest = &rest[c.len_utf8()..];
            match c {
                '\x1b' => {
                    let Some(end) = rest.find(|c: char| c.is_ascii_alphabetic()) else {
                        // What has not arrived in full waits for its rest.
                        self.pending.splice(..0, ["\x1b", rest].concat().into_bytes());
                        return;
                    };
                    self.obey(rest[..=end].strip_prefix('[').expect("a control sequence"));
                    rest = &rest[end + 1..];
                }
                '\r' => self.col = 0,
                '\n' => (self.row, self.col) = (self.row + 1, 0),
                c => self.put(c),
            }
        }
    }

    fn obey(&mut self, sequence: &str) {
        let (parameters, command) = sequence.split_at(sequence.len() - 1);
        let count = parameters.parse().unwrap_or(1);
        match command {
            "A" => self.row = self.row.saturating_sub(count),
            "B" => self.row += count,
            "C" => self.col += count,
            "D" => self.col = self.col.saturating_sub(count),
            "J" => {
                self.rows.truncate(self.row + 1);
                self.cut();
            }
            "K" => self.cut(),
            // Modes: bracketed paste, synchronized updates.
            "h" | "l" => {}
            _ => panic!("{sequence:?} is not among what this terminal knows"),
        }
    }

    /// Nothing is left of the row from the cursor on.
    fn cut(&mut self) {
        if let Some(row) = self.rows.get_mut(self.row) {
            row.truncate(self.col);
        }
    }

    fn put(&mut self, c: char) {
        assert!(!c.is_control(), "{c:?}");
        while self.rows.len() <= self.row {
            self.rows.push(Vec::new());
        }
        let row = &mut self.rows[self.row];
        while row.len() <= self.col {
            row.push(' ');
        }
        row[self.col] = c;
        self.col += 1;
    }

    /// Its rows, from the first that was ever written.
    fn rows(&self) -> Vec<String> {
        let mut rows: Vec<String> = self.rows.iter().map(|row| row.iter().collect::<String>().trim_end().to_owned()).collect();
        while rows.last().is_some_and(String::is_empty) {
            rows.pop();
        }
        rows
    }

    fn text(&self) -> String {
        self.rows().join("\n")
    }

    /// What was said: neither empty rows nor what is beside the conversation.
    fn said(&self) -> Vec<String> {
        self.rows().into_iter().filter(|row| !row.is_empty() && !row.starts_with(' ')).collect()
    }
}

/// The sample's lines as the chat shows them.
fn sample() -> Vec<String> {
    SAMPLE.iter().map(|line| line.strip_prefix("User: ").map_or_else(|| (*line).to_owned(), |said| format!("You: {said}"))).collect()
}

async fn chat(dev: &Dev, state: &Path, arguments: &[&str]) -> Terminal {
    let mut command = dev.command(&[&["chat"], arguments].concat()).await;
    command.env("XDG_STATE_HOME", state);
    Terminal::start(command)
}

#[tokio::test]
async fn a_conversation_is_typed_left_and_come_back_to() {
    let data = tempfile::tempdir().unwrap();
    let dev = Dev::start(&manifest(), data.path()).await;
    let sample = sample();
    let type_from = async |terminal: &mut Terminal, from: usize, to: usize| {
        for place in (from..to).step_by(2) {
            terminal.type_line(sample[place].strip_prefix("You: ").unwrap());
            terminal.asks(&sample[place + 1]).await;
        }
    };

    let mut terminal = chat(&dev, data.path(), &[]).await;
    terminal.shows("The first message begins the conversation").await;
    terminal.type_line(TASK);
    terminal.asks(&sample[0]).await;
    type_from(&mut terminal, 1, 5).await;
    assert!(terminal.screen.text().contains("\n  TriageAgent → OrderStatusAgent\n"), "{}", terminal.screen.text());
    // Ctrl-C in the middle of a line leaves; the line is not lost without a word.
    terminal.keys("I want to");
    terminal.shows("› I want to").await;
    terminal.keys("\x03");
    assert_eq!(terminal.end().await.code(), Some(130));
    let rows = terminal.screen.rows();
    let [said @ .., leaving, command] = rows.as_slice() else { panic!("{rows:?}") };
    assert!(leaving.ends_with("goes on without you; come back to it:"), "{rows:?}");
    assert!(!said.iter().any(|row| row.starts_with('›')), "nothing is left of the prompt: {rows:?}");

    // What is printed is what is run.
    let arguments: Vec<&str> = command.trim().split(' ').skip(1).collect();
    let mut again = tests::processes::command(&arguments).await;
    again.env("XDG_STATE_HOME", data.path());
    let mut terminal = Terminal::start(again);
    terminal.asks(&sample[4]).await;
    let expected = [vec![format!("You: {TASK}")], sample[..5].to_vec()].concat();
    let said = terminal.screen.said();
    assert_eq!(said[..said.len() - 2], expected, "what was said, and the prompt's two rows");
    // The history is there too: the last line but one, with two keys.
    terminal.keys("\x1b[A\x1b[A");
    terminal.shows(&format!("› {}", sample[1].strip_prefix("You: ").unwrap())).await;
    terminal.keys("\x15");
    type_from(&mut terminal, 5, 11).await;
    terminal.type_line("No, bye");
    assert!(terminal.end().await.success());
    assert_eq!(terminal.screen.said(), [vec![format!("You: {TASK}")], sample].concat());
    let history = std::fs::metadata(data.path().join("baton/history")).unwrap();
    assert_eq!(std::os::unix::fs::PermissionsExt::mode(&history.permissions()) & 0o777, 0o600);
}

#[tokio::test]
async fn a_line_for_what_somebody_else_has_answered_is_kept() {
    let data = tempfile::tempdir().unwrap();
    let dev = Dev::start(&manifest(), data.path()).await;
    let sample = sample();
    let mut terminal = chat(&dev, data.path(), &[TASK, "--no-history"]).await;
    terminal.asks(&sample[0]).await;
    terminal.keys("I was going to say");
    terminal.shows("› I was going to say").await;

    let shown = terminal.screen.text();
    let id = shown.split("conversation ").nth(1).unwrap().split(' ').next().unwrap();
    let faster = data.path().join("faster.txt");
    std::fs::write(&faster, "I'd like to track the status of my order").unwrap();
    let run = output(&mut dev.command(&["run", "--conversation", id, "--replies", faster.to_str().unwrap()]).await).await;
    assert!(run.status.success());
    terminal.shows(&sample[2]).await;
    assert!(terminal.screen.text().contains("You (elsewhere): I'd like to track the status of my order"), "{}", terminal.screen.text());

    terminal.keys("\r");
    terminal.shows("your line was not sent").await;
    terminal.shows("› I was going to say").await;
    // Once it is clear what it answers now, it is sent.
    terminal.keys("\x15");
    terminal.type_line("My order ID is 123");
    terminal.asks(&sample[4]).await;
    // An empty answer is asked back; Ctrl-D leaves in order.
    terminal.type_line("");
    terminal.shows("Enter once more ends the conversation").await;
    terminal.keys("\x04");
    assert_eq!(terminal.end().await.code(), Some(0));
    assert!(terminal.screen.text().contains("come back to it"), "{}", terminal.screen.text());
    assert!(!data.path().join("baton").exists(), "no history was wanted");
    assert_eq!(dev.json(&["show", id]).await["brief"]["phase"], "waiting");
}

#[tokio::test]
async fn text_is_shown_as_it_is_written_and_what_does_not_count_is_erased() {
    let mut service = Service::start().await;
    let data = tempfile::tempdir().unwrap();
    let url = service.url().to_owned();
    let dev = Dev::start_with(&manifest(), data.path(), |dev| {
        dev.env("OPENAI_BASE_URL", url);
    })
    .await;
    let mut terminal = chat(&dev, data.path(), &["hi", "--no-history"]).await;
    // From here on it is listening: a piece that was said before is not said again.
    terminal.shows("TriageAgent is working").await;
    let answer = service.next().await.stream();
    answer.piece("Hello, what ");
    terminal.shows("TriageAgent: Hello, what").await;
    answer.piece("is ");
    terminal.shows("TriageAgent: Hello, what is").await;
    let id = terminal.screen.text().split("conversation ").nth(1).unwrap().split(' ').next().unwrap().to_owned();
    let shown = dev.json(&["show", &id]).await;
    assert_eq!(shown["entries"].as_array().unwrap().len(), 1, "nothing of it is recorded: {shown}");
    // The answer breaks off, and the model is asked again.
    drop(answer);
    service.next().await.say("Good day. Which order?");
    terminal.asks("TriageAgent: Good day. Which order?").await;
    assert!(!terminal.screen.text().contains("Hello, what"), "{}", terminal.screen.text());
    terminal.type_line("/end");
    terminal.shows("The conversation has ended.").await;
    assert!(terminal.end().await.success());
}

const DESK: &str = "
apiVersion: baton/v1alpha1
kind: Orchestration
metadata: { name: desk }
spec:
  start: refund
  models:
    default:
      provider: scripted
      script:
        - { tool: pay, complete: Paid. }
        - { agent: refund, call: pay, arguments: { order: \"321\" } }
  agents:
    refund: { displayName: RefundAgent, instructions: Pay., tools: [{ from: money, names: [pay] }] }
  tools:
    money:
      template:
        tools:
          pay:
            description: Pays.
            parameters: { type: object, properties: { order: { type: string } }, required: [order] }
            reply: Paid {order}.
            effect: side-effect
            approval: caller
";

#[tokio::test]
async fn a_call_is_approved_with_its_arguments_in_view() {
    let data = tempfile::tempdir().unwrap();
    let file = data.path().join("desk.yaml");
    std::fs::write(&file, DESK).unwrap();
    let dev = Dev::start(&file, data.path()).await;
    let mut terminal = chat(&dev, data.path(), &["refund order 321", "--no-history"]).await;
    terminal.shows("RefundAgent asks whether pay may run:\n    {\n      \"order\": \"321\"\n    }").await;
    terminal.shows("RefundAgent waits: yes or no").await;
    terminal.type_line("perhaps");
    terminal.shows("That decides nothing: say yes or no.").await;
    terminal.type_line("yes, gladly");
    assert!(terminal.end().await.success());
    let rows = terminal.screen.text();
    assert!(rows.contains("  ✓ pay approved: gladly\n"), "{rows}");
    assert!(rows.contains("  ✓ pay(order: \"321\") → Paid 321.\n"), "{rows}");
    assert!(rows.ends_with("\nTask is completed with summary: Paid."), "{rows}");
}

#[tokio::test]
async fn a_pipe_is_talked_to_in_plain_lines() {
    let data = tempfile::tempdir().unwrap();
    let dev = Dev::start(&manifest(), data.path()).await;
    let mut piped = dev.command(&["chat", TASK]).await;
    piped.stdin(File::open(replies()).unwrap());
    let output = piped.output().await.unwrap();
    let (stdout, stderr) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert!(output.status.success(), "{stderr}");
    assert_eq!(stdout.lines().collect::<Vec<_>>(), [vec![format!("You: {TASK}")], sample()].concat());
    assert!(!stdout.contains('\x1b') && !stderr.contains('\x1b'), "{stderr}");
    assert!(stderr.contains("  TriageAgent → OrderStatusAgent\n"), "{stderr}");

    // The first line begins the conversation where none is given; without more lines, it waits.
    let mut piped = Process::start(dev.command(&["chat"]).await);
    piped.type_line(TASK).await;
    piped.line(SAMPLE[0]).await;
    piped.close_input();
    let (status, said) = piped.end().await;
    assert!(status.success() && said.contains("come back to it:\n  baton chat --data"), "{said}");

    let json = command(&["chat", "--orchestration", "support", "-o", "json", "hi"]).await.output().await.unwrap();
    assert_eq!(json.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&json.stderr).contains("`baton run -o json`"));
}
