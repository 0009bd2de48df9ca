//! Addresses for servers that are told theirs before they start, and may be started again at the same one.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::{io, iter};

/// What the kernel of no common system gives to outgoing connections: a port of those may be one's end by the time a server asks for it.
const NOBODYS: std::ops::Range<u16> = 10_240..32_768;
/// How many of them are tried before any port will do.
const TRIES: usize = 100;

/// An address of this machine at which nobody listens now.
///
/// # Errors
/// That there is none.
pub fn free_address() -> io::Result<SocketAddr> {
    hold()?.local_addr()
}

/// So many of them, all different: each is held until all are known.
///
/// # Errors
/// That there are not so many.
pub fn free_addresses(count: usize) -> io::Result<Vec<SocketAddr>> {
    let held: Vec<TcpListener> = iter::repeat_with(hold).take(count).collect::<io::Result<_>>()?;
    held.iter().map(TcpListener::local_addr).collect()
}

fn hold() -> io::Result<TcpListener> {
    let bind = |port| TcpListener::bind((Ipv4Addr::LOCALHOST, port));
    let held = iter::repeat_with(|| fastrand::u16(NOBODYS)).take(TRIES).find_map(|port| bind(port).ok());
    held.map_or_else(|| bind(0), Ok)
}
