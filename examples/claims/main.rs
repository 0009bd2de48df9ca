//! The claims office's own tools, and `baton` around them: `cargo run --example claims -- dev examples/claims/claims.yaml`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use baton::prelude::*;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The policies there are.
const POLICIES: &str = include_str!("policies.json");
/// So many claims in a year are odd.
const CLAIMS_ODD: u32 = 3;

/// A policy; amounts are in euros.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Policy {
    number: String,
    holder: String,
    covers: String,
    limit: u32,
    deductible: u32,
    claims_this_year: u32,
}

/// Looks a policy up.
#[derive(Deserialize, JsonSchema)]
struct FindPolicy {
    /// Its number, as in H-2042.
    policy: String,
}

/// Has a workshop repair a chipped windscreen, at no cost for the customer.
#[derive(Deserialize, JsonSchema)]
struct BookRepair {
    /// The number of the policy.
    policy: String,
}

/// Works out what a policy pays for a damage, and what is odd about the claim.
#[derive(Deserialize, JsonSchema)]
struct AssessClaim {
    /// The number of the policy.
    policy: String,
    /// What the repair costs, in euros.
    cost: u32,
}

/// See [`AssessClaim`].
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Assessment {
    payable: u32,
    odd: Vec<String>,
}

/// Pays a claim out to the policy's holder.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct PayOut {
    /// The number of the policy.
    policy: String,
    /// In euros, the deductible taken off.
    amount: u32,
}

fn find_policy(number: &str) -> Result<Policy, String> {
    let policies: Vec<Policy> = serde_json::from_str(POLICIES).map_err(|error| format!("the policies cannot be read: {error}"))?;
    let mut policies = policies.into_iter();
    policies
        .find(|policy| policy.number.eq_ignore_ascii_case(number))
        .ok_or_else(|| format!("there is no policy {number}: ask for it again"))
}

fn assess(policy: &Policy, cost: u32) -> Assessment {
    let mut odd = Vec::new();
    if policy.claims_this_year >= CLAIMS_ODD {
        odd.push(format!("{} claims before this one within a year", policy.claims_this_year));
    }
    if cost > policy.limit {
        odd.push(format!("more than the {} euros of the policy", policy.limit));
    }
    Assessment { payable: cost.min(policy.limit).saturating_sub(policy.deductible), odd }
}

/// Pays once for a call, however often it runs: its key names the payment, and the first file of a name stands.
async fn pay(ledger: &Path, call: &ToolCall, payment: &PayOut) -> Result<String, String> {
    let policy = find_policy(&payment.policy)?;
    if payment.amount > policy.limit {
        return Err(format!("the policy pays at most {} euros", policy.limit));
    }
    let written = async {
        tokio::fs::create_dir_all(ledger).await?;
        let mut file = tokio::fs::File::create_new(ledger.join(format!("{}.json", call.idempotency_key))).await?;
        tokio::io::AsyncWriteExt::write_all(&mut file, serde_json::to_string(payment)?.as_bytes()).await?;
        file.sync_all().await
    };
    match written.await {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => Err(format!("the payment cannot be written down: {error}")),
        Ok(()) | Err(_) => Ok(format!("{} euros are on their way to {}.", payment.amount, policy.holder)),
    }
}

fn tools(ledger: PathBuf) -> Functions {
    Functions::new()
        .add("find_policy", "", |FindPolicy { policy }| async move { find_policy(&policy) })
        .add("book_repair", "", |BookRepair { policy }| async move {
            find_policy(&policy).map(|policy| format!("A workshop will call {} today.", policy.holder))
        })
        .add("assess_claim", "", |AssessClaim { policy, cost }| async move { find_policy(&policy).map(|policy| assess(&policy, cost)) })
        .add_with_call("pay_out", "", move |payment: PayOut, call| {
            let ledger = ledger.clone();
            async move { pay(&ledger, &call, &payment).await }
        })
}

fn main() -> ExitCode {
    let ledger = std::env::var_os("CLAIMS_LEDGER").map_or_else(|| PathBuf::from(".baton/claims/ledger"), PathBuf::from);
    baton::main_with(tools(ledger))
}
