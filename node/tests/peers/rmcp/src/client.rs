//! The client: one connection, and what its servers get to hear.

use std::sync::Mutex;
use std::time::Duration;

use anyhow::Context as _;
use rmcp::model::{
    CallToolRequest, CallToolRequestParams, ClientConfig, ClientRequest,
    CreateMessageRequestParams, CreateMessageResult, ElicitRequestParams, ElicitResult, ErrorCode,
    ListRootsResult, ProgressNotificationParam, ProtocolVersion, ResourceUpdatedNotificationParam,
    ServerNotification, SubscribeRequestParams, SubscriptionFilter, UnsubscribeRequestParams,
};
use rmcp::service::{
    NotificationContext, PeerRequestOptions, RequestContext, RunningService, Subscription,
};
use rmcp::transport::streamable_http_client::StreamableHttpClientTransportConfig;
use rmcp::transport::{StreamableHttpClientTransport, TokioChildProcess};
use rmcp::{ClientHandler, ClientLifecycleMode, ClientServiceExt, ErrorData, RoleClient};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::sync::Notify;

const POLL: Duration = Duration::from_millis(20);

/// What a connection heard from its servers, and what it says to them.
#[derive(Debug, Default)]
pub(crate) struct Heard {
    root: String,
    inner: Mutex<Inner>,
    progressed: Notify,
}

#[derive(Debug, Default)]
struct Inner {
    feature: Value,
    asked: Vec<String>,
    updated: Vec<String>,
    steps: Vec<f64>,
}

/// One connection.
pub(crate) struct Link {
    service: RunningService<RoleClient, Heard>,
    is_stateless: bool,
}

/// A subscription that is still open.
pub(crate) enum Open {
    Session(String),
    Stateless(Box<Subscription>),
}

/// A model of the SDK from its JSON, as most of them cannot be constructed.
fn made<T: DeserializeOwned>(value: Value) -> Result<T, ErrorData> {
    serde_json::from_value(value)
        .map_err(|error| ErrorData::new(ErrorCode::INTERNAL_ERROR, error.to_string(), None))
}

/// The texts of a result, wherever in it they are.
fn texts(result: &impl Serialize) -> anyhow::Result<String> {
    fn collect(value: &Value, into: &mut Vec<String>) {
        match value {
            Value::Object(members) => members.iter().for_each(|(name, value)| match value {
                Value::String(text) if name == "text" => into.push(text.clone()),
                value => collect(value, into),
            }),
            Value::Array(values) => values.iter().for_each(|value| collect(value, into)),
            _ => {}
        }
    }
    let mut found = Vec::new();
    collect(&serde_json::to_value(result)?, &mut found);
    Ok(found.join("\n"))
}

impl Heard {
    fn note(&self, asked: &str) -> Value {
        let mut inner = self.inner.lock().unwrap();
        inner.asked.push(asked.to_owned());
        inner.feature.clone()
    }
}

impl ClientHandler for Heard {
    fn get_info(&self) -> ClientConfig {
        let config = json!({
            "protocolVersion": "2025-11-25",
            "capabilities": { "sampling": {}, "roots": {}, "elicitation": { "form": {}, "url": {} } },
            "clientInfo": { "name": "rmcp-peer", "version": "1.0.0" },
        });
        serde_json::from_value(config).unwrap()
    }

    async fn create_message(
        &self,
        _params: CreateMessageRequestParams,
        _context: RequestContext<RoleClient>,
    ) -> Result<CreateMessageResult, ErrorData> {
        let said = self.note("sampling")["says"].clone();
        let content = json!({ "type": "text", "text": said });
        made(json!({ "role": "assistant", "content": content, "model": "model" }))
    }

    async fn create_elicitation(
        &self,
        request: ElicitRequestParams,
        _context: RequestContext<RoleClient>,
    ) -> Result<ElicitResult, ErrorData> {
        if let ElicitRequestParams::UrlElicitationParams { url, .. } = &request {
            self.note(&format!("url {url}"));
            return made(json!({ "action": "accept" }));
        }
        made(json!({ "action": "accept", "content": self.note("form")["fills"] }))
    }

    async fn list_roots(
        &self,
        _context: RequestContext<RoleClient>,
    ) -> Result<ListRootsResult, ErrorData> {
        made(json!({ "roots": [{ "uri": self.root, "name": "root" }] }))
    }

    async fn on_progress(
        &self,
        params: ProgressNotificationParam,
        _context: NotificationContext<RoleClient>,
    ) {
        self.inner.lock().unwrap().steps.push(params.progress);
        self.progressed.notify_waiters();
    }

    async fn on_resource_updated(
        &self,
        params: ResourceUpdatedNotificationParam,
        _context: NotificationContext<RoleClient>,
    ) {
        self.inner.lock().unwrap().updated.push(params.uri);
    }
}

