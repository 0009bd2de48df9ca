//! What is reported, and how runs become one report.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json};

use super::cache::CacheableShare;
use super::figures::{Percentiles, median};
use super::prefix::Share;
use super::shape::Shape;
use super::watch::TOTAL;

/// Everything that was measured.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// Of this program.
    pub version: &'static str,
    /// Whether it was compiled for speed; figures of one that was not say nothing.
    pub optimised: bool,
    /// When the broker's files reach the disk: `always` before an entry is acknowledged, or `default`.
    pub sync: &'static str,
    /// Processors of this machine.
    pub cores: usize,
    /// How often each load was played; the figures are medians of the runs, ratios too.
    pub runs: usize,
    /// One for each load.
    pub cases: Vec<Case>,
}

/// One load.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Case {
    /// What the conversations are like.
    pub shape: Shape,
    /// Who plays the models.
    pub player: &'static str,
    /// Conversations at once.
    pub conversations: usize,
    /// Proportional share of memory before anybody came, in MB, by process; `total` without this command.
    pub memory_idle_mb: BTreeMap<String, f64>,
    /// What was measured.
    #[serde(flatten)]
    pub run: Run,
    /// What of its prompts a provider's cache could serve, where that was measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cacheable_share: Option<CacheableShare>,
}

/// What was measured in one run, or the medians of several.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Run {
    /// Transfers from agent to agent.
    pub handoffs: f64,
    /// Openings, replies and transfers: what somebody works on.
    pub work_items: f64,
    /// Everything that was stored.
    pub entries: f64,
    /// The mean size of an entry, headers and payload.
    pub entry_bytes: f64,
    /// From the first entry to the last, by the broker's clock.
    pub seconds: f64,
    /// In that time.
    pub handoffs_per_second: Compared,
    /// In that time; the raw loop's entries are all handoffs.
    pub entries_per_second: Compared,
    /// From a work item's entry to that of the transfer its turn ended with: a whole hop, both by the broker's clock.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hop_us: Option<Latency>,
    /// From a work item's entry, by the broker's clock, to the request to its model, by that of this machine, which is the same one. The raw
    /// loop's is to when the delivery was at hand.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_us: Option<Latency>,
    /// From what a person says to what an agent answers, both entries, by the broker's clock.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub answer_us: Option<Percentiles>,
    /// From when a model said the first word of an answer to when it was at hand at a client of the gateway.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_word_us: Option<Percentiles>,
    /// From when somebody began to say something in a conversation that had waited to when an agent had answered, by this command's clock:
    /// one conversation at a time, those that had waited longest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wake_us: Option<Wake>,
    /// How a hop late in a conversation compares with an early one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub growth: Option<Growth>,
    /// Model calls a second, and how many there would be if nothing but the models took time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model_calls: Option<Ideal>,
    /// CPU seconds per 1,000 of `per`, by process; `total` without this command, which plays the people and a model.
    pub cpu_seconds_per_1000: BTreeMap<String, f64>,
    /// The system's, over those of the raw loop: its broker and its client.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_ratio: Option<f64>,
    /// The most proportional share of memory that was seen, in MB, by process; `total` without this command.
    pub memory_peak_mb: BTreeMap<String, f64>,
    /// What the broker had to do, per `per`.
    pub broker: BrokerWork,
}

/// A figure beside the raw loop's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Compared {
    /// Baton's.
    pub baton: f64,
    /// The raw loop's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub raw: Option<f64>,
    /// Baton's over the raw loop's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ratio: Option<f64>,
}

impl Compared {
    pub(super) fn new(baton: f64, raw: Option<f64>) -> Self {
        Self { baton, raw, ratio: raw.and_then(|raw| over(baton, raw)) }
    }
}

/// Times beside the raw loop's.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Latency {
    /// Baton's.
    pub baton: Percentiles,
    /// The raw loop's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub raw: Option<Percentiles>,
    /// Baton's half over the raw loop's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ratio_p50: Option<f64>,
    /// Baton's slowest hundredth over the raw loop's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ratio_p99: Option<f64>,
}

impl Latency {
    pub(super) fn new(baton: Percentiles, raw: Option<Percentiles>) -> Self {
        let ratio = |of: fn(&Percentiles) -> f64| raw.as_ref().and_then(|raw| over(of(&baton), of(raw)));
        Self { baton, raw, ratio_p50: ratio(|all| all.p50), ratio_p99: ratio(|all| all.p99) }
    }
}

/// How long it takes to be answered in a conversation that waits.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Wake {
    /// The first time: where there are many others, the broker no longer has it in memory.
    pub first: Percentiles,
    /// The second time, once all that are woken have been: the broker has it at hand.
    pub again: Percentiles,
}

/// Halves of hops early and late in a conversation.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Growth {
    /// Around the tenth handoff, in microseconds.
    pub at10_us: f64,
    /// Around the five-hundredth.
    pub at500_us: f64,
    /// The later over the earlier.
    pub ratio: f64,
}

