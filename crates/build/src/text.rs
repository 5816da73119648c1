//! What a build from source will do, as text and as a document.

use crate::steps::Step;
use source::Tree;
use source::choose::Choice;
use std::fmt::Write;

/// The choices and the commands for programs.
pub fn document(choice: &Choice, tree: &Tree, steps: &[Step]) -> serde_json::Value {
    serde_json::json!({
        "pytorch": tree.version,
        "tree": tree.root,
        "files": tree.files,
        "unread": tree.unread,
        "options": choice.options,
        "environment": choice.environment,
        "notes": choice.notes,
        "steps": steps,
    })
}

/// The choices and the commands for people.
pub fn text(choice: &Choice, tree: &Tree, steps: &[Step]) -> String {
    let mut text = format!(
        "PyTorch {}: {} CMake files know {} names\n",
        tree.version,
        tree.files,
        tree.names.variables.len()
    );
    let lines = choice.environment.iter().map(|chosen| ("", chosen));
    for (dash, chosen) in lines.chain(choice.options.iter().map(|chosen| ("-D", chosen))) {
        let place = chosen.place.as_ref().map(|place| format!(" ({place})")).unwrap_or_default();
        let _ = writeln!(
            text,
            "  {dash}{}={}\n      {}{place}",
            chosen.name, chosen.value, chosen.reason
        );
        if let Some(effect) = chosen.effect {
            let _ = writeln!(text, "      saves {} [{}]", effect.saves, effect.evidence.word());
        }
    }
    for note in &choice.notes {
        let _ = writeln!(text, "note: {note}");
    }
    text += "commands:\n";
    for step in steps {
        let _ = writeln!(text, "  {}", step.line());
    }
    text
}
