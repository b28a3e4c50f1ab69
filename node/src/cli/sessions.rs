//! `lockgate sessions`.

use serde_json::{Value, json};

use super::client::{Client, segment};
use super::exit::{Exit, Failure};
use super::out::Out;

#[derive(Debug, clap::Subcommand)]
pub(super) enum Verb {
    /// List live sessions.
    List,
    /// Show one session.
    Show {
        /// Session's id, as listed.
        id: String,
    },
    /// End one session; its calls in flight are cancelled.
    End {
        /// Session's id, as listed.
        id: String,
    },
}

pub(super) async fn run(verb: Verb, client: &Client, out: &mut Out) -> Result<Exit, Failure> {
    match verb {
        Verb::List => {
            let answer = client.get("sessions").await?;
            let keys = [
                "id",
                "principal",
                "tenant",
                "revision",
                "client",
                "state",
                "age_s",
                "idle_s",
                "in_flight",
                "route",
            ];
            let row = |session: &Value| keys.iter().map(|key| cell(key, &session[*key])).collect();
            let rows: Vec<Vec<String>> = items(&answer, "sessions").iter().map(row).collect();
            let heads = [
                "id",
                "principal",
                "tenant",
                "revision",
                "client",
                "state",
                "age s",
                "idle s",
                "in flight",
                "route",
            ];
            out.table(&heads, &rows, &answer);
        }
        Verb::Show { id } => {
            let answer = client.get(&format!("sessions/{}", segment(&id))).await?;
            let members = answer.as_object().into_iter().flatten();
            let rows: Vec<Vec<String>> = members
                .map(|(key, value)| vec![key.clone(), cell(key, value)])
                .collect();
            out.table(&["key", "value"], &rows, &answer);
        }
        Verb::End { id } => {
            client.delete(&format!("sessions/{}", segment(&id))).await?;
            out.done(
                &format!("{id} is ended"),
                &json!({ "id": id, "ended": true }),
            );
        }
    }
    Ok(Exit::Done)
}

fn cell(key: &str, value: &Value) -> String {
    match key {
        "client" => client_of(value),
        _ => text(value),
    }
}

/// Name and version of a client, as it introduced itself.
fn client_of(value: &Value) -> String {
    match (value["name"].as_str(), value["version"].as_str()) {
        (Some(name), Some(version)) => format!("{name} {version}"),
        (Some(name), None) => name.to_owned(),
        (None, _) => text(value),
    }
}

/// The list that an answer holds under `key`.
pub(super) fn items<'a>(answer: &'a Value, key: &str) -> &'a [Value] {
    answer[key].as_array().map_or(&[], Vec::as_slice)
}

/// A value for a cell.
pub(super) fn text(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(text).collect::<Vec<_>>().join(","),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_is_shown_by_name_and_version() {
        let shown = |client: Value| cell("client", &client);
        assert_eq!(shown(json!({ "name": "curl", "version": "1" })), "curl 1");
        assert_eq!(shown(json!({ "name": "curl" })), "curl");
        assert_eq!(shown(json!({})), "{}");
        assert_eq!(cell("route", &json!("/mcp")), "/mcp");
    }
}
