//! `lockgate keys`.

use serde_json::{Value, json};

use super::client::{Client, segment};
use super::exit::{Exit, Failure};
use super::out::Out;
use super::sessions::{items, text};

#[derive(Debug, clap::Subcommand)]
pub(super) enum Verb {
    /// List keys; never their values.
    List,
    /// Make a key and show it once.
    Create(CreateArgs),
    /// Make a key worthless at once.
    Revoke {
        /// Key's id.
        id: String,
    },
    /// Replace a key's value and show the new one once.
    Rotate {
        /// Key's id.
        id: String,
    },
}

#[derive(Debug, clap::Args)]
pub(super) struct CreateArgs {
    /// Whom the key identifies.
    #[arg(long)]
    principal: String,
    /// Tenant of the principal.
    #[arg(long)]
    tenant: Option<String>,
    /// What the principal may do. Can be repeated.
    #[arg(long = "role", required = true, value_name = "ROLE")]
    roles: Vec<String>,
    /// Name of the key. Chosen by the gateway if left out.
    #[arg(long)]
    id: Option<String>,
}

pub(super) async fn run(verb: Verb, client: &Client, out: &mut Out) -> Result<Exit, Failure> {
    match verb {
        Verb::List => {
            let answer = client.get("keys").await?;
            let rows: Vec<Vec<String>> = items(&answer, "keys").iter().map(row).collect();
            out.table(
                &[
                    "id",
                    "principal",
                    "tenant",
                    "roles",
                    "source",
                    "created",
                    "state",
                ],
                &rows,
                &answer,
            );
        }
        Verb::Create(args) => {
            let mut body = json!({ "principal": args.principal, "roles": args.roles });
            for (name, value) in [("tenant", args.tenant), ("id", args.id)] {
                if let Some(value) = value {
                    body[name] = Value::from(value);
                }
            }
            once(&client.post("keys", Some(&body)).await?, out);
        }
        Verb::Revoke { id } => {
            client.delete(&format!("keys/{}", segment(&id))).await?;
            out.done(
                &format!("{id} is revoked"),
                &json!({ "id": id, "revoked": true }),
            );
        }
        Verb::Rotate { id } => once(
            &client
                .post(&format!("keys/{}/rotate", segment(&id)), None)
                .await?,
            out,
        ),
    }
    Ok(Exit::Done)
}

/// The value goes to standard output alone, so that `$(lockgate keys create ...)` takes it.
fn once(answer: &Value, out: &mut Out) {
    out.done(&text(&answer["key"]), answer);
    if !out.json {
        out.note(&format!(
            "key `{}`; it is not shown again",
            text(&answer["id"])
        ));
    }
}

/// Whether a key opens anything. One whose roles or tenant were taken out of the configuration may not.
fn state(key: &Value) -> String {
    if key["revoked"] == true {
        return "revoked".to_owned();
    }
    let missing = items(key, "missing_roles");
    let mut why: Vec<String> = missing
        .iter()
        .map(|role| format!("no role `{}`", text(role)))
        .collect();
    let is_tenant_missing = key["is_tenant_missing"] == true;
    if is_tenant_missing {
        why.push(format!("no tenant `{}`", text(&key["tenant"])));
    }
    let is_useless = is_tenant_missing || missing.len() == items(key, "roles").len();
    match (&*why, is_useless) {
        ([], _) => "active".to_owned(),
        (why, true) => format!("useless: {}", why.join(", ")),
        (why, false) => format!("active, but {}", why.join(", ")),
    }
}

fn row(key: &Value) -> Vec<String> {
    let mut row: Vec<String> = ["id", "principal", "tenant", "roles", "source", "created_at"]
        .iter()
        .map(|name| text(&key[*name]))
        .collect();
    row.push(state(key));
    row
}
