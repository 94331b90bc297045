//! Holds requests and answers to an OpenAPI 3.0 document.
//!
//! A schema that lists its properties and does not say that there may be others is taken as complete: a field misspelt is a
//! field too many.
#![allow(dead_code, reason = "every test binary uses another part")]
use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex};

use jsonschema::Validator;
use percent_encoding::percent_decode_str;
use reqwest::header::HeaderMap;
use serde_json::{Map, Value, json};

/// A document, with the schemas that were used already.
pub struct Document {
    /// What stands before the document's paths on the wire, as its server's address has it.
    base: &'static str,
    root: Value,
    components: Value,
    compiled: Mutex<HashMap<String, Arc<Validator>>>,
}

/// What is wrong with an answer.
#[derive(Debug, PartialEq, Eq)]
pub enum Wrong {
    /// No path of the document is like this one, or not with this method.
    NoOperation,
    /// The operation has no such status. Its path as the document writes it.
    NoStatus(String),
    /// The body is not what the document says.
    Body(Vec<String>),
}

impl Document {
    /// Reads `file` in the directory that `CLOUD_SPECS` names. None, and a line that says so, without that variable.
    ///
    /// # Panics
    /// Without the variable where `CI` is `true`; with a file that cannot be read.
    pub fn from_environment(file: &str) -> Option<Self> {
        let Some(directory) = std::env::var_os("CLOUD_SPECS") else {
            assert!(
                std::env::var("CI").as_deref() != Ok("true"),
                "CLOUD_SPECS must name the official documents here"
            );
            println!("skipped: CLOUD_SPECS does not name the directory of the official documents");
            return None;
        };
        let path = Path::new(&directory).join(file);
        let text = std::fs::read(&path).unwrap_or_else(|wrong| panic!("{}: {wrong}", path.display()));
        Some(Self::new(serde_json::from_slice(&text).unwrap()))
    }

    pub fn new(root: Value) -> Self {
        let schemas = root
            .pointer("/components/schemas")
            .and_then(Value::as_object)
            .cloned()
            .unwrap_or_default();
        let schemas: Map<_, _> = schemas
            .into_iter()
            .map(|(name, schema)| (name, translate(&schema)))
            .collect();
        Self {
            base: "",
            root,
            components: json!({ "schemas": schemas }),
            compiled: Mutex::default(),
        }
    }

    /// The document's paths stand under this one.
    pub fn under(self, base: &'static str) -> Self {
        Self { base, ..self }
    }

    /// Every operation as method and path.
    pub fn operations(&self) -> Vec<(String, String)> {
        let paths = self.root["paths"].as_object().into_iter().flatten();
        paths
            .flat_map(|(path, operations)| {
                let methods = operations.as_object().into_iter().flatten();
                methods.map(move |(method, _)| (method.to_uppercase(), format!("{}{path}", self.base)))
            })
            .collect()
    }

    /// The operation that a request asks for, and its path as the document writes it.
    pub fn operation(&self, method: &str, path: &str) -> Option<(String, &Value)> {
        let path = path.split('?').next().unwrap_or_default();
        let within = path.strip_prefix(self.base)?;
        let mut known: Vec<_> = self.root["paths"]
            .as_object()?
            .iter()
            .filter_map(|(known, operations)| Some((fit(known, within)?, operations.get(method.to_lowercase())?)))
            .collect();
        // Of two paths that fit, one has the method: `groups/search` is no group's id.
        known.sort_by_key(|((_, values), _)| values.len());
        let ((template, _), operation) = known.into_iter().next()?;
        Some((format!("{}{template}", self.base), operation))
    }

    /// Checks a request: path and method, query, and body. Gives the path as the document writes it, or everything that is wrong.
    pub fn validate_request(
        &self,
        method: &str,
        path_and_query: &str,
        headers: &HeaderMap,
        body: &[u8],
    ) -> Result<String, Vec<String>> {
        let Some((template, operation)) = self.operation(method, path_and_query) else {
            return Err(vec![format!(
                "{method} {path_and_query}: the document has no such operation"
            )]);
        };
        let mut wrong = Vec::new();
        let query = path_and_query.split_once('?').map_or("", |(_, query)| query);
        let query: Vec<(String, String)> = url::form_urlencoded::parse(query.as_bytes()).into_owned().collect();
        let parameters: Vec<&Value> = operation["parameters"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|one| self.resolve(one))
            .collect();
        let in_query = |parameter: &&&Value| parameter["in"] == "query";
        for (name, value) in &query {
            match parameters
                .iter()
                .filter(in_query)
                .find(|parameter| parameter["name"] == name.as_str())
            {
                None => wrong.push(format!("{name}: no such parameter")),
                Some(parameter) => {
                    if let Err(why) = fits_type(&parameter["schema"], value) {
                        wrong.push(format!("{name}: {why}"));
                    }
                }
            }
        }
        for parameter in parameters.iter().filter(in_query) {
            let name = parameter["name"].as_str().unwrap_or_default();
            let given = query.iter().filter(|(known, _)| known == name).count();
            if given == 0 && parameter["required"] == true {
                wrong.push(format!("{name}: is required"));
            }
            if given > 1 && (parameter["schema"]["type"] != "array" || parameter["explode"] == false) {
                wrong.push(format!("{name}: stands {given} times"));
            }
        }
        self.validate_request_body(operation, &format!("{method} {template}"), headers, body, &mut wrong);
        if wrong.is_empty() {
            return Ok(template);
        }
        Err(wrong
            .into_iter()
            .map(|why| format!("{method} {path_and_query}: {why}"))
            .collect())
    }

