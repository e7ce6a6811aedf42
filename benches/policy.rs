//! Measures a policy decision: parsing a script, deciding its commands, and resolving the rules of a runbook.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use divan::{Bencher, black_box};
use reading::{
    Builtins, DecisionPlace, Flags, Policy, ReadLimit, Ruling, Shell, decide_script, find_in,
    resolve,
};

const POLICY: &str = "version: 1\ndefault: {run: {allow: [jq, systemctl, \"kube*\"], deny: [dd, \"mkfs*\"]}}\noverrides: [{runbook: \"deploy/**\", mode: execute}]\n";
/// About 230 bytes of a typical script.
const PART: &str = "for host in a b c; do\n  git -C \"/srv/$host\" fetch --all 2>&1 | grep -v '^$' || exit 1\n  if [ -f \"$host.json\" ]; then jq -r '.version' \"$host.json\"; fi\n  systemctl restart \"app@$host\" && echo \"$(date): $host\"\ndone\n";

fn main() {
    divan::main();
}

fn ruling() -> Ruling {
    let policy = Policy::load(POLICY).expect("a policy");
    resolve(
        &policy,
        Builtins::current(),
        &"deploy/app:x".parse().expect("a ref"),
    )
}

#[divan::bench(args = [2 << 10, 64 << 10])]
fn find_alone(bencher: Bencher<'_, '_>, bytes: usize) {
    let script = PART.repeat(bytes / PART.len());
    bencher.bench(|| find_in(Shell::Sh, black_box(&script), ReadLimit::Step).expect("understood"));
}

#[divan::bench(args = [2 << 10, 64 << 10])]
fn decide(bencher: Bencher<'_, '_>, bytes: usize) {
    let script = PART.repeat(bytes / PART.len());
    let (ruling, flags) = (ruling(), Flags::default());
    bencher.bench(|| {
        decide_script(
            Shell::Bash,
            &ruling,
            black_box(&script),
            ReadLimit::Step,
            DecisionPlace::Boundary,
            &flags,
        )
    });
}

#[divan::bench]
fn resolve_rules(bencher: Bencher<'_, '_>) {
    let policy = Policy::load(POLICY).expect("a policy");
    let step = "deploy/app:x".parse().expect("a ref");
    bencher.bench(|| resolve(black_box(&policy), Builtins::current(), &step));
}

#[divan::bench]
fn load_policy(bencher: Bencher<'_, '_>) {
    bencher.bench(|| Policy::load(black_box(POLICY)).expect("a policy"));
}
