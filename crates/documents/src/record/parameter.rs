//! Declarations of parameters: which values a parameter of a step, of a grant or an output of a step may have.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_with::skip_serializing_none;

use crate::SecretName;

/// Declares the values of a parameter. The parameters of a step together are an object, with a key for each parameter. The
/// words are those of JSON Schema 2020-12, so every declaration is also a JSON Schema. Each word is only for the types that
/// its description names.
#[skip_serializing_none]
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Parameter {
    /// Type of the value.
    #[serde(rename = "type")]
    pub kind: ParameterType,
    /// Meaning of the value, for people.
    pub description: Option<String>,
    /// The value, if a proposal gives none.
    pub default: Option<Value>,
    /// The only values.
    #[serde(rename = "enum")]
    // A generator of clients for OpenAPI refuses the schema `true` of an item.
    #[schemars(length(min = 1), extend("uniqueItems" = true, "items" = serde_json::json!({})))]
    pub choices: Option<Vec<Value>>,
    /// Regular expression for the whole string.
    pub pattern: Option<String>,
    /// Minimum number of characters of a string.
    pub min_length: Option<u64>,
    /// Maximum number of characters of a string.
    pub max_length: Option<u64>,
    /// Smallest integer.
    pub minimum: Option<i64>,
    /// Largest integer.
    pub maximum: Option<i64>,
    /// Declaration of each item of an array.
    pub items: Option<Box<Self>>,
    /// Minimum number of items of an array.
    pub min_items: Option<u64>,
    /// Maximum number of items of an array.
    pub max_items: Option<u64>,
    /// Declarations of the keys of an object. The object has no other keys.
    pub properties: Option<BTreeMap<String, Self>>,
    /// Keys that an object must have.
    pub required: Option<Vec<String>>,
    /// True if a string may begin with `-`. A program could read such a string as an option.
    #[serde(rename = "x-leading-dash")]
    pub leading_dash: Option<bool>,
    /// True if the value is the name of a secret, `{"secret": NAME}`. The type is `string`.
    #[serde(rename = "x-secret")]
    #[schemars(extend("const" = true))]
    pub secret: Option<bool>,
}

words! {
    /// Type of a parameter.
    #[derive(Default, Hash, Serialize, Deserialize, JsonSchema)]
    #[serde(rename_all = "lowercase")]
    pub enum ParameterType {
        /// A text.
        String = "string",
        /// A whole number within +-(2^53-1).
        Integer = "integer",
        /// True or false.
        Boolean = "boolean",
        /// A list.
        Array = "array",
        /// An object with declared keys.
        #[default]
        Object = "object",
    }
}

impl Parameter {
    /// Returns a declaration without limits.
    pub fn new(kind: ParameterType) -> Self {
        Self {
            kind,
            ..Self::default()
        }
    }

    /// Returns an object with these keys.
    pub fn object(properties: BTreeMap<String, Self>, required: Vec<String>) -> Self {
        Self {
            properties: Some(properties),
            required: Some(required),
            ..Self::default()
        }
    }

    /// Returns the declarations of the keys of an object, sorted by key.
    pub fn keys(&self) -> impl Iterator<Item = (&String, &Self)> {
        self.properties.iter().flatten()
    }

    /// Returns the declaration of a key of an object.
    pub fn key(&self, name: &str) -> Option<&Self> {
        self.properties.as_ref()?.get(name)
    }

    /// Returns true if an object must have this key.
    pub fn requires(&self, name: &str) -> bool {
        self.required.iter().flatten().any(|one| one == name)
    }

    /// Returns true if a string may begin with `-`.
    pub fn allows_dash(&self) -> bool {
        self.leading_dash == Some(true)
    }

    /// Returns the smallest and the largest integer, number of characters or number of items.
    pub fn limits(&self) -> (Option<i64>, Option<i64>) {
        let count = |count: Option<u64>| count.and_then(|count| i64::try_from(count).ok());
        match self.kind {
            ParameterType::String => (count(self.min_length), count(self.max_length)),
            ParameterType::Array => (count(self.min_items), count(self.max_items)),
            _ => (self.minimum, self.maximum),
        }
    }

    /// Returns true if `holds` is true for this declaration or for a declaration inside it.
    pub fn any(&self, holds: fn(&Self) -> bool) -> bool {
        holds(self)
            || self.keys().any(|(_, inner)| inner.any(holds))
            || self.items.as_ref().is_some_and(|inner| inner.any(holds))
    }

    /// Returns true if this parameter or a part of it is secret.
    pub fn has_secret(&self) -> bool {
        self.any(|one| one.secret.is_some())
    }

    /// Returns the secret parameters, as pointers into the parameters without the first `/`. A `*` stands for any item of a
    /// list.
    pub fn secrets(&self) -> Vec<String> {
        if self.secret.is_some() {
            return vec![String::new()];
        }
        let keys = self.keys().map(|(name, inner)| (name.as_str(), inner));
        let items = self.items.iter().map(|inner| ("*", &**inner));
        let below = |(name, inner): (&str, &Self)| {
            let inner = inner.secrets().into_iter();
            let joined = inner.map(|one| match one.as_str() {
                "" => name.to_owned(),
                one => format!("{name}/{one}"),
            });
            joined.collect::<Vec<_>>()
        };
        keys.chain(items).flat_map(below).collect()
    }

    /// Calls `each` with every value of a secret parameter, in the order of the declaration.
    pub fn for_each_secret(&self, value: &mut Value, each: &mut dyn FnMut(&mut Value)) {
        if self.secret.is_some() {
            return each(value);
        }
        for (name, inner) in self.keys() {
            if let Some(value) = value.get_mut(name) {
                inner.for_each_secret(value, each);
            }
        }
        if let (Some(inner), Value::Array(values)) = (&self.items, value) {
            for value in values {
                inner.for_each_secret(value, each);
            }
        }
    }

    /// Returns the names of the secrets in the values of secret parameters.
    pub fn named_secrets(&self, params: &Value) -> Vec<SecretName> {
        let mut found = Vec::new();
        let mut add = |value: &mut Value| found.extend(secret_name(value));
        self.for_each_secret(&mut params.clone(), &mut add);
        found
    }
}

/// Returns the name in the value of a secret parameter, `{"secret": NAME}`.
pub fn secret_name(value: &Value) -> Option<SecretName> {
    value.get("secret")?.as_str()?.parse().ok()
}

/// Returns the name of the environment variable that contains a parameter.
pub fn parameter_variable(name: &str) -> String {
    format!("PARAM_{}", name.to_ascii_uppercase().replace('-', "_"))
}
