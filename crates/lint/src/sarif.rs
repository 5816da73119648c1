//! Findings as SARIF (OASIS, Static Analysis Results Interchange Format 2.1.0).

use crate::rules::{Code, Finding};
use serde_json::{Value, json};

/// The document.
pub fn sarif(findings: &[Finding], version: &str) -> Value {
    let rules: Vec<Value> = Code::ALL
        .iter()
        .map(|code| json!({"id": code.name(), "shortDescription": {"text": code.title()}}))
        .collect();
    let results: Vec<Value> = findings
        .iter()
        .map(|finding| {
            json!({
                "ruleId": finding.code.name(),
                "level": if finding.code.is_note() { "note" } else { "warning" },
                "message": {"text": finding.message},
                "locations": [{"physicalLocation": {
                    "artifactLocation": {"uri": finding.path},
                    "region": {"startLine": finding.line, "startColumn": finding.column},
                }}],
                "properties": {"cost": finding.cost, "left": finding.left},
            })
        })
        .collect();
    json!({
        "version": "2.1.0",
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "runs": [{
            "tool": {"driver": {"name": "taper lint", "version": version, "rules": rules}},
            "results": results,
        }],
    })
}
