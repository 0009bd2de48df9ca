//! Signals to processes that Baton started.

use std::io;

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};

/// Asks a process to end (SIGTERM).
pub fn terminate(pid: u32) -> io::Result<()> {
    send(pid, Signal::TERM)
}

/// Ends a process at once (SIGKILL).
pub fn kill(pid: u32) -> io::Result<()> {
    send(pid, Signal::KILL)
}

/// Blocks until a child of this process has ended, leaving its status for whoever holds the child.
pub(super) fn await_exit(pid: u32) -> io::Result<()> {
    waitid(WaitId::Pid(known(pid)?), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT)?;
    Ok(())
}

fn send(pid: u32, signal: Signal) -> io::Result<()> {
    Ok(kill_process(known(pid)?, signal)?)
}

/// Zero and negative ids address groups of processes: never those.
fn known(pid: u32) -> io::Result<Pid> {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    pid.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "not the id of one process"))
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn a_child_is_ended_by_the_signal_that_was_sent() {
        for (send, number) in [(terminate as fn(u32) -> _, 15), (kill, 9)] {
            let mut child = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
            send(child.id()).unwrap();
            await_exit(child.id()).unwrap();
            assert_eq!(child.try_wait().unwrap().unwrap().signal(), Some(number));
            assert!(await_exit(child.id()).is_err(), "it is no longer a child");
        }
    }

    #[test]
    fn groups_are_never_signalled() {
        for pid in [0, u32::MAX] {
            assert_eq!(terminate(pid).unwrap_err().kind(), io::ErrorKind::InvalidInput);
        }
    }
}
