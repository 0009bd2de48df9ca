//! Which processes run at the moment: written by whoever keeps one, read by whoever lists them.

use tokio::sync::watch;

/// What the broker is called among the processes.
pub(crate) const BROKER: &str = "nats-server";

/// A process as it is now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Process {
    /// Its name for people.
    pub name: String,
    /// Its number, while it runs.
    pub pid: Option<u32>,
    /// How often it was started again.
    pub restarts: u32,
}

/// The processes of a system.
#[derive(Clone, Debug, Default)]
pub struct Table(watch::Sender<Vec<Process>>);

impl Table {
    /// A place for a process that does not run yet.
    pub fn place(&self, name: &str) -> Place {
        let mut number = 0;
        self.0.send_modify(|processes| {
            number = processes.len();
            processes.push(Process { name: name.to_owned(), ..Process::default() });
        });
        Place { table: self.clone(), number }
    }

    /// All of them, in the order of their places.
    pub fn processes(&self) -> Vec<Process> {
        self.0.borrow().clone()
    }

    /// All of them, and every change.
    pub fn watch(&self) -> watch::Receiver<Vec<Process>> {
        self.0.subscribe()
    }
}

/// Where one process is written down.
#[derive(Clone, Debug)]
pub struct Place {
    table: Table,
    number: usize,
}

impl Place {
    /// It runs, or it does not.
    pub fn runs_as(&self, pid: Option<u32>) {
        self.change(|process| process.pid = pid);
    }

    /// It is started again.
    pub fn restarted(&self) {
        self.change(|process| process.restarts += 1);
    }

    fn change(&self, change: impl FnOnce(&mut Process)) {
        self.table.0.send_modify(|processes| {
            if let Some(process) = processes.get_mut(self.number) {
                change(process);
            }
        });
    }
}
