//! An input request of a stateless server as a real request to a client of the session era.

use lockgate_proto::jsonrpc::{Span, Splice, decode_str, elements, encode_str, find, members};
use lockgate_proto::mcp::{Revision, method};

use super::profile::{Ability, Profile};

/// Why a client cannot be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Unaskable {
    /// It did not declare that it can be.
    Undeclared(&'static str),
    /// It is no question that clients know.
    Unknown(String),
}

impl std::fmt::Display for Unaskable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Undeclared(what) => write!(
                f,
                "the server needs {what}, which the client did not declare"
            ),
            Self::Unknown(method) => {
                write!(
                    f,
                    "the server asks for `{method}`, which clients do not know"
                )
            }
        }
    }
}

/// The raw request that puts `input`, a raw entry of `inputRequests`, to the client under `id`. `mark` names a
/// question that needs a name of its own.
///
/// # Errors
///
/// Fails when this client cannot be asked that.
pub(super) fn request(
    input: &str,
    id: u64,
    mark: &str,
    profile: &Profile,
) -> Result<String, Unaskable> {
    let asked = find(input, "method").and_then(|span| decode_str(span.of(input)));
    let asked = asked.unwrap_or_default();
    let params = find(input, "params").map(|span| span.of(input));
    let given = params.unwrap_or("{}");
    let translated = match &*asked {
        method::ELICITATION => elicitation(given, mark, profile)?,
        method::SAMPLING => sampling(given, profile)?,
        method::ROOTS_LIST => {
            expect(profile, Ability::Roots, "roots")?;
            given.to_owned()
        }
        _ => return Err(Unaskable::Unknown(asked.into_owned())),
    };
    let params = if params.is_some() {
        format!(r#","params":{translated}"#)
    } else {
        String::new()
    };
    Ok(format!(
        r#"{{"jsonrpc":"2.0","id":{id},"method":"{asked}"{params}}}"#
    ))
}

fn expect(profile: &Profile, ability: Ability, what: &'static str) -> Result<(), Unaskable> {
    if profile.declares(ability) {
        Ok(())
    } else {
        Err(Unaskable::Undeclared(what))
    }
}

fn elicitation(params: &str, mark: &str, profile: &Profile) -> Result<String, Unaskable> {
    let whole = Span::new(0, params.len());
    let mut splice = Splice::new(params);
    let mode = find(params, "mode").map(|span| span.of(params));
    if mode == Some("\"url\"") {
        expect(profile, Ability::Url, "elicitation by URL")?;
        if find(params, "elicitationId").is_none() {
            splice.set_member(whole, "elicitationId", &encode_str(mark));
        }
    } else {
        expect(profile, Ability::Form, "elicitation")?;
        if profile.revision < Revision::V2025_11_25 {
            splice.remove_member(whole, "mode");
        }
    }
    Ok(text(splice))
}

fn sampling(params: &str, profile: &Profile) -> Result<String, Unaskable> {
    expect(profile, Ability::Sampling, "sampling")?;
    if find(params, "tools").is_some() || find(params, "toolChoice").is_some() {
        expect(profile, Ability::SamplingTools, "sampling with tools")?;
    }
    let mut splice = Splice::new(params);
    if profile.revision < Revision::V2025_11_25 {
        single_blocks(params, &mut splice)?;
    }
    Ok(text(splice))
}

/// Up to 2025-06-18 a message has one block of content and not an array of them.
fn single_blocks(params: &str, splice: &mut Splice<'_>) -> Result<(), Unaskable> {
    let Some(messages) = find(params, "messages") else {
        return Ok(());
    };
    for message in elements(messages.of(params)) {
        let message = message.shift(messages.start);
        let content = members(message.of(params)).find(|member| member.key == "content");
        let Some(content) = content.filter(|content| content.value.starts_with('[')) else {
            continue;
        };
        let blocks: Vec<Span> = elements(content.value).collect();
        let [block] = blocks.as_slice() else {
            return Err(Unaskable::Undeclared(
                "sampling with several blocks of content",
            ));
        };
        let at = content.value_span.shift(message.start);
        splice.replace(at, block.of(content.value));
    }
    Ok(())
}

/// A splice of text is text.
fn text(splice: Splice<'_>) -> String {
    String::from_utf8_lossy(&splice.finish()).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::upstream::link::SessionInit;

    const ALL: &str = r#"{"roots":{},"sampling":{"tools":{}},"elicitation":{"form":{},"url":{}}}"#;

    fn ask(revision: Revision, declared: &str, input: &str) -> Result<String, Unaskable> {
        let profile = Profile::new(&SessionInit {
            revision,
            capabilities: declared.into(),
            client_info: "{}".into(),
            now_ms: 0,
        });
        request(input, 3, "mark", &profile)
    }

    #[track_caller]
    fn check(revision: Revision, method: &str, params: &str, expected: &str) {
        let input = format!(r#"{{"method":"{method}","params":{params}}}"#);
        let expected =
            format!(r#"{{"jsonrpc":"2.0","id":3,"method":"{method}","params":{expected}}}"#);
        assert_eq!(ask(revision, ALL, &input), Ok(expected));
    }

    #[test]
    fn questions_are_put_in_the_words_of_the_clients_revision() {
        let form = r#"{"mode":"form","message":"m","requestedSchema":{"x-y":1}}"#;
        check(Revision::V2025_11_25, "elicitation/create", form, form);
        check(
            Revision::V2025_06_18,
            "elicitation/create",
            form,
            r#"{"message":"m","requestedSchema":{"x-y":1}}"#,
        );
        check(
            Revision::V2025_11_25,
            "elicitation/create",
            r#"{"mode":"url","url":"https://a","message":"m"}"#,
            r#"{"mode":"url","url":"https://a","message":"m","elicitationId":"mark"}"#,
        );
        let blocks = r#"{"messages":[{"role":"user","content":[{"type":"text","text":"t"}]}]}"#;
        check(
            Revision::V2025_11_25,
            "sampling/createMessage",
            blocks,
            blocks,
        );
        check(
            Revision::V2025_06_18,
            "sampling/createMessage",
            blocks,
            r#"{"messages":[{"role":"user","content":{"type":"text","text":"t"}}]}"#,
        );
        assert_eq!(
            ask(Revision::V2025_11_25, ALL, r#"{"method":"roots/list"}"#).unwrap(),
            r#"{"jsonrpc":"2.0","id":3,"method":"roots/list"}"#
        );
    }

    #[test]
    fn nobody_is_asked_for_what_he_did_not_declare() {
        let refuses = |declared: &str, input: &str| {
            assert!(
                ask(Revision::V2025_11_25, declared, input).is_err(),
                "{input}"
            );
        };
        let url = r#"{"method":"elicitation/create","params":{"mode":"url"}}"#;
        refuses(r#"{"elicitation":{}}"#, url);
        refuses("{}", r#"{"method":"elicitation/create","params":{}}"#);
        refuses("{}", r#"{"method":"roots/list"}"#);
        refuses("{}", r#"{"method":"sampling/createMessage","params":{}}"#);
        refuses(
            r#"{"sampling":{}}"#,
            r#"{"method":"sampling/createMessage","params":{"tools":[]}}"#,
        );
        refuses(ALL, r#"{"method":"vendor/ask","params":{}}"#);
        refuses(ALL, "{}");
        assert!(ask(Revision::V2025_06_18, ALL, url).is_err());
    }
}
