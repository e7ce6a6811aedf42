//! The handler of MCP messages.
//!
//! The server never asks the client for anything: no elicitation, no sampling, no prompts. An answer to such a question
//! would be no proof that a person answered.
//!
//! The file also makes the JSON-RPC errors for requests that are no calls of a tool or that the program can't read.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::sync::Arc;

use rmcp::ErrorData;
use rmcp::handler::server::ServerHandler;
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, CancelTaskParams,
    CompleteRequestParams, CompleteResult, CompletionInfo, CreateTaskResult, CustomRequest,
    CustomResult, DetailedTask, ErrorCode, GetTaskParams, GetTaskResult, Implementation,
    JsonObject, ListPromptsRequestMethod, ListPromptsResult, ListResourceTemplatesResult,
    ListResourcesResult, ListToolsResult, PaginatedRequestParams, ReadResourceRequestParams,
    ReadResourceResponse, ReadResourceResult, ResourceContents, ServerCapabilities, ServerConfig,
    Task, TaskPayload, TaskStatus, Tool,
};
use rmcp::service::{RequestContext, RoleServer, ServerInitializeError};
use rmcp::transport::Transport;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};

use crate::{
    BOUNDARY, BoundaryApi, CancelArgs, GetStepArgs, ListStepsArgs, ProgressNotes, ProposalStatus,
    ProposalView, ProposeArgs, ToolCalls, ToolProblem,
    api::body::whole,
    mcp::{
        tool_calls::{CALL_LIMIT, ServedBoundaries, waiting_words},
        tools::{
            INSTRUCTIONS, INSTRUCTIONS_OF_LIST, RECEIPTS_URI, REGISTRY_URI, STEPS_URI, ToolName,
            resource_templates, resources, tools,
        },
    },
    of_value, visible_detail, visible_json, within_limit,
};
use documents::{ProposalId, ReceiptId, StepRef};

/// Maximum number of tool calls of one client at the same time.
const MAX_CALLS: usize = 32;
/// Interval in which a client should ask for the state of a task.
const TASK_INTERVAL_MS: u64 = 5000;

/// The MCP server of one client.
#[derive(Clone)]
pub struct McpServer<A> {
    boundaries: ServedBoundaries<A>,
    permits: Arc<Semaphore>,
}

impl<A: BoundaryApi> McpServer<A> {
    /// Creates a server whose tools make these calls: to the boundaries of a list by their names, or to one boundary with an
    /// empty name.
    pub fn new(boundaries: BTreeMap<String, ToolCalls<A>>) -> Self {
        let boundaries = ServedBoundaries(Arc::new(boundaries));
        Self {
            boundaries,
            permits: Arc::new(Semaphore::new(MAX_CALLS)),
        }
    }

    /// Serves one client until the transport ends.
    ///
    /// # Errors
    /// Returns an error if the first messages of the client break the protocol.
    pub async fn serve(
        self,
        transport: impl Transport<RoleServer> + 'static,
    ) -> Result<(), String> {
        match rmcp::serve_server(self, transport).await {
            Ok(running) => running
                .waiting()
                .await
                .map(drop)
                .map_err(|error| error.to_string()),
            // A client that closes the connection before its first request needs no error.
            Err(ServerInitializeError::ConnectionClosed(_)) => Ok(()),
            Err(error) => Err(error.to_string()),
        }
    }

    /// Waits for a call until its deadline. Refuses the call if too many calls are in progress.
    async fn limited<T>(
        &self,
        deadline: Instant,
        call: impl Future<Output = Result<T, ToolProblem>>,
    ) -> Result<T, ToolProblem> {
        let Ok(_permit) = self.permits.try_acquire() else {
            return Err(ToolProblem::new(
                "busy",
                "too many calls of this client are in progress",
                "wait for the answers, then call again",
            ));
        };
        // The deadline is `CALL_LIMIT` after the arrival of the call.
        timeout_at(deadline, call).await.unwrap_or_else(|_| {
            Err(ToolProblem::no_answer(
                "the boundary did not answer within 45 s",
            ))
        })
    }

