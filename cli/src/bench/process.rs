//! What processes take of the machine, in the kernel's words. Only Linux says it this way; elsewhere nothing is said.

use std::time::Duration;

/// CPU time that a process has used, with all threads that it has now. To the nanosecond: short runs need that, and threads that end are few.
pub(super) fn cpu(pid: u32) -> Option<Duration> {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).ok()?.flatten();
    let times = threads.filter_map(|thread| on_cpu(&std::fs::read_to_string(thread.path().join("schedstat")).ok()?));
    times.reduce(|sum, time| sum + time)
}

/// A process's proportional share of memory, in bytes: its own, and its part of what it shares with others.
pub fn memory(pid: u32) -> Option<u64> {
    pss(&std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?)
}

/// The first number is the time on a processor, in nanoseconds.
fn on_cpu(schedstat: &str) -> Option<Duration> {
    schedstat.split_whitespace().next()?.parse().ok().map(Duration::from_nanos)
}

fn pss(rollup: &str) -> Option<u64> {
    let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:"))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kilobytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_words_are_understood() {
        assert_eq!((on_cpu("1500000000 77 9\n"), on_cpu("")), (Some(Duration::from_millis(1500)), None));
        assert_eq!(pss("00400000-7ffc [rollup]\nRss:  9000 kB\nPss:      1234 kB\nPss_Dirty: 1 kB\n"), Some(1234 * 1024));
        assert_eq!(pss("Rss: 1 kB\n"), None);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn this_process_is_known() {
        let pid = std::process::id();
        assert!(cpu(pid).is_some() && memory(pid).unwrap() > 1024 * 1024);
        assert_eq!((cpu(u32::MAX), memory(u32::MAX)), (None, None));
    }
}
