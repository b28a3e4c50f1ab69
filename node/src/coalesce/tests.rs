//! The test is the worker here: it says when the thread is about to park, and when its first write has left.

use std::io::IoSlice;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Handle};

use super::outgoing::{SMALL_BYTES_MAX, WAITING_BYTES_MAX};
use super::queue::{WAIT_MAX, is_behind};
use super::{Socket, before_park};
use crate::task::spawn_named;

/// Runs `test` on a thread whose sockets wait for it.
fn on_a_worker<F: Future<Output = ()>>(test: impl FnOnce() -> F + Send + 'static) {
    let worker = thread::spawn(|| {
        turn();
        let runtime = Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build();
        runtime.unwrap().block_on(test());
    });
    worker.join().unwrap();
}

/// Parks; the first write after that is over.
fn turn() {
    before_park();
    assert!(!is_behind());
}

async fn pair() -> (Socket, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let ours = TcpStream::connect(listener.local_addr().unwrap());
    let (ours, accepted) = tokio::join!(ours, listener.accept());
    (Socket::new(ours.unwrap()), accepted.unwrap().0)
}

fn poll_write(socket: &mut Socket, bytes: &[u8], waker: &Waker) -> Poll<usize> {
    let written = Pin::new(socket).poll_write(&mut Context::from_waker(waker), bytes);
    written.map(Result::unwrap)
}

fn is_flushed(socket: &mut Socket) -> bool {
    let flushed = Pin::new(socket).poll_flush(&mut Context::from_waker(Waker::noop()));
    flushed.map(Result::unwrap).is_ready()
}

/// Writes until the kernel takes no more; then some, which wait. Returns all that was written.
fn fill(socket: &mut Socket) -> Vec<u8> {
    let mut all = Vec::new();
    loop {
        let large = vec![all.len() as u8; 1 << 16];
        match poll_write(socket, &large, Waker::noop()) {
            Poll::Ready(n) => all.extend_from_slice(&large[..n]),
            Poll::Pending => break,
        }
    }
    assert_eq!(poll_write(socket, b"rest", Waker::noop()), Poll::Ready(4));
    turn();
    assert_eq!(socket.written(), all.len() as u64);
    all.extend_from_slice(b"rest");
    all
}

async fn read_to_end(mut theirs: TcpStream) -> Vec<u8> {
    let mut read = Vec::new();
    theirs.read_to_end(&mut read).await.unwrap();
    read
}

#[derive(Default)]
struct Told(AtomicUsize);