    async fn call(
        &self,
        name: ToolName,
        mut arguments: JsonObject,
        deadline: Instant,
        context: &RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ToolProblem> {
        if name == ToolName::ListSteps && self.is_list() && !arguments.contains_key(BOUNDARY) {
            return done(&self.boundaries.search_all(&arguments_of(arguments)?).await);
        }
        let calls = self.boundaries.of_arguments(&mut arguments)?;
        let notes = ProgressNotes::new(context.peer.clone(), context.meta.get_progress_token());
        match name {
            ToolName::ListSteps => done(&calls.list_steps(arguments_of(arguments)?).await?),
            ToolName::GetStep => done(&calls.get_step(arguments_of(arguments)?).await?),
            ToolName::Propose => {
                let args: ProposeArgs = arguments_of(arguments)?;
                let (mut view, note) = calls.propose(&args).await?;
                if !self.is_list()
                    && context
                        .client_capabilities()
                        .is_some_and(|client| client.supports_tasks())
                {
                    calls.forget_use(&args);
                    let task =
                        task_of(&view).with_status_message(note.words() + &waiting_words(&view));
                    return Ok(CallToolResponse::Task(CreateTaskResult::new(task)));
                }
                // A problem of the wait is ignored, because the agent must get the id of the proposal. If the problem
                // persists, the next call of a tool reports it.
                let _ = calls
                    .until_end(&mut view, args.wait_s, deadline, &notes)
                    .await;
                let state = note.add_to(calls.state(view, deadline).await);
                calls.forget_use(&args);
                done(&state)
            }
            ToolName::Wait => done(
                &calls
                    .wait(arguments_of(arguments)?, deadline, &notes)
                    .await?,
            ),
            ToolName::GetOutput => {
                done(&calls.get_output(arguments_of(arguments)?, deadline).await?)
            }
            ToolName::GetReceipt => done(&calls.get_receipt(arguments_of(arguments)?).await?),
            ToolName::Cancel => done(&calls.cancel(arguments_of(arguments)?, deadline).await?),
        }
    }

    fn is_list(&self) -> bool {
        self.boundaries.only().is_none()
    }

    /// Returns the only boundary of this server. A server with a list of boundaries has tools, but no resources and no tasks.
    fn only(&self) -> Result<&ToolCalls<A>, ErrorData> {
        self.boundaries.only().ok_or_else(unknown_resource)
    }

    async fn resource(&self, uri: &str) -> Result<String, ErrorData> {
        let calls = self.only()?;
        if uri == REGISTRY_URI {
            let folders = calls.folders().await.map_err(refused)?;
            return Ok(within_limit(folders).to_string());
        }
        if let Some(step) = uri.strip_prefix(STEPS_URI) {
            // A client may percent-encode the slashes of the ref.
            let step = step
                .replace("%2F", "/")
                .replace("%2f", "/")
                .replace("%3A", ":")
                .replace("%3a", ":");
            let parsed = step.parse::<StepRef>();
            parsed.map_err(|error| wrong_params(format_args!("/uri: {error}")))?;
            let step = calls
                .get_step(GetStepArgs { step })
                .await
                .and_then(|step| json_of(&step));
            return Ok(visible_json(step.map_err(refused)?).to_string());
        }
        if let Some(id) = uri.strip_prefix(RECEIPTS_URI) {
            let id: ReceiptId = id.parse().map_err(|_| unknown_resource())?;
            return calls.bundle_text(&id).await.map_err(refused);
        }
        Err(unknown_resource())
    }
}

impl<A: BoundaryApi> ServerHandler for McpServer<A> {
    fn get_info(&self) -> ServerConfig {
        let tools = ServerCapabilities::builder().enable_tools();
        let (capabilities, of_list) = match self.is_list() {
            true => (tools.build(), INSTRUCTIONS_OF_LIST),
            false => {
                let tools = tools.enable_resources().enable_completions();
                (tools.enable_tasks().build(), "")
            }
        };
        ServerConfig::new(capabilities)
            .with_server_info(Implementation::new(
                "countersign",
                env!("CARGO_PKG_VERSION"),
            ))
            .with_instructions(format!("{INSTRUCTIONS}{of_list}"))
    }

    async fn list_tools(
        &self,
        _request: Option<PaginatedRequestParams>,
        _context: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        Ok(ListToolsResult::with_all_items(tools(self.is_list())))
    }

    fn get_tool(&self, name: &str) -> Option<Tool> {
        tools(self.is_list())
            .into_iter()
            .find(|tool| tool.name == name)
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let Ok(name) = request.name.parse::<ToolName>() else {
            return Err(ErrorData::invalid_params(
                "there is no such tool: see tools/list",
                None,
            ));
        };
        let arguments = request.arguments.unwrap_or_default();
        let deadline = Instant::now() + CALL_LIMIT;
        tokio::select! {
            made = self.limited(deadline, self.call(name, arguments, deadline, &context)) => {
                let about_tool = |problem: ToolProblem| if name == ToolName::Propose { problem.of_propose() } else { problem };
                Ok(made.unwrap_or_else(|problem| failed(about_tool(problem))))
            }
            // Nobody reads the answer to a cancelled request. A proposal that was made stays.
            () = context.ct.cancelled() => Err(ErrorData::invalid_request("the client cancelled the request", None)),
        }
    }

