//! Rounds: a deployment, a crowd, one fault again and again or a mixture; then all is recorded, checked and kept. A round that
//! is in the directory already is not run again.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use fastrand::Rng;
use protocol::orchestration::Orchestration;
use serde::{Deserialize, Serialize};
use tokio::time::sleep;

use super::crowd::{Crowd, Dispersed};
use super::deployment::{Deployment, Plan};
use super::faults::{Deed, FAULTS, Fault};
use super::field::Field;
use super::measure::{recoveries, touched};
use super::person::Habits;
use super::record::{Record, Seen};
use super::recorder::{load, save};
use super::tap;
use super::verdict::{Broken, CallingOff, judge};
use super::versions;
use super::wish::Caller;

/// What a conversation is given to end after the last fault has healed: I2's bound.
const ENDS_WITHIN: Duration = Duration::from_secs(60);
/// For spans that are on their way, and answers to those whom the crowd has left.
const SETTLE: Duration = Duration::from_secs(1);

/// What was played, beside a recording.
const MANIFEST: &str = "lab.yaml";

/// One round.
#[derive(Clone, Debug)]
pub struct Round {
    /// Its name, unique in a directory.
    pub name: String,
    /// The faults of its trials, in turn.
    pub faults: Vec<&'static Fault>,
    /// Whether each trial's is drawn from them instead.
    pub is_mixed: bool,
    /// Faults to inject, one after another.
    pub trials: usize,
    /// What everything is drawn from.
    pub seed: u64,
    /// People who talk at once.
    pub people: usize,
}

/// What came of a round.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Outcome {
    /// Its name.
    pub round: String,
    /// Its seed.
    pub seed: u64,
    /// Strikes by fault.
    pub trials: BTreeMap<String, usize>,
    /// Conversations that they touched, by fault.
    pub touched: BTreeMap<String, usize>,
    /// Why trials were left out.
    pub skipped: Vec<String>,
    /// Recoveries in milliseconds, by fault.
    pub recoveries_ms: BTreeMap<String, Vec<u64>>,
    /// Conversations that ended.
    pub ended: usize,
    /// Conversations that had not a minute after the last fault.
    pub unfinished: usize,
    /// Entries of the journal, one replica's.
    pub entries: usize,
    /// Promises that were not kept.
    pub broken: Vec<Broken>,
    /// How what was called off came to rest.
    pub calling_off: CallingOff,
    /// How long it took.
    pub took_secs: u64,
    /// What took how long, in milliseconds.
    pub phases_ms: Phases,
}

/// How long a round was at what, in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Phases {
    /// Until everything was ready, and busy.
    pub start: u64,
    /// The strikes, each with all that it waits for.
    pub strikes: u64,
    /// Until the last conversation had ended.
    pub disperse: u64,
    /// Reading the journal, and ending all processes.
    pub tap: u64,
    /// The checker.
    pub judge: u64,
}

impl Round {
    /// The rounds that `trials` trials of one fault take.
    pub fn of(fault: &'static Fault, trials: usize, seed: u64, people: usize) -> Vec<Self> {
        let sizes = (0..trials).step_by(fault.per_round).map(|done| fault.per_round.min(trials - done));
        let round = |(number, trials): (usize, usize)| Self {
            name: format!("{}-{seed}-{number:03}", fault.name),
            faults: vec![fault],
            is_mixed: false,
            trials,
            seed: seed.wrapping_mul(1_000_003).wrapping_add(number as u64),
            people,
        };
        sizes.enumerate().map(round).collect()
    }

    /// Rounds of a mixture of all faults that one server's deployment can have.
    pub fn mixed(trials: usize, seed: u64, people: usize) -> Vec<Self> {
        let is_special =
            |deed: &Deed| matches!(deed, Deed::DiskFull(_) | Deed::BrokerAway(_) | Deed::Poison | Deed::Mixed(_) | Deed::RestartEverything);
        let is_short = |fault: &&&Fault| fault.nodes == 1 && !fault.name.ends_with("60s") && !is_special(&fault.deed);
        let faults: Vec<&'static Fault> = FAULTS.iter().filter(|fault| is_short(&fault)).collect();
        let first = &FAULTS[0];
        let rename =
            |round: Self| Self { name: round.name.replacen(first.name, "mix", 1), faults: faults.clone(), is_mixed: true, ..round };
        Self::of(first, trials, seed, people).into_iter().map(rename).collect()
    }

