//! The tokens of proposers. Each change of tokens creates a new seal.

use std::collections::BTreeMap;

use crate::{
    Sealing,
    oidc::{audience, binding_rules::check_files},
};
use crossing::{Refusal, RequestResult, Sealed};
use documents::{Name, SealedToken, StepRef, Timestamp};
use reading::Pattern;
use store::{Token, TokenChange};
use wire::TokenView;

impl Sealing {
    /// Returns all tokens, including expired and revoked tokens, sorted by name. A token of the seal in force is as the seal
    /// names it, whatever its row says.
    ///
    /// # Errors
    /// Returns an error if the store can't be read.
    pub fn tokens(&self) -> RequestResult<Vec<TokenView>> {
        let (rows, sealed) = (self.ledger.tokens()?, self.crossing.state());
        let sealed = sealed.tokens.iter().map(|token| (token, None));
        let rows = rows.iter().map(|row| (&row.token, row.revoked_at));
        let mut views = BTreeMap::new();
        for (token, revoked_at) in sealed.chain(rows) {
            let new = TokenView {
                token: token.clone(),
                revoked_at,
            };
            views.entry(&token.name).or_insert(new).revoked_at = revoked_at;
        }
        Ok(views.into_values().collect())
    }

    /// Creates a token and seals the change. Returns the audience of the ID tokens that can open a token with a binding.
    ///
    /// # Errors
    /// Returns an error if the name or the credential is already used, an owner is not in the roster, a pattern can't be
    /// parsed, or the binding leaves out a claim that it needs or has other files.
    pub async fn create_token(
        &self,
        mut token: SealedToken,
        jwks: Option<String>,
        ca: Option<String>,
    ) -> RequestResult<String> {
        // Refuse if the clock is ahead of the log, because the client has computed the end of the token with the same
        // clock.
        let _ = self.crossing.demand_clock()?;
        let now = self.crossing.now();
        check_token(&token, &self.crossing.state(), now)?;
        check_files(&token, jwks.as_deref(), ca.as_deref())?;
        token.scopes.sort();
        token.scopes.dedup();
        token.patterns.sort();
        token.patterns.dedup();
        let row = Token {
            token,
            jwks,
            ca,
            created_at: now,
            revoked_at: None,
        };
        self.put_in_force(|_| {}, Some(TokenChange::Add(Box::new(row))))
            .await?;
        Ok(audience(&self.crossing.state()))
    }

    /// Revokes a token and seals the change.
    ///
    /// # Errors
    /// Returns an error if no token has this name, or if the token has already expired or was revoked.
    pub async fn revoke_token(&self, name: &Name) -> RequestResult {
        let at = self.crossing.now();
        self.put_in_force(
            |_| {},
            Some(TokenChange::Revoke {
                name: name.clone(),
                at,
            }),
        )
        .await
        .map(drop)
    }
}

fn check_token(token: &SealedToken, sealed: &Sealed, now: Timestamp) -> RequestResult {
    let refuse = |pointer: &str, detail: String| Err(Refusal::malformed(pointer, detail).into());
    if let Err(error) = sealed.roster.check_token_name(&token.name) {
        return refuse("/name", error.to_string());
    }
    if let Some(known) = sealed.roster.looks_like(&token.name) {
        let message = format!(
            "{} looks like {known} of the roster, so approvers could take one for the other",
            token.name
        );
        return refuse("/name", format!("{message}: give the token another name"));
    }
    // If a token had the boundary's name, approvers would think that the boundary is the proposer.
    if token.name.as_str() == sealed.boundary.name.as_str() {
        return refuse(
            "/name",
            format!(
                "{} is the boundary's own name: give the token another name",
                token.name
            ),
        );
    }
    for (at, owner) in token.owners.iter().enumerate() {
        if sealed.roster.approver(owner).is_none()
            && !sealed.roster.tables().operators.contains_key(owner)
        {
            return refuse(
                &format!("/owners/{at}"),
                format!(
                    "{owner} is not in the roster: owners are the people who control the token"
                ),
            );
        }
    }
    if token.scopes.is_empty() {
        return refuse(
            "/scopes",
            "a token needs at least one of the scopes propose, read, operate".to_owned(),
        );
    }
    for (at, pattern) in token.patterns.iter().enumerate() {
        let refuse = |message: String| refuse(&format!("/patterns/{at}"), message);
        match Pattern::parse(pattern) {
            Err(error) => return refuse(error.to_string()),
            // A literal that is no reference, and `**` beside other characters, match less than their author expects.
            Ok(found)
                if found
                    .only()
                    .is_some_and(|text| text.parse::<StepRef>().is_err()) =>
            {
                return refuse(format!(
                    "{pattern:?} is the name of no step: write PATH:STEP, PATH:* or DIRECTORY/**"
                ));
            }
            Ok(_)
                if pattern
                    .split('/')
                    .any(|segment| segment.contains("**") && segment != "**") =>
            {
                return refuse(format!(
                    "in {pattern:?}, ** is no whole segment: write ** for every step, or **/NAME:*"
                ));
            }
            Ok(_) => {}
        }
    }
    if token.expires_at.is_some_and(|end| end <= now) {
        return refuse("/expires_at", "this time is over".to_owned());
    }
    Ok(())
}
