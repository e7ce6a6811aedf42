//! Fuzz targets of countersign.
pub mod targets;
