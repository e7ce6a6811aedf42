//! Golden crossings with sessions, artifacts, files, outputs and plans, and crossings with one defect in these parts.

use countersign::crypto::canonical::to_canonical;
use countersign::crypto::digest::{Blake3Digest, hex, sha256};
use countersign::crypto::merkle::Hash;
use countersign::crypto::note::TlogProof;
use countersign::record::envelope::Envelope;
use serde_json::{Map, Value, json};

use super::super::{path, reference, repair_twins};
use super::{Edit, Files, Refused, STDOUT, Story, Told, line, on, step};

const SESSION: &str = "ses_019aa0b0-5c00-7000-8000-000000000003";
const PLAN_PROPOSAL: &str = "prp_019aa0b0-5c00-7000-8000-000000000002";
const PLAN_NONCE: &str = "BbqgsFwAQkJCQkJCQkJCQkJCQkJCQg";

/// Adds the valid bundles.
pub(super) fn valid(files: &mut Files) {
    let mut put = |name: &str, bytes: Vec<u8>| drop(files.insert(format!("valid/bundle-{name}.json"), bytes));
    put("session", session(|_| {}, |_| {}, |_| {}).tell().file());
    put("artifacts", with_artifacts(|_| {}).tell().file());
    put("files", with_files(|_| {}).tell().file());
    put("outputs", with_outputs().tell().file());
    put(
        "template",
        with_template("printf 'restarting nginx on %s\\n' 'web-3' \"$(printf %s \"web-3\")\" true\n").tell().file(),
    );
    put("plan", Planned::default().file());
}

/// Adds the bundles with one defect.
pub(super) fn refused(list: &mut Refused<'_>) {
    sessions(list);
    artifacts(list);
    manifests(list);
    plans(list);
    let other = "printf 'restarting nginx on %s\\n' 'web-4' \"$(printf %s \"web-4\")\" true\n";
    list.one("template-of-another-script", "step", &with_template(other));
    let mut broken = with_template(other);
    broken.step["source"] = json!("printf {{ .host | upper }}\n");
    list.one("template-with-an-unknown-action", "step", &broken);
}

fn predicate(statement: &mut Value) -> &mut Map<String, Value> {
    statement["predicate"].as_object_mut().expect("a predicate")
}

fn item(consumption: &mut Value) -> &mut Map<String, Value> {
    consumption["predicate"]["spent"][0].as_object_mut().expect("an item")
}

fn state(name: &str) -> Value {
    json!({"id": SESSION, "state": reference(name.as_bytes())})
}

/// A crossing of a step with a session. The edits change the authorization, the consumption and the receipt.
fn session<'d>(
    authorization: impl Fn(&mut Value) + 'd,
    consumption: impl Fn(&mut Value) + 'd,
    receipt: impl Fn(&mut Value) + 'd,
) -> Story<'d> {
    let mut definition = step();
    definition["session"] = json!("write");
    Story {
        step: definition,
        authorization: on(move |value| {
            predicate(value).insert("session".to_owned(), state("one"));
            authorization(value);
        }),
        consumption: on(move |value| {
            item(value).insert("session".to_owned(), state("one"));
            consumption(value);
        }),
        receipt: on(move |value| {
            let change = json!({"before": reference(b"one"), "after": reference(b"two")});
            predicate(value).insert("session".to_owned(), change);
            receipt(value);
        }),
        ..Story::default()
    }
}

fn sessions(list: &mut Refused<'_>) {
    let kept = |_: &mut Value| {};
    let without = |value: &mut Value| drop(predicate(value).remove("session"));
    let item_without = |value: &mut Value| drop(item(value).remove("session"));
    list.one("session-that-nobody-signed", "step", &session(without, item_without, without));
    let unasked = Story { step: step(), ..session(kept, kept, kept) };
    list.one("session-of-a-step-without-one", "step", &unasked);
    list.one("session-missing-in-the-consumption", "consumption", &session(kept, item_without, kept));
    let other = |value: &mut Value| item(value)["session"] = state("zero");
    list.one("session-of-another-state-in-the-consumption", "consumption", &session(kept, other, kept));
    list.one("session-missing-in-the-receipt", "consumption", &session(kept, kept, without));
    let before = |value: &mut Value| value["predicate"]["session"]["before"] = json!(reference(b"zero"));
    list.one("session-of-another-state-in-the-receipt", "consumption", &session(kept, kept, before));
    let only_stated = Story {
        receipt: on(|value| {
            let change = json!({"before": reference(b"one"), "after": reference(b"two")});
            predicate(value).insert("session".to_owned(), change);
        }),
        ..Story::default()
    };
    list.one("session-in-the-receipt-only", "consumption", &only_stated);
}

