//! Environments with fewer kernel features than this host, for the service of a test.
#![allow(
    dead_code,
    unreachable_pub,
    reason = "each test binary uses another part of it"
)]
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

use crate::support::{World, has, not_run};

/// Prepares a start of the service without user namespaces, so that some layers are missing. Returns false on a host
/// that does not support this.
pub fn poor_host(world: &mut World, name: &str) -> bool {
    if !has("unshare") {
        not_run(name, "there is no `unshare` here");
        return false;
    }
    let tried = std::process::Command::new("unshare")
        .args([
            "--user",
            "--map-root-user",
            "sh",
            "-c",
            "echo 0 > /proc/sys/user/max_user_namespaces",
        ])
        .output()
        .unwrap();
    if !tried.status.success() {
        not_run(name, "this host makes no user namespaces to begin with");
        return false;
    }
    let script = "echo 0 > /proc/sys/user/max_user_namespaces; exec \"$0\" \"$@\"";
    world.setup.before = ["unshare", "--user", "--map-root-user", "sh", "-c", script]
        .map(str::to_owned)
        .to_vec();
    true
}

/// Prepares a start of the service as root of a container without namespaces. Runs then get only separate user ids.
pub fn poor_container(world: &mut World, name: &str) -> bool {
    if !poor_host(world, name) {
        return false;
    }
    if !rustix::process::geteuid().is_root() {
        not_run(name, "only root can be root of a container here");
        return false;
    }
    // A process outside of the user namespace maps all ids, as a container engine does. Before the mapping, the first
    // shell has no privileges.
    let inner = "echo 0 > /proc/sys/user/max_user_namespaces; exec \"$0\" \"$@\"";
    let middle = "until grep -q 4294967295 /proc/self/gid_map; do sleep 0.01; done; exec sh -c \"$INNER\" \"$0\" \"$@\"";
    let outer = "me=$$; own=$(readlink /proc/self/ns/user); (until [ \"$(readlink /proc/$me/ns/user)\" != \"$own\" ]; do sleep 0.01; done; \
                 echo 0 0 4294967295 > /proc/$me/uid_map; echo 0 0 4294967295 > /proc/$me/gid_map) > /dev/null 2>&1 & \
                 exec unshare --user sh -c \"$MIDDLE\" \"$0\" \"$@\"";
    world.setup.env("INNER", inner);
    world.setup.env("MIDDLE", middle);
    world.setup.before = ["sh", "-c", outer].map(str::to_owned).to_vec();
    true
}
