//! Parts of a page.

pub mod frame;
pub mod prose;
