//! The inputs of a form for the parameters of a step.

use std::collections::BTreeMap;

use console::{FieldError, FieldErrors};
use documents::visible;
use maud::{Markup, html};

use crate::{FieldKind, FormField, notebook::form::field_id};

/// Returns the errors that `named` has for these fields.
pub fn errors_of(of: &str, fields: &[FormField], named: &BTreeMap<String, String>) -> FieldErrors {
    let errors = fields.iter().enumerate().filter_map(|(at, field)| {
        let message = visible(named.get(&field.name)?);
        Some(FieldError {
            id: field_id(of, at),
            label: field.name.clone(),
            message,
        })
    });
    FieldErrors(errors.collect())
}

/// Returns the inputs for these fields, with the given values or else the defaults, and each error beside its field. `of` is
/// the fragment of the step, and `prefix` the beginning of the names in the form.
pub fn field_inputs(
    of: &str,
    prefix: &str,
    fields: &[FormField],
    given: &BTreeMap<String, String>,
    errors: &FieldErrors,
) -> Markup {
    html! {
        @if !fields.is_empty() { div.fields {
            @for (at, field) in fields.iter().enumerate() {
                @let (key, name) = (field_id(of, at), format!("{prefix}{}", field.name));
                @let hint = format!("{key}-hint");
                @let (wrong, described) = (errors.invalid(&key), errors.described(&key, &hint));
                @let value = given.get(&field.name).or(field.default.as_ref()).map_or("", String::as_str);
                div {
                    label for=(key) { (field.name) @if field.required { " (required)" } }
                    p.hint id=(hint) { (visible(&field.description)) @if !field.rules.is_empty() { " (" (visible(&field.rules.join(", "))) ")" } }
                    @match &field.kind {
                        FieldKind::Choice(values) | FieldKind::Secret(values) => {
                            select id=(key) name=(name) aria-describedby=(described) aria-invalid=[wrong] required[field.required] {
                                @if !values.iter().any(|one| one == value) { option value="" { "(choose)" } }
                                @for one in values { option value=(one) selected[one == value] { (visible(one)) } }
                            }
                        }
                        FieldKind::Json => textarea id=(key) name=(name) aria-describedby=(described) aria-invalid=[wrong] rows="3" required[field.required] { (value) },
                        FieldKind::Number => input id=(key) name=(name) inputmode="decimal" aria-describedby=(described) aria-invalid=[wrong] value=(value) required[field.required];,
                        FieldKind::Line => input id=(key) name=(name) aria-describedby=(described) aria-invalid=[wrong] value=(value) autocomplete="off" required[field.required];,
                    }
                    (errors.beside(&key))
                }
            }
        } }
    }
}
