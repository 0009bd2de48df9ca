//! Ports for servers that are told theirs before they start, and may be started again at the same one.

use std::net::TcpListener;

/// What the kernel of no common system gives to outgoing connections: a port of those may be one's end by the time a server asks for it.
const NOBODYS: std::ops::Range<u16> = 10_240..32_768;

/// Ports that are free now, all different: each is held until all are known.
pub fn free_ports(count: usize) -> Vec<u16> {
    let bind = || TcpListener::bind(("127.0.0.1", fastrand::u16(NOBODYS))).ok();
    let held: Vec<TcpListener> = std::iter::repeat_with(bind).flatten().take(count).collect();
    held.iter().map(|listener| listener.local_addr().expect("its address").port()).collect()
}

/// A port that is free now.
pub fn free_port() -> u16 {
    free_ports(1).pop().expect("one port")
}