fn artifact(name: &str, bytes: u64) -> Value {
    json!({"bytes": bytes, "digest": reference(name.as_bytes()), "name": name})
}

/// A crossing with two artifacts. The edit changes the authorization.
fn with_artifacts<'d>(edit: impl Fn(&mut Value) + 'd) -> Story<'d> {
    let authorization = on(move |value: &mut Value| {
        let artifacts = [artifact("app.tar", 3), artifact("notes.txt", 5)];
        for one in &artifacts {
            let name = one["name"].as_str().expect("a name");
            let subject =
                json!({"digest": {"sha256": hex(&sha256(name.as_bytes()))}, "name": format!("artifact/{name}")});
            value["subject"].as_array_mut().expect("subjects").push(subject);
        }
        predicate(value).insert("artifacts".to_owned(), json!(artifacts));
        edit(value);
    });
    Story { authorization, ..Story::default() }
}

fn artifacts(list: &mut Refused<'_>) {
    let mut one = |name: &str, edit: fn(&mut Value)| list.one(name, "authorization-document", &with_artifacts(edit));
    one("artifact-without-its-subject", |value| drop(value["subject"].as_array_mut().expect("subjects").pop()));
    one("artifact-of-another-digest-than-its-subject", |value| {
        value["predicate"]["artifacts"][0]["digest"] = json!(reference(b"another"));
    });
    one("artifacts-over-64-mib", |value| value["predicate"]["artifacts"][0]["bytes"] = json!((64 << 20) - 4));
    one("artifact-of-a-negative-size", |value| value["predicate"]["artifacts"][0]["bytes"] = json!(-1));
    one("artifacts-out-of-order", |value| {
        value["predicate"]["artifacts"].as_array_mut().expect("artifacts").swap(0, 1);
        value["subject"].as_array_mut().expect("subjects").swap(2, 3);
    });
}

fn entry(path: &str, content: &[u8]) -> Value {
    json!({"blake3": Blake3Digest::of(content), "bytes": content.len(), "executable": false, "path": path, "sha256": reference(content)})
}

fn manifest() -> Value {
    json!([entry("report/a.txt", b"done"), entry("report/b.txt", b"also done")])
}

/// States the files of this manifest in the receipt.
fn state_files(receipt: &mut Value, manifest: &Value) {
    let files = manifest.as_array().expect("files");
    let bytes: u64 = files.iter().filter_map(|file| file["bytes"].as_u64()).sum();
    predicate(receipt)["files"] =
        json!({"bytes": bytes, "count": files.len(), "manifest": reference(&to_canonical(manifest))});
    repair_twins("receipt", receipt);
}

/// A crossing that left two files. The edit changes the bundle.
fn with_files<'d>(edit: impl Fn(&mut Value) + 'd) -> Story<'d> {
    Story {
        receipt: on(|value| state_files(value, &manifest())),
        bundle: on(move |bundle| {
            bundle["manifest"] = manifest();
            edit(bundle);
        }),
        ..Story::default()
    }
}

