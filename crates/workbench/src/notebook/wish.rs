//! What a person asks for: a proposal of one sealed step, checked before the boundary sees it.

use client::{Client, CommandFailure, CommandResult, Exit, fail_refused};
use console::FormFields;
use documents::{ReceiptId, SessionId, StepDefinition};
use reading::{ParameterError, ParameterSchema};
use serde_json::Value;
use wire::{NewSession, ProposalView, Propose, SessionView};

use crate::{
    FieldKind, FormField, SealedStep,
    notebook::{
        form::{fields, typed_values},
        routes::parameters,
        sealed_runbook::takes_session,
    },
};

/// Name of the field with the reason.
pub const REASON: &str = "reason";
/// Choice of the field with the session that begins a session.
const NEW_SESSION: &str = "begin a new session";
/// Name of the field with the session.
pub const SESSION: &str = "session";

/// What a page says if the boundary did not answer a proposal.
pub const UNCONFIRMED: &str = "The boundary may have received the proposal: load the runbook again, because each step lists its last \
    proposals.";

/// What a person gave in the form of a step.
#[derive(Default)]
pub struct GivenWish {
    /// Parameters by their names.
    pub params: FormFields,
    /// All fields of the form: also the reason, the session and the ticked boxes.
    pub sent: FormFields,
}

impl GivenWish {
    /// Takes the fields of a form.
    pub fn of(sent: &FormFields) -> Self {
        Self {
            params: parameters(sent.clone()),
            sent: sent.clone(),
        }
    }

    fn text(&self, name: &str) -> &str {
        self.sent.get(name).map_or("", |text| text.trim())
    }
}

/// Why nothing was proposed.
#[derive(Default)]
pub struct WishProblems {
    /// Errors of parameters, by their names.
    pub params: FormFields,
    /// Errors of the reason and of the session.
    pub others: FormFields,
    /// All other errors.
    pub whole: Vec<String>,
    /// Failure of the boundary, for the status of the page.
    pub failure: Option<CommandFailure>,
}

impl WishProblems {
    fn add(&mut self, pointer: &str, message: &str) {
        let mut names = pointer.trim_start_matches('/').split('/');
        match (names.next(), names.next()) {
            (Some("params"), Some(name)) => self.beside(name, message),
            (Some(name @ (REASON | SESSION)), _) => {
                drop(self.others.insert(name.to_owned(), message.to_owned()))
            }
            _ => self.whole.push(message.to_owned()),
        }
    }

    fn beside(&mut self, name: &str, message: &str) {
        let all = self.params.entry(name.to_owned()).or_default();
        if !all.is_empty() {
            all.push_str("; ");
        }
        all.push_str(message);
    }

    /// Returns the problems that the boundary named, each beside its field.
    pub fn of_failure(failure: CommandFailure) -> Self {
        let mut found = Self::default();
        let places = failure
            .problem
            .as_ref()
            .and_then(|problem| problem["errors"].as_array())
            .cloned();
        for place in places.into_iter().flatten() {
            let text = |name: &str| place[name].as_str().unwrap_or_default().to_owned();
            found.add(&text("pointer"), &text("detail"));
        }
        if found.params.is_empty() && found.others.is_empty() {
            found.whole = vec![failure.message.clone()];
        }
        if failure.exit == Exit::Unreachable {
            found.whole.push(UNCONFIRMED.to_owned());
        }
        found.failure = Some(failure);
        found
    }
}

/// Returns the fields of a sealed step. The value of a secret field is one of the secrets that the step may use.
pub fn fields_of(definition: &StepDefinition) -> Vec<FormField> {
    let secrets: Vec<String> = definition
        .secrets
        .iter()
        .map(|secret| secret.name.to_string())
        .collect();
    fields(&definition.params, &secrets)
}

/// Returns the fields that are no parameters: the session, if the step needs one, and the reason.
pub fn other_fields(step: &SealedStep) -> Vec<FormField> {
    let field = |name: &str, kind: FieldKind, description: &str| FormField {
        name: name.to_owned(),
        required: matches!(kind, FieldKind::Choice(_)),
        kind,
        description: description.to_owned(),
        rules: Vec::new(),
        default: None,
    };
    let sessions = step
        .sessions
        .iter()
        .rev()
        .map(SessionId::to_string)
        .chain([NEW_SESSION.to_owned()])
        .collect();
    let about = "A session carries variables, the directory and files from run to run";
    let session =
        takes_session(&step.definition).then(|| field(SESSION, FieldKind::Choice(sessions), about));
    let reason = field(
        REASON,
        FieldKind::Line,
        "The approvers and readers of the log can see it",
    );
    session.into_iter().chain([reason]).collect()
}