    fn validate_request_body(
        &self,
        operation: &Value,
        key: &str,
        headers: &HeaderMap,
        body: &[u8],
        wrong: &mut Vec<String>,
    ) {
        let body_told = self.resolve(&operation["requestBody"]);
        let Some(schema) = body_told.pointer("/content/application~1json/schema") else {
            if !body.is_empty() {
                wrong.push("the operation has no body".to_owned());
            }
            return;
        };
        let content_type = headers
            .get("content-type")
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default();
        if !is_json(content_type) {
            wrong.push(format!("the content type is {content_type:?}"));
        }
        wrong.extend(self.validate_body(&format!("{key} request"), schema, body));
    }

    /// Checks an answer: is the status documented, and is the body what the document says it is.
    pub fn validate_answer(
        &self,
        method: &str,
        path_and_query: &str,
        status: u16,
        content_type: Option<&str>,
        body: &[u8],
    ) -> Result<(), Wrong> {
        let (template, operation) = self.operation(method, path_and_query).ok_or(Wrong::NoOperation)?;
        let answer = &operation["responses"][status.to_string()];
        if answer.is_null() {
            return Err(Wrong::NoStatus(template));
        }
        let answer = self.resolve(answer);
        let Some(schema) = answer.pointer("/content/application~1json/schema") else {
            // The document says nothing of error bodies; a success without content has none.
            if status < 400 && !body.is_empty() {
                return Err(Wrong::Body(vec!["the document has no body here".to_owned()]));
            }
            return Ok(());
        };
        let told = content_type.unwrap_or_default();
        let media_type = told.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        if answer["content"].get(&media_type).is_none() {
            return Err(Wrong::Body(vec![format!("the content type is {content_type:?}")]));
        }
        let wrong = self.validate_body(&format!("{method} {template} {status}"), schema, body);
        if wrong.is_empty() {
            Ok(())
        } else {
            Err(Wrong::Body(wrong))
        }
    }

    fn validate_body(&self, key: &str, schema: &Value, body: &[u8]) -> Vec<String> {
        let instance: Value = match serde_json::from_slice(body) {
            Ok(instance) => instance,
            Err(wrong) => return vec![format!("the body is no JSON: {wrong}")],
        };
        let validator = {
            let mut compiled = self.compiled.lock().unwrap();
            let validator = compiled.entry(key.to_owned()).or_insert_with(|| {
                // Draft 4 is what OpenAPI 3.0 is made of. References point into the components, so they travel along.
                let schema = json!({ "allOf": [translate(schema)], "components": self.components });
                Arc::new(jsonschema::draft4::new(&schema).unwrap())
            });
            Arc::clone(validator)
        };
        validator
            .iter_errors(&instance)
            .map(|wrong| format!("{}: {wrong}", wrong.instance_path()))
            .collect()
    }

    fn resolve<'a>(&'a self, value: &'a Value) -> &'a Value {
        let pointer = value["$ref"].as_str().and_then(|reference| reference.strip_prefix('#'));
        pointer.and_then(|pointer| self.root.pointer(pointer)).unwrap_or(value)
    }
}

fn is_json(content_type: &str) -> bool {
    content_type
        .split(';')
        .next()
        .unwrap_or_default()
        .trim()
        .eq_ignore_ascii_case("application/json")
}

/// The template and its values, if the path is an instance of it.
fn fit(template: &str, path: &str) -> Option<(String, HashMap<String, String>)> {
    let (known, given): (Vec<_>, Vec<_>) = (template.split('/').collect(), path.split('/').collect());
    if known.len() != given.len() {
        return None;
    }
    let mut values = HashMap::new();
    for (known, given) in known.into_iter().zip(given) {
        match known.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')) {
            Some(_) if given.is_empty() => return None,
            Some(name) => {
                values.insert(
                    name.to_owned(),
                    percent_decode_str(given).decode_utf8_lossy().into_owned(),
                );
            }
            None if known == given => {}
            None => return None,
        }
    }
    Some((template.to_owned(), values))
}

