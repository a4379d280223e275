//! The documents of the APIs, and answers held against them: every answer that the suite gets must be one that they describe.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, LazyLock, Mutex},
};

use jsonschema::Validator;
use k_webhooks::http::{internal, public};
use serde_json::{Value, json};

use super::{Answer, receiver::Received};

/// What any request can be answered with, and stands with no operation.
const ANYWHERE: [u16; 3] = [405, 414, 431];

pub(crate) static PUBLIC: LazyLock<Document> = LazyLock::new(|| Document::of(&public::document()));
pub(crate) static INTERNAL: LazyLock<Document> = LazyLock::new(|| Document::of(&internal::document()));

pub(crate) struct Document {
    pub(crate) json: Value,
    validators: Mutex<HashMap<String, Arc<Validator>>>,
}

/// An operation of a document.
#[derive(Clone, Copy)]
pub(crate) struct Operation<'a> {
    pub(crate) method: &'a str,
    pub(crate) path: &'a str,
    pub(crate) json: &'a Value,
}

/// Holds an answer against the documents, if its route is in one of them.
#[track_caller]
pub(crate) fn check(method: &str, target: &str, answer: &Answer) {
    let path = target.split('?').next().unwrap_or_default();
    let asked = if method == "HEAD" { "GET" } else { method };
    let found = [&*PUBLIC, &*INTERNAL].into_iter().find_map(|document| {
        let operation = document.operations().find(|operation| operation.is(asked, path))?;
        Some((document, operation))
    });
    if let Some((document, operation)) = found {
        let wrong = document.wrong(operation, answer, method == "HEAD");
        assert!(
            wrong.is_empty(),
            "{method} {target} is answered otherwise than documented: {wrong:#?} {answer:#?}"
        );
    }
}

/// What of a request that a receiver got is otherwise than the webhook of its type, if it is one.
pub(crate) fn undocumented(request: &Received) -> Vec<String> {
    let Some(name) = request.find_header("k-payments-event-type") else { return Vec::new() };
    let webhook = |document: &'static Document| Some((document, document.json["webhooks"].get(name)?));
    let Some((document, webhook)) = [&*PUBLIC, &*INTERNAL].into_iter().find_map(webhook) else {
        return vec![format!("{name} is no webhook's")];
    };
    let mut wrong = Vec::new();
    for parameter in webhook["post"]["parameters"].as_array().unwrap() {
        let (name, schema) = (parameter["name"].as_str().unwrap(), &parameter["schema"]);
        let violations = match request.find_header(name) {
            None => vec!["is missing".to_owned()],
            Some(text) if schema["type"] == "integer" => {
                document.violations(schema, &json!(text.parse::<i64>().ok()))
            }
            Some(text) => document.violations(schema, &json!(text)),
        };
        wrong.extend(violations.into_iter().map(|violation| format!("{name}: {violation}")));
    }
    let mut schema = webhook["post"]["requestBody"]["content"]["application/json"]["schema"].clone();
    schema["unevaluatedProperties"] = false.into();
    match serde_json::from_slice(&request.body) {
        Ok(body) => wrong.extend(document.violations(&schema, &body)),
        Err(error) => wrong.push(format!("{name}: {error}")),
    }
    wrong
}

impl<'a> Operation<'a> {
    fn is(&self, method: &str, path: &str) -> bool {
        let (own, asked) = (self.path.split('/'), path.split('/'));
        self.method == method
            && own.clone().count() == asked.clone().count()
            && own.zip(asked).all(|(own, asked)| own == asked || own.starts_with('{'))
    }

    pub(crate) fn parameters(&self) -> impl Iterator<Item = &'a Value> + use<'a> {
        self.json["parameters"].as_array().into_iter().flatten()
    }

    /// The schema of the body, its example, and whether there must be one.
    pub(crate) fn body(&self) -> Option<(&'a Value, bool)> {
        let body = self.json.get("requestBody")?;
        Some((&body["content"]["application/json"]["schema"], body["required"] == true))
    }
}

impl Document {
    fn of(document: &impl serde::Serialize) -> Self {
        Self { json: serde_json::to_value(document).unwrap(), validators: Mutex::default() }
    }