impl Wake for Told {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn small_writes_leave_when_the_thread_parks() {
    on_a_worker(async || {
        let (mut ours, theirs) = pair().await;
        ours.write_all(b"one ").await.unwrap();
        ours.flush().await.unwrap();
        let parts = [b"two ".as_slice(), b"", b"three"].map(IoSlice::new);
        assert_eq!(ours.write_vectored(&parts).await.unwrap(), 9);
        assert_eq!(ours.written(), 0);
        before_park();
        assert_eq!(ours.written(), 13);
        before_park();
        drop(ours);
        assert_eq!(read_to_end(theirs).await, b"one two three");
    });
}

#[test]
fn the_first_write_since_the_thread_parked_leaves_at_once() {
    on_a_worker(async || {
        let (mut ours, theirs) = pair().await;
        before_park();
        ours.write_all(b"one ").await.unwrap();
        assert_eq!(ours.written(), 4);
        ours.write_all(b"two ").await.unwrap();
        assert_eq!(ours.written(), 4);
        before_park();
        ours.write_all(b"three").await.unwrap();
        assert_eq!(ours.written(), 13);
        drop(ours);
        assert_eq!(read_to_end(theirs).await, b"one two three");
    });
}

#[test]
fn a_large_write_leaves_at_once_behind_what_waits() {
    on_a_worker(async || {
        let (mut ours, theirs) = pair().await;
        let mut all = b"small".to_vec();
        ours.write_all(&all).await.unwrap();
        let large = vec![b'l'; SMALL_BYTES_MAX + 1];
        ours.write_all(&large).await.unwrap();
        all.extend_from_slice(&large);
        assert_eq!(ours.written(), all.len() as u64);
        drop(ours);
        assert_eq!(read_to_end(theirs).await, all);
    });
}

#[test]
fn no_more_waits_than_the_bound() {
    on_a_worker(async || {
        let (mut ours, theirs) = pair().await;
        let mut all = Vec::new();
        for mark in 0..=WAITING_BYTES_MAX / SMALL_BYTES_MAX {
            assert_eq!(ours.written(), 0);
            let small = [mark as u8; SMALL_BYTES_MAX];
            ours.write_all(&small).await.unwrap();
            all.extend_from_slice(&small);
        }
        assert_eq!(ours.written(), all.len() as u64);
        drop(ours);
        assert_eq!(read_to_end(theirs).await, all);
    });
}

#[test]
fn what_waits_leaves_before_the_end() {
    on_a_worker(async || {
        let (mut ours, theirs) = pair().await;
        ours.write_all(b"last words").await.unwrap();
        ours.shutdown().await.unwrap();
        assert_eq!(read_to_end(theirs).await, b"last words");
        let (mut ours, theirs) = pair().await;
        ours.write_all(b"dropped").await.unwrap();
        drop(ours);
        assert_eq!(read_to_end(theirs).await, b"dropped");
    });
}

#[test]
fn so_many_sockets_do_not_wait_longer() {
    on_a_worker(async || {
        let mut pairs = join_all((0..32).map(|_| pair())).await;
        for n in 0..32 {
            assert!(pairs.iter().all(|(ours, _)| ours.written() == 0), "{n}");
            pairs[n].0.write_all(b"x").await.unwrap();
        }
        assert!(pairs.iter().all(|(ours, _)| ours.written() == 1));
    });
}

#[test]
fn a_write_takes_along_what_has_waited_too_long() {
    on_a_worker(async || {
        let ((mut first, _a), (mut second, _b), (mut third, _c)) =
            tokio::join!(pair(), pair(), pair());
        first.write_all(b"x").await.unwrap();
        tokio::time::advance(WAIT_MAX).await;
        second.write_all(b"x").await.unwrap();
        assert_eq!((first.written(), second.written()), (0, 0));
        tokio::time::advance(Duration::from_micros(1)).await;
        third.write_all(b"x").await.unwrap();
        let written = [first, second, third].map(|socket| socket.written());
        assert_eq!(written, [1, 1, 1]);
    });
}

#[test]
fn what_finds_no_room_is_written_when_there_is_some() {
    on_a_worker(async || {
        let (mut ours, theirs) = pair().await;
        let told = Arc::new(Told::default());
        let mut all = fill(&mut ours);
        assert!(!is_flushed(&mut ours));
        let waker = Waker::from(Arc::clone(&told));
        assert!(poll_write(&mut ours, b"more", &waker).is_pending());
        let reading = spawn_named("reader", read_to_end(theirs));
        while told.0.load(Ordering::Relaxed) == 0 {
            tokio::task::yield_now().await;
        }
        assert!(is_flushed(&mut ours));
        assert_eq!(ours.written(), all.len() as u64);
        ours.write_all(b"more").await.unwrap();
        all.extend_from_slice(b"more");
        ours.shutdown().await.unwrap();
        assert_eq!(reading.await.unwrap(), all);
    });
}

#[test]
fn what_finds_no_room_leaves_after_the_owner() {
    on_a_worker(async || {
        let (mut ours, theirs) = pair().await;
        let all = fill(&mut ours);
        drop(ours);
        assert_eq!(read_to_end(theirs).await, all);
    });
}

#[test]
fn what_is_abandoned_never_leaves() {
    on_a_worker(async || {
        let (mut ours, theirs) = pair().await;
        ours.write_all(b"x").await.unwrap();
        assert_eq!(ours.abandon(), 0);
        turn();
        assert_eq!(ours.written(), 0);
        drop(ours);
        assert_eq!(read_to_end(theirs).await, b"");
        let (mut ours, theirs) = pair().await;
        let mut all = fill(&mut ours);
        all.truncate(all.len() - 4);
        assert_eq!(ours.abandon(), all.len() as u64);
        drop(ours);
        assert_eq!(read_to_end(theirs).await, all);
    });
}

#[test]
fn the_owner_is_told_of_an_error() {
    on_a_worker(async || {
        let (mut ours, theirs) = pair().await;
        // Closes with a reset.
        theirs.set_zero_linger().unwrap();
        drop(theirs);
        ours.stream().readable().await.unwrap();
        let told = Arc::new(Told::default());
        let waker = Waker::from(Arc::clone(&told));
        assert_eq!(poll_write(&mut ours, b"x", &waker), Poll::Ready(1));
        assert_eq!(told.0.load(Ordering::Relaxed), 0);
        before_park();
        assert_eq!(told.0.load(Ordering::Relaxed), 1);
        assert_eq!(ours.written(), 0);
        ours.flush().await.unwrap_err();
    });
}

#[tokio::test]
async fn nothing_waits_where_nobody_writes_before_parking() {
    for len in [0, 1, 1016, 1017, 40_000] {
        let (mut ours, theirs) = pair().await;
        let body = "b".repeat(len);
        let parts = ["head", &body, "", "tail"];
        let slices = parts.map(|part| IoSlice::new(part.as_bytes()));
        let n = ours.write_vectored(&slices).await.unwrap();
        assert_eq!(ours.written(), n as u64);
        assert!(n == len + 8 || len > 1016, "{n} of {len}");
        drop(ours);
        assert_eq!(read_to_end(theirs).await, parts.concat().as_bytes()[..n]);
    }
}

#[tokio::test]
async fn who_has_moved_to_another_thread_does_not_wait() {
    let (mut ours, theirs) = pair().await;
    let runtime = Handle::current();
    let there = thread::spawn(move || {
        let _io = runtime.enter();
        turn();
        let written = poll_write(&mut ours, b"there, ", Waker::noop());
        assert_eq!((written, ours.written()), (Poll::Ready(7), 0));
        ours
    });
    let mut ours = there.join().unwrap();
    ours.write_all(b"here").await.unwrap();
    assert_eq!(ours.written(), 11);
    drop(ours);
    assert_eq!(read_to_end(theirs).await, b"there, here");
}

#[test]
fn workers_of_a_runtime_write_before_they_park() {
    let runtime = Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .on_thread_park(before_park)
        .build()
        .unwrap();
    let echo = async |mut socket: Socket| {
        let mut bytes = [0; 4];
        while socket.read_exact(&mut bytes).await.is_ok() {
            socket.write_all(&bytes).await.unwrap();
        }
    };
    runtime.block_on(async {
        let calls = (0..8).map(|_| async {
            let (mut ours, theirs) = pair().await;
            drop(spawn_named("echo", echo(Socket::new(theirs))));
            let calling = spawn_named("caller", async move {
                for n in 0..200_u32 {
                    ours.write_all(&n.to_be_bytes()).await.unwrap();
                    assert_eq!(ours.read_u32().await.unwrap(), n);
                }
            });
            calling.await.unwrap();
        });
        join_all(calls).await;
    });
}
