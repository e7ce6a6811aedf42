//! The messages about signatures. Only the person in whose name a signature was made gets the message.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::companion::digits;
use crate::feed::newest;
use crate::messages::Target;
use crate::passkeys::{PASSKEYS, sign, world_with, zoe};
use crate::support::grants::{self, bearer};
use crate::support::people::{alice, authorization, bob, envelope, robot};
use crate::support::{World, bytes_of, exited, id_of, said, wait_for};

/// Returns the texts of a chat about signatures.
fn signed(target: &Target) -> Vec<String> {
    let text = |message: &crate::messages::Message| {
        message.json()["text"].as_str().expect("a text").to_owned()
    };
    target
        .messages()
        .iter()
        .map(text)
        .filter(|text| text.starts_with("SIGNED"))
        .collect()
}

/// Returns the texts of a chat about signatures when there are this many.
fn wait_signed(target: &Target, count: usize) -> Vec<String> {
    wait_for(&format!("{count} messages about signatures"), || {
        signed(target).len() >= count
    });
    signed(target)
}

#[test]
fn a_person_is_told_of_each_signature_in_the_own_name_once_and_nobody_else_is() {
    let [of_zoe, of_alice, of_ops, all, named] = [(); 5].map(|()| Target::new(&[]));
    let world = world_with(PASSKEYS, |setup| {
        setup.config = [
            of_zoe.config("zoe", "slack", "for = [\"zoe\"]"),
            of_alice.config("alice", "slack", "for = [\"alice\"]"),
            of_ops.config("ops", "slack", "for = [\"ops\", \"agent\"]"),
            all.config("all", "slack", ""),
            named.config("named", "slack", "events = [\"proposal.signed\"]"),
        ]
        .concat();
    });
    let some = world.token_for("some", &["bob"], &["read"], &["two:*"]);
    let begin = newest(&world);
    let plain = world.propose("plain:true", json!({}));
    sign(&world, &plain, &zoe()).ok(200);
    sign(&world, &plain, &zoe()).ok(200);
    let expected = format!(
        "SIGNED RUN plain:true\nasked by: agent\nsigned by: zoe, with a passkey of desk.example\ndigest ends with: {}\n\
         if zoe did not sign this:\ncountersign deny {}\nan operator ends the key: countersign revoke {}\nboundary: prod",
        digits(&plain),
        id_of(&plain),
        zoe().keyid()
    );
    assert_eq!(wait_signed(&of_zoe, 1), [expected]);
    world.sign(&plain, &[&alice()]).ok(200);
    world.until(id_of(&plain), "finished");
    let begins = |proposal: &Value, person: &str| {
        let (step, digits) = (proposal["step"].as_str().expect("a step"), digits(proposal));
        let key = "with a key that is no passkey";
        format!(
            "SIGNED RUN {step}\nasked by: agent\nsigned by: {person}, {key}\ndigest ends with: {digits}\n"
        )
    };
    let told = wait_signed(&of_alice, 1);
    assert!(told[0].starts_with(&begins(&plain, "alice")), "{told:?}");
    let revoke = format!(
        "\nif alice did not sign this:\ncountersign revoke {}\nboundary: prod",
        alice().keyid()
    );
    let deny = revoke.replace(
        "countersign revoke",
        &format!("countersign deny {}\ncountersign revoke", id_of(&plain)),
    );
    assert!(
        told[0].ends_with(&deny)
            || told[0].ends_with(&revoke) && told[0].contains("no longer waits"),
        "{told:?}"
    );
    // A signature in a whole envelope arrives at the boundary when the run begins.
    let whole = authorization(&world.authorization("plain:true", json!({})));
    world.submit(&envelope(&whole, &[&alice()])).ok(200);
    assert!(
        wait_signed(&of_alice, 2)[1].contains("\nno longer waits: "),
        "{:?}",
        signed(&of_alice)
    );
    // Alice, who signed before, gets a second message.
    let two = world.propose("two:go", json!({}));
    world.sign(&two, &[&alice()]).ok(200);
    world
        .submit(&envelope(&bytes_of(&two), &[&alice(), &bob()]))
        .ok(200);
    assert!(
        wait_signed(&of_alice, 3)[2].starts_with(&begins(&two, "alice")),
        "{:?}",
        signed(&of_alice)
    );
    assert_eq!(wait_signed(&named, 6).len(), 6);
    // The feed has the same events for those who see the proposal, and for the person with `for=me`.
    let last = newest(&world);
    let events = |query: &str, token: &str| -> Vec<(Value, Value)> {
        let marked = world.wire.feed(&format!("?after={begin}{query}"), token);
        let until = marked
            .take_while(|event| event["kind"] != "frozen" && event["seq"].as_u64() <= Some(last));
        let signed = until.filter(|event| event["kind"] == "proposal.signed");
        signed
            .map(|event| (event["step"].clone(), event["signed"]["person"].clone()))
            .collect()
    };
    let me = bearer(&world, &bob());
    let of = |step: &str, person: &str| (json!(step), json!(person));
    let waits = world.propose("each:go", json!({}));
    let expected = [
        of("plain:true", "zoe"),
        of("plain:true", "alice"),
        of("plain:true", "alice"),
        of("two:go", "alice"),
        of("two:go", "alice"),
        of("two:go", "bob"),
    ];
    assert_eq!(events("", &world.reader), expected);
    assert_eq!(events("&for=me", &me), expected[5..]);
    let other = world.propose("two:go", json!({"text": "for the token of two"}));
    assert_eq!(events("", &some), expected[3..]);
    // These targets get the requests, which come after all signatures.
    let last = [&waits, &other].map(|proposal| format!("countersign review {}", id_of(proposal)));
    for target in [&of_ops, &all] {
        let text = || {
            target
                .messages()
                .iter()
                .map(|one| one.json()["text"].to_string())
                .collect::<String>()
        };
        wait_for("the last requests", || {
            last.iter().all(|command| text().contains(command))
        });
        assert!(signed(target).is_empty(), "{:?}", signed(target));
    }
    assert_eq!(
        (
            signed(&of_zoe).len(),
            signed(&of_alice).len(),
            signed(&named).len()
        ),
        (1, 4, 6)
    );
}

