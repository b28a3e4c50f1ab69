//! Clients that write in a closed loop, within the process that takes the writes.

use std::{
    future::Future,
    io::{BufRead as _, Write as _},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use hdrhistogram::Histogram;
use tokio::{
    runtime::Runtime,
    task::JoinSet,
    time::{Instant, sleep_until},
};

use super::orders::{Answer, Counted, Order};
use crate::{
    error::{Error, Result},
    measure::new_histogram,
};

/// Bytes of a value, as in the figures of the engine that the budget was made from.
pub(super) const VALUE_BYTES: usize = 200;

/// Takes writes.
pub(super) trait Writer: Clone + Send + 'static {
    /// Writes the next value of `client`, and returns when it is committed.
    fn write(&self, client: usize, value: Vec<u8>) -> impl Future<Output = Result<()>> + Send;

    /// Term in which it leads; `None` when it doesn't.
    fn term(&self) -> Option<u64>;

    /// Syncs of its log so far.
    fn syncs(&self) -> u64;
}

/// Answers orders from standard input until that ends.
pub(super) fn serve<W: Writer>(runtime: &Runtime, writer: &W) -> Result<()> {
    let mut out = std::io::stdout().lock();
    let mut say = |line: &str| {
        writeln!(out, "{line}")
            .and_then(|()| out.flush())
            .map_err(Error::io("answer"))
    };
    say("ready")?;
    for line in std::io::stdin().lock().lines() {
        let line = line.map_err(Error::io("read an order"))?;
        let order = serde_json::from_str(&line).map_err(Error::Line)?;
        let answer = runtime.block_on(window(writer, order))?;
        say(&serde_json::to_string(&answer).map_err(Error::Line)?)?;
    }
    Ok(())
}

/// What the clients of one window share.
struct Shared {
    is_counting: AtomicBool,
    is_over: AtomicBool,
    n_writes: AtomicU64,
    n_writes_in_all: AtomicU64,
    latency: Mutex<Histogram<u64>>,
}

async fn window<W: Writer>(writer: &W, order: Order) -> Result<Answer> {
    let Some(term) = writer.term() else {
        return Ok(Answer::NotLeading);
    };
    let shared = Arc::new(Shared {
        is_counting: AtomicBool::new(false),
        is_over: AtomicBool::new(false),
        n_writes: AtomicU64::new(0),
        n_writes_in_all: AtomicU64::new(0),
        latency: Mutex::new(new_histogram()),
    });
    let mut clients = JoinSet::new();
    for client in 0..order.clients {
        clients.spawn(write_on(writer.clone(), client, Arc::clone(&shared)));
    }
    sleep_until(Instant::now() + order.warmup()).await;
    let (begun, syncs) = (Instant::now(), writer.syncs());
    shared.is_counting.store(true, Ordering::Relaxed);
    sleep_until(begun + order.measure()).await;
    let (writes, syncs) = (
        shared.n_writes.load(Ordering::Relaxed),
        writer.syncs() - syncs,
    );
    let elapsed = begun.elapsed();
    shared.is_over.store(true, Ordering::Relaxed);
    while let Some(ended) = clients.join_next().await {
        ended.map_err(|panic| Error::io("write")(std::io::Error::other(panic)))??;
    }
    if writer.term() != Some(term) {
        return Ok(Answer::NotLeading);
    }
    let latency = shared
        .latency
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    let quantile = |quantile| latency.value_at_quantile(quantile) as f64 / 1e3;
    Ok(Answer::Counted(Counted {
        writes,
        writes_in_all: shared.n_writes_in_all.load(Ordering::Relaxed),
        elapsed_us: u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX),
        p50_us: quantile(0.5),
        p99_us: quantile(0.99),
        syncs,
    }))
}

async fn write_on<W: Writer>(writer: W, client: usize, shared: Arc<Shared>) -> Result<()> {
    while !shared.is_over.load(Ordering::Relaxed) {
        let begun = Instant::now();
        writer.write(client, vec![b'v'; VALUE_BYTES]).await?;
        let took = begun.elapsed();
        shared.n_writes_in_all.fetch_add(1, Ordering::Relaxed);
        if shared.is_counting.load(Ordering::Relaxed) && !shared.is_over.load(Ordering::Relaxed) {
            shared.n_writes.fetch_add(1, Ordering::Relaxed);
            let mut latency = shared
                .latency
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            latency.saturating_record(nanos(took));
        }
    }
    Ok(())
}

pub(super) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::{Answer, Order, Result, Writer, window};

    /// Answers at once and leads in a term that it is told.
    #[derive(Clone, Copy)]
    struct Ready(Option<u64>);

    impl Writer for Ready {
        async fn write(&self, _client: usize, _value: Vec<u8>) -> Result<()> {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            Ok(())
        }

        fn term(&self) -> Option<u64> {
            self.0
        }

        fn syncs(&self) -> u64 {
            7
        }
    }

    const ORDER: Order = Order {
        clients: 3,
        warmup_ms: 95,
        measure_ms: 100,
    };

    #[tokio::test(start_paused = true)]
    async fn only_writes_of_the_window_count() {
        let Answer::Counted(counted) = window(&Ready(Some(1)), ORDER).await.unwrap() else {
            panic!("it leads");
        };
        assert_eq!((counted.writes, counted.elapsed_us), (30, 100_000));
        assert_eq!(counted.syncs, 0);
        assert!((counted.p50_us - 10_000.0).abs() < 20.0);
    }

    #[tokio::test(start_paused = true)]
    async fn who_does_not_lead_counts_nothing() {
        assert_eq!(
            window(&Ready(None), ORDER).await.unwrap(),
            Answer::NotLeading
        );
    }
}
