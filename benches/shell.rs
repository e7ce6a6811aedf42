//! Measures how long the search for the commands of a script takes. Targets: 2 KB under 150 µs, 64 KiB under 10 ms, and
//! the refusal of deeply nested input within 1 ms. Also measures the rendering of a template.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use divan::counter::BytesCount;
use divan::{Bencher, black_box};
use reading::{ReadLimit, ScriptTemplate, Shell, find_in};

/// The program uses the same allocator.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const EVERYDAY: &str = include_str!("../fuzz/seeds/shell_commands/everyday.sh");

fn main() {
    divan::main();
}

fn script(bytes: usize) -> String {
    EVERYDAY.repeat(bytes / EVERYDAY.len())
}

#[divan::bench(args = [2_048, 16_384, 65_536])]
fn bash(bencher: Bencher<'_, '_>, bytes: usize) {
    let script = script(bytes);
    let bencher = bencher.counter(BytesCount::of_str(&script));
    bencher.bench_local(|| {
        find_in(Shell::Bash, black_box(&script), ReadLimit::Step).expect("understood")
    });
}

#[divan::bench(args = [2_048, 16_384, 65_536])]
fn bash_or_dash(bencher: Bencher<'_, '_>, bytes: usize) {
    let script = script(bytes);
    let bencher = bencher.counter(BytesCount::of_str(&script));
    bencher.bench_local(|| {
        find_in(Shell::Sh, black_box(&script), ReadLimit::Step).expect("understood")
    });
}

#[divan::bench]
fn file_of_a_megabyte(bencher: Bencher<'_, '_>) {
    let script = script(1_000_000);
    bencher.bench_local(|| {
        find_in(Shell::Sh, black_box(&script), ReadLimit::File).expect("understood")
    });
}

#[divan::bench(args = ["(", "$(", "{ ", "if ", "case x in a) ", "((", "${x:-", "<(", "\"$(", "[[ ( ", "a=("])]
fn bomb(bencher: Bencher<'_, '_>, of: &str) {
    let script = of.repeat(65_536 / of.len());
    bencher.bench_local(|| {
        find_in(Shell::Sh, black_box(&script), ReadLimit::Step).expect_err("refused")
    });
}

/// Renders a template of about 2 KB with five values.
#[divan::bench]
fn template(bencher: Bencher<'_, '_>) {
    rendered(bencher, script(1_900));
}

/// The same with a script of short commands, comments and messages.
#[divan::bench]
fn template_of_plain_commands(bencher: Bencher<'_, '_>) {
    rendered(bencher, PLAIN.repeat(1_900 / PLAIN.len()));
}

/// Parses, checks and plans the template of a script at its registration.
#[divan::bench]
fn template_registration(bencher: Bencher<'_, '_>) {
    let source = format!("{PLAIN}{PLACEHOLDERS}");
    bencher.bench(|| ScriptTemplate::parse(black_box(&source), "bash").expect("a template"));
}

const PLAIN: &str = "# Restart the service, and wait until the load balancer reports it as healthy again.\nset -euo pipefail\n\
                     echo \"Draining the service in the region eu-central-1 before the restart\"\n\
                     systemctl restart \"$SERVICE\"\nif ! systemctl is-active --quiet \"$SERVICE\"; then\n  echo \"The service \
                     did not come back\" >&2\n  exit 1\nfi\ncurl --fail --silent --max-time 30 https://status.example.com/health\n";
const PLACEHOLDERS: &str =
    "\nREGION=\"{{ .a }}\"\ncurl --fail {{ .b }} > '{{ .c }}'\necho \"{{ .d }} and {{ .e }}\"\n";

fn rendered(bencher: Bencher<'_, '_>, mut source: String) {
    source.push_str(PLACEHOLDERS);
    let template = ScriptTemplate::parse(&source, "bash").expect("a template");
    let value = |name: &str| {
        (
            name.to_owned(),
            serde_json::Value::from("it's a \"value\" for $HOME"),
        )
    };
    let params = ["a", "b", "c", "d", "e"].map(value).into_iter().collect();
    bencher.bench(|| template.render(black_box(&params)).expect("a script"));
}
