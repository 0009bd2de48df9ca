//! Somebody has had enough while a model is writing.

use std::time::Duration;

use tokio::time::{sleep, timeout};

use super::{Field, MOMENT_AT_MOST, WHILE};
use crate::lab::faults::Fault;
use crate::lab::model::Misbehaviour;
use crate::lab::record::Act;
use crate::lab::recorder::What;
use crate::lab::struck::strike;
use crate::lab::wish::{Caller, Wish};

/// The model may be this far into its answer.
const INTO_MS: u64 = 1_000;
/// Longer than any answer takes.
const ANSWERED_AT_MOST: Duration = Duration::from_secs(15);

impl Field {
    /// Calls a conversation off in the middle of a slow answer, and waits until the model writes no more.
    pub(super) async fn call_off(&mut self, fault: &Fault) -> Result<(), String> {
        let hit = self.deployment.models.order(Misbehaviour::Lingers, 1);
        let canary = timeout(MOMENT_AT_MOST, hit).await.ok().and_then(Result::ok).ok_or("no model was asked")?;
        let recorder = self.deployment.recorder.clone();
        let conversation = recorder.conversation(&canary, WHILE).await.ok_or("its person never knew it")?;
        sleep(Duration::from_millis(self.random.u64(0..INTO_MS))).await;
        let mut moments = recorder.moments();
        let struck = strike(&recorder, fault, "model", Some(&conversation));
        let caller = Caller { name: "another".to_owned(), ..Caller::of(&self.deployment.gateways, &recorder) };
        let wish = Wish {
            act: Act::Cancel,
            conversation: Some(conversation),
            request: None,
            key: String::new(),
            text: String::new(),
            verdict: None,
        };
        let is_off = caller.wish(wish, self.random.usize(..)).await.is_some();
        let silenced = async {
            while !moments
                .recv()
                .await
                .is_ok_and(|moment| moment.canary == canary && matches!(moment.what, What::ModelSilenced | What::ModelSpoke))
            {}
        };
        // One that nothing silences has had its say by then: the recording shows it.
        let _ = timeout(ANSWERED_AT_MOST, silenced).await;
        struck.healed();
        is_off.then_some(()).ok_or_else(|| "it had ended".to_owned())
    }
}
