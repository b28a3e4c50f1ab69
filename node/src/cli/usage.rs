//! `lockgate usage`: what all nodes have counted up to about a second ago.

use serde_json::Value;

use super::client::Client;
use super::exit::{Exit, Failure};
use super::out::Out;
use super::sessions::{items, text};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// What to count by.
    #[arg(long, value_enum, default_value_t = By::Principal)]
    by: By,
    /// Days to look back, today in UTC included: 1 to 35.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=35))]
    days: u8,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum By {
    Tenant,
    Principal,
    Server,
    Tool,
}

impl By {
    fn as_str(self) -> &'static str {
        match self {
            Self::Tenant => "tenant",
            Self::Principal => "principal",
            Self::Server => "server",
            Self::Tool => "tool",
        }
    }
}

pub(super) async fn run(args: Args, client: &Client, out: &mut Out) -> Result<Exit, Failure> {
    let by = args.by.as_str();
    let path = format!("usage?by={by}&days={}", args.days);
    let answer = client.get(&path).await?;
    let row = |one: &Value| {
        let name = match &one["name"] {
            Value::String(name) if name == "*" => "(others)".to_owned(),
            name => text(name),
        };
        let cost = dollars(one["cost_micros"].as_u64().unwrap_or(0));
        vec![name, text(&one["requests"]), text(&one["limited"]), cost]
    };
    let rows: Vec<Vec<String>> = items(&answer, "usage").iter().map(row).collect();
    out.table(&[by, "requests", "limited", "cost usd"], &rows, &answer);
    Ok(Exit::Done)
}

/// Exact, with at least two decimals.
fn dollars(micros: u64) -> String {
    let exact = format!("{}.{:06}", micros / 1_000_000, micros % 1_000_000);
    let zeros = exact.bytes().rev().take_while(|byte| *byte == b'0').count();
    let shown = exact.len() - zeros.min(4);
    exact[..shown].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dollars_are_exact() {
        assert_eq!(dollars(0), "0.00");
        assert_eq!(dollars(50_000), "0.05");
        assert_eq!(dollars(12_345_678), "12.345678");
        assert_eq!(dollars(1_500), "0.0015");
        assert_eq!(dollars(20_000_000), "20.00");
    }
}