    async fn list_prompts(
        &self,
        _request: Option<PaginatedRequestParams>,
        _context: RequestContext<RoleServer>,
    ) -> Result<ListPromptsResult, ErrorData> {
        Err(ErrorData::method_not_found::<ListPromptsRequestMethod>())
    }

    async fn list_resources(
        &self,
        _request: Option<PaginatedRequestParams>,
        _context: RequestContext<RoleServer>,
    ) -> Result<ListResourcesResult, ErrorData> {
        self.only()?;
        Ok(ListResourcesResult::with_all_items(resources()))
    }

    async fn list_resource_templates(
        &self,
        _request: Option<PaginatedRequestParams>,
        _context: RequestContext<RoleServer>,
    ) -> Result<ListResourceTemplatesResult, ErrorData> {
        self.only()?;
        Ok(ListResourceTemplatesResult::with_all_items(
            resource_templates(),
        ))
    }

    async fn read_resource(
        &self,
        request: ReadResourceRequestParams,
        _context: RequestContext<RoleServer>,
    ) -> Result<ReadResourceResponse, ErrorData> {
        let deadline = Instant::now() + CALL_LIMIT;
        let text = self
            .limited(deadline, async { Ok(self.resource(&request.uri).await) })
            .await
            .map_err(refused)??;
        let contents = ResourceContents::text(text, request.uri).with_mime_type("application/json");
        Ok(ReadResourceResult::new(vec![contents]).into())
    }

    /// Completes the ref of a step, the only argument of a resource for which there are suggestions. Each step that a
    /// search finds is a suggestion.
    async fn complete(
        &self,
        request: CompleteRequestParams,
        _context: RequestContext<RoleServer>,
    ) -> Result<CompleteResult, ErrorData> {
        let calls = self.only()?;
        if request.argument.name != "ref" {
            return Ok(CompleteResult::default());
        }
        let search = calls.list_steps(ListStepsArgs {
            query: Some(request.argument.value),
            cursor: None,
        });
        let found = self.limited(Instant::now() + CALL_LIMIT, search).await;
        let found = found.map_err(refused)?;
        let refs = found.steps.into_iter().map(|step| step.step).collect();
        let total = u32::try_from(found.found_steps).ok();
        let values = CompletionInfo::with_pagination(refs, total, found.next_cursor.is_some());
        Ok(CompleteResult::new(
            values.map_err(|error| ErrorData::internal_error(error, None))?,
        ))
    }

    async fn get_task(
        &self,
        request: GetTaskParams,
        _context: RequestContext<RoleServer>,
    ) -> Result<GetTaskResult, ErrorData> {
        let (calls, id) = (self.only()?, task_id(&request.task_id)?);
        let deadline = Instant::now() + CALL_LIMIT;
        let read = async {
            let view = calls.proposal(&id).await?;
            Ok((task_of(&view), calls.state(view, deadline).await))
        };
        let (task, state) = self.limited(deadline, read).await.map_err(refused)?;
        let payload = match task.status {
            TaskStatus::Cancelled => TaskPayload::Cancelled,
            TaskStatus::Completed => {
                let result = CallToolResult::structured(json_of(&state).map_err(refused)?);
                match serde_json::to_value(result) {
                    Ok(Value::Object(result)) => TaskPayload::Completed { result },
                    _ => {
                        return Err(ErrorData::internal_error(
                            "the result can't be written",
                            None,
                        ));
                    }
                }
            }
            _ => TaskPayload::Working,
        };
        Ok(GetTaskResult::new(DetailedTask::new(task, payload)))
    }

    async fn cancel_task(
        &self,
        request: CancelTaskParams,
        _context: RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        let (calls, id) = (self.only()?, task_id(&request.task_id)?.to_string());
        let deadline = Instant::now() + CALL_LIMIT;
        self.limited(deadline, calls.cancel(CancelArgs { id }, deadline))
            .await
            .map(drop)
            .map_err(refused)
    }

