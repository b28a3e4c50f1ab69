//! The server: what the one on FastMCP offers, under the same names, and subscriptions.

use std::borrow::Cow;
use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CompleteRequestParams, CompleteResult, ErrorCode,
    GetPromptRequestParams, GetPromptResponse, InputRequest, InputRequests, InputRequiredResult,
    ListPromptsResult, ListResourcesResult, ListToolsResult, PaginatedRequestParams,
    ProgressNotificationParam, ProtocolVersion, ReadResourceRequestParams, ReadResourceResponse,
    ResourceUpdatedNotificationParam, ServerConfig, SubscribeRequestParams, SubscriptionFilter,
    UnsubscribeRequestParams,
};
use rmcp::service::{RequestContext, RoleServer, SubscriptionContext};
use rmcp::transport::streamable_http_server::session::local::LocalSessionManager;
use rmcp::transport::streamable_http_server::{StreamableHttpServerConfig, StreamableHttpService};
use rmcp::{ErrorData, ServerHandler, ServiceExt};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::sync::broadcast;

/// How long a call takes that is there to be cancelled.
const WAIT: Duration = Duration::from_secs(60);
/// Between one thing and the next, where a client should see them one by one.
const STEP: Duration = Duration::from_millis(50);
const UPDATES_MAX: usize = 64;

/// One server; clones share what was cancelled and what changed.
#[derive(Clone)]
struct Server {
    cancelled: Arc<Mutex<HashSet<String>>>,
    updates: broadcast::Sender<String>,
    // Of the session to which this clone belongs.
    subscribed: Arc<Mutex<HashSet<String>>>,
}

