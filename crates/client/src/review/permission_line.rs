//! The lines of a review screen about the sandbox of a run.
//!
//! `permission_line` has a match arm for each sandbox permission, so the compiler reports a missing arm for a new variant.

use documents::{ISOLATED, Layer, Network, NetworkMode, Proc, Profile, Workdir};
use reading::SandboxPermission;

/// Line of a review screen about one sandbox permission of a profile.
pub struct PermissionLine<'p> {
    /// Description of what the run can do.
    pub words: &'static str,
    /// Values from other people, which the screen shows in quotes after the description, each with words of this program
    /// that follow it.
    pub values: Vec<(&'p str, &'static str)>,
    /// Fields of the profile whose complete values the line shows.
    pub shows: Vec<String>,
    /// True if the approver must read the line before signing, because it differs from an empty, closed sandbox.
    pub is_remark: bool,
}

/// Returns the line of a review screen about this sandbox permission.
pub fn permission_line<'p>(
    permission: SandboxPermission,
    profile: &'p Profile,
) -> PermissionLine<'p> {
    let plain = |words| PermissionLine {
        words,
        values: Vec::new(),
        shows: Vec::new(),
        is_remark: false,
    };
    let text = |words, value| {
        let shows = vec![permission.field().to_owned()];
        PermissionLine {
            words,
            values: vec![(value, "")],
            shows,
            is_remark: true,
        }
    };
    let shows = |field: &str, values: &[String]| {
        (0..values.len())
            .map(|at| format!("{field}[{at}]"))
            .collect::<Vec<_>>()
    };
    let list = |words, field: &str, values: &'p [String]| {
        let quoted = values.iter().map(|value| (value.as_str(), "")).collect();
        PermissionLine {
            words,
            values: quoted,
            shows: shows(field, values),
            is_remark: true,
        }
    };
    match permission {
        SandboxPermission::Off => match &profile.off_reason {
            None => plain(""),
            Some(reason) => text(
                "THE SANDBOX IS OFF: only the limits apply, and the run can do everything that its user can do on the host; the author's reason: ",
                reason,
            ),
        },
        SandboxPermission::Read if profile.read.is_empty() => {
            plain("reads on the host: only the files that an interpreter needs")
        }
        SandboxPermission::Read => list("reads on the host: ", "read", &profile.read),
        SandboxPermission::Write => {
            let words = match profile.workdir {
                Workdir::InPlace => {
                    "writes to live trees of the host, and the changes remain after the run: "
                }
                _ if profile.write.is_empty() => return plain("writes on the host: nothing"),
                Workdir::Private => "writes on the host: ",
                Workdir::Copy => "reads, and writes only in a private copy: ",
                Workdir::Overlay => "reads, and writes only in an overlay: ",
            };
            list(words, "write", &profile.write)
        }
        SandboxPermission::Deny if profile.deny.is_empty() => {
            plain("cannot access paths that match: no pattern")
        }
        // A deny pattern gives the run no access, so the line is no remark. The decision screen lists the patterns
        // on another line.
        SandboxPermission::Deny => PermissionLine {
            is_remark: false,
            ..list("cannot access paths that match: ", "deny", &profile.deny)
        },
        // The line about `write` names the trees.
        SandboxPermission::Workdir => plain(match profile.workdir {
            Workdir::Private => "works in: its own empty directory, which is deleted after the run",
            Workdir::Copy => {
                "works in: a private copy of the trees above, which is deleted after the run"
            }
            Workdir::Overlay => {
                "works in: the trees above, with an overlay for changes, which is deleted after the run"
            }
            Workdir::InPlace => {
                "works in: the live trees; changes remain after the run, and only files that existed at the start are hidden by deny patterns"
            }
        }),
        SandboxPermission::Network => match profile.network.mode {
            NetworkMode::None => plain("network: none"),
            NetworkMode::Allow => {
                let Network {
                    hosts,
                    private,
                    localhost,
                    ..
                } = &profile.network;
                let words = |host| match (private.contains(host), localhost.contains(host)) {
                    (false, false) => "",
                    (true, false) => " (may be inside your network)",
                    (false, true) => " (may be the host of the boundary itself)",
                    (true, true) => {
                        " (may be inside your network, or the host of the boundary itself)"
                    }
                };
                let mut line = list("network: only ", "network.hosts", hosts);
                line.values = hosts
                    .iter()
                    .map(|host| (host.as_str(), words(host)))
                    .collect();
                line.shows.extend(shows("network.private", private));
                line.shows.extend(shows("network.localhost", localhost));
                line
            }
            NetworkMode::Host => PermissionLine {
                is_remark: true,
                ..plain("network: every network that the host can reach, with its names")
            },
        },
        SandboxPermission::Sockets if profile.sockets.is_empty() => {
            plain("reaches sockets of the host: none")
        }
        SandboxPermission::Sockets => {
            list("reaches sockets of the host: ", "sockets", &profile.sockets)
        }
        SandboxPermission::Proc => match profile.proc {
            Proc::Full => PermissionLine {
                shows: vec!["proc".to_owned()],
                is_remark: true,
                ..plain(PROC_FULL)
            },
            // Without the layer `namespaces`, the run may use the host's root directory.
            Proc::Minimal if profile.require.contains(&Layer::Namespaces) => {
                plain("sees in /proc: only its own processes")
            }
            Proc::Minimal => plain(
                "sees in /proc: only its own processes; without namespaces nothing; without namespaces and Landlock all processes of the host",
            ),
        },
        SandboxPermission::RunAs if profile.run_as == ISOLATED => plain(
            "runs as: its own user id if the service runs as root and has a free user id, otherwise the user id of the service",
        ),
        SandboxPermission::RunAs => text("runs as the host's user ", &profile.run_as),
    }
}

/// Text about a run that sees the whole `/proc`.
const PROC_FULL: &str = "sees the whole of /proc of its process namespace (proc full), which also shows the host's boot command line, partitions, \
     interrupts, load, and the list of the kernel's keys";

#[cfg(test)]
mod tests {
    use super::*;
    use documents::Limits;

    #[test]
    fn the_review_names_each_host_that_may_be_inside_of_the_network() {
        let mut profile = Profile::nothing(Vec::new(), Limits::default());
        let texts = |texts: &[&str]| {
            texts
                .iter()
                .map(|&text| text.to_owned())
                .collect::<Vec<_>>()
        };
        profile.network = Network {
            mode: NetworkMode::Allow,
            hosts: texts(&["a:1", "b:1", "c:1", "d:1"]),
            private: texts(&["b:1", "d:1"]),
            localhost: texts(&["c:1", "d:1"]),
        };
        assert_eq!(profile.check(""), Ok(()));
        let line = permission_line(SandboxPermission::Network, &profile);
        assert_eq!(
            line.values,
            [
                ("a:1", ""),
                ("b:1", " (may be inside your network)"),
                ("c:1", " (may be the host of the boundary itself)"),
                (
                    "d:1",
                    " (may be inside your network, or the host of the boundary itself)"
                ),
            ]
        );
        assert!(
            line.is_remark && line.shows.contains(&"network.localhost[1]".to_owned()),
            "{:?}",
            line.shows
        );
        profile.network.private.push("e:1".to_owned());
        assert!(
            profile
                .check("/p")
                .expect_err("no host of the list")
                .to_string()
                .contains("/p/network/private/2")
        );
    }
}
