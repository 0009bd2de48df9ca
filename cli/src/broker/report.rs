//! Where progress is told: the broker's code decides what is worth saying, its caller where it goes.

use std::io::{IsTerminal, Write};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use indicatif::ProgressBar;

/// Takes progress as it happens.
pub trait Report: Send + Sync {
    /// Something slow begins. It goes on until the next call.
    fn doing(&self, line: &str);

    /// A fact that the person at the terminal should know.
    fn note(&self, line: &str);
}

/// Progress on standard error: a spinner while something goes on if it is a terminal, plain lines otherwise.
#[derive(Debug)]
pub struct Stderr {
    terminal: bool,
    spinner: Mutex<Option<ProgressBar>>,
}

impl Stderr {
    /// A reporter that looks once whether standard error is a terminal.
    pub fn new() -> Self {
        Self { terminal: std::io::stderr().is_terminal(), spinner: Mutex::new(None) }
    }

    fn spin(&self, next: Option<ProgressBar>) {
        let mut spinner = self.spinner.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(previous) = std::mem::replace(&mut *spinner, next) {
            previous.finish_and_clear();
        }
    }
}

impl Default for Stderr {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Stderr {
    fn drop(&mut self) {
        self.spin(None);
    }
}

impl Report for Stderr {
    fn doing(&self, line: &str) {
        if !self.terminal {
            return self.note(line);
        }
        let spinner = ProgressBar::new_spinner().with_message(line.to_owned());
        spinner.enable_steady_tick(Duration::from_millis(100));
        self.spin(Some(spinner));
    }

    fn note(&self, line: &str) {
        self.spin(None);
        // Nobody can be told that standard error is gone.
        let _ = writeln!(std::io::stderr(), "{line}");
    }
}
