//! The key of the lock that excludes the other writers of a schema.

use documents::sha256;

/// Returns 64 bits of a hash of the names of the database and of the schema.
pub fn lock_key(database: &str, schema: &str) -> i64 {
    let digest = sha256(format!("{database}\0{schema}").as_bytes());
    let mut key = [0; 8];
    key.copy_from_slice(&digest[..8]);
    i64::from_be_bytes(key)
}
