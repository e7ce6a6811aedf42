//! Adds and revokes tokens, and notes the ID tokens that were used.

use rusqlite::{Connection, params};

use crate::{
    fault::StoreFault,
    sqlite::columns::{one, run},
    stored_token::{IdTokenUse, TokenChange, json},
};
use documents::{Name, Timestamp};

/// Adds and revokes tokens. If one change is impossible, the function changes no token and returns the name of the token
/// in the impossible change.
pub(super) fn change(
    connection: &Connection,
    changes: &[TokenChange],
) -> Result<Option<Name>, StoreFault> {
    const DURING: &str = "changing tokens";
    let mut added: Vec<&Name> = Vec::new();
    for change in changes {
        let (name, adds) = match change {
            TokenChange::Add(token, _) => (&token.name, true),
            TokenChange::Revoke { name, .. } => (name, false),
        };
        let sql = "SELECT 1 FROM token WHERE name = ?1";
        let there = added.contains(&name)
            || one(connection, DURING, sql, [name.as_str()], |_| Ok(()))?.is_some();
        if there == adds {
            return Ok(Some(name.clone()));
        }
        added.push(name);
    }
    for change in changes {
        match change {
            TokenChange::Add(token, binding) => {
                run(
                    connection,
                    DURING,
                    "INSERT INTO token (name, secret, owners, scopes, patterns, created_at, expires_at, revoked_at) \
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
                    params![
                        token.name.as_str(),
                        token.secret,
                        json(&token.owners)?,
                        json(&token.scopes)?,
                        json(&token.patterns)?,
                        token.created_at.unix(),
                        token.expires_at.map(Timestamp::unix),
                        token.revoked_at.map(Timestamp::unix)
                    ],
                )?;
                if let Some(binding) = binding {
                    let sql = "INSERT INTO token_binding (name, binding) VALUES (?1, ?2)";
                    run(
                        connection,
                        DURING,
                        sql,
                        params![token.name.as_str(), json(binding)?],
                    )?;
                }
            }
            TokenChange::Revoke { name, at } => {
                let sql = "UPDATE token SET revoked_at = coalesce(revoked_at, ?2) WHERE name = ?1";
                run(connection, DURING, sql, params![name.as_str(), at.unix()])?;
            }
        }
    }
    Ok(None)
}

/// Notes that an ID token was used, and deletes the notes that ended at or before `mark`. Returns false if the ID token was
/// used before.
pub(super) fn admit(
    connection: &Connection,
    used: &IdTokenUse,
    mark: Timestamp,
) -> Result<bool, StoreFault> {
    const DURING: &str = "noting an ID token";
    run(
        connection,
        DURING,
        "DELETE FROM id_token WHERE expires_at <= ?1",
        [mark.unix()],
    )?;
    let sql = "INSERT OR IGNORE INTO id_token (digest, expires_at) VALUES (?1, ?2)";
    run(
        connection,
        DURING,
        sql,
        params![used.digest, used.expires_at.unix()],
    )
    .map(|rows| rows == 1)
}