impl Link {
    /// Connects as the plan says.
    pub(crate) async fn open(at: &Value, mode: &str, root: &str) -> anyhow::Result<Self> {
        let is_stateless = mode == "discover";
        let lifecycle = if is_stateless {
            ClientLifecycleMode::Discover {
                preferred_versions: vec![ProtocolVersion::V_2026_07_28],
            }
        } else {
            ClientLifecycleMode::Initialize
        };
        let heard = Heard {
            root: root.to_owned(),
            ..Heard::default()
        };
        let service = if let Some(url) = at["url"].as_str() {
            let mut config = StreamableHttpClientTransportConfig::with_uri(url);
            if let Some(token) = at["token"].as_str() {
                config = config.auth_header(token);
            }
            let transport = StreamableHttpClientTransport::from_config(config);
            heard.serve_with_lifecycle(transport, lifecycle).await?
        } else {
            let mut command =
                tokio::process::Command::new(at["command"].as_str().context("no command")?);
            command.args(
                at["args"]
                    .as_array()
                    .into_iter()
                    .flatten()
                    .filter_map(Value::as_str),
            );
            heard
                .serve_with_lifecycle(TokioChildProcess::new(command)?, lifecycle)
                .await?
        };
        Ok(Self {
            service,
            is_stateless,
        })
    }

    /// The revision that was agreed on.
    pub(crate) fn version(&self) -> String {
        if self.is_stateless {
            return ProtocolVersion::V_2026_07_28.to_string();
        }
        self.service
            .peer_info()
            .map(|info| info.protocol_version.to_string())
            .unwrap_or_default()
    }

    /// Forgets what was heard before a feature and takes over what it says.
    pub(crate) fn begin(&self, feature: &Value) {
        *self.service.service().inner.lock().unwrap() = Inner {
            feature: feature.clone(),
            ..Inner::default()
        };
    }

    /// What the servers asked for.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.service.service().inner.lock().unwrap().asked.clone()
    }

    /// The progress that arrived.
    pub(crate) fn steps(&self) -> Vec<f64> {
        self.service.service().inner.lock().unwrap().steps.clone()
    }

    /// The names of all tools.
    pub(crate) async fn tools(&self) -> anyhow::Result<Vec<String>> {
        let tools = self.service.list_all_tools().await?;
        Ok(tools
            .into_iter()
            .map(|tool| tool.name.into_owned())
            .collect())
    }

    /// The text that a tool answers with.
    pub(crate) async fn call(&self, tool: &Value, arguments: &Value) -> anyhow::Result<String> {
        let params: CallToolRequestParams = made(json!({ "name": tool, "arguments": arguments }))?;
        texts(&self.service.call_tool(params).await?)
    }

    /// Calls a tool and gives the call up at its first progress.
    pub(crate) async fn call_and_cancel(
        &self,
        tool: &Value,
        arguments: &Value,
    ) -> anyhow::Result<()> {
        let progressed = self.service.service().progressed.notified();
        tokio::pin!(progressed);
        progressed.as_mut().enable();
        let request: CallToolRequest = made(json!({
            "method": "tools/call",
            "params": { "name": tool, "arguments": arguments },
        }))?;
        let request = ClientRequest::CallToolRequest(request);
        let handle = self
            .service
            .send_cancellable_request(request, PeerRequestOptions::no_options())
            .await?;
        progressed.await;
        Ok(handle.cancel(Some("given up".to_owned())).await?)
    }

    /// The text of a resource.
    pub(crate) async fn read(&self, uri: &Value) -> anyhow::Result<String> {
        texts(
            &self
                .service
                .read_resource(made(json!({ "uri": uri }))?)
                .await?,
        )
    }

    /// The text of a prompt.
    pub(crate) async fn prompt(&self, name: &Value, arguments: &Value) -> anyhow::Result<String> {
        let params = made(json!({ "name": name, "arguments": arguments }))?;
        texts(&self.service.get_prompt(params).await?)
    }

    /// The completions of an argument.
    pub(crate) async fn complete(
        &self,
        reference: &Value,
        argument: &Value,
    ) -> anyhow::Result<Vec<String>> {
        let params = made(json!({ "ref": reference, "argument": argument }))?;
        Ok(self.service.complete(params).await?.completion.values)
    }

    /// Asks for the updates of a resource.
    pub(crate) async fn subscribe(&self, uri: &str) -> anyhow::Result<Open> {
        if self.is_stateless {
            let filter: SubscriptionFilter = made(json!({ "resourceSubscriptions": [uri] }))?;
            return Ok(Open::Stateless(Box::new(
                self.service.listen(filter).await?,
            )));
        }
        let params: SubscribeRequestParams = made(json!({ "uri": uri }))?;
        self.service.subscribe(params).await?;
        Ok(Open::Session(uri.to_owned()))
    }

    /// Waits for the update of a resource, and for no other, and ends the subscription.
    pub(crate) async fn wait_for_update(&self, open: Open) -> anyhow::Result<()> {
        match open {
            Open::Session(uri) => {
                while !self
                    .service
                    .service()
                    .inner
                    .lock()
                    .unwrap()
                    .updated
                    .contains(&uri)
                {
                    tokio::time::sleep(POLL).await;
                }
                let params: UnsubscribeRequestParams = made(json!({ "uri": uri }))?;
                self.service.unsubscribe(params).await?;
            }
            Open::Stateless(mut subscription) => {
                let update = subscription
                    .next()
                    .await?
                    .context("the subscription ended")?;
                let told = matches!(update, ServerNotification::ResourceUpdatedNotification(_));
                anyhow::ensure!(told, "told of {update:?}");
                subscription.cancel().await?;
            }
        }
        Ok(())
    }

    /// Ends the connection.
    pub(crate) async fn close(self) {
        let _ended = self.service.cancel().await;
    }
}
