//! Runs the programs that obtaining needs, with a bound on their time.

use std::ffi::OsStr;
use std::io;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;
use tokio::time::timeout;

/// A program did not do what it was run for.
#[derive(Debug, thiserror::Error)]
pub enum ToolError {
    /// It could not be started.
    #[error("{program} cannot be run: {source}")]
    Start {
        /// The program's name or path.
        program: String,
        /// Why not.
        source: io::Error,
    },
    /// It ended with an error.
    #[error("{program} failed ({status}): {said}")]
    Failed {
        /// The program's name or path.
        program: String,
        /// How it ended.
        status: std::process::ExitStatus,
        /// The last lines that it wrote.
        said: String,
    },
    /// It was still running when its time was over, and was ended.
    #[error("{program} was not done after {after_secs} s")]
    Slow {
        /// The program's name or path.
        program: String,
        /// The bound, in seconds.
        after_secs: u64,
    },
}

/// One run of a program.
#[derive(Debug)]
pub(super) struct Tool(Command);

impl Tool {
    /// `program` (a path, or a name to look up on PATH) with `args`.
    pub(super) fn new(program: impl AsRef<OsStr>, args: &[&OsStr]) -> Self {
        let mut command = Command::new(program);
        command.args(args).stdin(Stdio::null()).kill_on_drop(true);
        Self(command)
    }

    /// Runs it in `directory`. Python looks for modules, and Go for settings, in the working directory: with a directory
    /// of one's own they find none but those that were installed.
    pub(super) fn within(mut self, directory: &Path) -> Self {
        self.0.current_dir(directory);
        self
    }

    pub(super) fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.0.env(name, value);
        self
    }

    /// Runs it to its end and returns what it wrote to standard output.
    pub(super) async fn output(mut self, at_most: Duration) -> Result<String, ToolError> {
        let program = self.0.as_std().get_program().to_string_lossy().into_owned();
        let output = match timeout(at_most, self.0.output()).await {
            Err(_) => return Err(ToolError::Slow { program, after_secs: at_most.as_secs() }),
            Ok(Err(source)) => return Err(ToolError::Start { program, source }),
            Ok(Ok(output)) => output,
        };
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        let said = if output.stderr.is_empty() { &output.stdout } else { &output.stderr };
        let said = last_lines(&String::from_utf8_lossy(said), 3, " / ");
        Err(ToolError::Failed { program, status: output.status, said })
    }
}

/// The last `count` lines of `text` that are not blank, joined by `separator`.
pub(super) fn last_lines(text: &str, count: usize, separator: &str) -> String {
    let mut lines: Vec<&str> = text.lines().map(str::trim_end).filter(|line| !line.is_empty()).rev().take(count).collect();
    lines.reverse();
    lines.join(separator)
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn sh(script: &str, at_most: Duration) -> Result<String, ToolError> {
        Tool::new("sh", &[OsStr::new("-c"), OsStr::new(script)]).output(at_most).await
    }

    #[tokio::test]
    async fn tells_apart_how_a_run_ends() {
        let ample = Duration::from_secs(60);
        assert_eq!(sh("echo done", ample).await.unwrap(), "done\n");
        assert_eq!(
            sh("for i in 1 2 3 4; do echo line $i >&2; done; exit 3", ample).await.unwrap_err().to_string(),
            "sh failed (exit status: 3): line 2 / line 3 / line 4"
        );
        let slow = sh("while :; do :; done", Duration::from_millis(50)).await.unwrap_err();
        assert!(matches!(slow, ToolError::Slow { .. }), "{slow}");
        let missing = Tool::new("no-such-program-of-baton", &[]).output(ample).await.unwrap_err();
        assert!(matches!(missing, ToolError::Start { .. }), "{missing}");
    }
}
