//! Asks a server for everything it lists, page by page.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use lockgate_proto::jsonrpc::{Frame, Kind, decode_str, elements, encode_str, find, find_path};
use lockgate_proto::mcp::Era;
use tracing::warn;

use crate::error::UpstreamError;
use crate::upstream::own_request;

use super::fit::fit;
use super::item::Unfit;
use super::{Catalog, Item, List, ListKind, ServerInfo, share};

/// Pages of one list that are read; a server whose cursors never end must not hold us for ever.
const PAGES_MAX: usize = 1_000;
/// Items of one list that are kept. Ten times the largest server seen in the field.
const ITEMS_MAX: usize = 50_000;
/// Flaws of one list that are kept.
const FLAWS_MAX: usize = 10;
/// As far as one of them is kept.
const FLAW_BYTES_MAX: usize = 400;
/// Bytes of one list that are kept.
const BYTES_MAX: usize = 64 << 20;

/// Somebody who brings a request to a server and its final response back.
pub trait Ask {
    /// Sends `frame`, a request, and waits for its response (`Kind::Result` or `Kind::Error`).
    fn ask(&self, frame: Frame) -> impl Future<Output = Result<Frame, UpstreamError>> + Send;
}

/// Fetches all lists that `introduction` (a raw `InitializeResult` or `DiscoverResult`) names the capability of.
///
/// A list that the server refuses (a JSON-RPC error) counts as empty, and so does what it lists without a name, or in a
/// form for which clients would refuse all that is listed beside it.
///
/// # Errors
///
/// Fails when the server gives no answer.
pub async fn fetch(
    caller: &impl Ask,
    introduction: &str,
    era: Era,
) -> Result<Catalog, UpstreamError> {
    let server = ServerInfo::read(introduction);
    let capabilities = server.capabilities.as_deref().unwrap_or("{}");
    let mut hints = Hints::default();
    hints.add(introduction);
    let mut lists: [Arc<List>; 5] = Default::default();
    for (kind, list) in ListKind::ALL.into_iter().zip(&mut lists) {
        if kind.is_offered(capabilities) {
            *list = Arc::new(fetch_list(caller, kind, era, &mut hints).await?);
        }
    }
    let [tools, prompts, resources, templates, skills] = lists;
    Ok(Catalog {
        server,
        tools,
        prompts,
        resources,
        templates,
        skills,
        ttl: hints.ttl,
        public: hints.public.unwrap_or(false),
    })
}

/// Fetches the tools alone.
///
/// # Errors
///
/// Fails when the server gives no answer.
pub async fn fetch_tools(caller: &impl Ask, era: Era) -> Result<List, UpstreamError> {
    fetch_list(caller, ListKind::Tools, era, &mut Hints::default()).await
}

