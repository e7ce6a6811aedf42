//! Exchanges the ID token of a CI job for a bearer.

use ureq::http::Method;

use crate::remote::client::Client;
use crate::remote::job_identity::JobIdentity;
use crate::remote::secret::Secret;
use crate::terminal::exit::CommandFailure;
use wire::api::body::AdmissionResponse;
use wire::api::oidc::{IdTokenBody, WantedAudience};

impl Client {
    /// Returns the client with the ID token of a job in place of a token and of keys.
    #[must_use]
    pub fn with_job(self, job: JobIdentity) -> Self {
        Self { job: Some(job), keys: None, ..self }
    }

    /// Gets a bearer with the ID token of the job, or with a key of the user. Returns false if the client has neither, or if
    /// the boundary knows none of the keys.
    pub(super) fn admit_again(&self) -> Result<bool, CommandFailure> {
        match (&self.job, &self.keys) {
            (Some(job), _) => self.admit_job(job).map(|()| true),
            (None, Some(keys)) => self.admit(keys),
            (None, None) => Ok(false),
        }
    }

    fn admit_job(&self, job: &JobIdentity) -> Result<(), CommandFailure> {
        self.address.check_private("the ID token of the job")?;
        *self.bearer.borrow_mut() = None;
        let id_token = job.id_token(|| self.wanted_audience())?;
        let body = serde_json::to_vec(&IdTokenBody { id_token: (*id_token.0).clone() })
            .map_err(|error| self.odd(&error.to_string()))?;
        let answer = self.send(&Method::POST, "/v1/admissions", Some(&body), "application/json")?;
        let admission: AdmissionResponse = self.typed(self.refuse_problem(answer)?)?;
        *self.bearer.borrow_mut() = Some(Secret::new(&admission.bearer));
        *self.name.borrow_mut() = Some(admission.name);
        Ok(())
    }

    fn wanted_audience(&self) -> Result<String, CommandFailure> {
        let answer = self.send(&Method::GET, "/v1/admissions", None, "application/json")?;
        let WantedAudience { audience } = self.typed(self.refuse_problem(answer)?)?;
        // An ID token for another audience could open something else than a boundary.
        let plain = audience.bytes().all(|c| c.is_ascii_alphanumeric() || c == b':');
        if plain && audience.starts_with("countersign:") {
            return Ok(audience);
        }
        Err(self.odd("the audience has another form, so no ID token was sent"))
    }
}
