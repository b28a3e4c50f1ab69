//! What is done on each connection, as the plan says: the same as in ../../matrix/play.py.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::client::Link;

const CONNECT_MAX: Duration = Duration::from_secs(60);
const FEATURE_MAX: Duration = Duration::from_secs(25);
const POLL: Duration = Duration::from_millis(20);

/// Plays all connections of a plan, one after the other, and prints a line per connection and per feature.
pub(crate) async fn play(file: &str, mode: &str) -> anyhow::Result<()> {
    let plan: Value = serde_json::from_slice(&std::fs::read(file)?)?;
    for job in plan["jobs"].as_array().context("no jobs")? {
        let root = plan["root"].as_str().context("no root")?;
        match timeout(CONNECT_MAX, Link::open(&job["at"], mode, root)).await {
            Ok(Ok(link)) => {
                println!(
                    "{}",
                    json!({ "job": job["job"], "version": link.version() })
                );
                play_all(&link, job).await;
                link.close().await;
            }
            Ok(Err(error)) => println!(
                "{}",
                json!({ "job": job["job"], "error": format!("{error:#}") })
            ),
            Err(late) => println!(
                "{}",
                json!({ "job": job["job"], "error": late.to_string() })
            ),
        }
    }
    Ok(())
}

async fn play_all(link: &Link, job: &Value) {
    for feature in job["features"].as_array().into_iter().flatten() {
        link.begin(feature);
        let mut line = json!({ "job": job["job"], "server": feature["server"], "feature": feature["feature"] });
        match timeout(FEATURE_MAX, play_one(link, feature)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => line["error"] = json!(format!("{error:#}")),
            Err(late) => line["error"] = json!(format!("{late}; asked: {:?}", link.asked())),
        }
        println!("{line}");
    }
}

fn holds(text: &str, of: &Value) -> anyhow::Result<()> {
    let expected = of["expects"].as_str().context("nothing is expected")?;
    ensure!(text.contains(expected), "{expected:?} is not in {text:?}");
    Ok(())
}

/// Calls a tool until it says what is expected.
async fn until(link: &Link, of: &Value) -> anyhow::Result<()> {
    while holds(&link.call(&of["tool"], &of["arguments"]).await?, of).is_err() {
        tokio::time::sleep(POLL).await;
    }
    Ok(())
}

async fn play_one(link: &Link, feature: &Value) -> anyhow::Result<()> {
    let (tool, arguments) = (&feature["tool"], &feature["arguments"]);
    match feature["feature"].as_str().context("no feature")? {
        "list" => {
            // At the latest it is listed when its server has started.
            while !link
                .tools()
                .await?
                .iter()
                .any(|name| feature["expects"] == **name)
            {
                tokio::time::sleep(POLL).await;
            }
            Ok(())
        }
        "call" => holds(&link.call(tool, arguments).await?, feature),
        "read" => holds(&link.read(&feature["uri"]).await?, feature),
        "prompt" => holds(&link.prompt(&feature["name"], arguments).await?, feature),
        "complete" => {
            let values = link.complete(&feature["ref"], &feature["argument"]).await?;
            ensure!(
                values.iter().any(|value| feature["expects"] == **value),
                "completed with {values:?}"
            );
            Ok(())
        }
        "sampling" | "form" | "url" => {
            holds(&link.call(tool, arguments).await?, feature)?;
            ensure!(
                json!(link.asked()) == json!([feature["asks"]]),
                "asked: {:?}",
                link.asked()
            );
            Ok(())
        }
        "roots" => until(link, feature).await,
        "progress" => play_progress(link, feature).await,
        "cancel" => {
            link.call_and_cancel(tool, arguments).await?;
            until(link, &feature["witness"]).await
        }
        "subscribe" => play_subscribe(link, feature).await,
        unknown => anyhow::bail!("this client has no {unknown}"),
    }
}

async fn play_progress(link: &Link, feature: &Value) -> anyhow::Result<()> {
    link.call(&feature["tool"], &feature["arguments"]).await?;
    let expected = feature["steps"].as_u64().context("no steps")?;
    // The result may overtake them, as it comes on its own.
    while (link.steps().len() as u64) < expected {
        tokio::time::sleep(POLL).await;
    }
    // The SDK hands notifications over at the same time, so their order says nothing of the wire.
    let steps = link.steps();
    let all_came = (1..=expected).all(|step| steps.contains(&(step as f64)));
    ensure!(all_came, "steps {steps:?}");
    Ok(())
}

async fn play_subscribe(link: &Link, feature: &Value) -> anyhow::Result<()> {
    let open = link
        .subscribe(feature["uri"].as_str().context("no URI")?)
        .await?;
    link.call(&feature["tool"], &feature["arguments"]).await?;
    link.wait_for_update(open).await?;
    if !feature["after"].is_null() {
        link.call(&feature["after"], &json!({})).await?;
    }
    Ok(())
}
