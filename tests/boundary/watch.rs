//! A service that looks for changes of its runbooks: `serve --watch` and `serve --watch-only`.

use crate::support::people::alice;
use crate::support::{SMALL, World, id_of, runbook, wait_for};
use serde_json::json;

fn watching(option: &str) -> World {
    World::with(|setup| setup.options.push(option.to_owned()))
}

fn notes(world: &World) -> String {
    world.wire.peek("/ready").json()["notes"].to_string()
}

#[test]
fn with_watch_a_changed_runbook_is_sealed_and_only_the_approvals_of_its_changed_steps_end() {
    let world = watching("--watch");
    let first = world.seal();
    let (failing, other) = (
        world.propose("plain:fail", json!({})),
        world.propose("two:go", json!({})),
    );
    let changed = runbook(
        SMALL,
        &[
            ("true", ":"),
            ("fail", "exit 4"),
            ("wait", "echo started\nexec sleep 600"),
        ],
    );
    world.write("b/runbooks/plain.md", &changed);
    wait_for("the change is sealed", || world.seal() == first + 1);
    world.until(id_of(&failing), "refused");
    world
        .unchanged(|| world.sign(&failing, &[&alice()]))
        .problem("step-changed");
    let signed = world.sign(&other, &[&alice()]).ok(200);
    assert_eq!(signed["status"], "pending", "{signed:#}");

    world.write(
        "b/runbooks/plain.md",
        &changed.replace("countersign: 1", "countersign: one"),
    );
    wait_for("the error is reported", || {
        notes(&world).contains("the last reseal failed")
    });
    assert_eq!(
        (world.seal(), notes(&world).contains("plain.md:2:")),
        (first + 1, true),
        "{}",
        notes(&world)
    );
    world.propose("plain:true", json!({}));
    world.write("b/runbooks/plain.md", &changed);
    wait_for("the error is gone", || {
        !notes(&world).contains("the last reseal failed")
    });
    assert_eq!(world.seal(), first + 1, "{}", world.service_log());
}

#[test]
fn with_watch_only_a_changed_runbook_is_reported_and_not_sealed() {
    let world = watching("--watch-only");
    let first = world.seal();
    let before = std::fs::read_to_string(world.path("b/runbooks/say.md")).expect("a runbook");
    world.write("b/runbooks/say.md", &before.replace("printf", "echo"));
    world.write("b/runbooks/new.md", &runbook(SMALL, &[("one", ":")]));
    let note = "the runbooks differ from the seal: new:one is new, say:echo changed; send SIGHUP to seal the runbooks";
    wait_for("the difference is reported", || {
        notes(&world).contains(note)
    });
    assert_eq!(world.seal(), first);
    world.write("b/runbooks/say.md", "---\ncountersign: [\n---\n");
    wait_for("the error is reported", || {
        notes(&world).contains("the runbooks can't be sealed: say.md:")
    });
    world.write(
        "b/runbooks/say.md",
        "---\ncountersign: 1\n---\n```bash {#echo network=host}\ntrue\n```\n",
    );
    wait_for("what policy refuses is reported", || {
        notes(&world).contains("the runbooks can't be sealed: say.md:4:")
    });
    world.write("b/runbooks/say.md", &before);
    std::fs::remove_file(world.path("b/runbooks/new.md")).expect("removed");
    wait_for("the note is gone", || !notes(&world).contains("runbooks"));
    assert_eq!(world.seal(), first);
}

#[test]
fn only_one_kind_of_watching_can_be_chosen() {
    let world = World::prepared(|_| {});
    let output = world
        .program(&["serve", "--watch", "--watch-only"])
        .output()
        .expect("runs");
    let said = crate::support::said(&output);
    assert!(
        !output.status.success() && said.contains("cannot be used with"),
        "{said}"
    );
}
