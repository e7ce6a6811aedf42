//! Content of the files that `init` writes besides the configuration.

use std::path::Path;

use crate::crypto::ssh_key::SshKey;
use crate::record::ident::{BoundaryName, Name};

/// The sample runbooks.
pub const RUNBOOKS: [(&str, &str); 5] = [
    ("escape.md", include_str!("../../../runbooks/escape.md")),
    ("failing.md", include_str!("../../../runbooks/failing.md")),
    ("host.md", include_str!("../../../runbooks/host.md")),
    ("long.md", include_str!("../../../runbooks/long.md")),
    ("service.md", include_str!("../../../runbooks/service.md")),
];

/// Programs in every list of a new boundary. They read, compare and print text and names. None of them deletes or moves
/// files, changes permissions, reaches the network, or exists to start other programs (`find`, `xargs`).
pub const EVERYDAY: [&str; 23] = [
    "awk", "basename", "cat", "cut", "date", "diff", "dirname", "expr", "grep", "head", "jq", "ls", "mkdir", "mktemp",
    "sed", "sleep", "sort", "stat", "tail", "tee", "tr", "uniq", "wc",
];

/// Returns the roster. All approvers are in the group `ops`.
#[must_use]
pub fn roster(name: &BoundaryName, key: &SshKey, approvers: &[(Name, SshKey)], required: usize) -> String {
    let threshold = if approvers.is_empty() { 0 } else { required };
    let mut text = format!(
        "# The roster: people, groups and keys. The first start seals it; a later version needs signatures: \
         `countersign roster --help`.\n\
         # People who verify receipts pin the digest of the roster (`countersign roster show`).\n\
         name = \"{name}\"\nversion = 1\n\
         # How many approvers must sign the next version. With 0, verifiers report the roster as unguarded.\n\
         threshold = {threshold}\n\n\
         # A group needs a table only for a further requirement, for example a touch of a security key:\n\
         # presence = \"required\"\n[[group]]\nname = \"ops\"\n\n\
         # Who may sign approvals. Keys are OpenSSH lines, as `countersign key show FILE` prints them.\n"
    );
    let mut people: Vec<(&Name, Vec<&SshKey>)> = Vec::new();
    for (person, key) in approvers {
        match people.iter_mut().find(|(name, _)| *name == person) {
            Some((_, keys)) => keys.push(key),
            None => people.push((person, vec![key])),
        }
    }
    for (person, keys) in people {
        let lines: Vec<String> = keys.iter().map(|key| format!("\"{}\"", key.line())).collect();
        text.push_str(&format!(
            "[[approver]]\nname = \"{person}\"\ngroups = [\"ops\"]\nkeys = [{}]\n\n",
            lines.join(", ")
        ));
    }
    if approvers.is_empty() {
        text.push_str("# [[approver]]\n# name = \"alice\"\n# groups = [\"ops\"]\n# keys = [\"ssh-ed25519 …\"]\n\n");
    }
    text.push_str(
        "# Operators run the boundary. They may stop a run, but the table gives no right to approve.\n\
         # [[operator]]\n# name = \"olga\"\n# keys = [\"ssh-ed25519 …\"]\n\n\
         # Witnesses confirm that the log has one history (C2SP tlog-witness). The vkey of a witness has the key \
         type 0x04.\n\
         # [[witness]]\n# name = \"witness.example/w1\"\n# vkey = \"witness.example/w1+…\"\n# url = \"http://127.0.0.1:8080\"\n\n\
         # The key of this boundary. A document of the boundary counts only with a signature of such a key.\n",
    );
    text.push_str(&format!("[[boundary]]\nname = \"{name}\"\nkeys = [\"{}\"]\n", key.line()));
    text
}

