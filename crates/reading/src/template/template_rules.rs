//! Rules by which a template is read and rendered.

/// Rules about the places and the values of a template.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TemplateRules {
    /// The rules of `docs/formats.md`, section 10. Every version renders a template alike by these rules.
    Frozen,
    /// Also the rules of this version, by which no value can run as a command or become an option.
    Present,
}