/// Serves on a port that the kernel chooses.
pub(crate) async fn serve_http() -> anyhow::Result<()> {
    let server = Server::new();
    let service: StreamableHttpService<Server, LocalSessionManager> = StreamableHttpService::new(
        move || Ok(server.of_session()),
        Arc::default(),
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

/// Serves on the standard streams.
pub(crate) async fn serve_stdio() -> anyhow::Result<()> {
    let running = Server::new().serve(rmcp::transport::stdio()).await?;
    running.waiting().await?;
    Ok(())
}

impl Server {
    fn new() -> Self {
        Self {
            cancelled: Arc::default(),
            updates: broadcast::channel(UPDATES_MAX).0,
            subscribed: Arc::default(),
        }
    }

    fn of_session(&self) -> Self {
        Self {
            subscribed: Arc::default(),
            ..self.clone()
        }
    }

    /// Waits for a call to be cancelled; what it was is noted under its key.
    async fn wait(
        &self,
        key: &str,
        context: &RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        progress(context, 1, 2).await;
        tokio::select! {
            () = context.ct.cancelled() => {
                self.cancelled.lock().unwrap().insert(key.to_owned());
                text("cancelled")
            }
            () = tokio::time::sleep(WAIT) => text("waited"),
        }
    }
}

/// A model of the SDK from its JSON, as most of them cannot be constructed.
fn made<T: DeserializeOwned>(value: Value) -> Result<T, ErrorData> {
    serde_json::from_value(value)
        .map_err(|error| ErrorData::new(ErrorCode::INTERNAL_ERROR, error.to_string(), None))
}

fn text(said: &str) -> Result<CallToolResponse, ErrorData> {
    let result =
        made(json!({ "resultType": "complete", "content": [{ "type": "text", "text": said }] }))?;
    Ok(CallToolResponse::Complete(result))
}

async fn progress(context: &RequestContext<RoleServer>, done: u32, total: u32) {
    if let Some(token) = context.meta.get_progress_token() {
        let params =
            ProgressNotificationParam::new(token, f64::from(done)).with_total(f64::from(total));
        let _gone = context.peer.notify_progress(params).await;
    }
}

fn is_stateless(context: &RequestContext<RoleServer>) -> bool {
    context
        .protocol_version()
        .is_some_and(|version| version >= ProtocolVersion::V_2026_07_28)
}

/// What the tools ask of the client.
fn question(tool: &str, arguments: &Value) -> Value {
    match tool {
        "ask_model" => json!({ "method": "sampling/createMessage", "params": {
            "messages": [{ "role": "user", "content": { "type": "text", "text": arguments["prompt"] } }],
            "maxTokens": 100,
        } }),
        "ask_form" => json!({ "method": "elicitation/create", "params": {
            "mode": "form",
            "message": "Who are you?",
            "requestedSchema": { "type": "object", "properties": { "name": { "type": "string" } }, "required": ["name"] },
        } }),
        "ask_page" => json!({ "method": "elicitation/create", "params": {
            "mode": "url",
            "message": "Please log in",
            "url": arguments["url"],
            "elicitationId": "page-1",
        } }),
        _ => json!({ "method": "roots/list", "params": {} }),
    }
}

/// What the tools say once they have the answer.
fn conclusion(tool: &str, arguments: &Value, answer: &Value) -> String {
    let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    match tool {
        "ask_model" => {
            let content = &answer["content"];
            format!(
                "the model said: {}",
                word(
                    content
                        .get(0)
                        .unwrap_or(content)
                        .get("text")
                        .unwrap_or(&Value::Null)
                )
            )
        }
        "ask_form" => format!("the user is {}", word(&answer["content"]["name"])),
        "ask_page" => format!(
            "the user did {} {}",
            word(&answer["action"]),
            word(&arguments["url"])
        ),
        _ => answer["roots"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|root| word(&root["uri"]))
            .collect(),
    }
}

/// Asks in mid-call where there is a way back, and by a result that wants to be repeated where there is none.
async fn ask(
    request: &CallToolRequestParams,
    arguments: &Value,
    context: &RequestContext<RoleServer>,
) -> Result<CallToolResponse, ErrorData> {
    let question = question(&request.name, arguments);
    if !is_stateless(context) {
        let answer = push(&question, context).await?;
        return text(&conclusion(&request.name, arguments, &answer));
    }
    if let Some(answers) = &request.input_responses {
        return text(&conclusion(
            &request.name,
            arguments,
            answers.get("question").unwrap_or(&Value::Null),
        ));
    }
    let mut questions = InputRequests::new();
    questions.insert("question".to_owned(), made::<InputRequest>(question)?);
    Ok(InputRequiredResult::new(Some(questions), None).into())
}

/// The client's answer to a request of the session era.
async fn push(question: &Value, context: &RequestContext<RoleServer>) -> Result<Value, ErrorData> {
    let params = question["params"].clone();
    let failed = |error: rmcp::ServiceError| {
        ErrorData::new(ErrorCode::INTERNAL_ERROR, error.to_string(), None)
    };
    let answer = match question["method"].as_str() {
        Some("sampling/createMessage") => serde_json::to_value(
            context
                .peer
                .create_message(made(params)?)
                .await
                .map_err(failed)?,
        ),
        Some("elicitation/create") => serde_json::to_value(
            context
                .peer
                .create_elicitation(made(params)?)
                .await
                .map_err(failed)?,
        ),
        _ => serde_json::to_value(context.peer.list_roots().await.map_err(failed)?),
    };
    answer.map_err(|error| ErrorData::new(ErrorCode::INTERNAL_ERROR, error.to_string(), None))
}

impl ServerHandler for Server {
    fn get_info(&self) -> ServerConfig {
        let config = json!({
            "protocolVersion": "2025-11-25",
            "capabilities": { "tools": {}, "prompts": {}, "completions": {}, "resources": { "subscribe": true } },
            "serverInfo": { "name": "rmcp-peer", "version": "1.0.0" },
        });
        serde_json::from_value(config).unwrap()
    }

    fn supported_protocol_versions(&self) -> Cow<'static, [ProtocolVersion]> {
        Cow::Borrowed(&[
            ProtocolVersion::V_2026_07_28,
            ProtocolVersion::V_2025_11_25,
            ProtocolVersion::V_2025_06_18,
            ProtocolVersion::V_2025_03_26,
        ])
    }

    async fn list_tools(
        &self,
        _request: Option<PaginatedRequestParams>,
        _context: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        let tool = |name: &str, arguments: &[&str]| {
            let properties: Value = arguments
                .iter()
                .map(|name| ((*name).to_owned(), json!({ "type": "string" })))
                .collect();
            json!({ "name": name, "inputSchema": { "type": "object", "properties": properties, "required": arguments } })
        };
        made(json!({ "resultType": "complete", "tools": [
            tool("echo", &["message"]),
            tool("ask_model", &["prompt"]),
            tool("ask_form", &[]),
            tool("ask_page", &["url"]),
            tool("ask_roots", &[]),
            tool("count", &[]),
            tool("wait", &["key"]),
            tool("was_cancelled", &["key"]),
            tool("touch", &["uri"]),
        ] }))
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let arguments = Value::Object(request.arguments.clone().unwrap_or_default());
        let argument = |name: &str| arguments[name].as_str().unwrap_or_default().to_owned();
        match request.name.as_ref() {
            "echo" => text(&format!("echo: {}", argument("message"))),
            "ask_model" | "ask_form" | "ask_page" | "ask_roots" => {
                ask(&request, &arguments, &context).await
            }
            "count" => {
                for step in 1..=3 {
                    progress(&context, step, 3).await;
                    tokio::time::sleep(STEP).await;
                }
                text("counted")
            }
            "wait" => self.wait(&argument("key"), &context).await,
            "was_cancelled" => {
                let was = self.cancelled.lock().unwrap().contains(&argument("key"));
                text(if was { "cancelled" } else { "not yet" })
            }
            "touch" => {
                let (updates, uri) = (self.updates.clone(), argument("uri"));
                tokio::spawn(async move {
                    // The SDK acknowledges a subscription before it calls `listen`.
                    tokio::time::sleep(STEP).await;
                    // Nobody may listen.
                    let _n_listeners = updates.send(uri);
                });
                text("touched")
            }
            unknown => Err(ErrorData::invalid_params(
                format!("no tool {unknown}"),
                None,
            )),
        }
    }

    async fn list_resources(
        &self,
        _request: Option<PaginatedRequestParams>,
        _context: RequestContext<RoleServer>,
    ) -> Result<ListResourcesResult, ErrorData> {
        made(
            json!({ "resultType": "complete", "resources": [{ "uri": "note://one", "name": "one" }] }),
        )
    }

    async fn read_resource(
        &self,
        request: ReadResourceRequestParams,
        _context: RequestContext<RoleServer>,
    ) -> Result<ReadResourceResponse, ErrorData> {
        let contents = json!({ "resultType": "complete", "contents": [{ "uri": request.uri, "text": "the first note" }] });
        Ok(ReadResourceResponse::Complete(made(contents)?))
    }

    async fn list_prompts(
        &self,
        _request: Option<PaginatedRequestParams>,
        _context: RequestContext<RoleServer>,
    ) -> Result<ListPromptsResult, ErrorData> {
        made(
            json!({ "resultType": "complete", "prompts": [{ "name": "greet", "arguments": [{ "name": "language", "required": true }] }] }),
        )
    }

    async fn get_prompt(
        &self,
        request: GetPromptRequestParams,
        _context: RequestContext<RoleServer>,
    ) -> Result<GetPromptResponse, ErrorData> {
        let arguments = Value::Object(request.arguments.unwrap_or_default());
        let said = format!(
            "Greet the user in {}",
            arguments["language"].as_str().unwrap_or_default()
        );
        let result = json!({ "resultType": "complete", "messages": [{ "role": "user", "content": { "type": "text", "text": said } }] });
        Ok(GetPromptResponse::Complete(made(result)?))
    }

    async fn complete(
        &self,
        request: CompleteRequestParams,
        _context: RequestContext<RoleServer>,
    ) -> Result<CompleteResult, ErrorData> {
        let known = ["Danish", "Dutch", "English"].into_iter();
        let values: Vec<&str> = known
            .filter(|name| name.starts_with(&request.argument.value))
            .collect();
        made(json!({ "resultType": "complete", "completion": { "values": values } }))
    }

    async fn subscribe(
        &self,
        request: SubscribeRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        if !self.subscribed.lock().unwrap().insert(request.uri.clone()) {
            return Ok(());
        }
        let (server, mut updates) = (self.clone(), self.updates.subscribe());
        tokio::spawn(async move {
            while let Ok(uri) = updates.recv().await {
                if !server.subscribed.lock().unwrap().contains(&request.uri) {
                    return;
                }
                let params = ResourceUpdatedNotificationParam::new(uri.clone());
                if uri == request.uri && context.peer.notify_resource_updated(params).await.is_err()
                {
                    return;
                }
            }
        });
        Ok(())
    }

    async fn unsubscribe(
        &self,
        request: UnsubscribeRequestParams,
        _context: RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        self.subscribed.lock().unwrap().remove(&request.uri);
        Ok(())
    }

    fn accepted_subscription_filter(
        &self,
        requested: &SubscriptionFilter,
    ) -> Option<SubscriptionFilter> {
        Some(requested.supported_by(&self.get_info().capabilities))
    }

    async fn listen(&self, context: SubscriptionContext) -> Result<(), ErrorData> {
        let mut updates = self.updates.subscribe();
        loop {
            tokio::select! {
                () = context.cancelled() => return Ok(()),
                update = updates.recv() => {
                    let Ok(uri) = update else { return Ok(()) };
                    // Those that were not asked for are refused by the sink.
                    let _not_asked_for = context.sink().notify_resource_updated(uri).await;
                }
            }
        }
    }
}