/// A rate beside the highest there could be.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Ideal {
    /// What it was.
    pub per_second: f64,
    /// What it would have been.
    pub ideal_per_second: f64,
    /// The one over the other.
    pub ratio: f64,
}

/// What the broker had to do, per handoff, or per work item where there are no handoffs. Heartbeats and ticks are in the messages.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BrokerWork {
    /// What the figures are divided by: `handoff` or `work item`.
    #[serde(default)]
    pub per: String,
    /// Entries stored.
    pub stored: f64,
    /// Deliveries to workers.
    pub deliveries: f64,
    /// Acknowledgements of workers.
    pub acks: f64,
    /// Orders for deliveries by workers.
    pub pulls: f64,
    /// Reads by workers.
    pub reads: f64,
    /// Messages from all clients.
    pub messages_in: Compared,
    /// Messages to all clients.
    pub messages_out: Compared,
    /// Bytes from all clients.
    pub bytes_in: Compared,
    /// Bytes to all clients.
    pub bytes_out: Compared,
}

/// One number over another.
pub(super) fn over(one: f64, other: f64) -> Option<f64> {
    (other > 0.0).then(|| one / other)
}

/// The medians of runs, figure by figure.
///
/// # Errors
/// Never, for runs of the same load.
pub fn medians(runs: &[Run]) -> serde_json::Result<Run> {
    let runs: Vec<Json> = runs.iter().map(serde_json::to_value).collect::<Result<_, _>>()?;
    serde_json::from_value(merge(&runs.iter().collect::<Vec<_>>()))
}

fn merge(values: &[&Json]) -> Json {
    match values.first() {
        Some(Json::Object(first)) => {
            let of = |key: &String| values.iter().filter_map(|value| value.get(key)).collect::<Vec<_>>();
            Json::Object(first.keys().map(|key| (key.clone(), merge(&of(key)))).collect::<Map<_, _>>())
        }
        Some(Json::Number(_)) => median(values.iter().filter_map(|value| value.as_f64())).into(),
        other => other.copied().cloned().unwrap_or_default(),
    }
}

impl Report {
    /// For people.
    pub fn text(&self) -> String {
        let mut text = format!(
            "baton {} on {} cores, sync {}, medians of {} runs; × is Baton over the raw loop in the same run\n",
            self.version, self.cores, self.sync, self.runs
        );
        if !self.optimised {
            text.push_str("This program was not compiled for speed (cargo run --release): its figures say nothing.\n");
        }
        for case in &self.cases {
            text.push_str(&case.text());
        }
        text
    }
}

impl Case {
    fn text(&self) -> String {
        let Run { handoffs, work_items, seconds, broker, .. } = &self.run;
        let mut text = format!(
            "\n{}, {} conversation(s), {}: {handoffs:.0} handoffs, {work_items:.0} work items in {seconds:.2} s\n",
            self.shape, self.conversations, self.player
        );
        let mut line = |name: &str, figures: String| {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "  {name:<22} {figures}");
        };
        if *handoffs > 0.0 {
            line("handoffs/s", compared(&self.run.handoffs_per_second, 0));
        }
        line("entries/s", compared(&self.run.entries_per_second, 0));
        if let Some(hop) = &self.run.hop_us {
            line("hop, stored to stored", latency(hop));
        }
        if let Some(request) = &self.run.request_us {
            line("stored to request", latency(request));
        }
        if let Some(answer) = &self.run.answer_us {
            line("said to answered", percentiles(answer));
        }
        if let Some(Wake { first, again }) = &self.run.wake_us {
            line("woken, one at a time", percentiles(first));
            line("  and once more", percentiles(again));
        }
        if let Some(first_word) = &self.run.first_word_us {
            line("first word to client", percentiles(first_word));
        }
        if let Some(Growth { at10_us, at500_us, ratio }) = &self.run.growth {
            line("hop 10 → hop 500", format!("{at10_us:.0} → {at500_us:.0} µs  ×{ratio:.2}"));
        }
        if let Some(Ideal { per_second, ideal_per_second, ratio }) = &self.run.model_calls {
            line("model calls/s", format!("{per_second:.1} of {ideal_per_second:.1}  ×{ratio:.2}"));
        }
        let ratio = self.run.cpu_ratio.map_or_else(String::new, |ratio| format!("  ×{ratio:.2}"));
        line(&format!("CPU s per 1,000 {}s", broker.per), by_process(&self.run.cpu_seconds_per_1000, 3) + &ratio);
        line("memory idle, MB", by_process(&self.memory_idle_mb, 1));
        line("memory peak, MB", by_process(&self.run.memory_peak_mb, 1));
        let BrokerWork { per, stored, deliveries, acks, pulls, reads, messages_in, messages_out, bytes_in, bytes_out } = broker;
        let workers = format!("{deliveries:.2} delivered, {acks:.2} acked, {pulls:.3} pulls, {reads:.3} reads");
        line(&format!("broker, per {per}"), format!("{stored:.2} stored; workers: {workers}"));
        line("  messages in, out", format!("{}; {}", compared(messages_in, 1), compared(messages_out, 1)));
        line("  bytes in, out", format!("{}; {}", compared(bytes_in, 0), compared(bytes_out, 0)));
        if let Some(CacheableShare { isolated, shared_prefix }) = &self.cacheable_share {
            line("cacheable, isolated", share(isolated));
            line("  shared-prefix", share(shared_prefix));
        }
        text
    }
}

