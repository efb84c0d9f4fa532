//! Ports that stay free while a server is down, so that it can come back at the same place.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener};
use std::sync::atomic::{AtomicU16, Ordering};

/// Below the range that the kernel takes ports of outgoing connections from.
const FIRST: u16 = 12_000;
const COUNT: u16 = 18_000;

static NEXT: AtomicU16 = AtomicU16::new(0);

/// A claim on `127.0.0.1:port`. It is held by a listener on the same port of another loopback address, which other test
/// processes see and the server does not mind.
#[derive(Debug)]
pub(crate) struct Claim {
    pub(crate) port: u16,
    _holder: TcpListener,
}

impl Claim {
    /// The claimed address.
    pub(crate) fn at(&self) -> SocketAddr {
        SocketAddrV4::new(Ipv4Addr::LOCALHOST, self.port).into()
    }
}

/// Claims a port.
pub(crate) fn claim() -> Claim {
    let start = (std::process::id() % u32::from(COUNT)) as u16;
    for _ in 0..COUNT {
        let step = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = FIRST + (start.wrapping_mul(7) % COUNT + step) % COUNT;
        if let Some(claim) = try_claim(port) {
            return claim;
        }
    }
    panic!("none of the ports {FIRST}..{} is free", FIRST + COUNT)
}

fn try_claim(port: u16) -> Option<Claim> {
    let holder = TcpListener::bind(SocketAddrV4::new(Ipv4Addr::new(127, 0, 0, 2), port)).ok()?;
    let free = TcpListener::bind(SocketAddrV4::new(Ipv4Addr::LOCALHOST, port)).is_ok();
    free.then_some(Claim {
        port,
        _holder: holder,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn claimed_ports_are_free_and_claimed_once() {
        let claims: Vec<_> = (0..20).map(|_| claim()).collect();
        for (n, one) in claims.iter().enumerate() {
            TcpListener::bind(SocketAddrV4::new(Ipv4Addr::LOCALHOST, one.port)).expect("the port is free");
            assert!(try_claim(one.port).is_none(), "it is claimed");
            assert!(claims.iter().skip(n + 1).all(|other| other.port != one.port));
        }
    }
}
