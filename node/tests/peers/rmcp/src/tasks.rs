//! A server with the tasks extension, under the names that the public conformance suite asks for.

use std::time::Duration;

use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, CancelTaskParams, ClientCapabilities,
    ContentBlock, CreateTaskResult, GetTaskParams, GetTaskResult, InputRequest, InputRequests,
    InputRequiredResult, JsonObject, ListToolsResult, PaginatedRequestParams, ServerCapabilities,
    ServerConfig, Tool, UpdateTaskParams,
};
use rmcp::service::{RequestContext, RoleServer};
use rmcp::task_manager::{TaskContext, TaskExit, TaskManager, TaskOptions};
use rmcp::transport::streamable_http_server::session::local::LocalSessionManager;
use rmcp::transport::streamable_http_server::{StreamableHttpServerConfig, StreamableHttpService};
use rmcp::{ErrorData, ServerHandler};
use serde_json::{Value, json};

/// How often clients are told to look.
const POLL_MS: u64 = 50;
/// How long a job takes that fails in the end.
const JOB: Duration = Duration::from_millis(300);

/// One server; clones share the tasks.
#[derive(Clone, Default)]
struct Server {
    tasks: TaskManager,
}

/// Serves on a port that the kernel chooses.
pub(crate) async fn serve_http() -> anyhow::Result<()> {
    let server = Server::default();
    let service: StreamableHttpService<Server, LocalSessionManager> = StreamableHttpService::new(
        move || Ok(server.clone()),
        std::sync::Arc::default(),
        StreamableHttpServerConfig::default(),
    );
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    println!(
        "{}",
        json!({ "url": format!("http://{}/mcp", listener.local_addr()?) })
    );
    axum::serve(listener, axum::Router::new().nest_service("/mcp", service)).await?;
    Ok(())
}

impl Server {
    /// Runs a job behind a task where the client can follow one, and here where it cannot.
    async fn run(
        &self,
        call: &CallToolRequestParams,
        follows: bool,
    ) -> Result<CallToolResponse, ErrorData> {
        let arguments = call.arguments.clone().unwrap_or_default();
        let name = call.name.to_string();
        if follows {
            let options = TaskOptions::new().with_poll_interval_ms(POLL_MS);
            let task = self.tasks.spawn(options, move |task| {
                Box::pin(async move { job(&name, &arguments, &task).await })
            });
            return Ok(CallToolResponse::Task(CreateTaskResult::new(task)));
        }
        if name != "slow_compute" {
            let needed = ClientCapabilities::builder().enable_tasks().build();
            return Err(ErrorData::missing_required_client_capability(needed));
        }
        tokio::time::sleep(seconds(&arguments)).await;
        Ok(computed(&arguments).into())
    }
}

/// What a task does.
async fn job(
    name: &str,
    arguments: &JsonObject,
    task: &TaskContext,
) -> Result<CallToolResult, TaskExit> {
    match name {
        "slow_compute" => tokio::select! {
            () = task.cancelled() => Err(TaskExit::Cancelled),
            () = tokio::time::sleep(seconds(arguments)) => Ok(computed(arguments)),
        },
        "failing_job" => {
            tokio::time::sleep(JOB).await;
            Ok(CallToolResult::error(vec![ContentBlock::text(
                "The job failed",
            )]))
        }
        "protocol_error_job" => Err(ErrorData::internal_error("The job broke off", None).into()),
        "confirm_delete" => {
            let said = task
                .request_input("confirm", question("Delete it?", "confirm", "boolean")?)
                .await?;
            Ok(answered(&[said]))
        }
        "multi_input" => {
            let name = task.request_input("name", question("What name?", "name", "string")?);
            let color = task.request_input("color", question("What color?", "color", "string")?);
            let (name, color) = tokio::try_join!(name, color)?;
            Ok(answered(&[name, color]))
        }
        // The name was asked for before there was a task.
        _ => Ok(answered(&[arguments
            .get("said")
            .cloned()
            .unwrap_or_default()])),
    }
}

fn seconds(arguments: &JsonObject) -> Duration {
    Duration::from_secs_f64(
        arguments
            .get("seconds")
            .and_then(Value::as_f64)
            .unwrap_or(0.0),
    )
}

