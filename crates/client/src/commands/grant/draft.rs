//! `grant draft` drafts a grant: by hand, or from the runs that people approved.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::{
    Client, CommandFailure, CommandResult, Exit, GlobalOptions, KeyArgs, PrintableText, Terminal,
    TrustArgs, commands::grant::grant_review::all_of, fail_refused, fail_usage, named, now,
    read_predicate, remote::proposals::list, roster_in_force, step_parameters, typed, with_any,
};
use documents::{
    Authorization, Bundle, GrantRate, GrantedSession, KeyId, Name, Parameter, PermissionReason,
    Receipt, SshKey, Status, StepRef, canonical, joined,
};
use reading::duration;
use verdict::VerifyOptions;
use wire::{DraftGrantee, DraftStep, DraftTerms, GrantRequest, GrantView, StepView};

/// Draft a standing grant.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  countersign grant draft host:report --grantee deploy-bot --from-history 30d --uses 20 --for 7d
  countersign grant draft service:restart --grantee deploy-bot -p name=shop,cart --uses 20 --rate 3/1h --for 7d
  countersign grant draft web:deploy --grantee deploy-bot --match 'tag=^v[0-9]+$' --any note --uses 5 --for 12h

Every parameter of the step must be named. With --from-history, this program verifies the receipts of the runs that people
approved in this time, and drafts the narrowest grant that covers them. There is no draft if a run failed, if a proposal was
denied, or if a built-in list denies a permission. This needs a credential that may read the runs of all proposers: the key of
an approver, or a token with the scope read.

Approvers and proposers can draft. The person or token that drafts a grant is its proposer. The signatures of the proposer and
of its owners do not count.")]
pub struct Args {
    /// The step
    step: StepRef,
    /// The proposer of the roster, or the token, that may use the grant
    #[arg(long, value_name = "NAME")]
    grantee: Name,
    /// The key with which the grantee uses the grant, if the roster gives it several keys
    #[arg(long, value_name = "SHA256:…")]
    grantee_key: Option<KeyId>,
    /// The permitted values of a parameter: name=value, or name=value,value. Can be repeated
    #[arg(
        short,
        long,
        value_name = "NAME=VALUES",
        conflicts_with = "from_history"
    )]
    param: Vec<String>,
    /// A pattern for a text parameter, which matches the whole value. Can be repeated
    #[arg(
        long = "match",
        value_name = "NAME=PATTERN",
        conflicts_with = "from_history"
    )]
    patterns: Vec<String>,
    /// A parameter that may have any value. Can be repeated
    #[arg(long = "any", value_name = "NAME", conflicts_with = "from_history")]
    any: Vec<String>,
    /// Take the values from the runs that people approved in this time, for example 30d
    #[arg(long, value_name = "TIME", value_parser = duration)]
    from_history: Option<i64>,
    /// The maximum number of runs
    #[arg(long, value_name = "N")]
    uses: u64,
    /// The maximum number of runs in a time, for example 3/1h
    #[arg(long, value_name = "N/TIME", value_parser = rate)]
    rate: Option<GrantRate>,
    /// The time until the grant ends: 12h, 7d; at most 90d
    #[arg(long = "for", value_name = "TIME", value_parser = duration)]
    lasts: i64,
    /// Which sessions the runs may use: none or fresh
    #[arg(long, value_name = "none|fresh", value_parser = session)]
    session: Option<GrantedSession>,
    /// The reason for the grant, which approvers see
    #[arg(long, default_value = "", hide_default_value = true)]
    reason: String,
    #[command(flatten)]
    trust: TrustArgs,
    #[command(flatten)]
    key: KeyArgs,
}

fn rate(text: &str) -> Result<GrantRate, String> {
    let (uses, time) = text
        .split_once('/')
        .ok_or_else(|| "write the number of runs, / and a time: 3/1h".to_owned())?;
    let uses = uses
        .parse()
        .map_err(|_| format!("{uses:?} is no number of runs"))?;
    Ok(GrantRate {
        uses,
        seconds: duration(time)?.unsigned_abs(),
    })
}

fn session(text: &str) -> Result<GrantedSession, String> {
    GrantedSession::ALL
        .into_iter()
        .find(|session| session.word() == text)
        .ok_or_else(|| "the session must be none or fresh".to_owned())
}

