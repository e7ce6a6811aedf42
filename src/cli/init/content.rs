//! Content of the files that `init` writes besides the configuration.

use std::{collections::BTreeMap, path::Path};

use documents::{
    Approver, BoundaryName, Group, GroupName, KeyList, Name, PolicyDigest, Roster, SshKey,
};
use reading::DEFAULT_TOOLS;

/// The sample runbooks.
pub const RUNBOOKS: [(&str, &str); 5] = [
    ("escape.md", include_str!("../../../runbooks/escape.md")),
    ("failing.md", include_str!("../../../runbooks/failing.md")),
    ("host.md", include_str!("../../../runbooks/host.md")),
    ("long.md", include_str!("../../../runbooks/long.md")),
    ("service.md", include_str!("../../../runbooks/service.md")),
];

/// Returns the draft of the first roster. All approvers are in the group `ops`.
pub fn roster(
    name: &BoundaryName,
    policy: PolicyDigest,
    keys: &[SshKey],
    people: &[(Name, SshKey)],
    required: usize,
) -> Roster {
    let line = |key: &SshKey| key.line().to_owned();
    let ops = GROUP.parse::<GroupName>().into_iter();
    let mut approvers: BTreeMap<Name, Approver> = BTreeMap::new();
    for (person, key) in people {
        let entry = approvers.entry(person.clone()).or_insert_with(|| Approver {
            groups: ops.clone().collect(),
            keys: Vec::new(),
            valid_after: None,
            valid_before: None,
        });
        entry.keys.push(line(key));
    }
    let own = KeyList {
        keys: keys.iter().map(line).collect(),
    };
    Roster {
        name: name.to_string(),
        version: 1,
        threshold: if people.is_empty() {
            0
        } else {
            required as u64
        },
        previous: None,
        policy,
        approvers,
        groups: ops.map(|name| (name, Group { presence: None })).collect(),
        proposers: BTreeMap::new(),
        operators: BTreeMap::new(),
        boundaries: BTreeMap::from([(name.clone(), own)]),
        witnesses: BTreeMap::new(),
    }
}

/// The group of the approvers in the first roster and in the policy.
const GROUP: &str = "ops";

/// Returns the policy: `required` approvers of the group `ops` must approve each run.
pub fn policy(required: usize) -> String {
    let tools = DEFAULT_TOOLS.join(", ");
    format!(
        "# The policy. The roster names the digest of this file, and both are sealed together.\n\
         version: 1\n\
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
         \x20 # Standing grants (docs/policy.md):\n\
         \x20 # standing: {{max_uses: 20, max_days: 7}}\n\
         # An override applies if its pattern matches the path of a runbook. Overrides apply in order:\n\
         # overrides:\n\
         #   - runbook: \"deploy/**\"\n\
         #     approvals: {{required: 2, from: [ops]}}\n"
    )
}

// `%` begins a specifier in every value (systemd.unit(5)). `WorkingDirectory=` takes the rest of its line literally, so
// quotes would become part of the path. A command line may contain quotes (systemd.syntax(7)), and a `$` in its arguments
// begins a variable.
fn value(path: &Path) -> String {
    path.display().to_string().replace('%', "%%")
}

fn quote(path: &Path) -> String {
    format!(
        "\"{}\"",
        value(path).replace('\\', "\\\\").replace('"', "\\\"")
    )
}

/// Returns the settings that let a unit write only below `dir`.
fn writable(dir: &Path) -> String {
    // In this setting, a backslash has no meaning, so a path that contains both kinds of quotes can't be written.
    match ['"', '\''].into_iter().find(|quote| !value(dir).contains(*quote)) {
        Some(quote) => format!("ProtectSystem=strict\nReadWritePaths={quote}{}{quote}\n", value(dir)),
        None => "# ReadWritePaths= can't name the directory of the boundary, so ProtectSystem=strict is missing\n"
            .to_owned(),
    }
}

