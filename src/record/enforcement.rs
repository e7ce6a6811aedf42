//! Enforcement
