//! Method names.

/// `initialize`
pub const INITIALIZE: &str = "initialize";
/// `notifications/initialized`
pub const INITIALIZED: &str = "notifications/initialized";
/// `ping`
pub const PING: &str = "ping";
/// `server/discover`
pub const DISCOVER: &str = "server/discover";
/// `subscriptions/listen`
pub const LISTEN: &str = "subscriptions/listen";
/// `notifications/subscriptions/acknowledged`
pub const LISTEN_ACKNOWLEDGED: &str = "notifications/subscriptions/acknowledged";
/// `tools/list`
pub const TOOLS_LIST: &str = "tools/list";
/// `tools/call`
pub const TOOLS_CALL: &str = "tools/call";
/// `prompts/list`
pub const PROMPTS_LIST: &str = "prompts/list";
/// `prompts/get`
pub const PROMPTS_GET: &str = "prompts/get";
/// `resources/list`
pub const RESOURCES_LIST: &str = "resources/list";
/// `resources/templates/list`
pub const TEMPLATES_LIST: &str = "resources/templates/list";
/// `resources/read`
pub const RESOURCES_READ: &str = "resources/read";
/// `resources/subscribe`
pub const SUBSCRIBE: &str = "resources/subscribe";
/// `resources/unsubscribe`
pub const UNSUBSCRIBE: &str = "resources/unsubscribe";
/// `completion/complete`
pub const COMPLETE: &str = "completion/complete";
/// `logging/setLevel`
pub const SET_LEVEL: &str = "logging/setLevel";
/// `sampling/createMessage`
pub const SAMPLING: &str = "sampling/createMessage";
/// `elicitation/create`
pub const ELICITATION: &str = "elicitation/create";
/// `roots/list`
pub const ROOTS_LIST: &str = "roots/list";
/// `tasks/get`
pub const TASKS_GET: &str = "tasks/get";
/// `tasks/result`
pub const TASKS_RESULT: &str = "tasks/result";
/// `tasks/list`
pub const TASKS_LIST: &str = "tasks/list";
/// `tasks/cancel`
pub const TASKS_CANCEL: &str = "tasks/cancel";
/// `tasks/update`
pub const TASKS_UPDATE: &str = "tasks/update";
/// `skills/list` of the extension `io.modelcontextprotocol/skills`
pub const SKILLS_LIST: &str = "skills/list";
/// `skills/get` of the same
pub const SKILLS_GET: &str = "skills/get";
/// `resources/directory/read` of the same
pub const DIRECTORY_READ: &str = "resources/directory/read";
/// `notifications/cancelled`
pub const CANCELLED: &str = "notifications/cancelled";
/// `notifications/progress`
pub const PROGRESS: &str = "notifications/progress";
/// `notifications/message`
pub const LOG_MESSAGE: &str = "notifications/message";
/// `notifications/tools/list_changed`
pub const TOOLS_CHANGED: &str = "notifications/tools/list_changed";
/// `notifications/prompts/list_changed`
pub const PROMPTS_CHANGED: &str = "notifications/prompts/list_changed";
/// `notifications/resources/list_changed`
pub const RESOURCES_CHANGED: &str = "notifications/resources/list_changed";
/// `notifications/resources/updated`
pub const RESOURCE_UPDATED: &str = "notifications/resources/updated";
/// `notifications/roots/list_changed`
pub const ROOTS_CHANGED: &str = "notifications/roots/list_changed";
/// `notifications/elicitation/complete`
pub const ELICITATION_COMPLETE: &str = "notifications/elicitation/complete";
/// `notifications/tasks`
pub const TASK_CHANGED: &str = "notifications/tasks";
/// `notifications/tasks/status`
pub const TASK_STATUS: &str = "notifications/tasks/status";