/// The timer that starts the backup each day.
pub const BACKUP_TIMER: &str = "# Starts countersign-backup.service each day: systemctl enable --now countersign-backup.timer\n\
    [Unit]\nDescription=Daily backup of a Countersign boundary\n\n\
    [Timer]\nOnCalendar=daily\nRandomizedDelaySec=30min\n# Make a backup that was due while the host was off\nPersistent=true\n\n\
    [Install]\nWantedBy=timers.target\n";

/// Returns a systemd unit that makes one backup of the boundary in `dir`. `program` is the path of this program.
pub fn backup_unit(dir: &Path, program: &Path) -> String {
    format!(
        "# Brings the older of two backups in the directory `backups` up to date. The timer beside this file starts this unit\n\
         # each day. Copy the backups to another machine: they have the log, but no key.\n\
         [Unit]\nDescription=Backup of a Countersign boundary\n\n\
         [Service]\nType=oneshot\nUser=countersign\nWorkingDirectory={}\nUMask=0077\n\
         ExecStartPre=/bin/mkdir -p backups\n\
         # Earlier versions of this unit made a backup with a date each day. Those of more than 30 days are deleted first, so\n\
         # that a full disk does not prevent it, but never the newest two\n\
         ExecStartPre=/bin/sh -c 'for one in $$(ls -d backups/2*Z 2>/dev/null | head -n -2); do find \"$$one\" -maxdepth 0 -mtime +30 -exec rm -r {{}} +; done'\n\
         ExecStart=/bin/sh -c 'for one in a b; do [ -e backups/$$one ] || exec \"$$1\" store backup backups/$$one --config countersign.toml; done; \
         [ backups/a/checkpoint -nt backups/b/checkpoint ] && one=b || one=a; exec \"$$1\" store backup --onto backups/$$one --config countersign.toml' sh {}\n\
         NoNewPrivileges=yes\nPrivateNetwork=yes\n{}",
        value(dir),
        quote(program).replace('$', "$$"),
        writable(dir)
    )
}

