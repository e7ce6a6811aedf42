//! The key with which the boundary signs its statements and checkpoints.

use documents::{
    Envelope, EnvelopeSignature, KeyId, Malformed, PAYLOAD_TYPE, Predicate, PublicKey, SecretKey,
    Statement, pae,
};

/// The boundary's key.
pub struct BoundaryKey {
    secret: SecretKey,
    /// The OpenSSH fingerprint of the public key.
    pub keyid: KeyId,
}

impl BoundaryKey {
    /// Makes the key from its private half and the fingerprint of its public half.
    pub fn new(secret: SecretKey, keyid: KeyId) -> Self {
        Self { secret, keyid }
    }

    /// Returns the public half.
    pub fn public(&self) -> PublicKey {
        self.secret.public()
    }

    /// Signs `payload`. Returns the canonical JSON of the envelope, in the form that the log stores.
    ///
    /// # Errors
    /// Returns an error if the envelope has no canonical form.
    pub fn sign(&self, payload: &[u8]) -> Result<Vec<u8>, Malformed> {
        Envelope::new(payload, vec![self.signature(payload)]).to_canonical()
    }

    /// Returns the signature over a payload.
    pub fn signature(&self, payload: &[u8]) -> EnvelopeSignature {
        let signature = self.secret.sign(&pae(PAYLOAD_TYPE, payload));
        EnvelopeSignature::new(self.keyid, &signature)
    }

    /// Signs a statement of this boundary.
    ///
    /// # Errors
    /// Returns an error if the statement can't be encoded.
    pub fn sign_statement<P: Predicate>(
        &self,
        statement: &Statement<P>,
    ) -> Result<Vec<u8>, Malformed> {
        self.sign(&statement.to_payload()?)
    }
}
