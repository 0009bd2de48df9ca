//! Observer and timekeeper: ledger, deadlines, sweep, forwarding, provisioning.