/// Drafts a grant.
///
/// # Errors
/// Returns an error if a parameter is not named, if the history gives no draft, or if the boundary refuses.
pub fn run(args: &Args, global: &GlobalOptions, terminal: &Terminal) -> CommandResult {
    let client = global.client(&args.key)?;
    let step: StepView = client.get(&format!("/v1/steps/{}", args.step))?;
    let known = step_parameters(&step)?;
    let properties = match args.from_history {
        Some(seconds) => from_history(args, seconds, &client, global, &known, terminal)?,
        None => by_hand(args, &known)?,
    };
    let unnamed = joined(
        known
            .keys()
            .map(|(name, _)| name.as_str())
            .filter(|name| !properties.contains_key(*name)),
        ", ",
    );
    if !unnamed.is_empty() {
        let words = format!(
            "these parameters are not named: {}; give -p NAME=VALUES, --match NAME=PATTERN or --any NAME for each",
            PrintableText::text(&unnamed)
        );
        return fail_usage(words);
    }
    let required = properties.keys().cloned().collect();
    let params = Parameter::object(properties, required);
    let terms = DraftTerms {
        grantee: grantee(args, &client, global)?,
        steps: vec![DraftStep {
            step: args.step.clone(),
            params,
        }],
        max_uses: args.uses,
        rate: args.rate.clone(),
        session: args.session,
        artifacts: Vec::new(),
        reason: args.reason.clone(),
        expires_in_s: args.lasts,
    };
    terminal.say(
        "you are the proposer of this grant: your signature does not count, and neither do those of the owners of your token",
    );
    let view: GrantView = client.post(
        "/v1/grants",
        &GrantRequest {
            draft: Some(terms),
            envelope: None,
        },
    )?;
    if terminal.json {
        terminal.object(&view)?;
    } else {
        terminal.line(view.id.as_str())?;
        let missing = joined(&view.approvals.missing, ", ");
        let from = if missing.is_empty() {
            "approvers"
        } else {
            &missing
        };
        terminal.say(format!(
            "the draft waits for {from}: countersign approve {}",
            view.id
        ));
    }
    Ok(Exit::Done)
}

/// Returns the grantee: a proposer with its key, or a token.
fn grantee(args: &Args, client: &Client, global: &GlobalOptions) -> CommandResult<DraftGrantee> {
    let by_key = |key| DraftGrantee {
        name: Some(args.grantee.clone()),
        key: Some(key),
        token: None,
    };
    let own = client
        .admitted_key()
        .filter(|_| client.name().as_ref() == Some(&args.grantee));
    if let Some(key) = args.grantee_key.or(own) {
        return Ok(by_key(key));
    }
    let trust = global.trust(&args.trust).find()?;
    let in_force = roster_in_force(client, &trust).ok();
    let in_force = in_force.as_ref().and_then(|(_, roster)| roster.roster());
    // A grantee may have no right to read the roster of the boundary, so also use the rosters that this user has pinned.
    let pinned = trust.iter().filter_map(|one| one.roster());
    let proposer = in_force
        .into_iter()
        .chain(pinned)
        .find_map(|roster| roster.proposer(&args.grantee));
    match proposer.map(|proposer| &proposer.keys[..]) {
        Some([only]) => SshKey::parse(only)
            .map(|key| by_key(key.keyid()))
            .map_err(CommandFailure::usage),
        Some(_) => fail_usage(format!(
            "{} has several keys: choose one with --grantee-key",
            args.grantee
        )),
        // Proposers and tokens have different names. The boundary knows its tokens.
        None => Ok(DraftGrantee {
            name: None,
            key: None,
            token: Some(args.grantee.clone()),
        }),
    }
}

/// Returns the declarations of the named parameters.
fn by_hand(args: &Args, known: &Parameter) -> CommandResult<BTreeMap<String, Parameter>> {
    let mut found = BTreeMap::new();
    let declared = |name: &str| {
        let kind = known.key(name).map(|one| one.kind);
        kind.map(Parameter::new).ok_or_else(|| {
            let shown = PrintableText::text(name);
            CommandFailure::usage(format!("the step has no parameter {shown}"))
        })
    };
    for given in &args.param {
        let (name, values) = named("-p", given, "value")?;
        let values = values
            .split(',')
            .map(|value| typed(&format!("{name}={value}"), known).map(|(_, value)| value));
        let values: Vec<Value> = values.collect::<Result<_, _>>()?;
        once(&mut found, name, one_of(declared(name)?, values))?;
    }
    for given in &args.patterns {
        let (name, pattern) = named("--match", given, "pattern")?;
        let bound = Parameter {
            pattern: Some(pattern.to_owned()),
            ..declared(name)?
        };
        once(&mut found, name, bound)?;
    }
    for name in &args.any {
        once(&mut found, name, declared(name)?)?;
    }
    Ok(found)
}

/// Adds the declaration of a parameter.
///
/// # Errors
/// Returns an error if the parameter was named before, because one of the two declarations would be lost.
fn once(
    found: &mut BTreeMap<String, Parameter>,
    name: &str,
    declared: Parameter,
) -> CommandResult<()> {
    let shown = PrintableText::text(name);
    if found.insert(name.to_owned(), declared).is_none() {
        return Ok(());
    }
    fail_usage(format!(
        "{shown} is named twice: give one of -p {shown}=VALUE,VALUE, --match and --any"
    ))
}

