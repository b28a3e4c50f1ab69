//! Memory of streams that have ended and wait for a client to resume them, bounded per session and per node.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::stream::StreamLog;

/// Bytes of ended streams that one session keeps.
const SESSION_BYTES_MAX: usize = 4 << 20;
/// Bytes of ended streams that one node keeps.
const NODE_BYTES_MAX: usize = 256 << 20;

/// Bytes in the ended streams of one node. Each log adds its own when it ends and takes them off when it is dropped.
#[derive(Debug)]
pub struct EndedBytes {
    bytes: AtomicUsize,
    session_max: usize,
    node_max: usize,
}

impl Default for EndedBytes {
    fn default() -> Self {
        Self {
            bytes: AtomicUsize::new(0),
            session_max: SESSION_BYTES_MAX,
            node_max: NODE_BYTES_MAX,
        }
    }
}

impl EndedBytes {
    pub(super) fn add(&self, bytes: usize) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn take_off(&self, bytes: usize) {
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Drops ended logs of one session, oldest first, until session and node are within their bounds. One that is
    /// being read stays: its memory would stay with the reader anyway. What is gone cannot be resumed, which the
    /// client is told when it tries.
    pub(super) fn trim(&self, streams: &mut Vec<Arc<StreamLog>>) {
        let ended = streams.iter().filter(|log| log.ended_at().is_some());
        let mut of_session: usize = ended.map(|log| log.bytes()).sum();
        while of_session > self.session_max || self.bytes.load(Ordering::Relaxed) > self.node_max {
            let droppable = streams
                .iter()
                .enumerate()
                .filter(|(_, log)| !log.attached());
            let oldest = droppable
                .filter_map(|(at, log)| Some((log.ended_at()?, at)))
                .min();
            let Some((_, at)) = oldest else { return };
            of_session -= streams.remove(at).bytes();
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use tokio::time::{Duration, Instant};

    use super::*;

    fn node(session_max: usize, node_max: usize) -> Arc<EndedBytes> {
        Arc::new(EndedBytes {
            bytes: AtomicUsize::new(0),
            session_max,
            node_max,
        })
    }

    /// Streams 1 to `n`, ended in this order, ten bytes each.
    fn ended(node: &Arc<EndedBytes>, n: u32) -> Vec<Arc<StreamLog>> {
        let start = Instant::now();
        let log = |id: u32| {
            let log = StreamLog::new(1, id, Arc::clone(node));
            log.finish(
                Bytes::from_static(b"ten bytes."),
                start + Duration::from_secs(id.into()),
            );
            log
        };
        (1..=n).map(log).collect()
    }

    fn ids(streams: &[Arc<StreamLog>]) -> Vec<u32> {
        streams.iter().map(|log| log.id()).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn a_session_over_its_bound_drops_its_oldest() {
        let node = node(25, 1000);
        let mut streams = ended(&node, 4);
        let open = StreamLog::new(1, 9, Arc::clone(&node));
        open.push(Bytes::from_static(b"an open stream does not count"))
            .await;
        streams.push(open);
        node.trim(&mut streams);
        assert_eq!(ids(&streams), [3, 4, 9]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_node_over_its_bound_drops_what_nobody_reads() {
        let node = node(1000, 35);
        let other = ended(&node, 3);
        let mut streams = ended(&node, 2);
        let _reader = streams[0].attach(None);
        node.trim(&mut streams);
        assert_eq!(ids(&streams), [1]);
        drop((other, streams, _reader));
        assert_eq!(node.bytes(), 0);
    }
}
