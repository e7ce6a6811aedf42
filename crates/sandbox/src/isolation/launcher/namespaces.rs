//! The namespaces of a run, and the search for the reason why a host refuses them.

use std::io::Read as _;

use crate::{
    AtStage as _, ForkSide, HelperMessage, RunForm, SetupFailure, SetupResult, SetupStage, Start,
    isolation::syscalls, protocol,
};
use rustix::process::WaitOptions;

pub fn namespaces(network: bool) -> libc::c_int {
    libc::CLONE_NEWUSER
        | libc::CLONE_NEWNS
        | libc::CLONE_NEWPID
        | if network { libc::CLONE_NEWNET } else { 0 }
        | libc::CLONE_NEWIPC
        | libc::CLONE_NEWUTS
        | libc::CLONE_NEWCGROUP
}

/// Finds the reason why a clone failed, with a test process that creates the namespaces one by one.
pub fn refused(start: &Start, cgroup: bool, error: std::io::Error) -> SetupFailure {
    if start.form != RunForm::Namespaces {
        return SetupFailure::from_io(SetupStage::Processes, "clone the first process", error);
    }
    let Ok((reader, mut writer)) = std::io::pipe() else {
        return SetupFailure::from_io(SetupStage::Namespaces, "make all namespaces at once", error);
    };
    match syscalls::fork() {
        Ok(ForkSide::Child) => {
            if let Err(failure) = unshare_each(start.own_network) {
                let _ = protocol::write_message(&mut writer, &HelperMessage::Failed(failure));
            }
            syscalls::end(0);
        }
        Ok(ForkSide::Parent(child)) => {
            drop(writer);
            let mut received = Vec::new();
            let _ = reader.take(4096).read_to_end(&mut received);
            let _ = rustix::process::waitpid(Some(child), WaitOptions::empty());
            if let Ok(Some(HelperMessage::Failed(failure))) = protocol::take_message(&mut received)
            {
                return failure;
            }
        }
        Err(_) => {}
    }
    let what = if cgroup {
        "make all namespaces at once in the run's cgroup"
    } else {
        "make all namespaces at once"
    };
    SetupFailure::from_io(SetupStage::Namespaces, what, error)
}

pub fn unshare_each(network: bool) -> SetupResult {
    for (flag, stage, name) in [
        (libc::CLONE_NEWUSER, SetupStage::UserNamespace, "user"),
        (libc::CLONE_NEWNS, SetupStage::Namespaces, "mount"),
        (libc::CLONE_NEWPID, SetupStage::Namespaces, "pid"),
        (libc::CLONE_NEWIPC, SetupStage::Namespaces, "ipc"),
        (libc::CLONE_NEWUTS, SetupStage::Namespaces, "uts"),
        (libc::CLONE_NEWCGROUP, SetupStage::Namespaces, "cgroup"),
        (libc::CLONE_NEWNET, SetupStage::NetworkNamespace, "network"),
    ] {
        if network || flag != libc::CLONE_NEWNET {
            syscalls::unshare(flag).at(stage, format!("make a {name} namespace"))?;
        }
    }
    Ok(())
}
