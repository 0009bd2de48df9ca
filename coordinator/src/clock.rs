//! What time it is, for deadlines. Pure: what the broker says and this process's own monotonic time go in.
//!
//! The broker's time is its leader's, and a leader's clock may be wrong. Deadlines that pass too late cost patience; those that pass too
//! early end what was well. So time goes back as soon as the broker says so, but never runs ahead of what has really passed.

use std::time::Duration;

/// How much further the broker may be at once than this process has counted: its answer takes its time, and no two clocks agree.
const SLACK_MS: u64 = 5_000;
/// For how long the broker has to insist on more than that before it is believed. Whatever had little time left when it began has come to
/// its end by then, and if it was the time before that was wrong, nobody waits for ever.
const DOUBT: Duration = Duration::from_mins(10);

/// The time that this process goes by.
#[derive(Clone, Copy, Debug, Default)]
pub struct Clock {
    /// The latest time that was believed, in milliseconds since the Unix epoch, and when, by this process's own clock.
    believed: Option<(u64, Duration)>,
    /// Since when the broker has been ahead of it without a break.
    doubted: Option<Duration>,
}

impl Clock {
    /// The broker says that it is `broker_ms`, and by this process's own clock it is `at`: what to go by. The first word is believed.
    pub fn ticked(&mut self, broker_ms: u64, at: Duration) -> u64 {
        let counted = |(ms, then): (u64, Duration)| {
            let passed = at.saturating_sub(then).as_millis();
            ms.saturating_add(u64::try_from(passed).unwrap_or(u64::MAX))
        };
        let counted_ms = self.believed.map(counted);
        let is_doubtful = counted_ms.is_some_and(|counted_ms| broker_ms > counted_ms.saturating_add(SLACK_MS));
        let doubted = is_doubtful.then(|| self.doubted.unwrap_or(at));
        self.doubted = doubted;
        match (counted_ms, doubted) {
            (Some(counted_ms), Some(since)) if at.saturating_sub(since) < DOUBT => return counted_ms,
            // What was believed once may come back: it need not be doubted then.
            (Some(counted_ms), None) if broker_ms < counted_ms => {}
            _ => (self.believed, self.doubted) = (Some((broker_ms, at)), None),
        }
        broker_ms
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 3_600_000;
    const START_MS: u64 = 1_764_000_000_000;

    /// A process that hears the broker once a second: the broker's clock is ahead of the true one by what is said for each second, and
    /// what comes out is by how much this process is.
    fn ahead(of_broker: impl IntoIterator<Item = i64>) -> Vec<i64> {
        let mut clock = Clock::default();
        let ahead = |(secs, ahead_ms): (u64, i64)| {
            let true_ms = START_MS + secs * 1000;
            let now_ms = clock.ticked(true_ms.checked_add_signed(ahead_ms).unwrap(), Duration::from_secs(secs));
            i64::try_from(now_ms).unwrap() - i64::try_from(true_ms).unwrap()
        };
        (0..).zip(of_broker).map(ahead).collect()
    }

    #[test]
    fn the_first_word_is_believed_and_time_goes_by_the_broker() {
        assert_eq!(ahead([0; 5]), [0; 5]);
        assert_eq!(ahead([HOUR; 5]), [HOUR; 5]);
        assert_eq!(ahead([0, 40, -30, 4_000, 4_100]), [0, 40, -30, 4_000, 4_100], "answers take their time, and clocks drift");
    }

    #[test]
    fn while_a_clock_that_is_ahead_leads_time_passes_as_it_really_does() {
        assert_eq!(ahead([0, HOUR, HOUR, 60_000, HOUR, 0, 0]), [0; 7]);
    }

    #[test]
    fn time_goes_back_at_once_and_may_come_back() {
        assert_eq!(ahead([0, -HOUR, -HOUR, 0, 0]), [0, -HOUR, -HOUR, 0, 0], "a clock that was behind has led for a moment");
        assert_eq!(ahead([HOUR, 0, 0, HOUR]), [HOUR, 0, 0, HOUR], "it was believed before");
    }

    /// The time before may have been the wrong one: a server that was behind, or all of them.
    #[test]
    fn what_the_broker_insists_on_is_believed_in_the_end() {
        let insisting = ahead(std::iter::once(-HOUR).chain([0; 700]));
        let doubted = insisting.iter().take_while(|ahead| **ahead == -HOUR).count();
        assert_eq!(doubted, 601, "ten minutes");
        assert!(insisting.iter().skip(doubted).all(|ahead| *ahead == 0));
        let wavering = ahead((0..2000).map(|secs| if secs % 500 == 0 { 0 } else { HOUR }));
        assert!(wavering.iter().all(|ahead| *ahead == 0), "nobody insists");
    }

    /// A process that was suspended, or did not hear the broker for a while.
    #[test]
    fn what_passes_between_two_words_is_counted() {
        let mut clock = Clock::default();
        assert_eq!(clock.ticked(START_MS, Duration::from_secs(7)), START_MS);
        let later = clock.ticked(START_MS + 3_600_000, Duration::from_secs(7 + 3600));
        assert_eq!(later, START_MS + 3_600_000);
    }
}
