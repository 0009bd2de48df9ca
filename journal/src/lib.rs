//! The durable journal of conversations on NATS JetStream, and the same contract in memory.