/// A checked wish.
pub struct CheckedWish {
    body: Propose,
    /// The runbook for which a session begins before the proposal.
    begins: Option<String>,
    /// The parameters with the defaults of the step.
    complete: Value,
}

impl CheckedWish {
    /// Checks what the person gave with the sealed definition: its types, its schema, and its session.
    ///
    /// # Errors
    /// Returns each error, those of one parameter by its name.
    pub fn check(step: &SealedStep, wish: &GivenWish) -> Result<Self, Box<WishProblems>> {
        let definition = &step.definition;
        let mut found = WishProblems::default();
        let (params, wrong) =
            typed_values(&fields_of(definition), &wish.params, &definition.params);
        for (name, why) in wrong {
            found.beside(&name, &why);
        }
        let (mut session, mut begins) = (None, None);
        match wish.text(SESSION) {
            _ if !takes_session(definition) => {}
            NEW_SESSION => begins = Some(definition.reference.path().to_owned()),
            id => match id.parse::<SessionId>() {
                Ok(id) => session = Some(id),
                Err(why) => drop(
                    found
                        .others
                        .insert(SESSION.to_owned(), format!("{why}; choose a session")),
                ),
            },
        }
        let given = Value::Object(params);
        let complete = match ParameterSchema::compile(&definition.params) {
            Ok(schema) => schema.complete(given.clone()),
            Err(flaws) => {
                found.whole.extend(
                    flaws
                        .iter()
                        .map(|flaw| format!("the schema of the step can't be used: {flaw}")),
                );
                return Err(Box::new(found));
            }
        };
        match complete {
            Ok(complete) if found.params.is_empty() && found.others.is_empty() => {
                let body = Propose {
                    session,
                    ..Self::body(step, given, wish, None)
                };
                Ok(Self {
                    body,
                    begins,
                    complete: complete.value().clone(),
                })
            }
            Ok(_) => Err(Box::new(found)),
            Err(errors) => {
                for ParameterError { pointer, message } in errors {
                    let of_field = pointer
                        .trim_start_matches('/')
                        .split('/')
                        .next()
                        .unwrap_or_default();
                    match of_field {
                        "" => found.whole.push(message),
                        // The type of this value is wrong, so its absence is no second error.
                        name if found.params.contains_key(name) => {}
                        name => found.beside(name, &message),
                    }
                }
                Err(Box::new(found))
            }
        }
    }

    /// Returns the wish to apply the plan of this receipt, with the parameters of the plan.
    pub fn apply(step: &SealedStep, plan: ReceiptId, params: &Value, wish: &GivenWish) -> Self {
        Self {
            body: Self::body(step, params.clone(), wish, Some(plan)),
            begins: None,
            complete: params.clone(),
        }
    }

    fn body(
        step: &SealedStep,
        params: Value,
        wish: &GivenWish,
        plan: Option<ReceiptId>,
    ) -> Propose {
        Propose {
            step: step.exact(),
            params,
            reason: wish.text(REASON).to_owned(),
            plan,
            ..Propose::default()
        }
    }

    /// Proposes, and checks that the boundary made the proposal that the page asked for.
    ///
    /// # Errors
    /// Returns the refusal of the boundary, or that it made another proposal.
    pub fn propose(mut self, client: &Client) -> CommandResult<ProposalView> {
        if let Some(runbook) = self.begins.take() {
            let begun: SessionView = client.post("/v1/sessions", &NewSession { runbook })?;
            self.body.session = Some(begun.id);
        }
        let mut view: ProposalView = client.post("/v1/proposals", &self.body)?;
        // The page shows the end of the earlier run, so a person who sends another form wants another run.
        if view.existing && view.status.has_ended() {
            view = client.post(
                "/v1/proposals",
                &Propose {
                    new: Some(true),
                    ..self.body.clone()
                },
            )?;
        }
        let made = format!("{}@{}", view.step, view.step_digest);
        // An open proposal that this page did not make keeps the reason of its maker.
        let has_reason = view.existing || view.reason == self.body.reason;
        if made == self.body.step && view.params == self.complete && has_reason {
            return Ok(view);
        }
        let what = format!(
            "the boundary made another proposal ({}) than this page asked for: don't trust this boundary, and cancel the \
             proposal with `countersign cancel {}`",
            view.id, view.id
        );
        fail_refused(what)
    }
}