/// A parameter is text: is it text of the right kind?
fn fits_type(schema: &Value, text: &str) -> Result<(), String> {
    match schema["type"].as_str().unwrap_or("string") {
        "integer" => {
            let number: i64 = text.parse().map_err(|_| format!("{text:?} is no integer"))?;
            if schema["format"] == "int32" && i32::try_from(number).is_err() {
                return Err(format!("{text:?} is no 32-bit integer"));
            }
            match schema["minimum"].as_i64() {
                Some(least) if number < least => Err(format!("{number} is less than {least}")),
                _ => Ok(()),
            }
        }
        "boolean" if !["true", "false"].contains(&text) => Err(format!("{text:?} is no boolean")),
        "array" => text
            .split(',')
            .filter(|item| !item.is_empty())
            .try_for_each(|item| fits_type(&schema["items"], item)),
        _ => match schema["enum"].as_array() {
            Some(known) if !known.iter().any(|one| one == text) => Err(format!("{text:?} is none of {known:?}")),
            _ => Ok(()),
        },
    }
}

/// From an OpenAPI 3.0 schema to one of JSON Schema, draft 4.
fn translate(schema: &Value) -> Value {
    let Some(fields) = schema.as_object() else {
        return schema.clone();
    };
    let mut out = Map::new();
    for (name, value) in fields {
        let translated = match name.as_str() {
            "nullable" | "example" | "default" | "discriminator" | "xml" | "externalDocs" | "description" => continue,
            "properties" => {
                let each = value.as_object().into_iter().flatten();
                Value::Object(each.map(|(name, schema)| (name.clone(), translate(schema))).collect())
            }
            "items" | "additionalProperties" | "not" => translate(value),
            "allOf" | "anyOf" | "oneOf" => members(value.as_array().map_or(&[], Vec::as_slice)),
            _ => value.clone(),
        };
        out.insert(name.clone(), translated);
    }
    let composed = ["allOf", "anyOf", "oneOf"].iter().any(|name| out.contains_key(*name));
    if out.contains_key("properties") && !out.contains_key("additionalProperties") && !composed {
        out.insert("additionalProperties".to_owned(), false.into());
    }
    if fields.get("nullable") == Some(&Value::Bool(true)) {
        return json!({ "anyOf": [out, { "type": "null" }] });
    }
    Value::Object(out)
}

/// What narrows a schema that is named beside it, `allOf: [{$ref}, {properties}]`, has not all of its properties.
fn members(schemas: &[Value]) -> Value {
    let narrows = schemas.iter().any(|schema| schema.get("$ref").is_some());
    let translated = schemas.iter().map(|schema| {
        let mut out = translate(schema);
        if narrows
            && schema.get("additionalProperties").is_none()
            && let Some(fields) = out.as_object_mut()
        {
            fields.remove("additionalProperties");
        }
        out
    });
    translated.collect()
}

#[test]
fn null_is_taken_only_where_the_document_allows_it() {
    let document = Document::new(json!({
        "paths": { "/a/{id}": { "get": { "responses": { "200": { "content": { "application/json": { "schema": {
            "$ref": "#/components/schemas/A"
        } } } } } } } },
        "components": { "schemas": {
            "A": { "type": "object", "required": ["b"], "properties": {
                "b": { "$ref": "#/components/schemas/B" }, "c": { "type": "string" }
            } },
            "B": { "type": "string", "nullable": true, "enum": ["x"] },
        } },
    }));
    let check = |body: Value| {
        document.validate_answer(
            "GET",
            "/a/1",
            200,
            Some("application/json"),
            body.to_string().as_bytes(),
        )
    };
    assert_eq!(check(json!({ "b": null })), Ok(()));
    assert_eq!(check(json!({ "b": "x", "c": "y" })), Ok(()));
    assert!(check(json!({ "b": "y" })).is_err());
    assert!(check(json!({ "b": "x", "c": null })).is_err());
    assert!(check(json!({ "b": "x", "misspelt": 1 })).is_err());
    assert!(check(json!({})).is_err());
    assert_eq!(
        document.validate_answer("GET", "/a/1", 404, None, b""),
        Err(Wrong::NoStatus("/a/{id}".to_owned()))
    );
    assert_eq!(
        document.validate_answer("GET", "/b", 200, None, b""),
        Err(Wrong::NoOperation)
    );
}