fn one_of(declared: Parameter, mut values: Vec<Value>) -> Parameter {
    values.sort_by_key(canonical::to_canonical);
    values.dedup();
    Parameter {
        choices: Some(values),
        ..declared
    }
}

/// Returns the schemas of the parameter values that people approved in individual runs.
fn from_history(
    args: &Args,
    seconds: i64,
    client: &Client,
    global: &GlobalOptions,
    known: &Parameter,
    terminal: &Terminal,
) -> CommandResult<BTreeMap<String, Parameter>> {
    let refuse = |why: String| fail_refused(format!("there is no draft: {why}"));
    let since = now().plus(-seconds);
    let of = |status| {
        list(client, &all_of(&args.step, status)).map_err(|failure| {
            let message = format!(
                "--from-history needs the runs of all proposers: {}",
                failure.message
            );
            CommandFailure { message, ..failure }
        })
    };
    if let Some(denied) = of("denied")?.iter().find(|view| view.created_at >= since) {
        return refuse(format!("{} was denied", denied.id));
    }
    let mut runs = of("finished")?;
    runs.retain(|view| view.ended_at.is_some_and(|at| at >= since));
    if runs.is_empty() {
        return refuse(format!("no run of {} has ended in this time", args.step));
    }
    let trust = global.trust(&args.trust).find()?;
    let mut values: BTreeMap<String, Vec<Value>> = known
        .keys()
        .map(|(name, _)| (name.clone(), Vec::new()))
        .collect();
    let mut counted = 0;
    for run in &runs {
        let bundle = client.bytes(&format!("/v1/receipts/{}/bundle", run.id.receipt()))?;
        let judged = with_any(&bundle, &trust, VerifyOptions::default());
        if !judged.is_ok_and(|judged| judged.report.verified) {
            return refuse(format!(
                "the receipt of {} can't be verified: countersign verify",
                run.id
            ));
        }
        let Some((receipt, signed)) = read_run(&bundle) else {
            return refuse(format!(
                "the receipt of {} is verified, but this program can't read it",
                run.id
            ));
        };
        // The list of runs is not verified, so check that the verified receipt is for this run.
        if signed.step.reference != args.step || signed.proposal != run.id {
            return refuse(format!(
                "the boundary gave the receipt of another run for {}",
                run.id
            ));
        }
        // People did not approve a run under another grant individually.
        if signed.grant.is_some() {
            continue;
        }
        if receipt.outcome.status != Status::Succeeded {
            return refuse(format!("{} ended with {}", run.id, receipt.outcome.status));
        }
        if let Some(one) = signed
            .permissions
            .iter()
            .find(|one| one.why == PermissionReason::BuiltInDeny)
        {
            return refuse(format!(
                "a built-in list denies {:?}, so people must approve each run",
                one.what
            ));
        }
        counted += 1;
        for (name, seen) in &mut values {
            seen.push(signed.params[name].clone());
        }
    }
    if counted == 0 {
        return refuse(format!(
            "people approved no run of {} in this time",
            args.step
        ));
    }
    terminal.say(format!(
        "{counted} verified runs were approved by hand in this time, and all succeeded"
    ));
    Ok(values
        .into_iter()
        .map(|(name, seen)| {
            let kind = known.key(&name).map(|one| one.kind).unwrap_or_default();
            (name, one_of(Parameter::new(kind), seen))
        })
        .collect())
}

fn read_run(bundle: &[u8]) -> Option<(Receipt, Authorization)> {
    let bundle: Bundle = serde_json::from_slice(bundle).ok()?;
    let receipt: Receipt = read_predicate(&bundle.receipt.payload)?;
    let signed = read_predicate(&bundle.authorization.payload)?;
    Some((receipt, signed))
}

#[cfg(test)]
mod tests {
    use documents::ParameterType;
    use serde_json::json;

    use super::*;

    #[test]
    fn rates_are_read_strictly() {
        assert_eq!(
            rate("3/1h"),
            Ok(GrantRate {
                uses: 3,
                seconds: 3600
            })
        );
        for wrong in ["3", "3/", "x/1h", "/1h", "3/1h/2"] {
            assert!(rate(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn values_of_a_parameter_become_the_narrowest_schema() {
        let text = || Parameter::new(ParameterType::String);
        for (given, values) in [
            (["b", "a", "b"], json!(["a", "b"])),
            (["a"; 3], json!(["a"])),
        ] {
            let found = one_of(text(), given.map(Value::from).to_vec());
            assert_eq!(json!(found), json!({"type": "string", "enum": values}));
        }
    }
}