fn compared(Compared { baton, raw, ratio }: &Compared, digits: usize) -> String {
    match (raw, ratio) {
        (Some(raw), Some(ratio)) => format!("{baton:.digits$} (raw {raw:.digits$})  ×{ratio:.2}"),
        _ => format!("{baton:.digits$}"),
    }
}

fn percentiles(Percentiles { p50, p90, p99 }: &Percentiles) -> String {
    format!("p50 {p50:.0}  p90 {p90:.0}  p99 {p99:.0} µs")
}

fn latency(Latency { baton, raw, ratio_p50, ratio_p99 }: &Latency) -> String {
    let mut text = percentiles(baton);
    if let (Some(raw), Some(p50), Some(p99)) = (raw, ratio_p50, ratio_p99) {
        let _ = write!(text, "  (raw {})  p50 ×{p50:.2}  p99 ×{p99:.2}", percentiles(raw));
    }
    text
}

fn share(Share { all, after_handoff, prompt_bytes }: &Share) -> String {
    let percent = |share: f64| share * 100.0;
    format!("{:.1} % of {prompt_bytes:.0} bytes of prompts; {:.1} % after handoffs", percent(*all), percent(*after_handoff))
}

fn by_process(figures: &BTreeMap<String, f64>, digits: usize) -> String {
    let (sums, parts): (Vec<_>, Vec<_>) = figures.iter().partition(|(name, _)| *name == TOTAL);
    let shown: Vec<String> = parts.iter().chain(&sums).map(|(name, figure)| format!("{name} {figure:.digits$}")).collect();
    if shown.is_empty() { "not known on this system".to_owned() } else { shown.join("  ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(hop_us: f64, cpu: f64) -> Run {
        let hop = Percentiles { p50: hop_us, p90: hop_us * 2.0, p99: hop_us * 3.0 };
        let raw = Percentiles { p50: 100.0, p90: 100.0, p99: 100.0 };
        Run {
            handoffs: 10.0,
            handoffs_per_second: Compared::new(50.0, Some(100.0)),
            hop_us: Some(Latency::new(hop, Some(raw))),
            cpu_seconds_per_1000: BTreeMap::from([("nats-server".to_owned(), cpu)]),
            broker: BrokerWork { per: "handoff".to_owned(), ..BrokerWork::default() },
            ..Run::default()
        }
    }

    #[test]
    fn medians_are_taken_figure_by_figure() {
        let merged = medians(&[run(100.0, 3.0), run(900.0, 1.0), run(150.0, 2.0)]).unwrap();
        assert_eq!(merged, run(150.0, 2.0));
        assert_eq!(merged.hop_us.unwrap().ratio_p99, Some(4.5));
    }

    #[test]
    fn a_ratio_to_nothing_is_none() {
        assert_eq!(Compared::new(1.0, Some(0.0)).ratio, None);
        assert_eq!(Compared::new(1.0, None).ratio, None);
        assert_eq!(Compared::new(1.0, Some(4.0)).ratio, Some(0.25));
    }

    #[test]
    fn people_are_shown_the_ratios_and_told_when_figures_say_nothing() {
        let memory_idle_mb = BTreeMap::from([("total".to_owned(), 60.25), ("triage".to_owned(), 9.0)]);
        let isolated = Share { all: 0.5, after_handoff: 0.25, prompt_bytes: 100.0 };
        let cacheable_share = Some(CacheableShare { isolated, shared_prefix: Share { all: 0.875, ..isolated } });
        let run = run(150.0, 2.0);
        let case = Case { shape: Shape::PingPong, player: "scripted", conversations: 2, memory_idle_mb, run, cacheable_share };
        let report = Report { version: "0", optimised: false, sync: "always", cores: 2, runs: 3, cases: vec![case] };
        let text = report.text();
        for part in ["50.0 % of 100 bytes of prompts; 25.0 % after handoffs", "87.5 %"] {
            assert!(text.contains(part), "{part:?} is missing:\n{text}");
        }
        for part in ["ping-pong, 2 conversation(s)", "50 (raw 100)  ×0.50", "p50 ×1.50  p99 ×4.50", "triage 9.0  total 60.2", "say nothing"]
        {
            assert!(text.contains(part), "{part:?} is missing:\n{text}");
        }
    }
}