fn computed(arguments: &JsonObject) -> CallToolResult {
    let label = arguments
        .get("label")
        .and_then(Value::as_str)
        .unwrap_or("unnamed");
    CallToolResult::success(vec![ContentBlock::text(format!("Computed {label}"))])
}

fn answered(said: &[Value]) -> CallToolResult {
    CallToolResult::success(vec![ContentBlock::text(format!("Heard {}", json!(said)))])
}

fn question(message: &str, field: &str, kind: &str) -> Result<InputRequest, ErrorData> {
    let asked = json!({
        "method": "elicitation/create",
        "params": {
            "message": message,
            "requestedSchema": {
                "type": "object",
                "properties": { field: { "type": kind } },
                "required": [field],
            },
        },
    });
    serde_json::from_value(asked)
        .map_err(|error| ErrorData::internal_error(error.to_string(), None))
}

/// The first round of the call that becomes a task in the second.
fn ask_for_the_name() -> Result<CallToolResponse, ErrorData> {
    let mut questions = InputRequests::default();
    questions.insert(
        "user_name".into(),
        question("What is your name?", "name", "string")?,
    );
    Ok(InputRequiredResult::new(Some(questions), Some("asked".into())).into())
}

impl ServerHandler for Server {
    async fn call_tool(
        &self,
        mut call: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let follows = context
            .client_capabilities()
            .is_some_and(|can| can.supports_tasks());
        match &*call.name {
            "greet" => {
                let name = call.arguments.as_ref().and_then(|given| given.get("name"));
                let name = name.and_then(Value::as_str).unwrap_or("stranger");
                Ok(
                    CallToolResult::success(vec![ContentBlock::text(format!("Hello, {name}!"))])
                        .into(),
                )
            }
            "test_tool_with_task" => {
                let Some(answer) = call
                    .input_responses
                    .as_ref()
                    .and_then(|all| all.get("user_name"))
                else {
                    return ask_for_the_name();
                };
                let said = serde_json::to_value(answer).unwrap_or_default();
                call.arguments
                    .get_or_insert_default()
                    .insert("said".into(), said);
                self.run(&call, follows).await
            }
            "slow_compute" | "failing_job" | "protocol_error_job" | "confirm_delete"
            | "multi_input" => self.run(&call, follows).await,
            name => Err(ErrorData::invalid_params(
                format!("Unknown tool: {name}"),
                None,
            )),
        }
    }

    async fn list_tools(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        let schema = json!({
            "type": "object",
            "properties": {
                "name": { "type": "string" },
                "seconds": { "type": "number" },
                "label": { "type": "string" },
            },
        });
        let schema = schema.as_object().cloned().unwrap_or_default();
        let names = [
            ("greet", "Greets at once"),
            ("slow_compute", "Takes its time"),
            ("failing_job", "Fails as a tool fails"),
            ("protocol_error_job", "Breaks off"),
            ("confirm_delete", "Asks in mid-task"),
            ("multi_input", "Asks two things at once in mid-task"),
            ("test_tool_with_task", "Asks first and becomes a task then"),
        ];
        let tools = names.map(|(name, what)| Tool::new(name, what, schema.clone()));
        Ok(ListToolsResult::with_all_items(tools.to_vec()))
    }

    async fn get_task(
        &self,
        asked: GetTaskParams,
        _: RequestContext<RoleServer>,
    ) -> Result<GetTaskResult, ErrorData> {
        self.tasks.get_task(&asked.task_id).map(GetTaskResult::new)
    }

    async fn update_task(
        &self,
        answers: UpdateTaskParams,
        _: RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        self.tasks
            .update_task(&answers.task_id, answers.input_responses)
    }

    async fn cancel_task(
        &self,
        asked: CancelTaskParams,
        _: RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        self.tasks.cancel_task(&asked.task_id)
    }

    fn get_info(&self) -> ServerConfig {
        ServerConfig::new(
            ServerCapabilities::builder()
                .enable_tools()
                .enable_tasks()
                .build(),
        )
    }
}