/// Returns the policy: `required` approvers of the group `ops` must approve each run.
#[must_use]
pub fn policy(required: usize) -> String {
    let tools = EVERYDAY.join(", ");
    format!(
        "# The policy. The roster names the digest of this file, and both are sealed together.\n\
         version: 2\n\
         default:\n\
         \x20 # The mode decides about items in no list: prompted asks the approvers, execute allows, deny denies. \
         See docs/policy.md.\n\
         \x20 mode: prompted\n\
         \x20 # The kernel starts only listed programs: the programs of the script that policy or the approvers allow, and these\n\
         \x20 # everyday tools, about which approvers are not asked. `mode: any` allows every program of the host.\n\
         \x20 sandbox:\n\
         \x20   programs: {{mode: listed, allow: [{tools}]}}\n\
         \x20 # The number of approvers and their groups. A runbook can only require more.\n\
         \x20 approvals: {{required: {required}, from: [ops]}}\n\
         # An override applies if its pattern matches the path of a runbook. Overrides apply in order:\n\
         # overrides:\n\
         #   - runbook: \"deploy/**\"\n\
         #     approvals: {{required: 2, from: [ops]}}\n"
    )
}

/// Returns a systemd unit, without the options of systemd that would prevent runs from creating namespaces or mounts or
/// setting a host name.
#[must_use]
pub fn unit(dir: &Path) -> String {
    let program = std::env::current_exe().unwrap_or_else(|_| "/usr/local/bin/countersign".into());
    // `%` begins a specifier in every value (systemd.unit(5)). `WorkingDirectory=` takes the rest of its line
    // literally, so quotes would become part of the path. A command line may contain quotes (systemd.syntax(7)), and a
    // `$` in its arguments begins a variable.
    let value = |path: &Path| path.display().to_string().replace('%', "%%");
    let quote = |path: &Path| format!("\"{}\"", value(path).replace('\\', "\\\\").replace('"', "\\\""));
    format!(
        "# Copy this unit to /etc/systemd/system/, change the owner of the directory to the user below, then run:\n\
         #   systemctl daemon-reload && systemctl enable --now countersign\n\
         [Unit]\nDescription=Countersign boundary\nAfter=network.target\n\n\
         [Service]\n# A separate account without a shell: useradd --system --no-create-home countersign\nUser=countersign\n\
         WorkingDirectory={}\nExecStart={} serve {}\n\
         # Seal the runbooks as they are now\nExecReload=/bin/kill -HUP $MAINPID\n\
         # The time in which runs can end. After this time, runs are cancelled and get their receipts\n\
         TimeoutStopSec=90\nKillMode=mixed\nRestart=on-failure\nUMask=0077\nLimitCORE=0\n\
         # A control group for the runs, which limits the memory, processes and CPU of each whole run\nDelegate=yes\n\
         # An ordinary user needs no capabilities; delete these two lines if root runs the service (for `run-as`)\n\
         CapabilityBoundingSet=\nNoNewPrivileges=yes\n\
         ProtectClock=yes\nRestrictRealtime=yes\nSystemCallArchitectures=native\n\
         RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK\n\
         # Other options that `systemd-analyze security` recommends are left out on purpose. The sandbox of a run \
         creates namespaces,\n\
         # mounts, a /proc and a host name. The sandbox would lose layers with RestrictNamespaces, PrivateUsers, ProtectProc,\n\
         # ProtectHostname, ProtectControlGroups, ProtectKernelTunables, ProtectKernelLogs or a SystemCallFilter. Steps see the\n\
         # directories and programs of the host, which ProtectSystem, ProtectHome, PrivateTmp, PrivateDevices or\n\
         # MemoryDenyWriteExecute would change.\n\n\
         [Install]\nWantedBy=multi-user.target\n",
        value(dir),
        quote(&program),
        quote(dir).replace('$', "$$"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_systemd_unit_delegates_a_control_group_for_runs() {
        let text = unit(Path::new("/srv/a b"));
        assert!(text.lines().any(|line| line == "Delegate=yes"), "{text}");
        // A run must be able to set its own host name.
        assert!(!text.lines().any(|line| line.starts_with("ProtectHostname=")), "{text}");
    }

    #[test]
    fn a_directory_name_is_escaped_for_the_systemd_unit() {
        let text = unit(Path::new("/srv/a b%c\"d\\e$f"));
        assert!(text.contains("\nWorkingDirectory=/srv/a b%%c\"d\\e$f\n"), "{text}");
        assert!(text.contains(" serve \"/srv/a b%%c\\\"d\\\\e$$f\"\n"), "{text}");
    }
}