/// Returns a systemd unit for the boundary in `dir`. `program` is the path of this program.
///
/// The unit contains every restriction of systemd with which runs of the level `strict` still work. `docs/operate.md`
/// gives the reason for each missing restriction.
pub fn unit(dir: &Path, program: &Path) -> String {
    let writable = writable(dir);
    // These settings hide directories, so they would also hide a boundary or a program in such a directory. A link to
    // the program can lead into such a directory.
    let real = program
        .canonicalize()
        .unwrap_or_else(|_| program.to_owned());
    let hiding = [
        ("ProtectHome", &["/home", "/root", "/run/user"][..]),
        ("PrivateTmp", &["/tmp", "/var/tmp"]),
    ];
    let hiding: String = hiding
        .iter()
        .map(|(setting, hidden)| {
            match [dir, program, &real]
                .iter()
                .find(|path| hidden.iter().any(|one| path.starts_with(one)))
            {
                None => format!("{setting}=yes\n"),
                Some(path) => format!("# {setting}=yes would hide {}\n", path.display()),
            }
        })
        .collect();
    format!(
        "# Copy this unit to /etc/systemd/system/, change the owner of the directory to the user below, then run:\n\
         #   systemctl daemon-reload && systemctl enable --now countersign\n\
         [Unit]\nDescription=Countersign boundary\nAfter=network.target\n\
         # systemd starts a service that ended with an error again and again, also after hours\nStartLimitIntervalSec=0\n\n\
         [Service]\nType=notify\n\
         # A separate account without a shell: useradd --system --no-create-home countersign\nUser=countersign\n\
         WorkingDirectory={}\nExecStart={} serve {}\n\
         # SQLite: seal the runbooks as they are now. PostgreSQL: only `countersign seal` seals, and a reload only tells in\n\
         # the log what differs. Both take a new certificate\nExecReload=/bin/kill -HUP $MAINPID\n\
         # systemd restarts a service that does not report for this time. A commit to a slow disk takes a few seconds\n\
         WatchdogSec=30\nRestart=on-failure\nRestartSec=5\n\
         # The time in which runs can end. After this time, runs are cancelled and get their receipts. The service asks for\n\
         # more time if it needs more\n\
         TimeoutStopSec=90\nKillMode=mixed\nUMask=0077\nLimitCORE=0\n\
         # A control group for the runs, which limits the memory, processes and CPU of each whole run\nDelegate=yes\n\n\
         # Restrictions of the service and of all runs. If root runs the service (for `run-as`), delete this part: it is for\n\
         # an ordinary user. docs/operate.md gives the reason for each missing restriction.\n\
         CapabilityBoundingSet=\nNoNewPrivileges=yes\nPrivateUsers=yes\n\
         # Runs can write only to these directories and to temporary directories. If a step changes other files of the\n\
         # host, add a line for its directory\n\
         {writable}{hiding}\
         PrivateDevices=yes\nDevicePolicy=closed\nPrivateMounts=yes\nRemoveIPC=yes\n\
         ProtectClock=yes\nProtectKernelModules=yes\nLockPersonality=yes\nRestrictRealtime=yes\n\
         RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6\nSystemCallArchitectures=native\n\
         # @resources: `nice`, `ionice`, `taskset` and `numactl` fail in runs\n\
         SystemCallFilter=~@clock @cpu-emulation @debug @module @obsolete @raw-io @reboot @resources @swap\n\
         SystemCallErrorNumber=EPERM\n\n\
         [Install]\nWantedBy=multi-user.target\n",
        value(dir),
        quote(program),
        quote(dir).replace('$', "$$"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_systemd_unit_delegates_a_control_group_for_runs() {
        let text = unit(Path::new("/srv/a b"), Path::new("/usr/bin/countersign"));
        assert!(text.lines().any(|line| line == "Delegate=yes"), "{text}");
        // A run must be able to set its own host name.
        assert!(
            !text
                .lines()
                .any(|line| line.starts_with("ProtectHostname=")),
            "{text}"
        );
    }

    #[test]
    fn systemd_starts_a_failed_service_again_without_a_limit() {
        let text = unit(Path::new("/srv/b"), Path::new("/usr/bin/countersign"));
        let (head, service) = text.split_once("[Service]").expect("two sections");
        assert!(head.contains("\nStartLimitIntervalSec=0\n"), "{text}");
        assert!(
            service.contains("\nRestart=on-failure\nRestartSec=5\n"),
            "{text}"
        );
    }

    #[test]
    fn a_directory_name_is_escaped_for_the_systemd_unit() {
        let text = unit(
            Path::new("/srv/a b%c\"d\\e$f"),
            Path::new("/usr/bin/countersign"),
        );
        assert!(
            text.contains("\nWorkingDirectory=/srv/a b%%c\"d\\e$f\n"),
            "{text}"
        );
        assert!(
            text.contains(" serve \"/srv/a b%%c\\\"d\\\\e$$f\"\n"),
            "{text}"
        );
        assert!(
            text.contains("\nReadWritePaths='/srv/a b%%c\"d\\e$f'\n"),
            "{text}"
        );
    }

    #[test]
    fn no_setting_of_the_systemd_unit_hides_the_boundary_or_the_program() {
        let usual = Path::new("/usr/bin/countersign");
        for (dir, program, home, tmp) in [
            ("/srv/b", usual, true, true),
            ("/home/alice/b", usual, false, true),
            ("/var/tmp/b", usual, true, false),
            (
                "/srv/b",
                Path::new("/root/.cargo/bin/countersign"),
                false,
                true,
            ),
            ("/homes/b", usual, true, true),
        ] {
            let text = unit(Path::new(dir), program);
            let has = |line: &str| text.lines().any(|other| other == line);
            assert_eq!(
                (has("ProtectHome=yes"), has("PrivateTmp=yes")),
                (home, tmp),
                "{text}"
            );
        }
    }
}
