//! The stages of a crossing: one type each, consumed by value.
//!
//! A stage holds what the stage before it proved. Its fields are private, it is neither `Clone` nor readable from
//! bytes, and only the crossing makes one, so that a check can't be skipped, repeated or forged:
//!
//! ```compile_fail,E0308
//! use countersign::boundary::{Boundary, stage::Accepted};
//! async fn skip(boundary: &Boundary, accepted: Accepted) {
//!     let _ = boundary.consume(accepted).await; // expected `Admitted`: signatures and rules are unchecked
//! }
//! ```
//! ```compile_fail,E0382
//! use countersign::boundary::{Boundary, stage::Consumed};
//! async fn twice(boundary: &Boundary, consumed: Consumed) {
//!     boundary.run(consumed).await;
//!     boundary.run(consumed).await; // use of moved value: one consumption, one run
//! }
//! ```
//! ```compile_fail,E0451
//! use countersign::boundary::stage::{Accepted, Verified};
//! fn forge(accepted: Accepted) -> Verified {
//!     Verified { accepted } // private fields, and more of them
//! }
//! ```
//! ```compile_fail,E0599
//! use countersign::boundary::stage::Admitted;
//! fn copy(admitted: &Admitted) -> Admitted {
//!     admitted.clone() // a verdict is not cloned
//! }
//! ```
//! ```compile_fail,E0277
//! use countersign::boundary::stage::Admitted;
//! fn from_bytes(bytes: &[u8]) -> Admitted {
//!     serde_json::from_slice(bytes).unwrap() // a verdict is never at rest
//! }
//! ```
