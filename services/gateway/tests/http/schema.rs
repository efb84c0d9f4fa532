//! As much of JSON Schema as the description uses, read strictly: a member that is not described is an error.

use std::sync::OnceLock;

use http::Method;
use serde_json::Value;

static DESCRIPTION: OnceLock<Value> = OnceLock::new();

/// Keeps the description that answers are checked against.
pub fn describe(text: &str) {
    let _first = DESCRIPTION.set(serde_json::from_str(text).unwrap());
}

/// Checks the answer of a call. Anything else has no description.
pub fn check_answer(method: &Method, path: &str, text: &str) {
    let Some(description) = DESCRIPTION.get() else {
        return;
    };
    let path = path.split('?').next().unwrap();
    let method = method.as_str().to_ascii_lowercase();
    let paths = description["paths"].as_object().unwrap();
    let Some((_, item)) = paths.iter().find(|(template, _)| matches(template, path)) else {
        return;
    };
    let schema = &item[&method]["responses"]["200"]["content"]["application/json"]["schema"];
    assert!(
        schema.is_object(),
        "{method} {path} has no description of its answer"
    );
    let answer = serde_json::from_str(text).unwrap();
    check(description, schema, &answer).unwrap_or_else(|why| panic!("{method} {path}: {why} in {text}"));
}

fn matches(template: &str, path: &str) -> bool {
    let (template, path): (Vec<_>, Vec<_>) = (template.split('/').collect(), path.split('/').collect());
    template.len() == path.len()
        && template
            .iter()
            .zip(path)
            .all(|(t, p)| t.starts_with('{') || *t == p)
}

/// Whether a value is what a schema says.
pub fn check(root: &Value, schema: &Value, value: &Value) -> Result<(), String> {
    if let Some(name) = schema["$ref"].as_str() {
        let target = root
            .pointer(name.trim_start_matches('#'))
            .ok_or(format!("{name} is not there"))?;
        return check(root, target, value);
    }
    for several in ["oneOf", "anyOf"] {
        if let Some(options) = schema[several].as_array() {
            let fits = options.iter().filter(|o| check(root, o, value).is_ok()).count();
            let enough = if several == "oneOf" { fits == 1 } else { fits > 0 };
            return if enough {
                Ok(())
            } else {
                Err(format!("{fits} of {several} fit {value}"))
            };
        }
    }
    let types: Vec<&str> = match &schema["type"] {
        Value::String(one) => vec![one],
        Value::Array(several) => several.iter().filter_map(Value::as_str).collect(),
        _ => return Ok(()),
    };
    if !types.iter().any(|t| is_of(t, value)) {
        return Err(format!("{value} is not {types:?}"));
    }
    match value {
        Value::Array(items) => items
            .iter()
            .try_for_each(|item| check(root, &schema["items"], item)),
        Value::Object(members) => {
            let required = schema["required"]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(Value::as_str);
            for name in required {
                members.get(name).ok_or(format!("{name} is missing"))?;
            }
            for (name, member) in members {
                let described = schema["properties"]
                    .get(name)
                    .ok_or(format!("{name} is not described"))?;
                check(root, described, member).map_err(|why| format!("{name}: {why}"))?;
            }
            Ok(())
        }
        _ => Ok(()),
    }
}

fn is_of(name: &str, value: &Value) -> bool {
    match name {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        _ => false,
    }
}
