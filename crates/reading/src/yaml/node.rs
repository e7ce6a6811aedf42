//! Access to the values of a tree.

use serde_json::Value;

use crate::{Key, TextPlace, YamlFlaw, YamlKind, YamlNode, refuse, yaml::unknown};

impl YamlNode {
    /// Makes a tree from a JSON value that does not come from a file. All places are `0:0`. A number with a fraction
    /// becomes text with the same digits.
    pub fn of_json(value: &Value) -> Self {
        let kind = match value {
            Value::Null => YamlKind::Null,
            Value::Bool(flag) => YamlKind::Boolean(*flag),
            Value::Number(number) => number
                .as_i64()
                .map_or_else(|| YamlKind::Text(number.to_string()), YamlKind::Integer),
            Value::String(text) => YamlKind::Text(text.clone()),
            Value::Array(items) => YamlKind::List(items.iter().map(Self::of_json).collect()),
            Value::Object(entries) => YamlKind::Map(
                entries
                    .iter()
                    .map(|(name, value)| {
                        (
                            Key {
                                place: TextPlace::default(),
                                name: name.clone(),
                            },
                            Self::of_json(value),
                        )
                    })
                    .collect(),
            ),
        };
        Self {
            place: TextPlace::default(),
            kind,
        }
    }

    /// Returns the value without places.
    pub fn to_json(&self) -> Value {
        match &self.kind {
            YamlKind::Null => Value::Null,
            YamlKind::Boolean(flag) => Value::Bool(*flag),
            YamlKind::Integer(number) => Value::from(*number),
            YamlKind::Text(text) => Value::String(text.clone()),
            YamlKind::List(items) => Value::Array(items.iter().map(Self::to_json).collect()),
            YamlKind::Map(entries) => Value::Object(
                entries
                    .iter()
                    .map(|(key, value)| (key.name.clone(), value.to_json()))
                    .collect(),
            ),
        }
    }

    /// Returns the kind of the value, in words for messages.
    pub fn word(&self) -> &'static str {
        match self.kind {
            YamlKind::Null => "nothing",
            YamlKind::Boolean(_) => "true or false",
            YamlKind::Integer(_) => "a number",
            YamlKind::Text(_) => "text",
            YamlKind::List(_) => "a list",
            YamlKind::Map(_) => "a map",
        }
    }

    /// Returns the value of a key, or `None` if this value is not a map with the key.
    pub fn value(&self, name: &str) -> Option<&Self> {
        self.entries()
            .iter()
            .find(|(key, _)| key.name == name)
            .map(|(_, value)| value)
    }

    /// Returns the entries of a map, or no entries if the value is not a map.
    pub fn entries(&self) -> &[(Key, Self)] {
        if let YamlKind::Map(entries) = &self.kind {
            entries
        } else {
            &[]
        }
    }

    /// Returns the entries of a map. Records an error if the value is not a map, and for each key that is not in
    /// `known`.
    pub fn closed_map(
        &self,
        what: &str,
        known: &[&str],
        flaws: &mut Vec<YamlFlaw>,
    ) -> &[(Key, Self)] {
        let YamlKind::Map(entries) = &self.kind else {
            refuse(
                flaws,
                self.place,
                format!("{what} must be a map, not {}", self.word()),
            );
            return &[];
        };
        for (key, _) in entries {
            let name = key.name.as_str();
            if !known.contains(&name) {
                refuse(
                    flaws,
                    key.place,
                    unknown(&format!("key in {what}"), name, known),
                );
            }
        }
        entries
    }

    /// Returns the flag, or records an error if the value is neither `true` nor `false`.
    pub fn boolean(&self, what: &str, flaws: &mut Vec<YamlFlaw>) -> Option<bool> {
        if let YamlKind::Boolean(flag) = self.kind {
            return Some(flag);
        }
        refuse(flaws, self.place, format!("{what} must be true or false"));
        None
    }

    /// Returns the text, or `None` if the value is not a text.
    pub fn as_text(&self) -> Option<&str> {
        match &self.kind {
            YamlKind::Text(text) => Some(text),
            _ => None,
        }
    }

    /// Returns the text, or records an error if the value is not a text.
    pub fn text(&self, what: &str, flaws: &mut Vec<YamlFlaw>) -> Option<&str> {
        let text = self.as_text();
        if text.is_none() {
            let message = format!("{what} must be text, not {}", self.word());
            refuse(flaws, self.place, message);
        }
        text
    }

    /// Returns the items of a list, or records an error if the value is not a list.
    pub fn list(&self, what: &str, flaws: &mut Vec<YamlFlaw>) -> Option<&[Self]> {
        if let YamlKind::List(items) = &self.kind {
            return Some(items);
        }
        refuse(
            flaws,
            self.place,
            format!("{what} must be a list, not {}", self.word()),
        );
        None
    }

    /// Returns the place of the value to which the RFC 6901 pointer leads, or of the nearest existing parent.
    pub fn place_of(&self, pointer: &str) -> TextPlace {
        let mut node = self;
        for token in pointer.split('/').skip(1) {
            let name = token.replace("~1", "/").replace("~0", "~");
            let inner = match &node.kind {
                YamlKind::List(items) => name.parse().ok().and_then(|at: usize| items.get(at)),
                _ => node.value(&name),
            };
            let Some(inner) = inner else { break };
            node = inner;
        }
        node.place
    }
}