#[test]
fn nobody_is_told_of_the_use_of_a_grant_as_of_a_signature() {
    let world = World::with(|setup| setup.policy = grants::POLICY.to_owned());
    let begin = newest(&world);
    let grant = grants::granted(&world, &grants::terms());
    let _ = grants::used(&world, &grants::bearer(&world, &robot()), &grant, "night");
    let ended = world.wire.feed(&format!("?after={begin}"), &world.reader);
    let kinds: BTreeSet<String> = ended
        .map(|event| event["kind"].as_str().expect("a kind").to_owned())
        .take_while(|kind| kind != "proposal.finished")
        .collect();
    assert!(
        kinds.contains("proposal.running") && !kinds.contains("proposal.signed"),
        "{kinds:?}"
    );
}

/// A desk that somebody controls shows zoe the run `plain:true`, and lets her passkey sign `two:go` with other parameters.
#[test]
fn a_lying_desk_gets_one_signature_and_the_run_needs_a_program_that_shows_it_and_a_message_names_it()
 {
    let of_zoe = Target::new(&[]);
    let world = world_with(PASSKEYS, |setup| {
        setup.config = of_zoe.config("zoe", "slack", "for = [\"zoe\"]")
    });
    let shown = world.propose("plain:true", json!({}));
    // Each of these runs needs one signature.
    let [stopped, seen] = ["drop the tables", "drop the index"]
        .map(|text| world.propose("say:echo", json!({"text": text})));
    for hidden in [&stopped, &seen] {
        let view = sign(&world, hidden, &zoe()).ok(200);
        let state = (&view["status"], &view["approvals"]["own_program"]);
        assert_eq!(state, (&json!("pending"), &json!(true)), "{view:#}");
    }
    assert_eq!(world.show(id_of(&shown))["approvals"]["have"], 0);
    let told = wait_signed(&of_zoe, 2);
    for (text, hidden) in told.iter().zip([&stopped, &seen]) {
        assert!(
            text.starts_with("SIGNED RUN say:echo\n")
                && text.contains("zoe, with a passkey of desk.example"),
            "{text}"
        );
        assert!(
            text.contains(&format!("digest ends with: {}\n", digits(hidden))),
            "{text}"
        );
        assert!(
            !text.contains(&digits(&shown)) && !text.contains(id_of(&shown)),
            "{text}"
        );
    }
    // The command of the message, in the own program of a person, ends the run.
    let command = told[0]
        .lines()
        .find_map(|line| line.strip_prefix("countersign "))
        .expect("a command");
    let mut words: Vec<&str> = command.split(' ').collect();
    assert_eq!(words, ["deny", id_of(&stopped)]);
    words.extend(["--yes", "--reason", "zoe did not sign this"]);
    exited(world.as_alice(&words).output().expect("it starts"), 0);
    assert_eq!(world.show(id_of(&stopped))["status"], "denied");
    // The other run begins only with a signer whose program shows it.
    let review = said(
        &world
            .as_alice(&["review", id_of(&seen)])
            .output()
            .expect("it starts"),
    );
    assert!(
        review.contains("drop the index") && review.contains(&digits(&seen)),
        "{review}"
    );
    assert_eq!(world.show(id_of(&seen))["status"], "pending");
    let digest = seen["digest"].as_str().expect("a digest");
    exited(
        world
            .as_alice(&["approve", id_of(&seen), "--yes", "--expect", digest])
            .output()
            .expect("it starts"),
        0,
    );
    let finished = world.until(id_of(&seen), "finished");
    assert_eq!(
        world.receipt(&finished)["decision"]["approvers"],
        json!(["alice", "zoe"])
    );
    world.assert_audited();
}
