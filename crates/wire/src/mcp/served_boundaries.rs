//! The boundaries of a server: one boundary, or all boundaries of the user's list. With a list, each call names a boundary.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use serde_json::{Map, Value, json};
use tokio::{task::JoinSet, time::timeout};

use crate::{Answer, BoundaryApi, ListStepsArgs, ToolCalls, ToolProblem};

/// Name of the argument that names a boundary.
pub const BOUNDARY: &str = "boundary";
/// Time after which a search of all boundaries ends without the answer of a boundary.
const PATIENCE: Duration = Duration::from_secs(10);
/// Maximum number of steps of each boundary in the answer to a search of all boundaries.
const STEPS_OF_EACH: usize = 5;

/// The boundaries by their names in the user's list. Without a list, the only boundary has an empty name.
#[derive(Clone)]
pub struct ServedBoundaries<A>(pub Arc<BTreeMap<String, ToolCalls<A>>>);

impl<A: BoundaryApi> ServedBoundaries<A> {
    /// Returns the only boundary, or `None` if the server has a list.
    pub fn only(&self) -> Option<&ToolCalls<A>> {
        self.0.get("")
    }

    /// Returns the boundary that the arguments name, and removes the name.
    pub fn of_arguments(&self, arguments: &mut Map<String, Value>) -> Answer<&ToolCalls<A>> {
        self.only().map_or_else(
            || {
                let name = arguments.remove(BOUNDARY);
                name.as_ref()
                    .and_then(Value::as_str)
                    .and_then(|name| self.0.get(name))
                    .ok_or_else(|| {
                        let names = self
                            .0
                            .keys()
                            .map(String::as_str)
                            .collect::<Vec<_>>()
                            .join(", ");
                        ToolProblem::arguments(format_args!("/{BOUNDARY}: expected one of {names}"))
                    })
            },
            Ok,
        )
    }

    /// Searches the steps of all boundaries at the same time, and returns the first steps of each. A boundary that does not
    /// answer in time is named with its problem, and does not stop the others.
    pub async fn search_all(&self, args: &ListStepsArgs) -> Value {
        let mut searches = JoinSet::new();
        for (name, calls) in self.0.iter() {
            let (name, calls, args) = (name.clone(), calls.clone(), args.clone());
            searches.spawn(async move {
                let late = |_| {
                    Err(ToolProblem::no_answer(
                        "the boundary did not answer within 10 s",
                    ))
                };
                match timeout(PATIENCE, calls.list_steps(args))
                    .await
                    .unwrap_or_else(late)
                {
                    Ok(page) => {
                        let steps: Vec<_> = page.steps.into_iter().take(STEPS_OF_EACH).collect();
                        json!({BOUNDARY: name, "steps": steps, "found_steps": page.found_steps})
                    }
                    Err(problem) => json!({BOUNDARY: name, "problem": problem.detail()}),
                }
            });
        }
        let mut found = searches.join_all().await;
        found.sort_by_key(|one| one[BOUNDARY].to_string());
        json!({"boundaries": found})
    }
}
