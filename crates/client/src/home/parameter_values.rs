//! Reads parameters that a person wrote in a file or as `name=value`.

use std::path::Path;

use serde_json::{Map, Value};

use crate::{CommandFailure, CommandResult, PrintableText, fail_usage, read_bounded};
use documents::{MAX_PARAMS_BYTES, Parameter, ParameterType, joined, json as strict};
use wire::StepView;

/// Reads an object of parameters from a file. The path `-` means the standard input.
///
/// # Errors
/// Returns an error if the file cannot be read, or if its content is not a strict JSON object.
pub fn read_params(path: &Path) -> CommandResult<Map<String, Value>> {
    let bytes = read_bounded(path, MAX_PARAMS_BYTES * 4)?;
    let place = PrintableText::file(path);
    match strict::parse_written(&bytes, MAX_PARAMS_BYTES * 4) {
        Ok(Value::Object(params)) => Ok(params),
        Ok(_) => fail_usage(format!("{place}: expected an object of parameters")),
        Err(error) => fail_usage(format!(
            "{place}: {}",
            PrintableText::text(&error.to_string())
        )),
    }
}

/// Returns the declared parameters of a step.
///
/// # Errors
/// Returns an error if this program can't read the declaration.
pub fn step_parameters(step: &StepView) -> CommandResult<Parameter> {
    strict::typed(&step.definition["params"]).map_err(|error| {
        CommandFailure::unreachable(format!("the boundary's step can't be read: {error}"))
    })
}

/// Splits the argument `name=value` of this option.
///
/// # Errors
/// Returns an error if the text has no `=`.
pub fn named<'g>(option: &str, given: &'g str, what: &str) -> CommandResult<(&'g str, &'g str)> {
    given.split_once('=').ok_or_else(|| {
        let shown = PrintableText::text(given);
        CommandFailure::usage(format!("{option} {shown}: expected name={what}"))
    })
}

/// Parses `name=value` with the declared type of the parameter.
///
/// # Errors
/// Returns an error if the step has no such parameter, or if the value has another type.
pub fn typed(given: &str, all: &Parameter) -> CommandResult<(String, Value)> {
    let shown = PrintableText::text(given);
    let (name, text) = named("-p", given, "value")?;
    let Some(declared) = all.key(name) else {
        let known = match joined(all.keys().map(|(key, _)| PrintableText::text(key)), ", ") {
            none if none.is_empty() => "none".to_owned(),
            known => known,
        };
        return fail_usage(format!(
            "-p {shown}: the step has no such parameter; it takes {known}"
        ));
    };
    let wrong = |expected: &str| {
        CommandFailure::usage(format!("-p {shown}: the schema asks for {expected}"))
    };
    let value = match declared.kind {
        // The text may be the secret itself, so no message repeats it.
        ParameterType::String if declared.secret.is_some() => {
            serde_json::from_str(text).map_err(|_| {
                let name = PrintableText::text(name);
                let example = "{\"secret\": \"db-password\"}";
                CommandFailure::usage(format!("-p {name}: give the name of a secret: {example}"))
            })?
        }
        ParameterType::String => Value::from(text),
        // Only the canonical spelling of a JSON integer is accepted, so two different texts are never the same
        // number.
        ParameterType::Integer => {
            let is_exact = |number: &i64| {
                number.to_string() == text && number.unsigned_abs() <= strict::MAX_INTEGER
            };
            text.parse::<i64>().ok().filter(is_exact).map(Value::from).ok_or_else(|| {
                let digits = text.strip_prefix('-').unwrap_or(text);
                let has_zeros =
                    digits.len() > 1 && digits.starts_with('0') && digits.bytes().all(|c| c.is_ascii_digit());
                wrong(if has_zeros {
                    "an integer without zeros at its beginning, because other programs read 010 as 8; a code with such \
                     zeros needs a parameter of the type text"
                } else if digits.len() > 15 && digits.bytes().all(|c| c.is_ascii_digit()) {
                    "an integer within +-9007199254740991, because other programs round larger ones; a longer number needs \
                     a parameter of the type text"
                } else {
                    "an integer, like 3 or -3"
                })
            })?
        }
        ParameterType::Boolean => match text {
            "true" => Value::from(true),
            "false" => Value::from(false),
            _ => return Err(wrong("true or false")),
        },
        kind @ (ParameterType::Array | ParameterType::Object) => {
            let is_list = kind == ParameterType::Array;
            match strict::parse_written(text.as_bytes(), MAX_PARAMS_BYTES * 4) {
                Ok(value) if is_list == value.is_array() && is_list != value.is_object() => value,
                _ => {
                    return Err(wrong(if is_list {
                        "an array in JSON, like [\"a\",\"b\"]"
                    } else {
                        "an object in JSON, like {\"a\":1}"
                    }));
                }
            }
        }
    };
    Ok((name.to_owned(), value))
}

#[cfg(test)]
mod tests {

    use super::*;
    use crate::Exit;
    use serde_json::json;

    fn schema() -> Parameter {
        let declared = json!({"type": "object", "required": [], "properties": {
            "host": {"type": "string"}, "n": {"type": "integer"}, "drain": {"type": "boolean"},
            "zones": {"type": "array", "items": {"type": "string"}}, "o": {"type": "object", "properties": {}},
            "pw": {"type": "string", "x-secret": true},
        }});
        serde_json::from_value(declared).expect("declared")
    }

    #[test]
    fn a_parameter_of_the_command_line_gets_the_type_of_its_schema() {
        let typed = |given: &str| typed(given, &schema()).map(|(_, value)| value);
        assert_eq!(typed("host=3").expect("string"), json!("3"));
        assert_eq!(typed("host=").expect("string"), json!(""));
        assert_eq!(typed("host=a=b").expect("string"), json!("a=b"));
        assert_eq!(typed("n=3").expect("integer"), json!(3));
        assert_eq!(typed("n=-3").expect("integer"), json!(-3));
        assert_eq!(typed("drain=true").expect("boolean"), json!(true));
        assert_eq!(
            typed("zones=[\"a\",\"b\"]").expect("array"),
            json!(["a", "b"])
        );
        assert_eq!(typed("o={}").expect("object"), json!({}));
        assert_eq!(
            typed("pw={\"secret\": \"db\"}").expect("the name of a secret"),
            json!({"secret": "db"})
        );
        let error = typed("pw=hunter2").expect_err("the secret itself");
        assert!(
            error.exit == Exit::Usage && error.message.contains("{\"secret\": "),
            "{error}"
        );
        assert!(!error.message.contains("hunter2"), "{error}");
    }

    #[test]
    fn a_parameter_value_of_the_wrong_type_is_a_usage_error() {
        for bad in [
            "n=3.0",
            "n=9007199254740993",
            "n=99999999999999999999",
            "n=03",
            "n=+3",
            "n=",
            "n=x",
            "drain=1",
            "drain=True",
            "zones=a",
            "zones={}",
            "o=[]",
            "zones=[1.5]",
            "zones=[",
            "none=1",
            "host",
        ] {
            assert_eq!(
                typed(bad, &schema()).expect_err(bad).exit,
                Exit::Usage,
                "{bad}"
            );
        }
        let error = typed("hosst=x", &schema()).expect_err("unknown");
        assert!(error.message.contains("drain, host, n"), "{error}");
    }
}
