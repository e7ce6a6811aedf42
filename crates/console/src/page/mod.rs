//! Parts of a page.

pub mod external_text;
pub mod field_errors;
pub mod frame;
pub mod passkey_form;
pub mod prose;
pub mod screen_lines;
pub mod terminal_text;
