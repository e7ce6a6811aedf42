//! Exchanges the ID token of a CI job for a bearer.

use std::time::Duration;

use ureq::Body;
use ureq::http::{Method, Response};

use crate::{
    Client, CommandResult, Secret, eprintln_quietly,
    remote::{client::retry_after, job_identity::JobIdentity},
};
use wire::{AdmissionResponse, IdTokenBody, may_pass};

/// Maximum time in seconds for which a job waits for a busy boundary.
const LONGEST_WAIT_S: u64 = 330;

impl Client {
    /// Returns the client with the ID token of a job in place of a token and of keys.
    pub fn with_job(self, job: JobIdentity) -> Self {
        Self {
            job: Some(job),
            keys: None,
            ..self
        }
    }

    /// Gets a bearer with the ID token of the job, or with a key of the user. Returns false if the client has neither, or if
    /// the boundary knows none of the keys.
    pub(super) fn admit_again(&self) -> CommandResult<bool> {
        match (&self.job, &self.keys) {
            (Some(job), _) => self.admit_job(job).map(|()| true),
            (None, Some(keys)) => self.admit(keys),
            (None, None) => Ok(false),
        }
    }

    fn admit_job(&self, job: &JobIdentity) -> CommandResult<()> {
        self.address.check_private("the ID token of the job")?;
        *self.bearer.borrow_mut() = None;
        let mut waited = 0;
        let answer = loop {
            let body = serde_json::to_vec(&IdTokenBody {
                id_token: (*job.id_token(self.tls.proxy.as_ref())?.0).clone(),
            })
            .map_err(|error| self.odd(error))?;
            let answer = self.send(
                &Method::POST,
                "/v1/admissions",
                Some(&body),
                "application/json",
            )?;
            match seconds_until_retry(&answer).filter(|seconds| waited + seconds <= LONGEST_WAIT_S)
            {
                Some(seconds) => {
                    eprintln_quietly(&format!(
                        "the boundary can't check the ID token of this job now (busy): trying again in {seconds} s"
                    ));
                    std::thread::sleep(Duration::from_secs(seconds));
                    waited += seconds;
                }
                None => break answer,
            }
        };
        let admission: AdmissionResponse = self.typed(self.refuse_problem(answer)?)?;
        *self.bearer.borrow_mut() = Some(Secret::new(&admission.bearer));
        *self.name.borrow_mut() = Some(admission.name);
        Ok(())
    }
}

/// Returns the seconds after which a busy boundary wants to be asked again. After the rotation of the keys of an issuer, a
/// boundary may wait some minutes before it asks the issuer again.
fn seconds_until_retry(answer: &Response<Body>) -> Option<u64> {
    retry_after(answer)
        .filter(|_| may_pass(answer.status().as_u16()))
        .map(|pause| pause.as_secs().max(1))
}