async fn fetch_list(
    caller: &impl Ask,
    kind: ListKind,
    era: Era,
    hints: &mut Hints,
) -> Result<List, UpstreamError> {
    let mut read = Read::default();
    let mut bytes = 0;
    let mut cursor: Option<String> = None;
    for _page in 0..PAGES_MAX {
        let params = match &cursor {
            Some(cursor) => format!(r#""cursor":{}"#, encode_str(cursor)),
            None => String::new(),
        };
        let answer = caller
            .ask(own_request::frame(kind.method(), &params, era))
            .await?;
        let Some(result) = answer.body().filter(|_| answer.kind() == Kind::Result) else {
            warn!(
                list = kind.method(),
                error = answer.body(),
                "server refuses a list that it announced"
            );
            break;
        };
        hints.add(result);
        bytes += result.len();
        read.page(kind, era, answer.bytes(), result);
        cursor = next_cursor(result, cursor.as_deref());
        if cursor.is_none() {
            return Ok(read.end(kind));
        }
        if read.items.len() >= ITEMS_MAX || bytes >= BYTES_MAX {
            break;
        }
    }
    if cursor.is_some() {
        warn!(
            list = kind.method(),
            kept = read.items.len(),
            "list is too long, its end is left out"
        );
        read.items.truncate(ITEMS_MAX);
    }
    Ok(read.end(kind))
}

/// The cursor of the next page. One that equals the last would repeat the page for ever.
fn next_cursor(result: &str, last: Option<&str>) -> Option<String> {
    let span = find(result, "nextCursor")?;
    let next = decode_str(span.of(result))?;
    (Some(&*next) != last).then(|| next.into_owned())
}

/// What was read of one list so far.
#[derive(Debug, Default)]
struct Read {
    items: Vec<Item>,
    unfit: Vec<Box<str>>,
    /// What was wrong with entries, as far as it is kept.
    flaws: Vec<Box<str>>,
    n_mended: usize,
}

impl Read {
    fn page(&mut self, kind: ListKind, era: Era, whole: &Bytes, result: &str) {
        let Some(list) = find(result, kind.member()) else {
            return;
        };
        let list = list.of(result);
        for element in elements(list) {
            match self.entry(kind, era, whole, element.of(list)) {
                Ok(item) => self.items.push(item),
                Err(unfit) => {
                    let why = std::error::Error::source(&unfit).map(ToString::to_string);
                    warn!(list = kind.method(), %unfit, why, "entry of a list left out");
                    self.note(format!("left out of `{}`: {unfit}", kind.method()));
                    if let Unfit::Annotation { tool, .. } = unfit {
                        self.unfit.push(tool);
                    }
                }
            }
        }
    }

    fn entry(
        &mut self,
        kind: ListKind,
        era: Era,
        whole: &Bytes,
        entry: &str,
    ) -> Result<Item, Unfit> {
        let (fitting, changed) = fit(kind, era, entry)?;
        let item = Item::read(kind, era, share(whole, &fitting))?;
        if !changed.is_empty() {
            self.n_mended += 1;
            let what = changed.join("`, `");
            self.note(format!(
                "mended in `{}`: `{what}` of `{}`",
                kind.method(),
                item.key
            ));
        }
        Ok(item)
    }

    fn note(&mut self, mut flaw: String) {
        if self.flaws.len() < FLAWS_MAX {
            // A name in there is of any length.
            flaw.truncate(flaw.floor_char_boundary(FLAW_BYTES_MAX));
            self.flaws.push(flaw.into());
        }
    }

    fn end(self, kind: ListKind) -> List {
        if self.n_mended > 0 {
            let mut flaws = self.flaws.iter();
            let first = flaws.find(|flaw| flaw.starts_with("mended"));
            warn!(
                list = kind.method(),
                entries = self.n_mended,
                first = first.map(|flaw| &**flaw),
                "entries of a list do not keep to MCP, and are shown as it has them"
            );
        }
        List::with_unfit(self.items, self.unfit).with_flaws(self.flaws)
    }
}

/// Cache hints of all pages together: the shortest life, and public only if all are.
#[derive(Debug, Default)]
struct Hints {
    ttl: Option<Duration>,
    public: Option<bool>,
}

impl Hints {
    fn add(&mut self, result: &str) {
        if let Some(ttl) = find_path(result, &["ttlMs"])
            .and_then(|span| span.of(result).parse().ok())
            .map(Duration::from_millis)
        {
            self.ttl = Some(self.ttl.map_or(ttl, |known| known.min(ttl)));
        }
        if let Some(scope) = find_path(result, &["cacheScope"]) {
            let public = scope.of(result) == "\"public\"";
            self.public = Some(self.public.unwrap_or(true) && public);
        }
    }
}

#[cfg(test)]
mod tests {
    use lockgate_proto::jsonrpc::Limits;
    use parking_lot::Mutex;

    use super::*;

    /// Answers by a function; keeps what was asked, as `method cursor`.
    struct Server<F> {
        answer: F,
        asked: Mutex<Vec<String>>,
    }

    impl<F: Fn(&str, &str) -> String + Send + Sync> Ask for Server<F> {
        async fn ask(&self, frame: Frame) -> Result<Frame, UpstreamError> {
            let (method, cursor) = (frame.method(), frame.param_str(&["cursor"]));
            let cursor = cursor.as_deref().unwrap_or("-");
            self.asked.lock().push(format!("{method} {cursor}"));
            let body = (self.answer)(&method, cursor);
            let text = format!(r#"{{"jsonrpc":"2.0","id":"lockgate",{body}}}"#);
            Ok(Frame::parse(text.into(), &Limits::default()).unwrap())
        }
    }

    async fn run(
        introduction: &str,
        answer: impl Fn(&str, &str) -> String + Send + Sync,
    ) -> (Catalog, Vec<String>) {
        let server = Server {
            answer,
            asked: Mutex::default(),
        };
        let catalog = fetch(&server, introduction, Era::Stateless).await.unwrap();
        (catalog, server.asked.into_inner())
    }

    const TOOLS: &str =
        r#"{"capabilities":{"tools":{}},"instructions":"be kind","serverInfo":{"name":"x"}}"#;

    #[tokio::test]
    async fn only_announced_lists_are_asked_for() {
        let (catalog, asked) = run(TOOLS, |_, _| {
            r#""result":{"tools":[{"name":"a"}]}"#.to_owned()
        })
        .await;
        assert_eq!(asked, ["tools/list -"]);
        assert_eq!(catalog.tools.len(), 1);
        assert_eq!(catalog.server.instructions.as_deref(), Some(r#""be kind""#));
        assert_eq!(
            catalog.server.implementation.as_deref(),
            Some(r#"{"name":"x"}"#)
        );

        let (_, asked) = run("{}", |method, _| panic!("asked for {method}")).await;
        assert!(asked.is_empty());
    }

    #[tokio::test]
    async fn skills_are_asked_for_where_the_extension_is_announced() {
        let introduction =
            r#"{"capabilities":{"extensions":{"io.modelcontextprotocol/skills":{}}}}"#;
        let (catalog, asked) = run(introduction, |_, _| {
            r#""result":{"skills":[{"uri":"skill://a/SKILL.md"},{"frontmatter":{}}]}"#.to_owned()
        })
        .await;
        assert_eq!(asked, ["skills/list -"]);
        assert_eq!(catalog.skills.len(), 1);
        assert!(catalog.has_untold());
    }

    #[tokio::test]
    async fn pages_are_followed_by_their_cursors_which_may_be_empty() {
        let (catalog, asked) = run(TOOLS, |_, cursor| match cursor {
            "-" => r#""result":{"tools":[{"name":"a"}],"nextCursor":""}"#.to_owned(),
            "" => r#""result":{"tools":[{"name":"b"}],"nextCursor":"z\"z"}"#.to_owned(),
            _ => r#""result":{"tools":[{"name":"a","later":true},{"name":"c"}]}"#.to_owned(),
        })
        .await;
        assert_eq!(asked, ["tools/list -", "tools/list ", "tools/list z\"z"]);
        let names: Vec<&str> = catalog
            .tools
            .items()
            .iter()
            .map(|item| &*item.key)
            .collect();
        assert_eq!(names, ["a", "b", "c"]);
    }

    #[tokio::test]
    async fn a_cursor_that_stands_still_ends_the_list() {
        let page = r#""result":{"tools":[{"name":"a"}],"nextCursor":"1"}"#;
        let (_, asked) = run(TOOLS, |_, _| page.to_owned()).await;
        assert_eq!(asked, ["tools/list -", "tools/list 1"]);
    }

    #[tokio::test]
    async fn cursors_without_end_are_left() {
        let (_, asked) = run(TOOLS, |_, cursor| {
            format!(r#""result":{{"tools":[],"nextCursor":"{cursor}x"}}"#)
        })
        .await;
        assert_eq!(asked.len(), PAGES_MAX);
    }

    #[tokio::test]
    async fn a_refused_list_is_empty_and_the_others_are_fetched() {
        let introduction = r#"{"capabilities":{"tools":{},"resources":{}}}"#;
        let (catalog, asked) = run(introduction, |method, _| match method {
            "resources/templates/list" => r#""error":{"code":-32601,"message":"no"}"#.to_owned(),
            "resources/list" => {
                r#""result":{"resources":[{"uri":"x:1"},{"name":"no uri"}]}"#.to_owned()
            }
            _ => r#""result":{"tools":"none"}"#.to_owned(),
        })
        .await;
        assert_eq!(asked.len(), 3);
        assert_eq!(&*catalog.resources.items()[0].key, "x:1");
        assert_eq!(
            (
                catalog.resources.len(),
                catalog.templates.len(),
                catalog.tools.len()
            ),
            (1, 0, 0)
        );
    }

    #[tokio::test]
    async fn a_tool_that_wants_headers_that_cannot_be_is_remembered_as_unfit() {
        let (catalog, _) = run(TOOLS, |_, _| {
            let header = r#"{"type":"string","x-mcp-header":"no token"}"#;
            let schema = format!(r#"{{"type":"object","properties":{{"a":{header}}}}}"#);
            format!(
                r#""result":{{"tools":[{{"name":"bad","inputSchema":{schema}}},{{"name":"good"}},{{}}]}}"#
            )
        })
        .await;
        assert_eq!(catalog.tools.len(), 1);
        assert!(catalog.tools.is_unfit("bad"));
        assert!(!catalog.tools.is_unfit("good"));
        assert!(catalog.tools.with_items(Vec::new()).is_unfit("bad"));
    }

    #[tokio::test]
    async fn entries_that_break_the_schema_are_mended_or_left_out_and_told_of() {
        let (catalog, _) = run(TOOLS, |_, _| {
            r#""result":{"tools":[{"name":"a","description":null,"inputSchema":{}},{"name":"b","inputSchema":[]},{"name":"c"}]}"#
                .to_owned()
        })
        .await;
        let tools: Vec<_> = catalog
            .tools
            .items()
            .iter()
            .map(|tool| &*tool.raw)
            .collect();
        assert_eq!(
            tools,
            [
                &br#"{"name":"a","inputSchema":{"type":"object"}}"#[..],
                br#"{"name":"c","inputSchema":{"type":"object"}}"#,
            ]
        );
        let flaws: Vec<&str> = catalog.flaws().collect();
        assert_eq!(
            flaws,
            [
                "mended in `tools/list`: `description`, `inputSchema.type` of `a`",
                "left out of `tools/list`: `inputSchema` of tool `b` is no schema of an object",
                "mended in `tools/list`: `inputSchema` of `c`",
            ]
        );
        // At its own endpoint the server's list is the server's.
        assert!(!catalog.tools.is_unfit("b"));
    }

    #[tokio::test]
    async fn hints_of_all_pages_count_together() {
        let (catalog, _) = run(TOOLS, |_, cursor| match cursor {
            "-" => r#""result":{"tools":[],"ttlMs":9000,"cacheScope":"public","nextCursor":"1"}"#
                .to_owned(),
            _ => r#""result":{"tools":[],"ttlMs":7000,"cacheScope":"public"}"#.to_owned(),
        })
        .await;
        assert_eq!(
            (catalog.ttl, catalog.public),
            (Some(Duration::from_secs(7)), true)
        );

        let (catalog, _) = run(TOOLS, |_, _| {
            r#""result":{"tools":[],"cacheScope":"private"}"#.to_owned()
        })
        .await;
        assert_eq!((catalog.ttl, catalog.public), (None, false));
    }

    #[tokio::test]
    async fn raw_items_share_the_page_that_brought_them() {
        let (catalog, _) = run(TOOLS, |_, _| {
            r#""result":{"tools":[ {"name":"a" , "big":12345678901234567890.0,"inputSchema":{"type":"object"}} ]}"#.to_owned()
        })
        .await;
        assert_eq!(
            catalog.tools.items()[0].raw,
            r#"{"name":"a" , "big":12345678901234567890.0,"inputSchema":{"type":"object"}}"#
        );
    }
}
