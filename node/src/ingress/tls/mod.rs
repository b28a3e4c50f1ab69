//! TLS of the data plane. Certificate files are read again when they change. What cannot be used, or does not count
//! while the certificate in use does, changes nothing.

mod pair;
mod validity;

use std::fs;
use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;

use crate::coalesce::Socket;
use crate::config::{Problem, Tls};

use self::pair::Pair;
pub use self::pair::{TlsError, chain, key};
pub use self::validity::{Standing, Validity};

/// How often the files are looked at. Certificates are replaced hours before they end.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How often the log says that clients refuse the certificate, or soon will.
const REMIND_EVERY: Duration = Duration::from_hours(24);

/// What to do about a certificate that ends or has ended.
pub const RENEW: &str =
    "write a new certificate to the same files: a running gateway takes it at once";

/// Accepts TLS with the certificate of the moment. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Acceptor {
    settings: Arc<Tls>,
    current: Arc<ArcSwap<Pair>>,
}

/// Reads what a listener would serve with, and says when its certificate counts, if its dates can be read.
///
/// # Errors
///
/// See [`TlsError`].
pub fn inspect(settings: &Tls) -> Result<Option<Validity>, TlsError> {
    Pair::read(settings).map(|pair| pair.validity)
}

/// What is to be said about a certificate at `now`, unless all is well.
pub fn outdated(dates: &Validity, now: SystemTime) -> Option<Problem> {
    let said = dates.said(now);
    (dates.standing(now) != Standing::Good).then(|| Problem {
        line: None,
        key: "tls.cert".to_owned(),
        what: format!("the certificate {said}"),
        remedy: RENEW.to_owned(),
    })
}

impl Acceptor {
    /// Reads the files. A certificate that has ended is taken: there may be clients that do not look, and others are told
    /// why they cannot come in.
    ///
    /// # Errors
    ///
    /// See [`TlsError`].
    pub fn load(settings: Tls) -> Result<Self, TlsError> {
        let current = Arc::new(ArcSwap::from_pointee(Pair::read(&settings)?));
        Ok(Self {
            settings: Arc::new(settings),
            current,
        })
    }

    pub(super) async fn accept(&self, stream: Socket) -> io::Result<TlsStream<Socket>> {
        let config = Arc::clone(&self.current.load().config);
        TlsAcceptor::from(config).accept(stream).await
    }

    /// When the certificate in use counts. `None` when its dates cannot be read.
    pub fn validity(&self) -> Option<Validity> {
        self.current.load().validity
    }

    /// Reads the files again whenever one changes, until `stop` fires.
    pub async fn watch(self, clock: fn() -> SystemTime, stop: CancellationToken) {
        let mut seen = stamp(&self.settings);
        let (mut passed_over, mut reminded) = (None, None);
        loop {
            self.remind(clock(), &mut reminded);
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
            let now = stamp(&self.settings);
            if now != seen {
                seen = now;
                passed_over = self.read_again(clock());
                reminded = None;
            } else if let Some(pair) = passed_over.take() {
                // Its time may have come, or that of the one in use be over.
                passed_over = self.offer(pair, clock());
            }
        }
    }

    /// Reads the files. Gives back a pair that was passed over.
    fn read_again(&self, now: SystemTime) -> Option<Pair> {
        let passed_over = match Pair::read(&self.settings) {
            Ok(pair) => self.offer(pair, now)?,
            // Both files rarely change in the same instant; the next look sees the pair.
            Err(error) => {
                let error = error.with_causes();
                tracing::warn!(
                    error,
                    "changed certificate is not usable; the old one stays"
                );
                return None;
            }
        };
        let said = passed_over.validity.map(|dates| dates.said(now));
        let certificate = said.unwrap_or_default();
        tracing::warn!(
            certificate,
            "changed certificate does not count; the old one stays"
        );
        Some(passed_over)
    }

    /// Uses `pair`, or gives it back when it does not count and the one in use does.
    fn offer(&self, pair: Pair, now: SystemTime) -> Option<Pair> {
        let counts = |pair: &Pair| {
            pair.validity
                .is_none_or(|dates| dates.standing(now).counts())
        };
        if !counts(&pair) && counts(&self.current.load()) {
            return Some(pair);
        }
        let said = pair.validity.map(|dates| dates.said(now));
        self.current.store(Arc::new(pair));
        let certificate = said.unwrap_or_default();
        tracing::info!(certificate, "certificate was read again");
        None
    }

    /// Says now and then that clients refuse the certificate in use, or soon will.
    fn remind(&self, now: SystemTime, reminded: &mut Option<(Instant, Standing)>) {
        let Some(dates) = self.validity() else { return };
        let standing = dates.standing(now);
        let is_said =
            |(at, said): (Instant, Standing)| said == standing && at.elapsed() < REMIND_EVERY;
        if standing == Standing::Good || reminded.is_some_and(is_said) {
            return;
        }
        let certificate = dates.said(now);
        match standing {
            Standing::Good => {}
            Standing::EndsSoon => tracing::warn!(certificate, "certificate has to be renewed"),
            Standing::NotYet | Standing::Ended => {
                tracing::error!(certificate, "clients refuse the certificate");
            }
        }
        *reminded = Some((Instant::now(), standing));
    }
}

type Stamp = [Option<(SystemTime, u64)>; 2];

fn stamp(settings: &Tls) -> Stamp {
    [&settings.cert, &settings.key].map(|path| {
        let found = fs::metadata(path).ok()?;
        Some((found.modified().ok()?, found.len()))
    })
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, date_time_ymd};

    use super::*;

    /// Writes a certificate from the first of January of one year to that of another.
    fn issue(settings: &Tls, from: i32, until: i32) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(["localhost".to_owned()]).unwrap();
        params.not_before = date_time_ymd(from, 1, 1);
        params.not_after = date_time_ymd(until, 1, 1);
        let cert = params.self_signed(&key).unwrap();
        fs::write(&settings.cert, cert.pem()).unwrap();
        fs::write(&settings.key, key.serialize_pem()).unwrap();
    }

    #[test]
    fn what_counts_is_replaced_by_what_counts_alone() {
        let dir = tempfile::tempdir().unwrap();
        let settings = Tls {
            cert: dir.path().join("cert.pem"),
            key: dir.path().join("key.pem"),
        };
        let year = |year: u32| {
            let of_year = Duration::from_secs(365 * 24 * 3600);
            SystemTime::UNIX_EPOCH + of_year * (year - 1970) + of_year / 2
        };
        issue(&settings, 2020, 2024);
        let acceptor = Acceptor::load(settings.clone()).unwrap();
        let in_use = || acceptor.validity().unwrap().said(year(2021));

        issue(&settings, 2010, 2012);
        assert!(acceptor.read_again(year(2021)).is_some());
        assert_eq!(in_use(), "is valid until 2024-01-01T00:00:00.000Z");

        issue(&settings, 2022, 2026);
        let passed_over = acceptor.read_again(year(2021)).unwrap();
        let passed_over = acceptor.offer(passed_over, year(2021)).unwrap();
        assert!(acceptor.offer(passed_over, year(2023)).is_none());
        assert!(in_use().starts_with("is not valid before 2022"));

        // Neither counts: the newest may be what clients who do not look want.
        issue(&settings, 2010, 2011);
        assert!(acceptor.read_again(year(2030)).is_none());
        assert_eq!(in_use(), "has ended at 2011-01-01T00:00:00.000Z");

        fs::write(&settings.cert, "junk").unwrap();
        assert!(acceptor.read_again(year(2030)).is_none());
        assert!(in_use().starts_with("has ended at 2011"));
    }
}