/// A crossing of a step with outputs. The file with the outputs is the only file.
fn with_outputs<'d>() -> Story<'d> {
    let outputs = || json!([entry(".outputs.json", br#"{"version":"1.2.3"}"#)]);
    let mut definition = step();
    definition["outputs"] = json!([{"name": "version", "schema": {"pattern": "^[0-9.]+$", "type": "string"}}]);
    Story {
        step: definition,
        receipt: on(move |value| state_files(value, &outputs())),
        bundle: on(move |bundle| bundle["manifest"] = outputs()),
        ..Story::default()
    }
}

/// A crossing of a step with a template, whose authorization names the digest of this script.
fn with_template<'d>(script: &'d str) -> Story<'d> {
    let mut definition = step();
    definition["template"] = json!("gruntwork");
    definition["source"] = json!(
        "printf 'restarting nginx on %s\\n' {{ .host }} \"$(printf %s \"{{ .host }}\")\"{{ if .drain }} {{/* as JSON */}}true{{ end }}\n"
    );
    let authorization = on(move |value| predicate(value)["rendered"] = json!(reference(script.as_bytes())));
    Story { step: definition, authorization, ..Story::default() }
}

fn manifests(list: &mut Refused<'_>) {
    let check = "receipt-subjects";
    let without = |bundle: &mut Value| drop(bundle.as_object_mut().expect("a bundle").remove("manifest"));
    list.one("files-without-a-manifest", check, &with_files(without));
    let unstated = Story { receipt: None, ..with_files(|_| {}) };
    list.one("manifest-of-a-run-without-files", check, &unstated);
    let another = |bundle: &mut Value| bundle["manifest"][0]["sha256"] = json!(reference(b"another"));
    list.one("manifest-with-another-file", check, &with_files(another));
    for (field, name) in [("count", "files-of-another-number"), ("bytes", "files-of-another-size")] {
        let receipt = on(move |value| {
            state_files(value, &manifest());
            value["predicate"]["files"][field] = json!(3);
        });
        list.one(name, check, &Story { receipt, ..with_files(|_| {}) });
    }
    let receipt = on(|value| {
        state_files(value, &manifest());
        value["predicate"]["files"]["count"] = json!(1001);
    });
    list.one("files-over-1000", check, &Story { receipt, ..with_files(|_| {}) });
    list.one("outputs-of-a-step-without-outputs", check, &Story { step: step(), ..with_outputs() });
    let mut odd = with_outputs();
    odd.step["outputs"] = json!("version");
    list.one("outputs-of-another-type", "step", &odd);
    let unsorted = |bundle: &mut Value| bundle["manifest"].as_array_mut().expect("files").swap(0, 1);
    list.one("manifest-out-of-order", "bundle", &with_files(unsorted));
}

/// A run that carries out a plan. Both runs are in one log: seal, consumption and receipt of the plan, consumption and
/// receipt of the run.
struct Planned<'d> {
    /// The field `plan` of the step.
    asked: Value,
    plan_authorization: Edit<'d>,
    plan_receipt: Edit<'d>,
    authorization: Edit<'d>,
    /// Order of the log. The entries of the plan are `refusal` (the consumption) and `denial` (the receipt).
    order: [&'d str; 5],
    bundle: Edit<'d>,
}

impl Default for Planned<'_> {
    fn default() -> Self {
        Self {
            asked: json!({"max_age_s": 600, "step": "nginx:plan"}),
            plan_authorization: None,
            plan_receipt: None,
            authorization: None,
            order: ["seal", "refusal", "denial", "consumption", "receipt"],
            bundle: None,
        }
    }
}

fn plan_step() -> Value {
    let mut step = step();
    step["ref"] = json!("nginx:plan");
    step["source"] = json!("printf 'would restart nginx on %s\\n' \"$PARAM_HOST\"\n");
    step["title"] = json!("Plan the restart");
    step
}