    pub(crate) fn operations(&self) -> impl Iterator<Item = Operation<'_>> {
        let paths = self.json["paths"].as_object().unwrap().iter();
        paths.flat_map(|(path, item)| {
            let item = item.as_object().unwrap().iter();
            item.map(move |(method, json)| Operation { method: upper(method), path, json })
        })
    }

    /// What a reference leads to.
    pub(crate) fn resolve<'a>(&'a self, value: &'a Value) -> &'a Value {
        match value["$ref"].as_str() {
            Some(reference) => self.json.pointer(reference.trim_start_matches('#')).expect(reference),
            None => value,
        }
    }

    /// What is wrong with a value, by a schema of the document.
    pub(crate) fn violations(&self, schema: &Value, value: &Value) -> Vec<String> {
        let validator = {
            let mut validators = self.validators.lock().unwrap();
            let new = || {
                let root = json!({ "allOf": [schema], "components": self.json["components"] });
                Arc::new(
                    jsonschema::draft202012::new(&root).unwrap_or_else(|error| panic!("{error}: {schema}")),
                )
            };
            Arc::clone(validators.entry(schema.to_string()).or_insert_with(new))
        };
        validator.iter_errors(value).map(|error| format!("{}: {error}", error.instance_path())).collect()
    }

    fn wrong(&self, operation: Operation<'_>, answer: &Answer, head_only: bool) -> Vec<String> {
        let mut wrong = Vec::new();
        let nowhere = answer.status == 404 && answer.text.contains("Unrecognized request URL");
        let generic = json!({
            "headers": {},
            "content": {
                "application/json": { "schema": { "$ref": "#/components/schemas/Error" } },
                "application/problem+json": { "schema": { "$ref": "#/components/schemas/Problem" } },
            },
        });
        let known = if nowhere || ANYWHERE.contains(&answer.status) {
            &generic
        } else {
            let Some(known) = operation.json["responses"].get(answer.status.to_string()) else {
                return vec![format!("{} is not among its answers", answer.status)];
            };
            self.resolve(known)
        };
        for (name, header) in known["headers"].as_object().unwrap() {
            let schema = &self.resolve(header)["schema"];
            // That one says something only where it is.
            let optional = name == "Idempotent-Replayed" || answer.status < 400 && name != "Request-Id";
            match answer.header(name) {
                Some(text) => {
                    let value = text.parse::<i64>().map_or_else(|_| json!(text), |number| json!(number));
                    let violations = self.violations(schema, &value);
                    wrong.extend(violations.into_iter().map(|violation| format!("{name}: {violation}")));
                }
                None if !optional => wrong.push(format!("{name} is missing")),
                None => {}
            }
        }
        if head_only {
            return wrong;
        }
        let content_type = answer.header("content-type").unwrap_or_default();
        let Some(content) = known["content"].get(content_type) else {
            wrong.push(format!("{content_type:?} is not among its content types"));
            return wrong;
        };
        if content_type == "text/event-stream" {
            return wrong;
        }
        let mut schema = content["schema"].clone();
        schema["unevaluatedProperties"] = false.into();
        let body = answer.json();
        wrong.extend(self.violations(&schema, &body));
        let details = if body["error"].is_object() { &body["error"]["details"] } else { &body["details"] };
        for (field, messages) in details["fieldErrors"].as_object().into_iter().flatten() {
            let unknown = messages.to_string().contains("is not a known ");
            if !unknown && !self.has_field(operation, field) {
                wrong.push(format!("{field} is none of its fields: {messages}"));
            }
        }
        wrong
    }

    /// Whether a request has such a field: a parameter, or a member of its body.
    fn has_field(&self, operation: Operation<'_>, field: &str) -> bool {
        operation.parameters().any(|parameter| parameter["name"] == field)
            || operation.body().is_some_and(|(schema, _)| self.has_member(schema, field))
    }

    /// Whether a value of this schema can have something at this path, such as `events[3].data.object.id`.
    fn has_member(&self, schema: &Value, path: &str) -> bool {
        let schema = self.resolve(schema);
        if path.is_empty() {
            return true;
        }
        if let Some(rest) = path.strip_prefix('[') {
            let rest = rest.split_once(']').map_or("", |(_, rest)| rest);
            return schema.get("items").is_some_and(|items| self.has_member(items, rest));
        }
        let path = path.strip_prefix('.').unwrap_or(path);
        let (name, rest) = path.split_at(path.find(['.', '[']).unwrap_or(path.len()));
        schema["properties"].get(name).is_some_and(|member| self.has_member(member, rest))
    }

    /// The names of all the schemas that something in the document refers to.
    pub(crate) fn referred(&self) -> BTreeSet<String> {
        let text = self.json.to_string();
        let references = text.split("#/components/schemas/").skip(1);
        references.filter_map(|rest| rest.split('"').next()).map(str::to_owned).collect()
    }
}

fn upper(method: &str) -> &'static str {
    match method {
        "get" => "GET",
        "post" => "POST",
        "patch" => "PATCH",
        "delete" => "DELETE",
        other => panic!("{other} is no method of the service"),
    }
}
