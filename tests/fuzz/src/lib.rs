//! What untrusted bytes do to Baton: one program for each place where they come in. None may panic, hang, or take memory
//! that its input does not pay for; and what is accepted must mean the same the second time.

pub mod framed;