impl Planned<'_> {
    fn tell(&self) -> Told {
        let mut definition = step();
        definition["plan"] = self.asked.clone();
        let registry = [plan_step(), definition.clone()];
        let apply = |edit: &Edit<'_>, value: &mut Value| {
            if let Some(edit) = edit {
                edit(value);
            }
        };
        let plan = Story {
            step: plan_step(),
            registry: Some(registry.clone()),
            authorization: on(|value| {
                value["predicate"]["proposal"] = json!(PLAN_PROPOSAL);
                value["predicate"]["nonce"] = json!(PLAN_NONCE);
                apply(&self.plan_authorization, value);
                repair_twins("authorization", value);
            }),
            consumption: on(|value| value["predicate"]["at"] = json!("2026-11-20T09:35:00Z")),
            receipt: on(|value| {
                value["predicate"]["started_at"] = json!("2026-11-20T09:35:00Z");
                value["predicate"]["finished_at"] = json!("2026-11-20T09:35:01Z");
                apply(&self.plan_receipt, value);
                repair_twins("receipt", value);
            }),
            ..Story::default()
        }
        .tell();
        let signed = json!({"output": reference(STDOUT), "receipt": reference(&plan.payloads["receipt"])});
        let own = |kind: &str| plan.envelopes[kind].clone();
        let mut told = Story {
            step: definition,
            registry: Some(registry),
            authorization: on(|value| {
                predicate(value).insert("plan".to_owned(), signed.clone());
                apply(&self.authorization, value);
            }),
            order: self.order,
            others: [("refusal", own("consumption")), ("denial", own("receipt"))].into(),
            ..Story::default()
        }
        .tell();
        told.bundle["plan"] = self.proved(plan.bundle, &told);
        apply(&self.bundle, &mut told.bundle);
        told
    }

    /// Returns the bundle of the plan with proofs in the log of the run.
    fn proved(&self, mut plan: Value, told: &Told) -> Value {
        for (name, kind) in [("seal", "seal"), ("consumption", "refusal"), ("receipt", "denial")] {
            let index = self.order.iter().position(|one| *one == kind).expect("an entry") as u64;
            let hashes: Vec<Hash> = path(&told.leaves, index);
            plan["proofs"][name] = json!(TlogProof { index, hashes, checkpoint: told.note.clone() }.to_string());
        }
        plan
    }

    fn file(&self) -> Vec<u8> {
        line(&self.tell().bundle)
    }
}

fn plans(list: &mut Refused<'_>) {
    let mut one = |name: &str, planned: &Planned<'_>| {
        list.push(&format!("plan-{name}"), "plan", &[], "valid/roster.json", planned.file());
    };
    let bundled = |edit: fn(&mut Value)| Planned { bundle: on(edit), ..Planned::default() };
    let received = |edit: fn(&mut Value)| Planned { plan_receipt: on(edit), ..Planned::default() };
    let signed = |edit: fn(&mut Value)| Planned { authorization: on(edit), ..Planned::default() };
    one("missing", &bundled(|bundle| drop(bundle.as_object_mut().expect("a bundle").remove("plan"))));
    one(
        "with-a-broken-signature",
        &bundled(|bundle| {
            let signature = bundle["plan"]["consumption"]["signatures"][0].clone();
            bundle["plan"]["receipt"]["signatures"][0] = signature;
        }),
    );
    one("with-an-authorization-for-another-step", &bundled(|bundle| bundle["plan"]["step"] = bundle["step"].clone()));
    one(
        "of-another-receipt",
        &signed(|value| {
            value["predicate"]["plan"]["receipt"] = json!(reference(b"another"));
        }),
    );
    one(
        "of-another-output",
        &signed(|value| {
            value["predicate"]["plan"]["output"] = json!(reference(b"another"));
        }),
    );
    let asked = |asked: Value| Planned { asked, ..Planned::default() };
    one("of-another-step", &asked(json!({"max_age_s": 600, "step": "nginx:show"})));
    one("too-old", &asked(json!({"max_age_s": 298, "step": "nginx:plan"})));
    one(
        "that-failed",
        &received(|value| {
            value["predicate"]["outcome"] = json!({"exit_code": 1, "status": "failed"});
        }),
    );
    one(
        "that-ended-later",
        &received(|value| {
            value["predicate"]["finished_at"] = json!("2026-11-20T09:40:01Z");
        }),
    );
    one(
        "for-other-parameters",
        &Planned {
            plan_authorization: on(|value| value["predicate"]["params"]["host"] = json!("web-4")),
            ..Planned::default()
        },
    );
    one(
        "after-the-consumption",
        &Planned { order: ["seal", "refusal", "consumption", "denial", "receipt"], ..Planned::default() },
    );
    let plan = Planned::default().tell().bundle["plan"].clone();
    let unsigned = Story { bundle: on(|bundle| bundle["plan"] = plan.clone()), ..Story::default() };
    list.one("plan-that-nobody-signed", "plan", &unsigned);
}

/// Entries of the log that replace the refusal and the denial.
pub(super) type Others<'d> = std::collections::BTreeMap<&'d str, Envelope>;
