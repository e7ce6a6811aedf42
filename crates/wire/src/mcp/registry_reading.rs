//! The steps of a boundary: a search, one step, and the folders.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::{
    Answer, BoundaryApi, GetStepArgs, ListStepsArgs, RegistryView, StepDetails, StepPage, StepView,
    ToolCalls, ToolProblem,
    mcp::{
        answers::StepLine,
        tool_calls::{object, parse},
        visible_text::{visible_cut, visible_up_to},
    },
    percent_encoded, visible_detail, visible_json,
};
use documents::{StepRef, visible};

/// Maximum number of bytes of a script in an answer.
const MAX_SCRIPT_BYTES: usize = 16 << 10;
/// Maximum number of bytes of the schema of the parameters in an answer.
const MAX_SCHEMA_BYTES: usize = 16 << 10;
/// Maximum number of bytes of each text of a step in a list.
const MAX_LINE_BYTES: usize = 150;

impl<A: BoundaryApi> ToolCalls<A> {
    /// Lists the steps that the token may see. With a query, the steps that fit best come first.
    pub async fn list_steps(&self, args: ListStepsArgs) -> Answer<StepPage> {
        let mut path = format!(
            "/v1/registry?query={}",
            percent_encoded(&args.query.unwrap_or_default())
        );
        if let Some(cursor) = args.cursor {
            path += &format!("&cursor={}", percent_encoded(&cursor));
        }
        let registry: RegistryView = self.read(&path).await?;
        let page = registry
            .page
            .ok_or_else(|| ToolProblem::odd("the list of the steps is no page"))?;
        let short = |text: &str| visible_cut(text, MAX_LINE_BYTES);
        let steps = registry.steps.iter().map(|step| StepLine {
            step: step.reference.to_string(),
            title: short(&step.title),
            parameters: short(&step.parameters.join(", ")),
            unavailable: step.unavailable.as_deref().map(short),
        });
        Ok(StepPage {
            boundary: registry.boundary.name.to_string(),
            steps: steps.collect(),
            found_steps: page.found_steps,
            visible_steps: page.visible_steps,
            next_cursor: page.cursor,
        })
    }

    /// Describes one step.
    pub async fn get_step(&self, args: GetStepArgs) -> Answer<StepDetails> {
        // The boundary answers the path of a runbook with the steps of the runbook.
        let end = if args.step.contains(':') { "" } else { ":x" };
        let _: StepRef = parse("step", &format!("{}{end}", args.step))?;
        let view: StepView = self.read(&format!("/v1/steps/{}", args.step)).await?;
        let text = |name: &str| view.definition[name].as_str().unwrap_or_default();
        let (script, script_is_cut) = visible_up_to(text("source"), MAX_SCRIPT_BYTES);
        let parameters = object(&view.definition["params"]);
        let parameters_is_cut =
            serde_json::to_vec(&parameters).is_ok_and(|json| json.len() > MAX_SCHEMA_BYTES);
        Ok(StepDetails {
            step: args.step,
            digest: view.digest.to_string(),
            title: visible(text("title")),
            parameters: if parameters_is_cut {
                Map::new()
            } else {
                parameters
            },
            parameters_is_cut,
            approvals: view.approvals.iter().map(object).collect(),
            permissions: view.permissions.iter().map(object).collect(),
            denied: view.denied.as_deref().map(visible_detail),
            needs_session: matches!(text("session"), "read" | "write"),
            plan_step: view.definition["plan"]["step"].as_str().map(visible),
            sandbox: object(&view.sandbox),
            interpreter: visible(text("interpreter")),
            script,
            script_is_cut,
        })
    }

    /// Returns the seal in force, and each folder of runbooks with the number of its steps.
    pub(super) async fn folders(&self) -> Answer<Value> {
        let registry: RegistryView = self.read("/v1/registry").await?;
        let mut folders: BTreeMap<&str, u64> = BTreeMap::new();
        for step in &registry.steps {
            let folder = step
                .reference
                .path()
                .rsplit_once('/')
                .map_or("", |(folder, _)| folder);
            *folders.entry(folder).or_default() += 1;
        }
        let folders: Vec<Value> = folders
            .iter()
            .map(|(folder, steps)| json!({"folder": folder, "steps": steps}))
            .collect();
        Ok(visible_json(json!({
            "boundary": registry.boundary,
            "seal": registry.seal,
            "frozen": registry.frozen,
            "visible_steps": registry.steps.len(),
            "folders": folders,
        })))
    }
}