    /// Runs it, unless the directory has its outcome.
    pub async fn run(&self, directory: &Path) -> Result<Outcome, String> {
        let kept = directory.join(&self.name).join("outcome.json");
        if let Some(outcome) = std::fs::read(&kept).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok()) {
            return Ok(outcome);
        }
        let (outcome, records, manifest) = self.play().await?;
        let failed = |error: std::io::Error| format!("{}: {error}", kept.display());
        std::fs::create_dir_all(kept.parent().unwrap_or(directory)).map_err(failed)?;
        save(&records, &kept.with_file_name("recording.jsonl")).map_err(failed)?;
        std::fs::write(kept.with_file_name(MANIFEST), manifest).map_err(failed)?;
        let bytes = serde_json::to_vec_pretty(&outcome).map_err(|error| error.to_string())?;
        std::fs::write(&kept, bytes).map_err(failed)?;
        Ok(outcome)
    }

    /// Runs it; what came of it, the recording, and what was played.
    pub async fn play(&self) -> Result<(Outcome, Vec<Record>, String), String> {
        let began = Instant::now();
        let mut lap = began;
        let mut lapped = || u64::try_from(std::mem::replace(&mut lap, Instant::now()).elapsed().as_millis()).unwrap_or(u64::MAX);
        let plan = Plan::of(&self.faults, self.seed);
        let deployment = Deployment::start(&plan).await?;
        let recorder = deployment.recorder.clone();
        let caller = Caller::of(&deployment.gateways, &recorder);
        let crowd = Crowd::gather(&caller, self.people, usize::MAX, Habits::default(), self.seed);
        let mut field = Field::new(deployment, self.seed);
        field.busy(self.people as u64 * 2).await;
        let mut phases_ms = Phases { start: lapped(), ..Phases::default() };
        let (trials, mut skipped) = self.strike(&mut field).await;
        phases_ms.strikes = lapped();
        let Dispersed { ended, unfinished } = crowd.disperse(ENDS_WITHIN).await;
        sleep(SETTLE).await;
        phases_ms.disperse = lapped();
        tap::record(&field.deployment.broker, &recorder).await.map_err(|error| error.to_string())?;
        let (played, manifest) = (field.deployment.orchestration.clone(), field.deployment.manifest.clone());
        field.clear().await;
        phases_ms.tap = lapped();

        let records = recorder.take();
        if plan.is_mixed {
            let mixture = versions::mixture(&records);
            let is_none = mixture.next == 0 || mixture.now == 0 || mixture.unknown == 0;
            skipped.extend(is_none.then(|| format!("the versions did not mix: {mixture:?}")));
        }
        let mut outcome = Outcome { round: self.name.clone(), seed: self.seed, trials, skipped, ended, unfinished, ..Outcome::default() };
        outcome.examine(&played, &records);
        phases_ms.judge = lapped();
        (outcome.took_secs, outcome.phases_ms) = (began.elapsed().as_secs(), phases_ms);
        Ok((outcome, records, manifest))
    }

    async fn strike(&self, field: &mut Field) -> (BTreeMap<String, usize>, Vec<String>) {
        let mut random = Rng::with_seed(self.seed);
        let (mut trials, mut skipped) = (BTreeMap::new(), Vec::new());
        for trial in 0..self.trials {
            let place = if self.is_mixed { random.usize(0..self.faults.len()) } else { trial % self.faults.len() };
            let fault = self.faults[place];
            match field.strike(fault).await {
                Ok(()) => *trials.entry(fault.name.to_owned()).or_default() += 1,
                Err(why) => skipped.push(format!("{}: {why}", fault.name)),
            }
        }
        (trials, skipped)
    }
}

impl Outcome {
    /// Reads off a recording all that can be read off it.
    fn examine(&mut self, played: &Orchestration, records: &[Record]) {
        (self.broken, self.calling_off) = judge(played, records);
        self.recoveries_ms = recoveries(records);
        self.touched = touched(records);
        self.entries = records.iter().filter(|record| matches!(&record.seen, Seen::Entry { replica, .. } if replica == "n0")).count();
    }
}

/// Checks the recordings of a directory again, and keeps what is found now.
pub fn recheck(directory: &Path) -> Result<(), String> {
    for mut outcome in outcomes(directory) {
        let folder = directory.join(&outcome.round);
        let failed = |error: &dyn std::fmt::Display| format!("{}: {error}", folder.display());
        let records = load(&folder.join("recording.jsonl")).map_err(|error| failed(&error))?;
        let played = cli::manifest::load(&folder.join(MANIFEST)).map_err(|error| failed(&error))?.orchestration;
        outcome.examine(&played, &records);
        let bytes = serde_json::to_vec_pretty(&outcome).map_err(|error| failed(&error))?;
        std::fs::write(folder.join("outcome.json"), bytes).map_err(|error| failed(&error))?;
    }
    Ok(())
}

/// The outcomes that a directory has.
pub fn outcomes(directory: &Path) -> Vec<Outcome> {
    let folders = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let mut kept: Vec<PathBuf> = folders.map(|folder| folder.path().join("outcome.json")).filter(|path| path.exists()).collect();
    kept.sort();
    kept.iter().filter_map(|path| serde_json::from_slice(&std::fs::read(path).ok()?).ok()).collect()
}
