//! Quotas of requests and of money: refused with 429 where they end, paid by nobody else, and counted.

use serde_json::{Value, json};

use crate::support::{Gateway, Upstream, eventually};

const ONE: &str = "lg_000000000000000000000000000000000000000one";
const TWO: &str = "lg_000000000000000000000000000000000000000two";
const KEYS: [(&str, &str); 2] = [("KEY_ONE", ONE), ("KEY_TWO", TWO)];

fn config(upstream: &Upstream, quotas: &str) -> String {
    format!(
        r#"
identity:
  api_keys:
    - {{ id: one, key_env: KEY_ONE, principal: one, tenant: acme, roles: [all] }}
    - {{ id: two, key_env: KEY_TWO, principal: two, tenant: acme, roles: [all] }}
roles:
  all: {{ allow: ["*"] }}
tenants:
  acme: {{ quotas: {quotas} }}
servers:
{}"#,
        upstream.entry(
            "up",
            r#", tools: { work: { cost_usd: 0.25 }, "*": { action: allow } }"#
        )
    )
}

async fn gateway(upstream: &Upstream, quotas: &str) -> Gateway {
    Gateway::start_with(&config(upstream, quotas), &KEYS).await
}

fn work(key: &str) -> Value {
    json!({"name": "up_work", "arguments": {"key": key}})
}

fn is_limited(message: &Value, quota: &str) -> bool {
    let data = &message["error"]["data"];
    message["error"]["code"] == -31429
        && data["reason"] == "quota_exceeded"
        && data["quota"] == quota
        && data["retry_after_ms"].is_u64()
}

#[tokio::test]
async fn a_principal_over_its_quota_is_refused_and_another_is_not() {
    let upstream = Upstream::start().await;
    let quotas = "[{ per: principal, requests: 3, window: 1d }]";
    let gateway = gateway(&upstream, quotas).await;
    let one = gateway.client().key(ONE);
    for _ in 0..3 {
        assert_eq!(one.stateless("tools/call", work("a")).await.status, 200);
    }
    let answer = one.stateless("tools/call", work("a")).await;
    assert_eq!(answer.status, 429);
    let seconds: u64 = answer.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=86_400).contains(&seconds), "{seconds}");
    let message = answer.message().await;
    assert!(
        is_limited(&message, "acme/principal/requests/1d"),
        "{message}"
    );
    assert_eq!(upstream.executions("a"), 3);
    // Sessions draw on the same quota, and other principals on their own.
    let session = gateway.client().key(ONE).open().await;
    let message = session.call("up_work", json!({"key": "a"})).await;
    assert!(
        is_limited(&message, "acme/principal/requests/1d"),
        "{message}"
    );
    let two = gateway.client().key(TWO);
    assert_eq!(two.stateless("tools/call", work("b")).await.status, 200);

    let refused = |line: &Value| {
        line["event"] == "received"
            && line["decision"] == "deny"
            && line["rule"] == "quota acme/principal/requests/1d"
    };
    eventually("audit lines of what was refused", async || {
        gateway.audit().iter().filter(|line| refused(line)).count() == 2
    })
    .await;
    gateway.stop().await;
}

#[tokio::test]
async fn money_is_counted_by_what_calls_cost() {
    let upstream = Upstream::start().await;
    let quotas = "[{ per: tenant, cost_usd: 0.60, window: 1d }]";
    let gateway = gateway(&upstream, quotas).await;
    let (one, two) = (gateway.client().key(ONE), gateway.client().key(TWO));
    assert_eq!(one.stateless("tools/call", work("a")).await.status, 200);
    assert_eq!(two.stateless("tools/call", work("a")).await.status, 200);
    let answer = one.stateless("tools/call", work("a")).await;
    assert_eq!(answer.status, 429);
    let message = answer.message().await;
    assert!(is_limited(&message, "acme/tenant/cost/1d"), "{message}");
    // What costs nothing goes on.
    let other = json!({"name": "up_other", "arguments": {}});
    assert_eq!(one.stateless("tools/call", other).await.status, 200);

    eventually("usage by principal", async || {
        let usage = gateway.admin("/api/v1/usage?by=principal").await;
        usage["usage"]
            == json!([
                { "name": "one", "requests": 2, "limited": 1, "cost_micros": 250_000 },
                { "name": "two", "requests": 1, "limited": 0, "cost_micros": 250_000 },
            ])
    })
    .await;
    let usage = gateway.admin("/api/v1/usage?by=tool&days=35").await;
    assert_eq!(usage["usage"][0]["name"], "up_work");
    let usage = gateway.admin("/api/v1/usage?by=tenant").await;
    assert_eq!(usage["usage"][0]["cost_micros"], 500_000);
    let refused = gateway.admin("/api/v1/usage?by=moon").await;
    assert_eq!(refused["error"]["code"], "unknown_dimension");
    gateway.stop().await;
}

#[tokio::test]
async fn a_bucket_refills_and_a_quota_that_is_taken_away_holds_no_more() {
    let upstream = Upstream::start().await;
    let quotas = "[{ per: server, requests: 2, window: 1s, burst: 2 }]";
    let gateway = gateway(&upstream, quotas).await;
    let one = gateway.client().key(ONE);
    let mut n_refused = 0;
    eventually("refill", async || {
        match one.stateless("tools/call", work("a")).await.status {
            200 => n_refused > 0,
            429 => {
                n_refused += 1;
                false
            }
            status => panic!("{status}"),
        }
    })
    .await;
    gateway.reconfigure(&config(&upstream, "[]"));
    eventually("the quota is gone", async || {
        let mut n_paid = 0;
        for _ in 0..20 {
            let status = one.stateless("tools/call", work("a")).await.status;
            n_paid += usize::from(status == 200);
        }
        n_paid == 20
    })
    .await;
    gateway.stop().await;
}
