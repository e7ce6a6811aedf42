//! Real PostgreSQL servers for tests.
//!
//! - `cluster`: a server with its own directory, its replicas and copies. A test can stop, kill and restore the server.
//! - `proxy`: a proxy between a program and a server. It cuts connections, and can lead to another server.
//! - `installation`: the programs of this host, and the directory of all servers of this test process.
//!
//! ```text
//! let Some(primary) = Cluster::start("name of the test", "") else { return };
//! let replica = primary.replica("r1", true);
//! let proxy = Proxy::start(primary.address());
//! proxy.cut_at_commit(Side::After, 1);
//! program(&proxy.url("service"));
//! ```
//!
//! The roles are `super` (all rights), `owner` (owns the database `countersign`) and `service` (no rights).

pub mod cluster;
mod flights;
pub mod installation;
pub mod proxy;

use std::time::{Duration, Instant};

/// The database that each server has.
pub const DATABASE: &str = "countersign";

/// Waits until `condition` is true.
#[track_caller]
pub fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !condition() {
        assert!(
            Instant::now() < deadline,
            "after 60 s it is not yet true that {what}"
        );
        std::thread::sleep(Duration::from_millis(25));
    }
}