    async fn on_custom_request(
        &self,
        request: CustomRequest,
        _context: RequestContext<RoleServer>,
    ) -> Result<CustomResult, ErrorData> {
        Err(unread_request(&request))
    }
}

/// Returns the task of a proposal. The id of the task is the id of the proposal, so a task survives a restart of every
/// program. A task never asks the client for input.
fn task_of(view: &ProposalView) -> Task {
    let status = match view.status {
        ProposalStatus::Cancelled => TaskStatus::Cancelled,
        status if status.has_ended() => TaskStatus::Completed,
        _ => TaskStatus::Working,
    };
    let updated = view.ended_at.unwrap_or(view.created_at);
    Task::new(
        view.id.as_str(),
        status,
        view.created_at.to_string(),
        updated.to_string(),
    )
    .with_status_message(waiting_words(view))
    .with_poll_interval_ms(TASK_INTERVAL_MS)
}

fn arguments_of<T: DeserializeOwned>(arguments: JsonObject) -> Result<T, ToolProblem> {
    with_integers("", Value::Object(arguments))
        .and_then(|arguments| of_value(&arguments))
        .map_err(ToolProblem::arguments)
}

/// Replaces each number that a client wrote as `2.0` by the integer. JSON Schema has no difference between the two, and a
/// document of the boundary has only integers. `path` is the JSON pointer of the value.
fn with_integers(path: &str, value: Value) -> Result<Value, String> {
    let below = |(name, value): (String, Value)| -> Result<(String, Value), String> {
        let value = with_integers(&format!("{path}/{name}"), value)?;
        Ok((name, value))
    };
    Ok(match value {
        Value::Number(number) => {
            let wrong = || {
                format!(
                    "{path}: expected an integer within ±9007199254740991, like 5, not {number}"
                )
            };
            Value::from(whole(&number).ok_or_else(wrong)?)
        }
        Value::Array(items) => {
            let items = items.into_iter().enumerate();
            let items = items.map(|(at, item)| with_integers(&format!("{path}/{at}"), item));
            Value::Array(items.collect::<Result<_, _>>()?)
        }
        Value::Object(members) => {
            Value::Object(members.into_iter().map(below).collect::<Result<_, _>>()?)
        }
        other => other,
    })
}

fn json_of(answer: &impl Serialize) -> Result<Value, ToolProblem> {
    serde_json::to_value(answer)
        .map(within_limit)
        .map_err(ToolProblem::arguments)
}

fn done(answer: &impl Serialize) -> Result<CallToolResponse, ToolProblem> {
    Ok(CallToolResult::structured(json_of(answer)?).into())
}

fn failed(problem: ToolProblem) -> CallToolResponse {
    CallToolResult::structured_error(problem.into_json()).into()
}

/// Returns the error for a request whose method is unknown, or whose parameters do not fit the method. `rmcp` does not
/// distinguish these requests.
pub fn unread_request(request: &CustomRequest) -> ErrorData {
    let params = request
        .params
        .clone()
        .unwrap_or_else(|| Value::Object(Map::new()));
    let error = match request.method.as_str() {
        "tools/call" => misfit::<CallToolRequestParams>(&params),
        "resources/read" => misfit::<ReadResourceRequestParams>(&params),
        "tasks/get" => misfit::<GetTaskParams>(&params),
        "tasks/cancel" => misfit::<CancelTaskParams>(&params),
        unknown => {
            return ErrorData::new(ErrorCode::METHOD_NOT_FOUND, visible_detail(unknown), None);
        }
    };
    wrong_params(error)
}

/// Returns the reason why `params` are not of type `T`. The reason names the field.
fn misfit<T: DeserializeOwned>(params: &Value) -> String {
    let read: Result<T, String> = of_value(params);
    read.err()
        .unwrap_or_else(|| "they do not fit the method".to_owned())
}

/// Returns the error for parameters with a wrong value.
pub fn wrong_params(error: impl Display) -> ErrorData {
    ErrorData::invalid_params(
        visible_detail(&format!("the parameters are wrong: {error}")),
        None,
    )
}

/// Parses the id of a task, which is the id of a proposal.
pub fn task_id(text: &str) -> Result<ProposalId, ErrorData> {
    text.parse()
        .map_err(|error| wrong_params(format_args!("/taskId: {error}")))
}

/// Returns the error for a request that failed with this problem.
pub fn refused(problem: ToolProblem) -> ErrorData {
    let is_refusal = problem.is_refusal();
    let data = problem.into_json();
    match data["problem"]["code"].as_str().unwrap_or_default() {
        "not-found" | "unknown-step" => ErrorData::resource_not_found(
            "the boundary has no such document for this token",
            Some(data),
        ),
        _ if is_refusal => {
            ErrorData::internal_error("the boundary refused the request", Some(data))
        }
        "busy" => ErrorData::internal_error(
            "too many calls of this client are in progress: wait for the answers, then call again",
            Some(data),
        ),
        _ => ErrorData::internal_error("there is no usable answer of the boundary", Some(data)),
    }
}

/// Returns the error for the URI of no resource.
pub fn unknown_resource() -> ErrorData {
    ErrorData::resource_not_found(
        "there is no such resource: see resources/templates/list",
        None,
    )
}
