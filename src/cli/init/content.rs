//! What `init` writes besides the configuration.

use std::path::Path;

use crate::crypto::sshsig::SshKey;
use crate::record::ident::{BoundaryName, Name};

/// The sample runbooks.
pub const RUNBOOKS: [(&str, &str); 5] = [
    ("escape.md", include_str!("../../../runbooks/escape.md")),
    ("failing.md", include_str!("../../../runbooks/failing.md")),
    ("host.md", include_str!("../../../runbooks/host.md")),
    ("long.md", include_str!("../../../runbooks/long.md")),
    ("service.md", include_str!("../../../runbooks/service.md")),
];

/// The roster, with everybody in the group `ops`.
#[must_use]
pub fn roster(name: &BoundaryName, key: &SshKey, approvers: &[(Name, SshKey)], required: usize) -> String {
    let threshold = if approvers.is_empty() { 0 } else { required };
    let mut text = format!(
        "# Who is who. Sealed when the log begins; a later version needs signatures: `countersign roster --help`.\n\
         # Its digest (`countersign roster show`) is what whoever verifies receipts pins.\n\
         name = \"{name}\"\nversion = 1\n\
         # How many approvers must sign the next version. With 0 every verifier calls the roster unguarded.\n\
         threshold = {threshold}\n\n\
         # Groups stand here when they ask for more than membership, such as a touched security key:\n\
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
        "# Who looks after the boundary: may stop a run, but approves nothing by that.\n\
         # [[operator]]\n# name = \"olga\"\n# keys = [\"ssh-ed25519 …\"]\n\n\
         # Who keeps watch that the log has one history (C2SP tlog-witness); the vkey is the witness's, with 0x04.\n\
         # [[witness]]\n# name = \"witness.example/w1\"\n# vkey = \"witness.example/w1+…\"\n# url = \"http://127.0.0.1:8080\"\n\n\
         # The boundary's own key. Only documents under a key of this name count.\n",
    );
    text.push_str(&format!("[[boundary]]\nname = \"{name}\"\nkeys = [\"{}\"]\n", key.line()));
    text
}

/// The policy: so many of `ops` approve each run.
#[must_use]
pub fn policy(required: usize) -> String {
    format!(
        "# The rules. Sealed with the roster, which names this file's digest.\n\
         version: 1\n\
         default:\n\
         \x20 # What no list names: prompted asks the approvers, execute allows, deny denies. Lists and more: docs/policy.md.\n\
         \x20 mode: prompted\n\
         \x20 # What approvers are not asked about: the shell's own words that start no program.\n\
         \x20 run:\n\
         \x20   allow: [\":\", \"[\", break, cd, continue, declare, echo, exit, export, \"false\", local, printf, pwd, read, readonly,\n\
         \x20           return, set, shift, test, \"true\", trap, unset, wait]\n\
         \x20 # How many people of which groups approve a run. A runbook can only ask for more.\n\
         \x20 approvals: {{required: {required}, from: [ops]}}\n\
         # Every override whose pattern matches a runbook's path applies, in order:\n\
         # overrides:\n\
         #   - runbook: \"deploy/**\"\n\
         #     approvals: {{required: 2, from: [ops]}}\n"
    )
}

/// A systemd unit. Each run makes namespaces, mounts and a host name of its own, so what keeps the service from those is off.
#[must_use]
pub fn unit(dir: &Path) -> String {
    let program = std::env::current_exe().unwrap_or_else(|_| "/usr/local/bin/countersign".into());
    // `%` begins a specifier in every value (systemd.unit(5)). `WorkingDirectory=` takes the rest of its line as it is: a quote
    // would be a part of the path. A command line is quoted (systemd.syntax(7)), and in its arguments `$` begins a variable.
    let value = |path: &Path| path.display().to_string().replace('%', "%%");
    let quote = |path: &Path| format!("\"{}\"", value(path).replace('\\', "\\\\").replace('"', "\\\""));
    format!(
        "# Copy it to /etc/systemd/system/, give the directory to the user below, then:\n\
         #   systemctl daemon-reload && systemctl enable --now countersign\n\
         [Unit]\nDescription=Countersign boundary\nAfter=network.target\n\n\
         [Service]\n# An account of its own, without a shell: useradd --system --no-create-home countersign\nUser=countersign\n\
         WorkingDirectory={}\nExecStart={} serve {}\n\
         # Seal the runbooks as they are now\nExecReload=/bin/kill -HUP $MAINPID\n\
         # Runs may end by themselves; then they are cancelled and get their receipts\nTimeoutStopSec=90\nKillMode=mixed\n\
         Restart=on-failure\nUMask=0077\nLimitCORE=0\n\
         # A control group for the runs, which holds memory, processes and CPU of each as a whole\nDelegate=yes\n\
         # An ordinary user needs no power of root; delete these two lines where root serves (for `run-as`)\n\
         CapabilityBoundingSet=\nNoNewPrivileges=yes\n\
         ProtectClock=yes\nRestrictRealtime=yes\nSystemCallArchitectures=native\n\
         RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK\n\
         # What `systemd-analyze security` misses besides is left out on purpose. The sandbox of a run makes its own namespaces,\n\
         # mounts, /proc and host name, and would lose layers by RestrictNamespaces, PrivateUsers, ProtectProc, ProtectHostname,\n\
         # ProtectControlGroups, ProtectKernelTunables, ProtectKernelLogs or a SystemCallFilter. Steps see the host's own trees\n\
         # and programs, which ProtectSystem, ProtectHome, PrivateTmp, PrivateDevices or MemoryDenyWriteExecute would change.\n\n\
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
    fn the_unit_has_a_control_group_for_runs() {
        let text = unit(Path::new("/srv/a b"));
        // The knob that `doctor` names.
        assert!(text.lines().any(|line| line == "Delegate=yes"), "{text}");
        // Its sandbox names its own host.
        assert!(!text.lines().any(|line| line.starts_with("ProtectHostname=")), "{text}");
    }

    #[test]
    fn directory_names_are_escaped_in_the_systemd_unit() {
        let text = unit(Path::new("/srv/a b%c\"d\\e$f"));
        assert!(text.contains("\nWorkingDirectory=/srv/a b%%c\"d\\e$f\n"), "{text}");
        assert!(text.contains(" serve \"/srv/a b%%c\\\"d\\\\e$$f\"\n"), "{text}");
    }
}
